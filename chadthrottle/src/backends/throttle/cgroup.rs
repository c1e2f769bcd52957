//! The cgroup2 hierarchy: where it is mounted, and the directory that programs attach to.

use std::{
    fs::File,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs};

use super::{NoCgroup2, ThrottleError};
use crate::process::{namespaces, proc_file};

/// A directory of the cgroup2 file system, held open.
#[derive(Clone, Debug)]
pub struct AttachPoint {
    path: PathBuf,
    id: u64,
    directory: Arc<File>,
}

impl AttachPoint {
    /// Opens the directory.
    ///
    /// # Errors
    /// [`ThrottleError::NotACgroup`] for anything that is not a directory of a cgroup2.
    pub fn open(path: &Path) -> Result<Self, ThrottleError> {
        let failed = |error: &std::io::Error| ThrottleError::not_a_cgroup(path, error);
        let directory = File::open(path).map_err(|error| failed(&error))?;
        let kind = fstatfs(&directory).map_err(|errno| failed(&errno.into()))?;
        if kind.filesystem_type() != CGROUP2_SUPER_MAGIC {
            return Err(ThrottleError::NotACgroup {
                path: path.to_owned(),
                reason: "it is on another file system".to_owned(),
            });
        }
        let metadata = directory.metadata().map_err(|error| failed(&error))?;
        if !metadata.is_dir() {
            return Err(ThrottleError::NotACgroup {
                path: path.to_owned(),
                reason: "it is a file".to_owned(),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            // The inode number is the cgroup id (`kernfs_node.id`, 64-bit systems).
            id: metadata.ino(),
            directory: Arc::new(directory),
        })
    }

    /// A cgroup that somebody else has opened and handed to us.
    pub fn from_parts(path: PathBuf, id: u64, directory: File) -> Self {
        Self {
            path,
            id,
            directory: Arc::new(directory),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its cgroup id.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether this process is in the cgroup or below it.
    pub fn holds_current_process(&self) -> bool {
        let own = std::process::id().to_string();
        tree(&self.path).iter().any(|directory| {
            std::fs::read_to_string(directory.join("cgroup.procs"))
                .is_ok_and(|processes| processes.lines().any(|pid| pid == own))
        })
    }

    /// Whether the cgroup has been removed; its programs went with it.
    pub fn is_removed(&self) -> bool {
        !std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.id)
    }
}

impl AsFd for AttachPoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Where cgroup2 is mounted, found by the type of the file system: on a hybrid system it is not
/// at /sys/fs/cgroup but below it.
///
/// # Errors
/// [`ThrottleError::NoCgroup2`] where it is mounted nowhere.
pub fn cgroup2_mount() -> Result<PathBuf, ThrottleError> {
    let mounts = proc_file::mounts().map_err(ThrottleError::MountInfo)?;
    mounts
        .into_iter()
        .filter(|mount| mount.fs_type == "cgroup2")
        // A mount of the whole hierarchy before one of a part of it.
        .min_by_key(|mount| mount.root != "/")
        .map(|mount| mount.mount_point)
        .ok_or_else(|| ThrottleError::NoCgroup2(why_not_mounted()))
}

fn why_not_mounted() -> NoCgroup2 {
    let name = namespaces::name_of(Path::new("/proc/self/ns/net"), Path::new("/run/netns"));
    name.map_or(NoCgroup2::NotMounted, NoCgroup2::HiddenByIp)
}

/// All directories of the hierarchy below `top`, itself first. What vanishes meanwhile is left
/// out.
pub fn tree(top: &Path) -> Vec<PathBuf> {
    let mut found = vec![top.to_owned()];
    let mut next = 0;
    while let Some(directory) = found.get(next).cloned() {
        next += 1;
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        found.extend(
            entries
                .flatten()
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    found
}
