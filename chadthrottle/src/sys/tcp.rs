//! TCP sockets: what the kernel tells of a connection, and the two options that hold it back.

use std::{
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd},
};

use nix::sys::socket::{
    SockaddrStorage, getpeername, getsockname, getsockopt, setsockopt, sockopt::TcpCongestion,
};

use super::SyscallError;

/// An `SO_MAX_PACING_RATE` that is none.
pub const UNLIMITED: u64 = u64::MAX;

/// The part of `struct tcp_info` that we use (include/uapi/linux/tcp.h), as of kernel 6.2. Older ones
/// leave the rest as it is: 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpInfo {
    /// Number of the state (include/net/tcp_states.h).
    pub state: u8,
    /// Number of the state of its congestion control (`enum tcp_ca_state`, include/uapi/linux/tcp.h).
    congestion_state: u8,
    _flags: [u8; 4],
    /// Window scales: of the other end in the low four bits, ours in the high ones.
    window_scales: u8,
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

impl TcpInfo {
    /// Bytes of payload that the other end puts into a full segment, as far as both ends' networks
    /// say; the route between them may allow less.
    pub fn arriving_mss(&self) -> u32 {
        self.advertised_mss.min(self.send_mss)
    }

    /// The windows that we offer are multiples of so many bytes.
    pub fn window_unit(&self) -> u32 {
        1 << (self.window_scales >> 4)
    }

    /// The shortest round trip of late, in seconds; `None` where none was measured yet.
    pub fn round_trip_s(&self) -> Option<f64> {
        const NOT_MEASURED: u32 = u32::MAX;
        let us = match self.min_rtt_us {
            0 | NOT_MEASURED => self.rtt_us,
            shortest => shortest,
        };
        (us != 0).then(|| f64::from(us) / 1e6)
    }

    /// Whether its congestion window is being made smaller without anything being lost, to what is
    /// bearable (`ssthresh`) when all that is on its way is acknowledged.
    pub fn is_slowing_down(&self) -> bool {
        const CWR: u8 = 2;
        self.congestion_state == CWR
    }

    /// Whether bytes may still pass in some direction.
    pub fn is_open(&self) -> bool {
        const ESTABLISHED: u8 = 1;
        const FIN_WAIT: [u8; 2] = [4, 5];
        const CLOSE_WAIT: u8 = 8;
        matches!(self.state, ESTABLISHED | CLOSE_WAIT) || FIN_WAIT.contains(&self.state)
    }
}

/// What the kernel tells of a connection.
pub fn info(socket: impl AsFd) -> Result<TcpInfo, SyscallError> {
    get(
        socket,
        libc::IPPROTO_TCP,
        libc::TCP_INFO,
        "getsockopt(TCP_INFO)",
    )
}

/// Whether it is a TCP socket of the Internet families; others have options of these names too.
pub fn is_tcp(socket: impl AsFd) -> bool {
    let socket = socket.as_fd();
    super::socket::is_internet(socket) && protocol(socket) == Some(libc::IPPROTO_TCP)
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

/// Sets `SO_MAX_PACING_RATE`, in bytes a second. TCP sends at most so much, without any queue
/// (kernel 4.13).
pub fn set_max_pacing_rate(socket: impl AsFd, rate: u64) -> Result<(), SyscallError> {
    set(
        socket,
        libc::SOL_SOCKET,
        libc::SO_MAX_PACING_RATE,
        rate,
        "setsockopt(SO_MAX_PACING_RATE)",
    )
}

/// Has a sender's congestion control forget what it has learnt of the network, if it is BBR: that takes
/// the pace that it was held to for all that the network can do, and looks for a quarter more in eight
/// round trips (net/ipv4/tcp_bbr.c). Other algorithms have lost nothing to a pace.
///
/// It starts as on a new connection when it is chosen again, which takes another one in between:
/// choosing what there is does nothing (`tcp_set_congestion_control`).
///
/// # Errors
/// Where the kernel refuses.
pub fn restart_bbr(socket: impl AsFd) -> Result<(), SyscallError> {
    // Every kernel has it.
    const ANOTHER: &str = "reno";
    let failed = |call| {
        move |error: nix::Error| SyscallError {
            call,
            source: error.into(),
        }
    };
    let present =
        getsockopt(&socket, TcpCongestion).map_err(failed("getsockopt(TCP_CONGESTION)"))?;
    if !present.as_encoded_bytes().starts_with(b"bbr") {
        return Ok(());
    }
    let choose = |name: &OsString| {
        setsockopt(&socket, TcpCongestion, name).map_err(failed("setsockopt(TCP_CONGESTION)"))
    };
    choose(&OsString::from(ANOTHER))?;
    choose(&present)
}

/// `TCP_WINDOW_CLAMP`: the largest window that is offered, in bytes.
pub fn window_clamp(socket: impl AsFd) -> Result<u32, SyscallError> {
    get(
        socket,
        libc::IPPROTO_TCP,
        libc::TCP_WINDOW_CLAMP,
        "getsockopt(TCP_WINDOW_CLAMP)",
    )
}

/// Sets `TCP_WINDOW_CLAMP`, in bytes. What has been offered already stays; the kernel makes it at
/// least half of its smallest receive buffer (`tcp_set_window_clamp`).
pub fn set_window_clamp(socket: impl AsFd, window: u32) -> Result<(), SyscallError> {
    set(
        socket,
        libc::IPPROTO_TCP,
        libc::TCP_WINDOW_CLAMP,
        window,
        "setsockopt(TCP_WINDOW_CLAMP)",
    )
}

/// Remote and local address of a connection; `None` where it has none.
pub fn addresses(socket: impl AsFd) -> Option<(IpAddr, IpAddr)> {
    let socket = socket.as_fd();
    Some((remote_end(socket)?.ip(), local_end(socket)?.ip()))
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

fn set<T: Plain>(
    socket: impl AsFd,
    level: i32,
    option: i32,
    value: T,
    call: &'static str,
) -> Result<(), SyscallError> {
    // SAFETY: `value` has as many bytes as is said.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(&value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
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
    fn options_are_read_as_they_were_set_and_the_connection_is_described() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut there, _) = listener.accept().unwrap();
        here.write_all(&[7; 5_000]).unwrap();
        there.read_exact(&mut [0; 5_000]).unwrap();
        there.write_all(b"x").unwrap();
        here.read_exact(&mut [0]).unwrap();

        let before = info(&here).unwrap();
        assert!(before.is_open() && before.max_pacing_rate == UNLIMITED);
        assert_eq!(
            (before.bytes_received, info(&there).unwrap().bytes_received),
            (1, 5_000)
        );
        assert!(before.send_mss > 500 && before.rtt_us > 0);
        set_max_pacing_rate(&here, 5_000_000_000).unwrap();
        assert_eq!(info(&here).unwrap().max_pacing_rate, 5_000_000_000);
        set_window_clamp(&here, 20_000).unwrap();
        assert_eq!(window_clamp(&here).unwrap(), 20_000);

        assert!(is_tcp(&here) && is_tcp(&listener) && !info(&listener).unwrap().is_open());
        assert!(!is_tcp(UdpSocket::bind("127.0.0.1:0").unwrap()));
        let (remote, local) = addresses(&here).unwrap();
        assert!(remote.is_loopback() && local == remote);
        assert!(addresses(&listener).is_none());
    }
}
