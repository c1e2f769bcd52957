//! The connections of a process, as its sockets tell of them.

use std::{collections::HashSet, net::SocketAddr, ops::ControlFlow, path::Path, time::Duration};

use serde::{Deserialize, Serialize};

use super::{key_of, sockets::each_socket_of, user_of};
use crate::{
    model::{Both, ProcessKey},
    sys::{socket, tcp},
};

/// A socket of the Internet families.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The socket's inode, which is its identity.
    pub inode: u64,
    /// Name of the protocol.
    pub protocol: String,
    /// Where it is bound to.
    pub local: Option<SocketAddr>,
    /// Where it is connected to.
    pub remote: Option<SocketAddr>,
    /// Name of the state, of TCP only.
    pub state: String,
    /// Bytes of payload that have arrived and were sent, of TCP only.
    pub bytes: Option<Both<u64>>,
    /// A process that has it, of those that were asked about; several may share one.
    #[serde(default)]
    pub process: Option<ProcessKey>,
    /// Smoothed round-trip time, of TCP only and where one was measured.
    #[serde(rename = "round_trip_ns", with = "nanoseconds")]
    pub round_trip: Option<Duration>,
}

/// Connections of processes, and whether there are more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// In no order.
    pub connections: Vec<Connection>,
    /// Whether some were left out.
    pub more: bool,
}

/// What one look may cost.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// So many processes, each counted once.
    processes: usize,
    /// So many descriptors of them, sockets or not: each costs some microseconds.
    descriptors: usize,
    /// And so many connections are told.
    connections: usize,
}

const BOUNDS: Bounds = Bounds {
    processes: 64,
    descriptors: 16_384,
    connections: 4_096,
};

/// The connections of these processes, read from `root`: of 64 processes, 16,384 descriptors and 4,096 connections at
/// most, and none of a process that is gone, that may not be looked into, or that is not that user's, where one is
/// given. It may hang, where a program has its socket locked.
pub fn connections_of(root: &Path, processes: &[ProcessKey], of_user: Option<u32>) -> Seen {
    connections_within(BOUNDS, root, processes, of_user)
}

fn connections_within(
    bounds: Bounds,
    root: &Path,
    processes: &[ProcessKey],
    of_user: Option<u32>,
) -> Seen {
    let mut processes = processes.to_vec();
    processes.sort_unstable();
    processes.dedup();
    let mut seen = Seen {
        more: processes.len() > bounds.processes,
        ..Seen::default()
    };
    processes.truncate(bounds.processes);
    let is_theirs = |key: ProcessKey| {
        key_of(root, key.pid) == Some(key)
            && of_user.is_none_or(|user| user_of(root, key.pid) == Some(user))
    };
    let mut known = HashSet::new();
    let mut budget = bounds.descriptors;
    for key in processes {
        if !is_theirs(key) {
            continue;
        }
        let before = seen.connections.len();
        let all = each_socket_of(root, key.pid, &mut budget, |fd| {
            // Several descriptors may share one.
            if let Some(inode) = socket::inode(fd)
                && socket::is_internet(fd)
                && known.insert(inode)
            {
                if seen.connections.len() == bounds.connections {
                    return ControlFlow::Break(());
                }
                seen.connections.push(describe(fd, inode, key));
            }
            ControlFlow::Continue(())
        });
        // They may be those of whoever has its id now, or of what it has become.
        if !is_theirs(key) {
            seen.connections.truncate(before);
        }
        if all.is_break() {
            seen.more = true;
            break;
        }
    }
    seen
}

mod nanoseconds {
    use super::{Deserialize, Duration, Serialize};
    use serde::{Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub fn serialize<S: Serializer>(
        time: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let ns = time.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        ns.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let ns = Option::<u64>::deserialize(deserializer)?;
        Ok(ns.map(Duration::from_nanos))
    }
}

fn describe(fd: &std::os::fd::OwnedFd, inode: u64, process: ProcessKey) -> Connection {
    let protocol = tcp::protocol(fd).unwrap_or_default();
    let info = match protocol {
        libc::IPPROTO_TCP => tcp::info(fd).ok(),
        _ => None,
    };
    Connection {
        inode,
        protocol: protocol_name(protocol).to_owned(),
        local: tcp::local_end(fd),
        remote: tcp::remote_end(fd),
        state: info.map_or("", |info| state_name(info.state)).to_owned(),
        bytes: info.map(|info| Both {
            down: info.bytes_received,
            up: info.bytes_acked,
        }),
        process: Some(process),
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

        let (root, us) = (Path::new("/proc"), std::process::id());
        let us = key_of(root, us).unwrap();
        let Seen {
            connections: all,
            more,
        } = connections_of(root, &[us, us], Some(user_of(root, us.pid).unwrap()));
        assert!(!more);
        let of = |local: SocketAddr, remote: Option<SocketAddr>| {
            let mut found = all
                .iter()
                .filter(|it| it.local == Some(local) && it.remote == remote);
            let one = found.next().expect("the socket").clone();
            assert!(found.next().is_none(), "{local} is told twice");
            one
        };
        let listening = of(address, None);
        let told = |it: &Connection| (it.protocol.clone(), it.state.clone());
        let words = |protocol: &str, state: &str| (protocol.to_owned(), state.to_owned());
        assert_eq!(told(&listening), words("tcp", "listening"));
        let client = of(here.local_addr().unwrap(), Some(address));
        assert_eq!(told(&client), words("tcp", "established"));
        let server = of(address, Some(here.local_addr().unwrap()));
        assert_eq!(server.bytes.unwrap().down, 3_000);
        assert!(client.round_trip.is_some());
        let udp = of(udp.local_addr().unwrap(), None);
        assert_eq!((told(&udp), udp.bytes), (words("udp", ""), None));
        drop(twice);
        let within = |descriptors, connections| {
            let bounds = Bounds {
                descriptors,
                connections,
                ..BOUNDS
            };
            let seen = connections_within(bounds, root, &[us], None);
            (seen.connections.len(), seen.more)
        };
        assert_eq!(within(16_384, 2), (2, true));
        assert_eq!(within(1, 4_096), (0, true));
        let other = ProcessKey {
            start_ticks: us.start_ticks + 1,
            ..us
        };
        assert_eq!(connections_of(root, &[other], None), Seen::default());
        assert_eq!(connections_of(root, &[us], Some(u32::MAX)), Seen::default());
        let many = (1..100).map(|pid| ProcessKey { pid, ..other });
        assert!(connections_of(root, &many.collect::<Vec<_>>(), None).more);
        let json = serde_json::to_string(&client).unwrap();
        assert_eq!(serde_json::from_str::<Connection>(&json).unwrap(), client);
    }
}
