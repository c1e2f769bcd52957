//! What the standard library and nix have no safe call for.

use std::{
    io, mem,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    ptr,
};

use io_uring::{IoUring, squeue};
use libc::{c_int, c_void, sockaddr_ll, socklen_t};
use nix::sys::socket::{SockaddrLike, SockaddrStorage};

/// `IPPROTO_MPTCP`.
pub const MPTCP: c_int = 262;
/// `TCP_FASTOPEN`: how many connections may wait on a listener.
pub const FAST_OPEN: c_int = 23;

/// The length of `struct tcp_info` with the field that is read last.
const TCP_INFO_LEN: usize = 160;

/// What a call gave, or why it failed.
fn checked(result: impl Into<i64>) -> io::Result<i64> {
    let result = result.into();
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

pub fn socket(family: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let fd = checked(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}

/// A socket of the address's family.
pub fn socket_to(address: SocketAddr, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    socket(family, kind, protocol)
}

/// Sets an option that is a number.
pub fn set(socket: &impl AsFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    set_bytes(socket, level, option, &value.to_ne_bytes())
}

pub fn set_bytes(socket: &impl AsFd, level: c_int, option: c_int, value: &[u8]) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let len = value.len() as socklen_t;
    // SAFETY: the kernel reads as many bytes as there are.
    let result = unsafe { libc::setsockopt(fd, level, option, value.as_ptr().cast(), len) };
    checked(result).map(drop)
}

/// The first bytes of an option; zeros where it has fewer.
pub fn get<const LEN: usize>(
    socket: &impl AsFd,
    level: c_int,
    option: c_int,
) -> io::Result<[u8; LEN]> {
    let fd = socket.as_fd().as_raw_fd();
    let mut bytes = [0; LEN];
    let mut len = LEN as socklen_t;
    let start = bytes.as_mut_ptr().cast();
    // SAFETY: the kernel writes no more than the bytes that there are.
    checked(unsafe { libc::getsockopt(fd, level, option, start, &raw mut len) })?;
    Ok(bytes)
}

/// Payload that the connection has received, and the segments that carried it.
pub fn received(socket: &impl AsFd) -> io::Result<(u64, u32)> {
    let info: [u8; TCP_INFO_LEN] = get(socket, libc::IPPROTO_TCP, libc::TCP_INFO)?;
    let (mut bytes, mut segments) = ([0; 8], [0; 4]);
    bytes.copy_from_slice(&info[128..136]);
    segments.copy_from_slice(&info[152..156]);
    Ok((u64::from_ne_bytes(bytes), u32::from_ne_bytes(segments)))
}

pub fn send_to(
    socket: &impl AsFd,
    bytes: &[u8],
    to: SocketAddr,
    flags: c_int,
) -> io::Result<usize> {
    let address = SockaddrStorage::from(to);
    // SAFETY: both pointers are of what lives longer than the call, with its length.
    let sent = unsafe {
        libc::sendto(
            socket.as_fd().as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            flags | libc::MSG_NOSIGNAL,
            address.as_ptr(),
            address.len(),
        )
    };
    checked(sent as i64).map(|sent| sent as usize)
}

/// Reads what a socket has to say about what it has sent, and throws it away.
pub fn drain_errors(socket: &impl AsFd) {
    let mut control = [0_u8; 512];
    let fd = socket.as_fd().as_raw_fd();
    loop {
        // SAFETY: all zero is a message without name and parts.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = control.len();
        let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
        // SAFETY: the message points to what lives longer than the call, with its length.
        if unsafe { libc::recvmsg(fd, &raw mut message, flags) } < 0 {
            return;
        }
    }
}

/// Sends an IP packet past the network layer, by a device.
pub fn send_by(socket: &impl AsFd, packet: &[u8], device: u32, mac: [u8; 6]) -> io::Result<()> {
    let mut hardware = [0; 8];
    hardware[..6].copy_from_slice(&mac);
    let address = sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_IP as u16).to_be(),
        sll_ifindex: device as c_int,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: hardware,
    };
    // SAFETY: both pointers are of what lives longer than the call, with its length.
    let sent = unsafe {
        libc::sendto(
            socket.as_fd().as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            0,
            ptr::from_ref(&address).cast(),
            size_of_val(&address) as socklen_t,
        )
    };
    checked(sent as i64).map(drop)
}

