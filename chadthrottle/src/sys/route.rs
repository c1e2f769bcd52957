//! Where packets to an address go, as the kernel's routes say (rtnetlink(7)).

use std::net::IpAddr;

use nix::sys::socket::SockProtocol;

use super::{
    SyscallError,
    netlink::{ACKNOWLEDGED, Netlink, u16_at, u32_at},
};

/// Length of a `struct rtmsg`, in bytes (include/uapi/linux/rtnetlink.h).
const ROUTE: usize = 12;

/// Index of the loopback interface, in every namespace (`LOOPBACK_IFINDEX` of include/net/net_namespace.h).
pub const LOOPBACK: u32 = 1;

/// Routes of a network namespace.
#[derive(Debug)]
pub struct Routes(Netlink);

impl Routes {
    /// Of the namespace that this thread is in.
    ///
    /// # Errors
    /// Where there is no socket to be had.
    pub fn open() -> Result<Self, SyscallError> {
        Netlink::open(SockProtocol::NetlinkRoute).map(Self)
    }

    /// Whether packets to that address stay within the namespace, as those to each of its own addresses do. A socket
    /// that is bound to an interface goes by the index of that, any other by 0.
    ///
    /// # Errors
    /// Where no route leads there.
    pub fn are_looped(&mut self, to: IpAddr, interface: u32) -> Result<bool, SyscallError> {
        let looped = self.first(to, interface, is_looped)?;
        // Where the kernel has said nothing that can be read.
        Ok(looped.unwrap_or(true))
    }

    /// The index of the interface by which packets to that address leave.
    ///
    /// # Errors
    /// Where no route leads there.
    pub fn interface_to(&mut self, to: IpAddr) -> Result<Option<u32>, SyscallError> {
        self.first(to, 0, interface_of)
    }

    /// What is read of the first message that says something.
    fn first<T>(
        &mut self,
        to: IpAddr,
        interface: u32,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, SyscallError> {
        let mut found = None;
        let request = request(to, interface);
        self.0
            .ask(libc::RTM_GETROUTE, ACKNOWLEDGED, &request, |message| {
                found = found.take().or_else(|| read(message));
            })?;
        Ok(found)
    }
}

fn request(to: IpAddr, interface: u32) -> Vec<u8> {
    let (family, address) = match to {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    let mut request = vec![0; ROUTE];
    request[0] = family as u8;
    request[1] = address.len() as u8 * 8;
    attribute(&mut request, libc::RTA_DST, &address);
    if interface != 0 {
        attribute(&mut request, libc::RTA_OIF, &interface.to_ne_bytes());
    }
    request
}

/// Puts a `struct rtattr` behind what is there, whose value is whole words.
fn attribute(request: &mut Vec<u8>, kind: u16, value: &[u8]) {
    request.extend((4 + value.len() as u16).to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(value);
}

/// Whether a route, as the kernel tells it, stays within the namespace.
fn is_looped(message: &[u8]) -> Option<bool> {
    let kind = *message.get(7)?;
    message.get(ROUTE..)?;
    Some(kind == libc::RTN_LOCAL || interface_of(message) == Some(LOOPBACK))
}

/// The interface of a route, as the kernel tells it.
fn interface_of(message: &[u8]) -> Option<u32> {
    let mut attributes = message.get(ROUTE..)?;
    let mut interface = None;
    while let (Some(len), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let len = usize::from(len);
        if kind == libc::RTA_OIF {
            interface = u32_at(attributes.get(..len)?, 4);
        }
        attributes = attributes
            .get(len.next_multiple_of(4).max(4)..)
            .unwrap_or_default();
    }
    interface
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_looped() {
        let mut routes = Routes::open().unwrap();
        for address in ["127.0.0.1", "127.3.4.5", "::1"] {
            let looped = routes.are_looped(address.parse().unwrap(), 0);
            assert!(looped.unwrap(), "{address}");
        }
    }

    #[test]
    fn a_route_is_looped_by_its_kind_or_its_interface() {
        for (kind, interface, expected) in [
            (libc::RTN_UNICAST, 2, false),
            (libc::RTN_UNICAST, LOOPBACK, true),
            (libc::RTN_LOCAL, 2, true),
        ] {
            let mut message = request("198.18.0.2".parse().unwrap(), interface);
            message[7] = kind;
            assert_eq!(is_looped(&message), Some(expected), "{kind} {interface}");
        }
        assert_eq!(is_looped(&[0; 11]), None);
        let _ends = is_looped(&[0; 40]);
        let message = request("198.18.0.2".parse().unwrap(), 7);
        assert_eq!(interface_of(&message), Some(7));
        assert_eq!(interface_of(&message[..ROUTE + 8]), None);
    }

    #[test]
    fn a_request_names_the_address_and_the_interface() {
        let request = request("198.18.0.2".parse().unwrap(), 3);
        assert_eq!(request[..2], [libc::AF_INET as u8, 32]);
        assert_eq!(u16_at(&request, 12), Some(8));
        assert_eq!(request[16..20], [198, 18, 0, 2]);
        assert_eq!(
            (u16_at(&request, 22), u32_at(&request, 24)),
            (Some(libc::RTA_OIF), Some(3))
        );
    }
}
