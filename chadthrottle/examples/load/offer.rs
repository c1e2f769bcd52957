//! Senders that go on for a while, whatever becomes of what they send.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::OwnedFd,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::bail;
use clap::ValueEnum;

use crate::{
    peer::unspecified,
    sys,
    talk::{say, wait},
};

const PORT: u16 = 7005;
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
/// For experiments (RFC 3692).
const PROTOCOL: i32 = 253;
/// Of payload, in bytes a second.
const RATE: f64 = 4e6;
const SEGMENT: usize = 1_000;

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Datagrams,
    /// Twenty datagrams a system call
    Aggregates,
    /// Datagrams to a multicast group
    Group,
    /// IP packets of no known protocol
    Raw,
}

/// Begins when it is told to.
pub fn offer(lasts: Duration, kind: Kind, taker: IpAddr) -> anyhow::Result<()> {
    let mut payload = vec![b'x'; SEGMENT];
    let (socket, to) = match kind {
        Kind::Raw => (raw(taker)?, SocketAddr::new(taker, 0)),
        Kind::Group => {
            // The device is that of the address, which is the one towards the taker.
            let towards = UdpSocket::bind((unspecified(taker), 0))?;
            towards.connect((taker, PORT))?;
            let ours = towards.local_addr()?.ip();
            let socket = UdpSocket::bind((ours, 0))?;
            (socket.into(), SocketAddr::from((GROUP, PORT)))
        }
        Kind::Datagrams | Kind::Aggregates => {
            let to = SocketAddr::new(taker, PORT);
            let socket = sys::socket_to(to, libc::SOCK_DGRAM, 0)?;
            if kind == Kind::Aggregates {
                sys::set(&socket, libc::SOL_UDP, libc::UDP_SEGMENT, SEGMENT as i32)?;
                payload.resize(20 * SEGMENT, b'x');
            }
            (socket, to)
        }
    };
    wait();
    let began = Instant::now();
    let mut sent = 0;
    while began.elapsed() < lasts {
        if (sent as f64) < began.elapsed().as_secs_f64() * RATE {
            sent += sys::send_to(&socket, &payload, to, 0)? as u64;
        } else {
            sleep(Duration::from_millis(1));
        }
    }
    say("sender", 0, sent);
    wait();
    Ok(())
}

/// Receives what is offered to this address.
pub fn take(kind: Kind, address: IpAddr) -> anyhow::Result<()> {
    let socket = match kind {
        Kind::Raw => raw(address)?,
        Kind::Group => {
            let IpAddr::V4(interface) = address else {
                bail!("only IPv4");
            };
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
            socket.join_multicast_v4(&GROUP, &interface)?;
            socket.into()
        }
        Kind::Datagrams | Kind::Aggregates => UdpSocket::bind((unspecified(address), PORT))?.into(),
    };
    sys::set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, 4 << 20)?;
    say("ready", 0, 0);
    let mut buffer = vec![0; 65_536];
    loop {
        nix::unistd::read(&socket, &mut buffer)?;
    }
}

fn raw(like: IpAddr) -> std::io::Result<OwnedFd> {
    sys::socket_to(SocketAddr::new(like, 0), libc::SOCK_RAW, PROTOCOL)
}
