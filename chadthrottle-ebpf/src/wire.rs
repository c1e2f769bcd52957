// SPDX-License-Identifier: MIT OR GPL-2.0-only

//! How long a packet is on the wire.
//!
//! The programs see aggregates: up to 64 KB that TCP, or UDP with GSO, hands down at once and that
//! are cut later, and arriving segments that were put together (GRO). An interface counts the
//! segments, each with headers of its own.

use aya_ebpf::bindings::__sk_buff;

use chadthrottle_common::kernel::{ETH_P_IP, ETH_P_IPV6};

use crate::sys;

const IPV6_HEADER: u64 = 40;
const UDP_HEADER: u64 = 8;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;

/// IP bytes of the packet on the wire, all headers included; `len` is what the kernel says.
#[inline(always)]
pub fn wire_len(skb: *mut __sk_buff, len: u64) -> u64 {
    let size = u64::from(sys::segment_size(skb));
    if size == 0 {
        return len;
    }
    let counted = u64::from(sys::segment_count(skb));
    if counted == 1 {
        return len;
    }
    let headers = match headers(skb) {
        // Extension headers, which every segment has: the whole part that cannot be payload.
        0 => len.saturating_sub(counted.saturating_sub(1) * size),
        headers => headers,
    };
    let segments = match counted {
        // What came from a virtual machine has not been counted.
        0 => {
            let payload = len.saturating_sub(headers);
            (payload + size - 1).checked_div(size).unwrap_or(1)
        }
        counted => counted,
    };
    len + segments.saturating_sub(1) * headers
}

/// Length of the IP header, in bytes, and the protocol in it.
#[inline(always)]
fn ip_header(skb: *mut __sk_buff) -> Option<(u64, u8)> {
    match sys::packet_protocol(skb) {
        ETH_P_IP => {
            let header = sys::packet_bytes::<10>(skb, 0)?;
            Some((u64::from(header[0] & 0xf) * 4, header[9]))
        }
        // Extension headers are not followed.
        ETH_P_IPV6 => {
            let [next] = sys::packet_bytes::<1>(skb, 6)?;
            Some((IPV6_HEADER, next))
        }
        _ => None,
    }
}

/// Whether the packet is TCP with the flag ACK alone, and no payload.
#[inline(always)]
pub fn is_bare_acknowledgement(skb: *mut __sk_buff, len: u64) -> bool {
    const ACK: u8 = 1 << 4;
    /// An IPv6 header and the longest one of TCP, in bytes.
    const LONGEST: u64 = IPV6_HEADER + 60;
    if len > LONGEST {
        return false;
    }
    let Some((ip, IPPROTO_TCP)) = ip_header(skb) else {
        return false;
    };
    let Some([offset, flags]) = sys::packet_bytes::<2>(skb, ip as u32 + 12) else {
        return false;
    };
    // ECE and CWR say something of the network only (RFC 3168), as does AE.
    flags & 0x3f == ACK && ip + u64::from(offset >> 4) * 4 == len
}

/// Length of the IP and the transport header, in bytes; 0 where others are between them, or they cannot be read.
#[inline(always)]
fn headers(skb: *mut __sk_buff) -> u64 {
    let Some((ip, protocol)) = ip_header(skb) else {
        return 0;
    };
    match protocol {
        IPPROTO_TCP => match sys::packet_bytes::<1>(skb, ip as u32 + 12) {
            Some([offset]) => ip + u64::from(offset >> 4) * 4,
            None => ip,
        },
        IPPROTO_UDP => ip + UDP_HEADER,
        _ => 0,
    }
}
