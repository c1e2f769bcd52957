//! Which remote addresses a limit applies to.

/// A set of address classes, as bits: the classes a rule limits.
///
/// A packet belongs to exactly one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Scope(pub u32);

impl Scope {
    /// Addresses out in the world.
    pub const INTERNET: Self = Self(1);
    /// Addresses of the own network: private, link-local, unique local, multicast, broadcast.
    pub const LOCAL: Self = Self(2);
    /// Traffic of this machine with itself, whatever address it uses.
    pub const LOOPBACK: Self = Self(4);
    /// What a limit covers unless the user says otherwise: everything but loopback.
    pub const DEFAULT: Self = Self(Self::INTERNET.0 | Self::LOCAL.0);
    /// Everything.
    pub const ALL: Self = Self(Self::DEFAULT.0 | Self::LOOPBACK.0);

    /// Whether every class of `other` is in this set.
    #[inline(always)]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The class of an IPv4 address: [`Scope::LOCAL`], [`Scope::LOOPBACK`] or [`Scope::INTERNET`].
///
/// Local are RFC 1918, RFC 6598 (carrier-grade NAT), link-local, multicast, broadcast and 0/8.
#[inline(always)]
pub const fn classify_v4(address: [u8; 4]) -> Scope {
    match address {
        [127, ..] => Scope::LOOPBACK,
        [0 | 10, ..] | [192, 168, ..] | [169, 254, ..] => Scope::LOCAL,
        [172, b, ..] if b & 0xf0 == 16 => Scope::LOCAL,
        [100, b, ..] if b & 0xc0 == 64 => Scope::LOCAL,
        [a, ..] if a & 0xf0 == 224 => Scope::LOCAL,
        [255, 255, 255, 255] => Scope::LOCAL,
        _ => Scope::INTERNET,
    }
}

/// The class of an IPv6 address given as four 32-bit words in network order.
///
/// Local are link-local (fe80::/10), unique local (fc00::/7) and multicast (ff00::/8); a mapped
/// IPv4 address has the class of that address.
#[inline(always)]
pub const fn classify_v6(words: [[u8; 4]; 4]) -> Scope {
    const ZERO: [u8; 4] = [0; 4];
    let [first, second, third, last] = words;
    if matches!(first, ZERO) && matches!(second, ZERO) {
        return match (third, last) {
            (ZERO, [0, 0, 0, 1]) => Scope::LOOPBACK,
            ([0, 0, 255, 255], _) => classify_v4(last),
            (ZERO, ZERO) => Scope::LOCAL,
            _ => Scope::INTERNET,
        };
    }
    match first {
        [0xff, ..] => Scope::LOCAL,
        [a, ..] if a & 0xfe == 0xfc => Scope::LOCAL,
        [0xfe, b, ..] if b & 0xc0 == 0x80 => Scope::LOCAL,
        _ => Scope::INTERNET,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn v4(text: &str) -> Scope {
        classify_v4(text.parse::<Ipv4Addr>().unwrap().octets())
    }

    fn v6(text: &str) -> Scope {
        let octets = text.parse::<Ipv6Addr>().unwrap().octets();
        let word = |i: usize| <[u8; 4]>::try_from(&octets[i * 4..i * 4 + 4]).unwrap();
        classify_v6([word(0), word(1), word(2), word(3)])
    }

    #[test]
    fn ipv4_classes_change_exactly_at_the_borders_of_the_blocks() {
        for local in [
            "10.0.0.0",
            "10.255.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.1.1",
            "100.64.0.0",
            "100.127.255.255",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "0.0.0.0",
        ] {
            assert_eq!(v4(local), Scope::LOCAL, "{local}");
        }
        for internet in [
            "9.255.255.255",
            "11.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "169.253.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "223.255.255.255",
            "1.1.1.1",
            "240.0.0.1",
        ] {
            assert_eq!(v4(internet), Scope::INTERNET, "{internet}");
        }
        assert_eq!(v4("127.0.0.53"), Scope::LOOPBACK);
    }

    #[test]
    fn ipv6_classes_and_mapped_addresses() {
        for local in [
            "fe80::1",
            "febf::1",
            "fc00::1",
            "fdff::1",
            "ff02::1",
            "::",
            "::ffff:10.0.0.1",
        ] {
            assert_eq!(v6(local), Scope::LOCAL, "{local}");
        }
        for internet in [
            "2001:db8::1",
            "fec0::1",
            "fe00::1",
            "::ffff:1.1.1.1",
            "64:ff9b::1",
            "::2",
        ] {
            assert_eq!(v6(internet), Scope::INTERNET, "{internet}");
        }
        assert_eq!(v6("::1"), Scope::LOOPBACK);
        assert_eq!(v6("::ffff:127.0.0.1"), Scope::LOOPBACK);
    }

    #[test]
    fn the_default_scope_is_everything_but_loopback() {
        assert!(Scope::DEFAULT.contains(Scope::INTERNET));
        assert!(Scope::DEFAULT.contains(Scope::LOCAL));
        assert!(!Scope::DEFAULT.contains(Scope::LOOPBACK));
        assert!(Scope::ALL.contains(Scope::LOOPBACK));
    }
}
