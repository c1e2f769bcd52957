//! Network namespaces: that of a socket, and doing something within one.

use std::{
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    thread,
};

use nix::sched::{CloneFlags, setns};

use super::{SyscallError, tcp};

/// A number for the network namespace that a socket is in, which no other one has or gets; inodes are used
/// again. Kernel 5.14.
pub fn cookie(socket: impl AsFd) -> Result<u64, SyscallError> {
    tcp::get(
        socket,
        libc::SOL_SOCKET,
        libc::SO_NETNS_COOKIE,
        "getsockopt(SO_NETNS_COOKIE)",
    )
}

/// The network namespace that a socket is in. Kernel 4.9; needs CAP_NET_ADMIN.
pub fn of_socket(socket: impl AsFd) -> Result<OwnedFd, SyscallError> {
    // include/uapi/linux/sockios.h
    const SIOCGSKNS: libc::Ioctl = 0x894c;
    // SAFETY: no pointers; the result is a descriptor that is ours, or -1.
    let fd = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), SIOCGSKNS) };
    if fd < 0 {
        return Err(SyscallError::last("ioctl(SIOCGSKNS)"));
    }
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Does something within a network namespace, in a thread of its own; `None` where that may not be
/// entered. Needs CAP_SYS_ADMIN.
pub fn within<T: Send>(namespace: &OwnedFd, act: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(namespace, CloneFlags::CLONE_NEWNET).ok()?;
            Some(act())
        });
        thread.join().ok().flatten()
    })
}
