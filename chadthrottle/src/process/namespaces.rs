//! Network namespaces, found by the threads in them and where they are mounted.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs::{self, File},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use procfs::process::{MountInfo, MountInfos};

use super::{pids, proc_file, threads};

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
    let pids = pids(root).into_iter();
    let threads = pids.flat_map(|pid| threads(root, pid).map(|thread| thread.join("ns/net")));
    let mounts = proc_file::parsed(&root.join("self/mountinfo"));
    let mounts = mounts.into_iter().flat_map(|MountInfos(mounts)| mounts);
    let mounted = mounts.filter(is_namespace);
    open(threads.chain(mounted.map(|mount| mount.mount_point)))
}

/// Whether a network namespace is mounted there.
fn is_namespace(mount: &MountInfo) -> bool {
    mount.fs_type == "nsfs" && mount.root.starts_with("net:[")
}

fn of_process(root: &Path, pid: u32) -> PathBuf {
    root.join(pid.to_string()).join("ns/net")
}

/// Each once. A process may go at any moment: what is noted has been opened.
fn open(paths: impl Iterator<Item = PathBuf>) -> Vec<Namespace> {
    let mut found = HashMap::new();
    for path in paths {
        // A process that has gone meanwhile, or a name without a namespace.
        let Ok(inode) = fs::metadata(&path).map(|metadata| metadata.ino()) else {
            continue;
        };
        if let Entry::Vacant(new) = found.entry(inode)
            && let Ok(namespace) = File::open(path)
            && namespace.metadata().is_ok_and(|it| it.ino() == inode)
        {
            new.insert(namespace.into());
        }
    }
    let found = found.into_iter();
    found.map(|(inode, fd)| Namespace { inode, fd }).collect()
}

/// By which name in `named`, where ip(8) has those that it makes, a namespace is known.
pub fn name_of(namespace: &Path, named: &Path) -> Option<String> {
    let place = |path: &Path| fs::metadata(path).map(|it| (it.dev(), it.ino()));
    let wanted = place(namespace).ok()?;
    let entries = fs::read_dir(named).ok()?.filter_map(Result::ok);
    let mut same = entries.filter(|entry| place(&entry.path()).is_ok_and(|it| it == wanted));
    let name = same.next()?.file_name();
    Some(crate::text::escape(&name.to_string_lossy()).into_owned())
}

/// Whether what we mount is seen by us and our children only: we are in another mount namespace than the first
/// process.
pub fn have_mounts_of_our_own() -> bool {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt"));
    match (namespace("self"), namespace("1")) {
        (Ok(ours), Ok(first)) => ours != first,
        _ => false,
    }
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
    fn a_namespace_is_named_by_where_it_is_mounted() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["a", "b"] {
            fs::write(path(name), "").unwrap();
        }
        let named = path("named");
        fs::create_dir(&named).unwrap();
        assert_eq!(name_of(&path("a"), &named), None);
        fs::hard_link(path("b"), named.join("other")).unwrap();
        assert_eq!(name_of(&path("a"), &named), None);
        fs::hard_link(path("a"), named.join("lab")).unwrap();
        assert_eq!(name_of(&path("a"), &named).as_deref(), Some("lab"));
        assert_eq!(name_of(&path("a"), &path("none")), None);
    }

    #[test]
    fn namespaces_that_are_mounted_are_found_by_their_mounts() {
        for (line, expected) in [
            (
                "311 24 0:4 net:[4026532281] /run/netns/x rw shared:9 - nsfs nsfs rw",
                true,
            ),
            ("24 1 8:1 / /run rw - tmpfs tmpfs rw", false),
            ("1 2 0:4 mnt:[4026531841] /x rw - nsfs nsfs rw", false),
            ("1 2 8:1 net:[1] /x rw - ext4 /dev/sda1 rw", false),
        ] {
            let mount = MountInfo::from_line(line).unwrap();
            assert_eq!(is_namespace(&mount), expected, "{line}");
        }
    }
}
