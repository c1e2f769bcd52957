//! TCP connections and UDP sockets of a network namespace, listed, and the former reset, through the kernel's socket
//! diagnostics (sock_diag(7)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::sys::socket::SockProtocol;

use super::{
    SyscallError,
    netlink::{ACKNOWLEDGED, DUMP, Netlink, u32_at},
};

/// `SOCK_DIAG_BY_FAMILY` and `SOCK_DESTROY` of include/uapi/linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;

/// Connections that a program may have: established, being made, and being closed by one end. Bits by the numbers of
/// include/net/tcp_states.h. Listeners, what waits for nobody, and what the kernel keeps by itself are none.
const CONNECTIONS: u32 = 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;

/// UDP sockets, those that are connected and those that are not, likewise.
const UDP_SOCKETS: u32 = 1 << 1 | 1 << 7;

/// Length of a socket's identity, in bytes: `struct inet_diag_sockid` of include/uapi/linux/inet_diag.h.
const IDENTITY: usize = 48;

/// A TCP connection or a UDP socket, as its namespace knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    family: u8,
    /// Ports, addresses, interface and cookie, as the kernel says them.
    identity: [u8; IDENTITY],
    /// Inode of the socket; 0: no program has it.
    pub inode: u64,
}

impl Connection {
    /// From a `struct inet_diag_msg`.
    fn read(message: &[u8]) -> Option<Self> {
        Some(Self {
            family: *message.first()?,
            identity: *message.get(4..)?.first_chunk()?,
            inode: u64::from(u32_at(message, 4 + IDENTITY + 16)?),
        })
    }

    /// The address at this end. That of IPv4 which a socket of IPv6 has is one of IPv4.
    pub fn local(&self) -> IpAddr {
        self.address(4)
    }

    /// The address at the other end, likewise.
    pub fn remote(&self) -> IpAddr {
        self.address(20)
    }

    fn address(&self, from: usize) -> IpAddr {
        let byte = |at| self.identity[from + at];
        match i32::from(self.family) {
            libc::AF_INET6 => Ipv6Addr::from(std::array::from_fn::<_, 16, _>(byte)).to_canonical(),
            _ => Ipv4Addr::from(std::array::from_fn::<_, 4, _>(byte)).into(),
        }
    }

    /// Index of the interface that it is bound to; 0: to none.
    pub fn interface(&self) -> u32 {
        u32_at(&self.identity, 36).unwrap_or(0)
    }

    /// What tells its socket apart from all others that there ever are (`SO_COOKIE`).
    pub fn cookie(&self) -> u64 {
        let word = |at| u64::from(u32_at(&self.identity, at).unwrap_or(0));
        word(40) | word(44) << 32
    }

    /// A `struct inet_diag_req_v2` for it.
    fn request(&self) -> Vec<u8> {
        let mut request = vec![self.family, libc::IPPROTO_TCP as u8, 0, 0];
        request.extend(u32::MAX.to_ne_bytes());
        request.extend(self.identity);
        request
    }
}

/// Socket diagnostics of a network namespace.
#[derive(Debug)]
pub struct SockDiag(Netlink);

impl SockDiag {
    /// Of the namespace that this thread is in.
    ///
    /// # Errors
    /// Where the kernel has none.
    pub fn open() -> Result<Self, SyscallError> {
        Netlink::open(SockProtocol::NetlinkSockDiag).map(Self)
    }

    /// The TCP connections of the namespace that some program has. It waits for nobody.
    ///
    /// # Errors
    /// Where the kernel does not tell.
    pub fn connections(&mut self) -> Result<Vec<Connection>, SyscallError> {
        self.listed(libc::IPPROTO_TCP, CONNECTIONS)
    }

    /// The UDP sockets of the namespace that some program has, likewise.
    ///
    /// # Errors
    /// Where the kernel does not tell, as one without `CONFIG_INET_UDP_DIAG`: `ENOENT`.
    pub fn udp_sockets(&mut self) -> Result<Vec<Connection>, SyscallError> {
        self.listed(libc::IPPROTO_UDP, UDP_SOCKETS)
    }

