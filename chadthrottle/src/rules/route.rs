//! Which interfaces lead to the Internet, as the kernel routes: its tables say less, since rules of routing (`ip rule`,
//! which WireGuard uses) and routes to halves of the world (which OpenVPN uses) go before default routes.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    net::if_::if_indextoname,
    sys::{
        socket::{
            AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt,
            socket, sockopt::ReceiveTimeout,
        },
        time::TimeVal,
    },
};

/// Where nobody would route by itself: a root server of the DNS (a.root-servers.net). Nothing is sent there.
const FAR_AWAY: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 41, 0, 4)),
    IpAddr::V6(Ipv6Addr::new(
        0x2001, 0x503, 0xba3e, 0, 0, 0, 0x0002, 0x0030,
    )),
];

/// `struct nlmsghdr`, and `struct rtmsg` behind it, in bytes.
const HEADER: usize = 16;
const ROUTE: usize = 12;

/// `RTA_DST` and `RTA_OIF` (include/uapi/linux/rtnetlink.h).
const DESTINATION: u16 = 1;
const INTERFACE: u16 = 4;

/// The names of the interfaces by which packets of IPv4 and of IPv6 would leave for the Internet, in the network namespace
/// of the calling thread.
///
/// # Errors
/// Where the kernel cannot be asked. That there is no route is none.
pub fn to_the_internet() -> io::Result<BTreeSet<String>> {
    let kernel = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    // It answers at once, in the call that asks.
    setsockopt(&kernel, ReceiveTimeout, &TimeVal::new(1, 0))?;
    let mut interfaces = BTreeSet::new();
    for address in FAR_AWAY {
        let Some(index) = interface_to(&kernel, address)? else {
            continue;
        };
        // It may be gone by now.
        if let Ok(name) = if_indextoname(index) {
            interfaces.insert(name.to_string_lossy().into_owned());
        }
    }
    Ok(interfaces)
}

fn interface_to(kernel: &OwnedFd, address: IpAddr) -> io::Result<Option<u32>> {
    send(kernel.as_raw_fd(), &question(address), MsgFlags::empty())?;
    let mut reply = [0; 4_096];
    let len = recv(kernel.as_raw_fd(), &mut reply, MsgFlags::empty())?;
    Ok(reply.get(..len).and_then(interface_in))
}

/// `RTM_GETROUTE` for that address.
fn question(address: IpAddr) -> Vec<u8> {
    const REQUEST: u16 = 1;
    let (family, octets) = match address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    let attribute_len = 4 + octets.len();
    let len = HEADER + ROUTE + attribute_len;
    let mut message = Vec::with_capacity(len);
    message.extend((len as u32).to_ne_bytes());
    message.extend(libc::RTM_GETROUTE.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    // Number and sender: one question at a time needs neither.
    message.extend([0; 8]);
    message.extend([family as u8, octets.len() as u8 * 8]);
    message.extend([0; ROUTE - 2]);
    message.extend((attribute_len as u16).to_ne_bytes());
    message.extend(DESTINATION.to_ne_bytes());
    message.extend(octets);
    message
}

/// The interface that a reply names; `None` where it is an error, say that there is no route.
fn interface_in(reply: &[u8]) -> Option<u32> {
    let word = |bytes: &[u8]| Some(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
    if word(reply.get(4..)?)? != libc::RTM_NEWROUTE {
        return None;
    }
    let mut attributes = reply.get(HEADER + ROUTE..)?;
    loop {
        let len = usize::from(word(attributes)?);
        let value = attributes.get(4..len)?;
        if word(&attributes[2..])? == INTERFACE {
            return Some(u32::from_ne_bytes(value.try_into().ok()?));
        }
        // Each begins at a multiple of four bytes.
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut reply = vec![0; HEADER + ROUTE];
        reply[4..6].copy_from_slice(&kind.to_ne_bytes());
        for (kind, value) in attributes {
            reply.extend((4 + value.len() as u16).to_ne_bytes());
            reply.extend(kind.to_ne_bytes());
            reply.extend(*value);
            reply.resize(reply.len().next_multiple_of(4), 0);
        }
        reply
    }

    #[test]
    fn a_reply_names_an_interface_or_is_none() {
        let table = (15, &[254][..]);
        let seven = 7_u32.to_ne_bytes();
        let new = libc::RTM_NEWROUTE;
        let good = reply(new, &[table, (INTERFACE, &seven), table]);
        assert_eq!(interface_in(&good), Some(7));
        for bad in [
            reply(2, &[(INTERFACE, &seven)]),
            reply(new, &[]),
            reply(new, &[table]),
            reply(new, &[(INTERFACE, &[7])]),
        ] {
            assert_eq!(interface_in(&bad), None);
        }
        for len in 0..good.len() - 8 {
            assert_eq!(interface_in(&good[..len]), None, "{len}");
        }
        let mut endless = good;
        endless[HEADER + ROUTE..][..4].fill(0);
        assert_eq!(
            interface_in(&endless),
            None,
            "an attribute without a length"
        );
    }

    #[test]
    fn the_kernel_is_asked_for_both_families() {
        let of = |message: Vec<u8>| (message.len(), message[HEADER], message[HEADER + 1]);
        let [v4, v6] = FAR_AWAY.map(question).map(of);
        assert_eq!((v4, v6), ((36, 2, 32), (48, 10, 128)));
        // With a route or without one, it answers.
        to_the_internet().unwrap();
    }
}
