//! Sockets of other processes: a short-lived duplicate through a pidfd.
//!
//! A duplicate that is held keeps the user's connection open after the program closed it, so
//! callers drop it at once.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::SyscallError;

/// A descriptor for the process. Kernel 5.3.
pub fn pidfd_open(pid: u32) -> Result<OwnedFd, SyscallError> {
    // SAFETY: no pointers; the result is a descriptor that is ours, or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    own(fd).ok_or_else(|| SyscallError::last("pidfd_open"))
}

/// A duplicate of descriptor `fd` of that process. Kernel 5.6; needs CAP_SYS_PTRACE.
pub fn pidfd_getfd(pidfd: BorrowedFd<'_>, fd: RawFd) -> Result<OwnedFd, SyscallError> {
    // SAFETY: no pointers; the result is a descriptor that is ours, or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) };
    own(fd).ok_or_else(|| SyscallError::last("pidfd_getfd"))
}

fn own(fd: libc::c_long) -> Option<OwnedFd> {
    let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel has just made it for us.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether the socket is of the Internet families, IPv4 or IPv6.
pub fn is_internet(socket: impl AsFd) -> bool {
    matches!(domain(socket.as_fd()), Ok(libc::AF_INET | libc::AF_INET6))
}

/// The supplementary groups of whoever is at the other end of a Unix socket, as they were when it was connected
/// (`SO_PEERGROUPS`, kernel 4.13).
pub fn peer_groups(socket: BorrowedFd<'_>) -> Result<Vec<u32>, SyscallError> {
    // NGROUPS_MAX of include/uapi/linux/limits.h.
    let mut groups = vec![0u32; 65_536];
    let mut size = (groups.len() * size_of::<u32>()) as libc::socklen_t;
    // SAFETY: `groups` has `size` bytes.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    if result != 0 {
        return Err(SyscallError::last("getsockopt(SO_PEERGROUPS)"));
    }
    groups.truncate(size as usize / size_of::<u32>());
    Ok(groups)
}

/// The inode that /proc shows for a socket.
pub fn inode(socket: impl AsFd) -> Option<u64> {
    Some(nix::sys::stat::fstat(socket).ok()?.st_ino)
}

/// What tells a socket apart from all others that there ever are (`SO_COOKIE`, kernel 4.12).
///
/// # Errors
/// Where it is no socket.
pub fn cookie(socket: impl AsFd) -> Result<u64, SyscallError> {
    let (level, option) = (libc::SOL_SOCKET, libc::SO_COOKIE);
    super::tcp::get(socket, level, option, "getsockopt(SO_COOKIE)")
}

fn domain(socket: BorrowedFd<'_>) -> Result<i32, SyscallError> {
    let mut value = 0i32;
    let mut size = size_of::<i32>() as libc::socklen_t;
    // SAFETY: `value` has `size` bytes.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_DOMAIN,
            std::ptr::from_mut(&mut value).cast(),
            &raw mut size,
        )
    };
    match result {
        0 => Ok(value),
        _ => Err(SyscallError::last("getsockopt(SO_DOMAIN)")),
    }
}
