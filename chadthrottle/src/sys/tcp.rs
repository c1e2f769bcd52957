//! TCP sockets: what the kernel tells of a connection.

use std::{
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd},
};

use nix::sys::socket::{SockaddrStorage, getpeername, getsockname};

use super::SyscallError;

/// The part of `struct tcp_info` that we use (include/uapi/linux/tcp.h), as of kernel 6.2. Older ones
/// leave the rest as it is: 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpInfo {
    /// Number of the state (include/net/tcp_states.h).
    pub state: u8,
    /// Number of the state of its congestion control (`enum tcp_ca_state`, include/uapi/linux/tcp.h).
    _congestion_state: u8,
    _flags: [u8; 4],
    /// Window scales: of the other end in the low four bits, ours in the high ones.
    _window_scales: u8,
    _more_flags: u8,
    _timers_and_segments: [u32; 9],
    _times_and_sizes: [u32; 5],
    _receive_threshold: u32,
    /// Smoothed round-trip time, in microseconds.
    pub rtt_us: u32,
    _round_trips: [u32; 2],
    /// Segments that may be on their way.
    pub congestion_window: u32,
    _receiver: [u32; 5],
    _pacing_rate: u64,
    /// `SO_MAX_PACING_RATE`, in bytes a second.
    pub max_pacing_rate: u64,
    /// Bytes that were sent and acknowledged.
    pub bytes_acked: u64,
    /// Bytes that have arrived.
    pub bytes_received: u64,
    _more: [u64; 12],
    /// Bytes that were offered when a packet was last sent; 0: not known.
    pub receive_window: u32,
    _rehash: u32,
}

const _: () = {
    assert!(std::mem::offset_of!(TcpInfo, rtt_us) == 68);
    assert!(std::mem::offset_of!(TcpInfo, congestion_window) == 80);
    assert!(std::mem::offset_of!(TcpInfo, max_pacing_rate) == 112);
    assert!(std::mem::offset_of!(TcpInfo, bytes_acked) == 120);
    assert!(std::mem::offset_of!(TcpInfo, bytes_received) == 128);
    assert!(std::mem::offset_of!(TcpInfo, receive_window) == 232);
    assert!(size_of::<TcpInfo>() == 240);
};

/// What the kernel tells of a connection.
pub fn info(socket: impl AsFd) -> Result<TcpInfo, SyscallError> {
    get(
        socket,
        libc::IPPROTO_TCP,
        libc::TCP_INFO,
        "getsockopt(TCP_INFO)",
    )
}

/// Number of the socket's protocol, as of `IPPROTO_TCP`.
pub fn protocol(socket: impl AsFd) -> Option<i32> {
    get(
        socket,
        libc::SOL_SOCKET,
        libc::SO_PROTOCOL,
        "getsockopt(SO_PROTOCOL)",
    )
    .ok()
}

/// Where a socket is connected to; `None` where it is not.
pub fn remote_end(socket: impl AsFd) -> Option<SocketAddr> {
    let fd = socket.as_fd().as_raw_fd();
    end(&getpeername::<SockaddrStorage>(fd).ok()?)
}

/// Where a socket is bound to.
pub fn local_end(socket: impl AsFd) -> Option<SocketAddr> {
    let fd = socket.as_fd().as_raw_fd();
    end(&getsockname::<SockaddrStorage>(fd).ok()?)
}

fn end(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in();
    v4.map(|it| SocketAddr::from((it.ip(), it.port())))
        .or_else(|| {
            let v6 = address.as_sockaddr_in6()?;
            Some(SocketAddr::from((v6.ip(), v6.port())))
        })
}

/// Values that are plain numbers: every bit pattern is one.
///
/// # Safety
/// As it says.
pub(super) unsafe trait Plain: Copy + Default {}
// SAFETY: a number.
unsafe impl Plain for i32 {}
// SAFETY: a number.
unsafe impl Plain for u32 {}
// SAFETY: a number.
unsafe impl Plain for u64 {}
// SAFETY: `repr(C)`, of numbers only.
unsafe impl Plain for TcpInfo {}

pub(super) fn get<T: Plain>(
    socket: impl AsFd,
    level: i32,
    option: i32,
    call: &'static str,
) -> Result<T, SyscallError> {
    let mut value = T::default();
    let mut size = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` has `size` bytes, of which every pattern is valid.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            std::ptr::from_mut(&mut value).cast(),
            &raw mut size,
        )
    };
    match result {
        0 => Ok(value),
        _ => Err(SyscallError::last(call)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream, UdpSocket},
    };

    #[test]
    fn a_connection_is_described() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut there, _) = listener.accept().unwrap();
        here.write_all(&[7; 5_000]).unwrap();
        there.read_exact(&mut [0; 5_000]).unwrap();
        there.write_all(b"x").unwrap();
        here.read_exact(&mut [0]).unwrap();

        let told = info(&here).unwrap();
        assert_eq!(told.max_pacing_rate, u64::MAX);
        assert_eq!(
            (told.bytes_received, info(&there).unwrap().bytes_received),
            (1, 5_000)
        );
        assert!(told.rtt_us > 0 && told.receive_window > 0);

        assert_eq!(protocol(&here), Some(libc::IPPROTO_TCP));
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(protocol(&udp), Some(libc::IPPROTO_UDP));
        assert_eq!(remote_end(&here), there.local_addr().ok());
        assert_eq!(local_end(&here), here.local_addr().ok());
        assert_eq!(remote_end(&listener), None);
    }
}
