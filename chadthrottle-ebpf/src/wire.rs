//! How long a packet is on the wire.
//!
//! The programs see aggregates: up to 64 KB that TCP, or UDP with GSO, hands down at once and that
//! are cut later, and arriving segments that were put together (GRO). An interface counts the
//! segments, each with headers of its own.

use aya_ebpf::bindings::__sk_buff;

use chadthrottle_common::undo::Duplicate;

use crate::sys;

/// Ethernet protocol numbers as `__sk_buff.protocol` holds them, in network order.
pub const ETH_P_IP: u32 = 0x0800u16.to_be() as u32;
/// As [`ETH_P_IP`].
pub const ETH_P_IPV6: u32 = 0x86ddu16.to_be() as u32;

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
    let headers = headers(skb);
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
        // Extension headers are not followed: no aggregate of the kernel's own making has any.
        ETH_P_IPV6 => {
            let [next] = sys::packet_bytes::<1>(skb, 6)?;
            Some((IPV6_HEADER, next))
        }
        _ => None,
    }
}

/// What came twice by the packet, of `len` bytes, if it is an acknowledgement of TCP's and nothing else
/// (RFC 2883).
#[inline(always)]
pub fn acknowledged_duplicate(skb: *mut __sk_buff, len: u64) -> Option<Duplicate> {
    const ACK: u8 = 1 << 4;
    const HEADER: u32 = 20;
    const TIMESTAMPS: u32 = 12;
    let Some((ip, IPPROTO_TCP)) = ip_header(skb) else {
        return None;
    };
    let tcp = ip as u32;
    let [a, b, c, d, offset, flags] = sys::packet_bytes(skb, tcp + 8)?;
    if flags != ACK || ip + u64::from(offset >> 4) * 4 != len {
        return None;
    }
    // In the order in which Linux writes options (`tcp_options_write`).
    let end = match first_block_end(skb, tcp + HEADER + TIMESTAMPS) {
        None => first_block_end(skb, tcp + HEADER),
        end => end,
    };
    let acknowledged = u32::from_be_bytes([a, b, c, d]);
    Some(match end.map(|end| acknowledged.wrapping_sub(end) as i32) {
        Some(0) => Duplicate::Last,
        Some(1..) => Duplicate::Earlier,
        // What is missing comes before it.
        Some(..0) | None => Duplicate::Nothing,
    })
}

/// Where the first block ends in the selective acknowledgement that is the option at that offset.
#[inline(always)]
fn first_block_end(skb: *mut __sk_buff, at: u32) -> Option<u32> {
    const NO_OPERATION: u8 = 1;
    const SACK: u8 = 5;
    match sys::packet_bytes::<12>(skb, at)? {
        [NO_OPERATION, NO_OPERATION, SACK, _, _, _, _, _, a, b, c, d] => {
            Some(u32::from_be_bytes([a, b, c, d]))
        }
        _ => None,
    }
}

/// Length of the IP and the transport header, in bytes; 0 where they cannot be read.
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
        _ => ip,
    }
}