/// Begins to connect; a socket that does not block goes on by itself.
pub fn connect(socket: &impl AsFd, to: SocketAddr) -> io::Result<()> {
    let address = SockaddrStorage::from(to);
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the pointer is of what lives longer than the call, with its length.
    match checked(unsafe { libc::connect(fd, address.as_ptr(), address.len()) }) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(()),
    }
}

/// Binds to a port on all addresses and listens.
pub fn listen(socket: &impl AsFd, on: SocketAddr) -> io::Result<()> {
    let address = SockaddrStorage::from(on);
    let fd = socket.as_fd().as_raw_fd();
    set(socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    // SAFETY: the pointer is of what lives longer than the call, with its length.
    checked(unsafe { libc::bind(fd, address.as_ptr(), address.len()) })?;
    // SAFETY: takes no pointers.
    checked(unsafe { libc::listen(fd, 4096) }).map(drop)
}

/// A child with memory of its own: its id, or 0 in the child.
pub fn fork() -> io::Result<i64> {
    // SAFETY: the child does nothing but system calls, and leaves by `leave`.
    checked(unsafe { libc::fork() })
}

/// A child that shares our descriptors: its id, or 0 in the child.
pub fn fork_with_descriptors() -> io::Result<i64> {
    let flags = libc::CLONE_FILES | libc::SIGCHLD;
    let none = ptr::null_mut::<c_void>();
    // SAFETY: without CLONE_VM it is a fork; the child does nothing but system calls, and leaves by
    // `leave`.
    checked(unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) })
}

/// A child that ends at once, for which nothing is copied.
pub fn child_that_ends(stack: &mut [u8]) -> io::Result<()> {
    extern "C" fn nothing(_: *mut c_void) -> c_int {
        0
    }
    let top = stack.as_mut_ptr_range().end.cast();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the child has the stack for itself until it has ended, since we wait for that, and
    // touches nothing of ours.
    checked(unsafe { libc::clone(nothing, top, flags, ptr::null_mut()) }).map(drop)
}

/// Ends this process at once.
pub fn leave() -> ! {
    // SAFETY: does not return, and runs nothing of ours.
    unsafe { libc::_exit(0) }
}

/// Ends this thread, and with it the process only where it is the last one.
pub fn leave_thread() -> io::Error {
    // SAFETY: of this thread's stack nobody else uses anything.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    io::Error::last_os_error()
}

/// Has the kernel clear up children that have ended.
pub fn ignore_children() {
    // SAFETY: installs no function.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Carries one request out, and gives what the call would have given.
pub fn carry_out(ring: &mut IoUring, request: &squeue::Entry) -> io::Result<i32> {
    // SAFETY: what it points to lives until it is done, which is waited for here.
    unsafe { ring.submission().push(request) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let completion = ring.completion().next();
    let result = completion.ok_or_else(|| io::Error::other("no completion"))?;
    if result.result() < 0 {
        return Err(io::Error::from_raw_os_error(-result.result()));
    }
    Ok(result.result())
}

/// Gives a socket a second descriptor with this number.
pub fn place(socket: &impl AsFd, number: c_int) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: nobody owns a descriptor of this number.
    checked(unsafe { libc::dup2(fd, number) }).map(drop)
}

/// Takes a descriptor over that another process has placed or sent.
pub fn take(number: c_int) -> OwnedFd {
    // SAFETY: it is there, by `place` or a message, and nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Allows as many descriptors as the system does.
pub fn allow_many_descriptors() -> io::Result<()> {
    let many = libc::rlimit {
        rlim_cur: 20_000,
        rlim_max: 20_000,
    };
    // SAFETY: the pointer is of what lives longer than the call.
    checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const many) }).map(drop)
}
