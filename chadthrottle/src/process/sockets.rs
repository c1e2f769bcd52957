//! Which descriptors of a process are sockets.

use std::{
    fs,
    ops::ControlFlow,
    os::fd::{AsFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
};

use crate::sys::socket;

/// A descriptor that is a socket of some family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketFd {
    /// Its number in the process.
    pub fd: RawFd,
    /// The socket's inode, which is its identity: several descriptors may share one.
    pub inode: u64,
}

/// The sockets among the descriptors of process `pid`, read from `root` one after the other; none where it is gone.
pub fn sockets_of(root: &Path, pid: u32) -> impl Iterator<Item = SocketFd> + use<> {
    each_descriptor_of(root, pid).flatten()
}

/// Whether this process may look at the descriptors of process `pid`.
pub fn may_see_sockets_of(root: &Path, pid: u32) -> bool {
    fs::read_dir(descriptors(root, pid)).is_ok()
}

/// Each descriptor of a process, where it is a socket.
fn each_descriptor_of(root: &Path, pid: u32) -> impl Iterator<Item = Option<SocketFd>> + use<> {
    let entries = fs::read_dir(descriptors(root, pid));
    entries.into_iter().flatten().flatten().map(|entry| {
        let fd = entry.file_name().to_str()?.parse().ok()?;
        let inode = inode_of(&entry.path())?;
        Some(SocketFd { fd, inode })
    })
}

/// Ids of the processes that `root` shows.
pub fn pids(root: &Path) -> Vec<u32> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The directory of each thread of process `pid`; none where it is gone.
pub fn threads(root: &Path, pid: u32) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(root.join(pid.to_string()).join("task"));
    let entries = entries.into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

/// Does something with a short-lived duplicate of each socket of process `pid`, until it breaks off, or has looked at as
/// many descriptors as there are left of `budget`; nothing where the process is gone, or may not be looked into.
pub fn each_socket_of(
    root: &Path,
    pid: u32,
    budget: &mut usize,
    mut act: impl FnMut(&OwnedFd) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Ok(process) = socket::pidfd_open(pid) else {
        return ControlFlow::Continue(());
    };
    for descriptor in each_descriptor_of(root, pid) {
        let Some(left) = budget.checked_sub(1) else {
            return ControlFlow::Break(());
        };
        *budget = left;
        if let Some(SocketFd { fd, .. }) = descriptor
            && let Ok(socket) = socket::pidfd_getfd(process.as_fd(), fd)
        {
            act(&socket)?;
        }
    }
    ControlFlow::Continue(())
}

/// Whether process `pid` holds that socket, which is first looked for under the same number.
pub fn holds(root: &Path, pid: u32, socket: SocketFd) -> bool {
    inode_of(&descriptors(root, pid).join(socket.fd.to_string())) == Some(socket.inode)
        || sockets_of(root, pid).any(|other| other.inode == socket.inode)
}

fn descriptors(root: &Path, pid: u32) -> PathBuf {
    root.join(pid.to_string()).join("fd")
}

/// Inode of the socket that a descriptor is; `None` for anything else.
fn inode_of(descriptor: &Path) -> Option<u64> {
    fs::read_link(descriptor)
        .ok()?
        .to_str()?
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        net::UdpSocket,
        os::{fd::AsRawFd, unix::fs::MetadataExt},
    };

    #[test]
    fn a_socket_of_our_own_is_found_with_its_inode_and_a_file_is_not() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let file = fs::File::open("/proc/self/stat").unwrap();
        let sockets: Vec<_> = sockets_of(Path::new("/proc"), std::process::id()).collect();
        let inode = fs::metadata(format!("/proc/self/fd/{}", socket.as_raw_fd()))
            .unwrap()
            .ino();
        assert!(sockets.contains(&SocketFd {
            fd: socket.as_raw_fd(),
            inode
        }));
        assert!(!sockets.iter().any(|found| found.fd == file.as_raw_fd()));
    }

    #[test]
    fn links_to_anything_else_and_nonsense_are_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let fd = root.path().join("9/fd");
        fs::create_dir_all(&fd).unwrap();
        for (name, target) in [
            ("3", "socket:[77]"),
            ("4", "socket:[x]"),
            ("5", "pipe:[1]"),
            ("x", "socket:[1]"),
        ] {
            std::os::unix::fs::symlink(target, fd.join(name)).unwrap();
        }
        let sockets: Vec<_> = sockets_of(root.path(), 9).collect();
        assert_eq!(sockets, [SocketFd { fd: 3, inode: 77 }]);
        assert_eq!(sockets_of(root.path(), 10).next(), None);
        let seen = |pid| may_see_sockets_of(root.path(), pid);
        assert!(seen(9) && !seen(10));
        let held = |fd, inode| holds(root.path(), 9, SocketFd { fd, inode });
        assert!(held(3, 77) && held(5, 77), "under that number or another");
        assert!(!held(3, 78) && !held(5, 1));
    }
}
