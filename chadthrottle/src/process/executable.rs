//! What the kernel knows an executable by.

use std::{
    fs,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::Path,
};

use nix::{fcntl::OFlag, sys::stat::Mode};

/// Device and inode of a file, in the kernel's own numbers (`super_block.s_dev`, `inode.i_ino`).
///
/// The device that stat(2) tells is another one on some file systems (btrfs); that of the mount is
/// the kernel's. A link is not followed: /proc names what runs, not what it was called by.
pub fn executable_at(path: &Path) -> Option<(u32, u64)> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = fs::File::from(nix::fcntl::open(path, flags, Mode::empty()).ok()?);
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() {
        return None;
    }
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    Some((device_of(&mounts, mount.trim())?, metadata.ino()))
}

/// The device of a mount (proc_pid_mountinfo(5)), as `MKDEV` puts it together.
fn device_of(mounts: &str, mount: &str) -> Option<u32> {
    const MINOR_BITS: u32 = 20;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        if fields.next()? != mount {
            return None;
        }
        let (major, minor) = fields.nth(1)?.split_once(':')?;
        let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
        Some(major << MINOR_BITS | minor)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_is_that_of_the_files_mount() {
        let mounts = "21 1 0:19 / /sys rw - sysfs sysfs rw\n\
                      30 1 254:3 / / rw - ext4 /dev/vda3 rw\n";
        assert_eq!(device_of(mounts, "30"), Some(254 << 20 | 3));
        assert_eq!(device_of(mounts, "1"), None);
    }

    #[test]
    fn a_file_is_known_and_a_directory_and_a_link_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let inode = fs::metadata(&file).unwrap().ino();
        assert_eq!(executable_at(&file).unwrap().1, inode);
        assert_eq!(executable_at(&link), None);
        assert_eq!(executable_at(directory.path()), None);
    }
}
