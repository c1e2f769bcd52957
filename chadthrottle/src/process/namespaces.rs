//! Network namespaces, found by the processes in them and by the names that ip(8) gives.

use std::{
    collections::HashMap,
    fs::{self, File},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use super::pids;

/// Where ip(8) keeps namespaces that have a name.
const NAMED: &str = "/run/netns";

/// A network namespace.
#[derive(Debug)]
pub struct Namespace {
    /// Its inode, which another one may have later.
    pub inode: u64,
    /// A descriptor, for entering it. While it is held the namespace stays.
    pub fd: OwnedFd,
}

/// Those of processes of these ids, read from `root`, which is `/proc`.
pub fn of(root: &Path, pids: &[u32]) -> Vec<Namespace> {
    open(pids.iter().map(|pid| of_process(root, *pid)))
}

/// All that a process is in, or that has a name.
pub fn all(root: &Path) -> Vec<Namespace> {
    let processes = pids(root).into_iter().map(|pid| of_process(root, pid));
    let named = fs::read_dir(NAMED).into_iter().flatten().flatten();
    open(processes.chain(named.map(|entry| entry.path())))
}

fn of_process(root: &Path, pid: u32) -> PathBuf {
    root.join(pid.to_string()).join("ns/net")
}

/// Each once.
fn open(paths: impl Iterator<Item = PathBuf>) -> Vec<Namespace> {
    let mut found = HashMap::new();
    for path in paths {
        // A process that has gone meanwhile, or a name without a namespace.
        let Ok(inode) = fs::metadata(&path).map(|metadata| metadata.ino()) else {
            continue;
        };
        found.entry(inode).or_insert(path);
    }
    let opened = found.into_iter().filter_map(|(inode, path)| {
        let fd = File::open(path).ok()?.into();
        Some(Namespace { inode, fd })
    });
    opened.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_namespace_is_found_once() {
        let root = Path::new("/proc");
        let us = std::process::id();
        let found = of(root, &[us, us, 0]);
        assert_eq!(found.len(), 1);
        assert!(all(root).iter().any(|one| one.inode == found[0].inode));
    }
}
