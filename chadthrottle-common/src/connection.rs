//! A TCP connection under a limit: what it was before, and what levers have made of it.
//!
//! Only the kernel programs write it, while they have the socket to themselves; but the [`Gate`], which
//! arriving packets meet too.

use crate::{
    gate::Gate,
    tuning::crowd::{
        BUSY_PART, EPOCH_SHIFT, LEAST_NEW_NS, LONGEST_NEW_NS, LONGEST_ROUND_TRIP_US,
        NEW_ROUND_TRIPS, SHORTEST_ROUND_TRIP_US,
    },
};

/// For how many levers a note has room: what each of them may change on a socket. One is free.
pub const SETTINGS: usize = 4;

/// A setting of a socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// What it was before we set it.
    pub before: u64,
    /// What we have set it to; 0: it is not ours.
    pub set: u64,
    /// What its lever wanted last; 0: as the program likes.
    pub wanted: u64,
}

impl Setting {
    /// Whether a setting is as near to what is wanted as one part in `part` of that.
    #[inline(always)]
    pub const fn is_near(present: u64, wanted: u64, part: u64) -> bool {
        let far = wanted / part;
        present <= wanted + far && present >= wanted - far
    }
}

/// Who has the kernel call `sock_ops` programs for each packet of a connection that leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Hearing {
    /// Nobody, as far as we know.
    #[default]
    Nobody = 0,
    /// We do.
    Ours = 1,
    /// Somebody did before us.
    Others = 2,
}

/// What is known of a connection under a limit.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Connection {
    /// In the order of the table of settings (`levers!` in chadthrottle-ebpf).
    pub settings: [Setting; SETTINGS],
    /// Who arrives too fast.
    pub gate: Gate,
    /// When it was made, in nanoseconds of the monotonic clock; 0: before its limit.
    pub made_ns: u64,
    /// The epoch in which a packet of it was seen last.
    pub epoch: u64,
    /// Bytes of payload that had arrived when that began.
    pub received: u64,
    /// Bytes of payload that had been sent and acknowledged when that began.
    pub acknowledged: u64,
    /// Who has the kernel call us for each packet that leaves.
    pub hearing: Hearing,
    /// It counts as a download in this epoch.
    pub is_download: bool,
    /// It counts as an upload in this epoch.
    pub is_upload: bool,
    /// The [`crate::scope::Scope`] of its other end.
    pub class: u32,
    /// The [`crate::ownership::RuleId`] of the limit that it was held to last. A pass cannot ask for the MPTCP
    /// socket that a connection is a part of, and goes by this.
    pub rule: u64,
    /// What it may receive, in bytes a second; 0: as much as it likes.
    pub down: u64,
    /// What it may send, in bytes a second; 0: as much as it likes.
    pub up: u64,
    /// For what the program was called last, in its own numbers.
    pub event: u64,
    /// What the kernel knew of it last.
    pub facts: Facts,
}

/// How long one is new at that round-trip time, in microseconds: slow start takes some round trips.
#[inline(always)]
pub const fn new_ns(round_trip_us: u64) -> u64 {
    let ns = LEAST_NEW_NS + NEW_ROUND_TRIPS * 1_000 * round_trip_us;
    if ns < LONGEST_NEW_NS {
        ns
    } else {
        LONGEST_NEW_NS
    }
}

/// How long an epoch is, in nanoseconds.
pub const EPOCH_NS: u64 = 1 << EPOCH_SHIFT;

/// The number of the epoch at `now`, in nanoseconds of the monotonic clock.
#[inline(always)]
pub const fn epoch(now: u64) -> u64 {
    now >> EPOCH_SHIFT
}

/// Whether a connection that has carried `bytes` in an epoch has used a good part of `fair` bytes a second.
#[inline(always)]
pub const fn is_busy(bytes: u64, fair: u64) -> bool {
    // An epoch is half a second, near enough.
    bytes != 0 && bytes * 2 * BUSY_PART >= fair
}

/// The fastest rate, in bytes a second, of which [`Facts::bytes_of`] knows what a round trip brings: their product has 64
/// bits. (`checked_mul` takes 128, which BPF does not have.)
pub const FASTEST: u64 = u64::MAX / LONGEST_ROUND_TRIP_US;

/// What the kernel knows of a connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Smoothed round-trip time, in microseconds; 0: not measured yet.
    pub round_trip_us: u64,
    /// Bytes of payload in a full segment, as far as both ends' networks say.
    pub full_segment: u64,
    /// Windows are offered in multiples of so many bytes.
    pub window_unit: u64,
    /// Segments with payload that were sent, or tried to; it runs over.
    pub segments_sent: u32,
}

impl Facts {
    /// Bytes that a rate, of [`FASTEST`] at most, brings in a round trip. Nearer ends than a tenth of a millisecond wait for their
    /// programs rather than for the network.
    #[inline(always)]
    pub const fn bytes_of(&self, rate: u64) -> u64 {
        const US_PER_S: u64 = 1_000_000;
        let us = if self.round_trip_us < SHORTEST_ROUND_TRIP_US {
            SHORTEST_ROUND_TRIP_US
        } else if self.round_trip_us > LONGEST_ROUND_TRIP_US {
            LONGEST_ROUND_TRIP_US
        } else {
            self.round_trip_us
        };
        rate * us / US_PER_S
    }
}
