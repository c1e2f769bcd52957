//! Network namespaces, found by the threads in them and where they are mounted.

use std::{
    collections::HashMap,
    fs::{self, File},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use super::pids;

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

/// All that a thread is in, or that is mounted somewhere, as ip(8) and container runtimes do.
pub fn all(root: &Path) -> Vec<Namespace> {
    let threads = pids(root).into_iter().flat_map(|pid| {
        let tasks = fs::read_dir(root.join(pid.to_string()).join("task"));
        let tasks = tasks.into_iter().flatten().flatten();
        tasks.map(|task| task.path().join("ns/net"))
    });
    let mounts = fs::read_to_string(root.join("self/mountinfo")).unwrap_or_default();
    let mounted = mounts.lines().filter_map(mounted_namespace);
    open(threads.chain(mounted.map(PathBuf::from)))
}

/// Where a network namespace is mounted, of a line of mountinfo: its root is `net:[INODE]`, and its type nsfs.
fn mounted_namespace(line: &str) -> Option<&str> {
    let mut fields = line.split(' ').skip(3);
    let is_net = fields.next()?.starts_with("net:[");
    let place = fields.next()?;
    is_net.then_some(place)
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

    #[test]
    fn namespaces_that_are_mounted_are_found_by_their_mounts() {
        let line = "311 24 0:4 net:[4026532281] /run/netns/x rw shared:9 - nsfs nsfs rw";
        assert_eq!(mounted_namespace(line), Some("/run/netns/x"));
        for other in [
            "24 1 8:1 / /run rw - tmpfs tmpfs rw",
            "",
            "1 2 3 mnt:[1] /x rw - nsfs nsfs rw",
        ] {
            assert_eq!(mounted_namespace(other), None, "{other}");
        }
    }
}
