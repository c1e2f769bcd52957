//! By which interfaces the sockets of processes go.
//!
//! A connection has its address from the route that it was made by, so that the interface which has that address is taken
//! for the one that it goes by, unless its program has bound it to another.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    path::Path,
};

use glob::Pattern;
use nix::{
    ifaddrs::getifaddrs,
    net::if_::{InterfaceFlags, if_indextoname},
    sys::socket::SockaddrStorage,
};

use super::{key_of, sockets_of};
use crate::{
    model::ProcessKey,
    sys::{
        SyscallError,
        route::LOOPBACK,
        sock_diag::{Connection, SockDiag},
    },
};

/// Names of interfaces, by process.
pub type ByProcess = HashMap<ProcessKey, BTreeSet<String>>;

/// Of each of these processes, the interfaces that match any of the globs and by which a TCP connection of the process
/// goes, or a UDP socket that has an address of its own. Sockets are those of the network namespace of the calling
/// thread, whose interfaces are meant; processes are read from `root`. It waits for no program.
///
/// # Errors
/// Where the kernel lists no connections or addresses. UDP sockets are left out where it cannot list them.
pub fn interfaces_of(
    root: &Path,
    processes: &[ProcessKey],
    globs: &[Pattern],
) -> Result<ByProcess, SyscallError> {
    let by_socket = match processes.is_empty() {
        true => HashMap::new(),
        false => interfaces_by_socket(globs)?,
    };
    let all: BTreeSet<&String> = by_socket.values().flatten().collect();
    let of_process = |key: &ProcessKey| {
        let mut names = BTreeSet::new();
        let mut sockets = sockets_of(root, key.pid);
        // A process with thousands of connections has a way by its first few.
        while names.len() < all.len()
            && let Some(socket) = sockets.next()
        {
            let of_socket = by_socket.get(&socket.inode).into_iter().flatten();
            names.extend(of_socket.cloned());
        }
        // They may be those of whoever has its id now.
        if !names.is_empty() && key_of(root, key.pid) != Some(*key) {
            names.clear();
        }
        (*key, names)
    };
    Ok(processes.iter().map(of_process).collect())
}

/// By inode of the socket, which no two namespaces share; those without such an interface are left out.
fn interfaces_by_socket(globs: &[Pattern]) -> Result<HashMap<u64, BTreeSet<String>>, SyscallError> {
    let mut diag = SockDiag::open()?;
    let mut sockets = diag.connections()?;
    sockets.extend(diag.udp_sockets().unwrap_or_default());
    // Addresses after sockets: an interface that comes with a connection is seen with it.
    let addresses = Addresses::look()?;
    let mut found = HashMap::new();
    for socket in sockets {
        let bound = bound_to(&socket);
        let names = addresses.interfaces(socket.local(), socket.remote(), bound.as_deref());
        let mut names: BTreeSet<String> = names.into_iter().map(str::to_owned).collect();
        names.retain(|name| globs.iter().any(|glob| glob.matches(name)));
        if !names.is_empty() {
            found.insert(socket.inode, names);
        }
    }
    Ok(found)
}

/// The interface that a socket is bound to, as those are which use addresses of a link (`fe80::/10`): many links have the
/// same ones.
fn bound_to(socket: &Connection) -> Option<String> {
    let index = Some(socket.interface()).filter(|index| *index != 0)?;
    let name = match index {
        LOOPBACK => String::new(),
        // One that has gone has no name.
        index => if_indextoname(index).map_or_else(
            |_| String::new(),
            |name| name.to_string_lossy().into_owned(),
        ),
    };
    Some(name)
}

/// The addresses of a network namespace, each with the interfaces that have it; with none where only loopback has.
#[derive(Debug, Default)]
struct Addresses(HashMap<IpAddr, BTreeSet<String>>);

