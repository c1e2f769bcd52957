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
    _timers: [u32; 2],
    /// Bytes of payload that are sent in a segment.
    pub send_mss: u32,
    /// Bytes of payload in the segments that arrive.
    pub receive_mss: u32,
    /// Segments that are sent and not acknowledged.
    pub unacked: u32,
    _losses: [u32; 4],
    /// Milliseconds since it sent payload, or tried to.
    pub last_data_sent_ms: u32,
    _last_ack_sent_ms: u32,
    /// Milliseconds since payload arrived.
    pub last_data_received_ms: u32,
    _times: [u32; 2],
    /// The largest window that would be offered now, in bytes.
    pub receive_threshold: u32,
    /// Smoothed round-trip time, in microseconds.
    pub rtt_us: u32,
    _round_trips: [u32; 2],
    /// Segments that may be on their way.
    pub congestion_window: u32,
    /// Bytes of payload that we have told the other end to put into a segment at most.
    pub advertised_mss: u32,
    _reordering: u32,
    /// Round-trip time as the receiver sees it, in microseconds.
    pub receive_rtt_us: u32,
    _receive_space: [u32; 2],
    _pacing_rate: u64,
    /// `SO_MAX_PACING_RATE`, in bytes a second.
    pub max_pacing_rate: u64,
    /// Bytes that were sent and acknowledged.
    pub bytes_acked: u64,
    /// Bytes that have arrived.
    pub bytes_received: u64,
    _segments: [u32; 2],
    /// Bytes in the send buffer that are not sent yet.
    pub not_sent: u32,
    /// Shortest round-trip time of late, in microseconds; all ones: not measured.
    pub min_rtt_us: u32,
    _data_segments_in: u32,
    /// Segments with payload that were sent, or tried to; it runs over.
    pub data_segments_out: u32,
    _deliveries: [u32; 4],
    /// How long the other end's window has held the connection back so far, in microseconds.
    pub window_limited_us: u64,
    _buffer_limited_us: u64,
    _delivered: [u32; 2],
    _sent: [u64; 2],
    _received: [u32; 3],
    _send_window: u32,
    /// Bytes that were offered when a packet was last sent; 0: not known.
    pub receive_window: u32,
    _rehash: u32,
}

const _: () = {
    assert!(std::mem::offset_of!(TcpInfo, unacked) == 24);
    assert!(std::mem::offset_of!(TcpInfo, last_data_sent_ms) == 44);
    assert!(std::mem::offset_of!(TcpInfo, receive_threshold) == 64);
    assert!(std::mem::offset_of!(TcpInfo, advertised_mss) == 84);
    assert!(std::mem::offset_of!(TcpInfo, receive_rtt_us) == 92);
    assert!(std::mem::offset_of!(TcpInfo, max_pacing_rate) == 112);
    assert!(std::mem::offset_of!(TcpInfo, not_sent) == 144);
    assert!(std::mem::offset_of!(TcpInfo, congestion_window) == 80);
    assert!(std::mem::offset_of!(TcpInfo, data_segments_out) == 156);
    assert!(std::mem::offset_of!(TcpInfo, window_limited_us) == 176);
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
