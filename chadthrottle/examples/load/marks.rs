//! Explicit congestion notification, as sender and receiver of datagrams have it.

use std::{
    io::IoSliceMut,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    cmsg_space,
    sys::socket::{ControlMessageOwned, MsgFlags, recvmsg},
};

use crate::{peer::unspecified, sys};

const PORT: u16 = 7300;
const PAYLOAD: [u8; 1_000] = [b'x'; 1_000];
const DATAGRAMS: u32 = 1_500;
const INTERVAL: Duration = Duration::from_millis(2);

/// Sends to who asks, 500 a second, with that traffic class, of which the low two bits are ECN's.
pub fn send(address: IpAddr, traffic_class: u8) -> anyhow::Result<()> {
    let socket = UdpSocket::bind((address, PORT))?;
    let (level, option) = match address {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
    };
    sys::set(&socket, level, option, traffic_class.into())?;
    crate::ready();
    let (_, to) = socket.recv_from(&mut [0; 100])?;
    let began = Instant::now();
    for number in 0..DATAGRAMS {
        // Where the limit is at egress, it may refuse it.
        let _ = socket.send_to(&PAYLOAD, to);
        sleep((INTERVAL * (number + 1)).saturating_sub(began.elapsed()));
    }
    Ok(())
}

/// Asks for them, and prints how many have come until nothing has for a second, and how many of these have seen
/// congestion.
pub fn count(sender: IpAddr) -> anyhow::Result<()> {
    let socket = UdpSocket::bind((unspecified(sender), 0))?;
    let (level, option) = match sender {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_RECVTOS),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS),
    };
    sys::set(&socket, level, option, 1)?;
    socket.send_to(b"x", SocketAddr::new(sender, PORT))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let (mut came, mut marked) = (0, 0);
    let mut buffer = [0; 2_000];
    let mut space = cmsg_space!(i32);
    loop {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let fd = socket.as_raw_fd();
        let Ok(message) = recvmsg::<()>(fd, &mut parts, Some(&mut space), MsgFlags::empty()) else {
            break;
        };
        came += 1;
        marked += message.cmsgs()?.filter(has_seen_congestion).count();
    }
    println!("{came} {marked}");
    Ok(())
}

fn has_seen_congestion(message: &ControlMessageOwned) -> bool {
    let class = match message {
        ControlMessageOwned::Ipv4Tos(class) => i32::from(*class),
        ControlMessageOwned::Ipv6TClass(class) => *class,
        _ => return false,
    };
    class & 3 == 3
}