impl Addresses {
    /// Those of the calling thread's namespace.
    fn look() -> Result<Self, SyscallError> {
        let all = getifaddrs().map_err(|errno| SyscallError {
            call: "getifaddrs",
            source: errno.into(),
        })?;
        let mut addresses = Self::default();
        for interface in all {
            let Some(address) = interface.address.as_ref().and_then(ip) else {
                continue;
            };
            let names = addresses.0.entry(address).or_default();
            if !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK) {
                // An address of IPv4 may have a label, `eth0:home`.
                let name = interface.interface_name.split(':').next();
                names.extend(name.map(str::to_owned));
            }
        }
        Ok(addresses)
    }

    /// The interfaces by which a socket with these ends goes, which may be bound to one. None where it stays within the
    /// machine, as from one of its addresses to another, or has no address yet.
    fn interfaces<'a>(
        &'a self,
        local: IpAddr,
        remote: IpAddr,
        bound: Option<&'a str>,
    ) -> Vec<&'a str> {
        // Packets of a bound socket leave, whatever other interface has the address.
        let stays = self
            .0
            .get(&remote)
            .is_some_and(|names| bound.is_none_or(|bound| names.contains(bound)));
        if stays || remote.is_loopback() {
            return Vec::new();
        }
        match bound {
            Some("") => Vec::new(),
            Some(bound) => vec![bound],
            None => {
                let names = self.0.get(&local).into_iter().flatten();
                names.map(String::as_str).collect()
            }
        }
    }
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|it| it.ip().into());
    v4.or_else(|| Some(address.as_sockaddr_in6()?.ip().into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_socket_goes_by_the_interface_that_has_its_address_or_that_it_is_bound_to() {
        let own = [
            ("127.0.0.1", &[][..]),
            ("10.9.9.9", &[]), // on the loopback interface
            ("192.168.1.5", &["wlan0"]),
            ("192.168.1.6", &["eth0", "eth1"]),
            ("10.8.0.2", &["tun0"]),
            ("fe80::1", &["wlan0"]),
            ("fd00::2", &["tun0"]),
        ];
        let own = own.map(|(address, names)| {
            let names = names.iter().map(|&name| name.to_owned()).collect();
            (address.parse().unwrap(), names)
        });
        let addresses = Addresses(own.into());
        for (local, remote, bound, expected) in [
            ("10.8.0.2", "198.51.100.7", None, &["tun0"][..]),
            ("fd00::2", "2001:db8::7", None, &["tun0"]),
            ("192.168.1.5", "198.51.100.7", None, &["wlan0"]),
            ("192.168.1.6", "198.51.100.7", None, &["eth0", "eth1"]),
            // UDP sockets that are not connected.
            ("10.8.0.2", "0.0.0.0", None, &["tun0"]),
            ("0.0.0.0", "0.0.0.0", None, &[]),
            ("::", "::", None, &[]),
            ("0.0.0.0", "0.0.0.0", Some("tun0"), &["tun0"]),
            ("224.0.0.251", "0.0.0.0", None, &[]),
            // Bound, whatever its address is.
            ("192.168.1.5", "198.51.100.7", Some("tun0"), &["tun0"]),
            ("10.8.0.2", "198.51.100.7", Some(""), &[]),
            // Addresses of a link: the other end may have the one that we have elsewhere.
            ("fe80::1", "fe80::2", Some("wlan0"), &["wlan0"]),
            ("fe80::7", "fe80::1", Some("tun0"), &["tun0"]),
            ("fe80::1", "fe80::1", Some("wlan0"), &[]),
            // Within the machine.
            ("127.0.0.1", "127.0.0.1", None, &[]),
            ("10.8.0.2", "127.0.0.2", None, &[]),
            ("10.8.0.2", "10.8.0.2", None, &[]),
            ("192.168.1.5", "10.8.0.2", None, &[]),
            ("10.8.0.2", "10.9.9.9", None, &[]),
            // An address that has been taken away, and one that only loopback has.
            ("10.8.0.3", "198.51.100.7", None, &[]),
            ("10.9.9.9", "198.51.100.7", None, &[]),
        ] {
            let ends = [local, remote].map(|address| address.parse().unwrap());
            let found = addresses.interfaces(ends[0], ends[1], bound);
            assert_eq!(found, expected, "{local} {remote} {bound:?}");
        }
    }

    #[test]
    fn the_kernel_lists_addresses_and_loopback_is_no_interface() {
        let addresses = Addresses::look().unwrap();
        let loopback = &addresses.0[&"127.0.0.1".parse().unwrap()];
        assert!(loopback.is_empty(), "{loopback:?}");
        let root = Path::new("/proc");
        let us = key_of(root, std::process::id()).unwrap();
        let _socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let any = [Pattern::new("lo").unwrap()];
        let found = interfaces_of(root, &[us], &any).unwrap();
        assert_eq!(found, ByProcess::from([(us, BTreeSet::new())]));
        assert_eq!(interfaces_of(root, &[], &any).unwrap(), ByProcess::new());
    }
}
