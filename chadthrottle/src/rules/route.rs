//! Which interfaces lead to the Internet, as the kernel routes: its tables say less, since rules of routing (`ip rule`,
//! which WireGuard uses) and routes to halves of the world (which OpenVPN uses) go before default routes.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use nix::net::if_::if_indextoname;

use crate::sys::{SyscallError, route::Routes};

/// Where nobody would route by itself: a root server of the DNS (a.root-servers.net). Nothing is sent there.
const FAR_AWAY: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 41, 0, 4)),
    IpAddr::V6(Ipv6Addr::new(
        0x2001, 0x503, 0xba3e, 0, 0, 0, 0x0002, 0x0030,
    )),
];

/// The names of the interfaces by which packets of IPv4 and of IPv6 would leave for the Internet, in the network namespace
/// of the calling thread.
///
/// # Errors
/// Where the kernel cannot be asked. That there is no route is none.
pub fn to_the_internet() -> Result<BTreeSet<String>, SyscallError> {
    let mut routes = Routes::open()?;
    // It answers with an error where no route leads there.
    let indexes = FAR_AWAY.map(|address| routes.interface_to(address).ok().flatten());
    // One may be gone by now.
    let names = indexes.into_iter().flatten().map(if_indextoname);
    let names = names.flatten();
    Ok(names
        .map(|name| name.to_string_lossy().into_owned())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_a_route_or_without_one_the_kernel_answers() {
        for interface in to_the_internet().unwrap() {
            let path = std::path::Path::new("/sys/class/net").join(&interface);
            assert!(path.exists(), "{interface}");
        }
    }
}
