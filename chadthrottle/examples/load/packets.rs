//! Datagrams on many sockets, for what a packet costs.

use std::net::{IpAddr, UdpSocket};

use anyhow::Context;

const PAYLOAD: [u8; 100] = [b'x'; 100];

pub fn sink(first_port: u16, sockets: u16) -> anyhow::Result<()> {
    let sockets = (first_port..first_port + sockets)
        .map(|port| {
            let socket = UdpSocket::bind(("0.0.0.0", port))?;
            socket.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(socket)
        })
        .collect::<Result<Vec<_>, _>>()
        .context("binding")?;
    crate::ready();
    let mut buffer = [0; 256];
    for socket in sockets.iter().cycle() {
        // Most have nothing at the moment.
        let _ = socket.recv(&mut buffer);
    }
    Ok(())
}

pub fn send(address: IpAddr, first_port: u16, sockets: u16, active: u16) -> anyhow::Result<()> {
    let sockets = (first_port..first_port + sockets)
        .map(|port| {
            let socket = UdpSocket::bind(("0.0.0.0", 0))?;
            socket.connect((address, port))?;
            Ok::<_, std::io::Error>(socket)
        })
        .collect::<Result<Vec<_>, _>>()
        .context("connecting")?;
    crate::ready();
    for socket in sockets.iter().take(active.into()).cycle() {
        socket.send(&PAYLOAD)?;
    }
    crate::wait()
}

pub fn idle(sockets: u16) -> anyhow::Result<()> {
    let _held = (0..sockets)
        .map(|_| UdpSocket::bind(("127.0.0.1", 0)))
        .collect::<Result<Vec<_>, _>>()?;
    crate::ready();
    crate::wait()
}
