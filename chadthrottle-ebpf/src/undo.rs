//! Downloads whose senders stay slow after a limit: which acknowledgements are withheld.

use aya_ebpf::bindings::__sk_buff;

use crate::{sys, wire};

/// Longer packets, in bytes, are more than headers.
const LONGEST: u64 = 120;

/// Whether the packet is an acknowledgement that is withheld.
#[inline(always)]
pub fn withholds(skb: *mut __sk_buff) -> bool {
    let len = sys::packet_len(skb);
    if len > LONGEST {
        return false;
    }
    let Some(undo) = sys::undo_of_packet(skb) else {
        return false;
    };
    let Some(duplicate) = wire::acknowledged_duplicate(skb, len) else {
        return false;
    };
    sys::bytes_received(skb).is_some_and(|bytes| undo.withholds(sys::now_ns(), bytes, duplicate))
}
