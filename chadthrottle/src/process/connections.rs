//! The connections of a process, as its sockets tell of them.

use std::{collections::HashSet, net::SocketAddr, path::Path, time::Duration};

use super::sockets::each_socket_of;
use crate::{
    model::Both,
    sys::{socket, tcp},
};

/// A socket of the Internet families.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    /// The socket's inode, which is its identity.
    pub inode: u64,
    /// Name of the protocol.
    pub protocol: &'static str,
    /// Where it is bound to.
    pub local: Option<SocketAddr>,
    /// Where it is connected to.
    pub remote: Option<SocketAddr>,
    /// Name of the state, of TCP only.
    pub state: &'static str,
    /// Bytes of payload that have arrived and were sent, of TCP only.
    pub bytes: Option<Both<u64>>,
    /// Smoothed round-trip time, of TCP only and where one was measured.
    pub round_trip: Option<Duration>,
}

/// The connections of process `pid`, read from `root`; none where it is gone, or may not be looked
/// into. Reads as many descriptors as the process has: not for a thread that must not wait.
pub fn connections_of(root: &Path, pid: u32) -> Vec<Connection> {
    let mut seen = HashSet::new();
    let mut connections = Vec::new();
    each_socket_of(root, pid, |fd| {
        // Several descriptors may share one.
        if let Some(inode) = socket::inode(fd)
            && socket::is_internet(fd)
            && seen.insert(inode)
        {
            connections.push(describe(fd, inode));
        }
    });
    connections
}

fn describe(fd: &std::os::fd::OwnedFd, inode: u64) -> Connection {
    let protocol = tcp::protocol(fd).unwrap_or_default();
    let info = match protocol {
        libc::IPPROTO_TCP => tcp::info(fd).ok(),
        _ => None,
    };
    Connection {
        inode,
        protocol: protocol_name(protocol),
        local: tcp::local_end(fd),
        remote: tcp::remote_end(fd),
        state: info.map_or("", |info| state_name(info.state)),
        bytes: info.map(|info| Both {
            down: info.bytes_received,
            up: info.bytes_acked,
        }),
        round_trip: info
            .map(|info| info.rtt_us)
            .filter(|rtt| *rtt != 0)
            .map(|rtt| Duration::from_micros(rtt.into())),
    }
}

fn protocol_name(number: i32) -> &'static str {
    match number {
        libc::IPPROTO_TCP => "tcp",
        libc::IPPROTO_UDP => "udp",
        libc::IPPROTO_ICMP => "icmp",
        libc::IPPROTO_ICMPV6 => "icmp6",
        libc::IPPROTO_UDPLITE => "udplite",
        libc::IPPROTO_SCTP => "sctp",
        libc::IPPROTO_MPTCP => "mptcp",
        _ => "raw",
    }
}

/// Names of the states of include/net/tcp_states.h.
fn state_name(state: u8) -> &'static str {
    const NAMES: [&str; 13] = [
        "",
        "established",
        "syn-sent",
        "syn-received",
        "fin-wait-1",
        "fin-wait-2",
        "time-wait",
        "closed",
        "close-wait",
        "last-ack",
        "listening",
        "closing",
        "syn-received",
    ];
    NAMES.get(usize::from(state)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream, UdpSocket},
    };

    #[test]
    fn own_connections_are_told_with_both_ends_and_their_bytes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut here = TcpStream::connect(address).unwrap();
        let (mut there, _) = listener.accept().unwrap();
        here.write_all(&[7; 3_000]).unwrap();
        there.read_exact(&mut [0; 3_000]).unwrap();
        let twice = here.try_clone().unwrap();
        let udp = UdpSocket::bind("[::1]:0").unwrap();

        let all = connections_of(Path::new("/proc"), std::process::id());
        let of = |local: SocketAddr, remote: Option<SocketAddr>| {
            let mut found = all
                .iter()
                .filter(|it| it.local == Some(local) && it.remote == remote);
            let one = found.next().expect("the socket").clone();
            assert!(found.next().is_none(), "{local} is told twice");
            one
        };
        let listening = of(address, None);
        assert_eq!((listening.protocol, listening.state), ("tcp", "listening"));
        let client = of(here.local_addr().unwrap(), Some(address));
        assert_eq!((client.protocol, client.state), ("tcp", "established"));
        let server = of(address, Some(here.local_addr().unwrap()));
        assert_eq!(server.bytes.unwrap().down, 3_000);
        assert!(client.round_trip.is_some());
        let udp = of(udp.local_addr().unwrap(), None);
        assert_eq!((udp.protocol, udp.state, udp.bytes), ("udp", "", None));
        drop(twice);
        assert_eq!(connections_of(Path::new("/proc"), u32::MAX), []);
    }
}
