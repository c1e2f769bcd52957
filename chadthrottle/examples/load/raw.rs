//! Packets without a transport: raw sockets and packet sockets.

use std::{
    fs::File,
    io::Read,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context, bail};
use nix::net::if_::if_nametoindex;

use crate::{
    escape::Job,
    meter,
    peer::{self, ALL_SIZES, Back},
    sys,
};

/// Echo replies, sent or received through a raw socket.
pub fn icmp(job: Job) -> anyhow::Result<()> {
    let to = SocketAddr::new(job.peer, 0);
    let socket = peer::icmp(to)?;
    let mut packet = [0; 1_400];
    if job.up {
        for size in ALL_SIZES.iter().cycle() {
            let _ = peer::echo(&socket, &mut packet[..*size], to);
        }
    }
    let _control = Back::Icmp.ask(job.peer)?;
    let mut socket = File::from(socket);
    loop {
        // IPv4 gives the IP header too.
        let header = if job.peer.is_ipv4() { 0 } else { 40 };
        meter::count(socket.read(&mut packet)? as u64 + header);
    }
}

/// Whole IP packets, whose sender the process writes.
pub fn ip(job: Job) -> anyhow::Result<()> {
    let to = SocketAddr::new(job.peer, 0);
    let socket = sys::socket_to(to, libc::SOCK_RAW, libc::IPPROTO_RAW)?;
    let packet = udp_packet(job)?;
    loop {
        let _ = sys::send_to(&socket, &packet, to, 0);
    }
}

/// Past the network layer, and all that can be limited there.
pub fn by_packet_socket(job: Job) -> anyhow::Result<()> {
    let protocol = (libc::ETH_P_IP as u16).to_be();
    let socket = sys::socket(libc::AF_PACKET, libc::SOCK_DGRAM, protocol.into())?;
    let device = if_nametoindex("v0").context("the device")?;
    let packet = udp_packet(job)?;
    // That of the far side in the laboratory.
    let mac = [2, 0, 0, 0xc7, 0, 2];
    loop {
        let _ = sys::send_by(&socket, &packet, device, mac);
    }
}

/// A datagram from the far side's neighbour to its port that discards.
fn udp_packet(job: Job) -> anyhow::Result<Vec<u8>> {
    let IpAddr::V4(to) = job.peer else {
        bail!("only IPv4");
    };
    let len = 1_200_u16;
    let mut packet = vec![0; usize::from(len)];
    packet[..2].copy_from_slice(&[0x45, 0]);
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet[8..10].copy_from_slice(&[64, libc::IPPROTO_UDP as u8]);
    packet[12..16].copy_from_slice(&[198, 18, 0, 1]);
    packet[16..20].copy_from_slice(&to.octets());
    let sum: u32 = packet[..20]
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    packet[10..12].copy_from_slice(&(!(sum as u16 + (sum >> 16) as u16)).to_be_bytes());
    packet[20..22].copy_from_slice(&9_u16.to_be_bytes());
    packet[22..24].copy_from_slice(&peer::DISCARD.to_be_bytes());
    packet[24..26].copy_from_slice(&(len - 20).to_be_bytes());
    Ok(packet)
}