    fn listed(&mut self, protocol: i32, states: u32) -> Result<Vec<Connection>, SyscallError> {
        let mut connections = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            // Without a word of what would lock sockets (`INET_DIAG_INFO`).
            let mut request = vec![family as u8, protocol as u8, 0, 0];
            request.extend(states.to_ne_bytes());
            request.extend([0; IDENTITY]);
            self.0.ask(BY_FAMILY, DUMP, &request, |message| {
                let connection = Connection::read(message);
                connections.extend(connection.filter(|it| it.inode != 0));
            })?;
        }
        Ok(connections)
    }

    /// Resets exactly that connection: both ends hear of it. It waits while a program has the socket locked. Needs
    /// CAP_NET_ADMIN.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the kernel was built without (`CONFIG_INET_DIAG_DESTROY`), `ENOENT` where the connection has
    /// gone.
    pub fn reset(&mut self, connection: &Connection) -> Result<(), SyscallError> {
        let request = connection.request();
        self.0.ask(DESTROY, ACKNOWLEDGED, &request, |_| {})
    }
}

/// Whether the kernel can reset connections, asked for one that there cannot be.
///
/// # Errors
/// Why it cannot.
pub fn can_reset() -> Result<(), SyscallError> {
    let mut diag = SockDiag::open()?;
    // What is not there cannot be told from what the kernel has no diagnostics of.
    diag.connections()?;
    let nobody = Connection {
        family: libc::AF_INET as u8,
        identity: [0; IDENTITY],
        inode: 0,
    };
    match diag.reset(&nobody) {
        Err(error) if error.errno() != libc::ENOENT => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    #[test]
    fn a_message_is_read_and_comes_back_in_a_request() {
        let mut message = [0; 72];
        message[0] = libc::AF_INET6 as u8;
        for (at, byte) in message[4..52].iter_mut().enumerate() {
            *byte = at as u8;
        }
        message[68..].copy_from_slice(&77u32.to_ne_bytes());
        let connection = Connection::read(&message).unwrap();
        assert_eq!(connection.inode, 77);
        let address =
            |from: u8| IpAddr::from(std::array::from_fn::<u8, 16, _>(|at| from + at as u8));
        assert_eq!(connection.local(), address(4));
        assert_eq!(connection.remote(), address(20));
        let word = |first: u8| u32::from_ne_bytes([first, first + 1, first + 2, first + 3]);
        assert_eq!(connection.interface(), word(36));
        assert_eq!(
            connection.cookie(),
            u64::from(word(40)) | u64::from(word(44)) << 32
        );
        let request = connection.request();
        assert_eq!(request.len(), 56);
        assert_eq!(
            request[..2],
            [libc::AF_INET6 as u8, libc::IPPROTO_TCP as u8]
        );
        assert_eq!(request[8..], message[4..52]);
        assert_eq!(Connection::read(&message[..71]), None);
    }

    #[test]
    fn connections_are_listed_by_their_cookies_with_the_other_ends_of_them() {
        for (address, expected) in [
            ("127.0.0.1:0", "127.0.0.1"),
            ("[::1]:0", "::1"),
            ("[::ffff:127.0.0.1]:0", "127.0.0.1"),
        ] {
            let listener = TcpListener::bind(address).unwrap();
            let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let all = SockDiag::open().unwrap().connections().unwrap();
            let cookie = socket::cookie(&here).unwrap();
            let found = all.iter().find(|it| it.cookie() == cookie).unwrap();
            assert_eq!(found.remote().to_string(), expected);
            assert_eq!(found.local().to_string(), expected);
            assert_eq!(Some(found.inode), socket::inode(&here));
            let listener = socket::cookie(&listener).unwrap();
            assert!(all.iter().all(|it| it.cookie() != listener));
        }
    }

    #[test]
    fn udp_sockets_are_listed_whether_they_are_connected_or_not() {
        let [waiting, asking] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        asking.connect(waiting.local_addr().unwrap()).unwrap();
        let all = SockDiag::open().unwrap().udp_sockets().unwrap();
        for (socket, remote) in [(waiting, "0.0.0.0"), (asking, "127.0.0.1")] {
            let cookie = socket::cookie(&socket).unwrap();
            let found = all.iter().find(|it| it.cookie() == cookie).unwrap();
            assert_eq!(found.local().to_string(), "127.0.0.1");
            assert_eq!(found.remote().to_string(), remote);
            assert_eq!(Some(found.inode), socket::inode(&socket));
        }
    }
}
