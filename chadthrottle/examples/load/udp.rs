//! Datagrams: of all sizes, in aggregates, in fragments, marked.

use std::{
    io::IoSlice,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    os::fd::AsRawFd,
};

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};

use crate::{
    escape::Job,
    meter,
    peer::{self, ALL_SIZES, Back},
    sys,
};

/// Where the limited process listens.
const OURS: u16 = 7102;

/// A socket that can send to the far side.
pub fn socket(job: Job) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((peer::unspecified(job.peer), 0))?;
    socket.connect((job.peer, peer::DISCARD))?;
    Ok(socket)
}

/// Sends for ever. Refusals are errors, which it does not heed.
pub fn send(socket: &UdpSocket, sizes: &[usize]) {
    let payload = [0; 16_384];
    for size in sizes.iter().cycle() {
        let _ = socket.send(&payload[..*size]);
    }
}

/// Datagrams of these sizes in turn, sent or received.
pub fn datagrams(job: Job, sizes: &[usize]) -> anyhow::Result<()> {
    if job.up {
        send(&socket(job)?, sizes);
    }
    let size = if let &[size] = sizes { size } else { 0 };
    receive(job, size, false)
}

pub fn of_all_sizes(job: Job) -> anyhow::Result<()> {
    datagrams(job, &ALL_SIZES)
}

fn receive(job: Job, size: usize, ecn: bool) -> anyhow::Result<()> {
    let socket = UdpSocket::bind((peer::unspecified(job.peer), OURS))?;
    let port = OURS;
    let _control = Back::Datagrams { port, size, ecn }.ask(job.peer)?;
    let headers = meter::datagram_headers(job.peer);
    let mut buffer = [0; 16_384];
    loop {
        meter::count(socket.recv(&mut buffer)? as u64 + headers);
    }
}

/// Beside idle connections, and with the mark of those who heed congestion.
pub fn capable_of_ecn(job: Job, connections: usize) -> anyhow::Result<()> {
    let _idle = (0..connections)
        .map(|_| {
            let to = SocketAddr::new(job.peer, peer::TCP);
            let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
            let socket = sys::socket_to(to, kind, 0)?;
            sys::connect(&socket, to)?;
            Ok(TcpStream::from(socket))
        })
        .collect::<std::io::Result<Vec<_>>>()?;
    if !job.up {
        return receive(job, 1_200, true);
    }
    let socket = socket(job)?;
    peer::mark_ecn(&socket, job.peer)?;
    send(&socket, &[1_200]);
    Ok(())
}

/// Forty datagrams a system call.
pub fn aggregates(job: Job) -> anyhow::Result<()> {
    let socket = socket(job)?;
    let payload = [0; 48_000];
    loop {
        let _ = sendmsg::<SockaddrStorage>(
            socket.as_raw_fd(),
            &[IoSlice::new(&payload)],
            &[ControlMessage::UdpGsoSegments(&1_200)],
            MsgFlags::empty(),
            None,
        );
    }
}

/// A socket for each.
pub fn a_socket_each(job: Job) -> anyhow::Result<()> {
    loop {
        let _ = socket(job)?.send(&[0; 1_200]);
    }
}

pub fn to_a_group(job: Job) -> anyhow::Result<()> {
    let socket = socket(job)?;
    // The device is that of the address.
    let ours = socket.local_addr()?.ip();
    let socket = UdpSocket::bind((ours, 0))?;
    socket.connect((IpAddr::from(Ipv4Addr::new(239, 1, 2, 3)), peer::DISCARD))?;
    send(&socket, &[1_200]);
    Ok(())
}

/// Of a protocol that few kernels have.
pub fn of_protocol(job: Job, kind: i32, protocol: i32) -> anyhow::Result<()> {
    let to = SocketAddr::new(job.peer, peer::DISCARD);
    let socket = sys::socket_to(to, kind, protocol)?;
    loop {
        let _ = sys::send_to(&socket, &[0; 1_200], to, 0);
    }
}
