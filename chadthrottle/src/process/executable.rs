//! What the kernel knows an executable by.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::Path,
};

use nix::{fcntl::OFlag, sys::stat::Mode};
use procfs::process::MountInfo;

use super::proc_file;

/// A file in the kernel's own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executable {
    /// `super_block.s_dev`
    pub device: u32,
    /// `inode.i_ino`
    pub inode: u64,
}

/// Devices as the kernel has them, by what stat(2) tells, which is another number on some file systems
/// (btrfs): that of the mount is the kernel's.
#[derive(Debug, Default)]
pub struct Devices(HashMap<u64, u32>);

impl Devices {
    /// What the kernel knows a file by. A link is not followed: /proc names what runs, not what it was
    /// called by.
    pub fn executable_at(&mut self, path: &Path) -> Option<Executable> {
        let metadata = fs::symlink_metadata(path).ok()?;
        if !metadata.is_file() {
            return None;
        }
        let device = match self.0.entry(metadata.dev()) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unknown) => *unknown.insert(device_under(path)?),
        };
        Some(Executable {
            device,
            inode: metadata.ino(),
        })
    }
}

/// The device of the mount that a file is on.
fn device_under(path: &Path) -> Option<u32> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = nix::fcntl::open(path, flags, Mode::empty()).ok()?;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?;
    let id: i32 = id.trim().parse().ok()?;
    let mounts = proc_file::mounts().ok()?;
    let mount = mounts.into_iter().find(|mount| mount.mnt_id == id)?;
    device_of(&mount)
}

/// The device of a mount, as `MKDEV` puts it together.
fn device_of(mount: &MountInfo) -> Option<u32> {
    const MINOR_BITS: u32 = 20;
    let (major, minor) = mount.majmin.split_once(':')?;
    let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    Some(major << MINOR_BITS | minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_is_that_of_the_files_mount() {
        for (line, device) in [
            ("21 1 0:19 / /sys rw - sysfs sysfs rw", 19),
            ("30 1 254:3 / / rw - ext4 /dev/vda3 rw", 254 << 20 | 3),
        ] {
            let mount = MountInfo::from_line(line).unwrap();
            assert_eq!(device_of(&mount), Some(device), "{line}");
        }
    }

    #[test]
    fn a_file_is_known_and_a_directory_and_a_link_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let inode = fs::metadata(&file).unwrap().ino();
        let mut devices = Devices::default();
        // The second time it is known.
        for _ in 0..2 {
            assert_eq!(devices.executable_at(&file).unwrap().inode, inode);
        }
        assert_eq!(devices.executable_at(&link), None);
        assert_eq!(devices.executable_at(directory.path()), None);
    }
}
