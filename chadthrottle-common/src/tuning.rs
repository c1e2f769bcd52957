//! Every constant of the policer's sparing rules and of the levers that could have another value: a block for each
//! mechanism, each value with its unit and its reason. How fair rates move is in `levers/tuning.rs` of user
//! space; what the kernel decides for us is in [`kernel`](crate::kernel).

/// What the policer spares while the bound has room.
pub mod sparing {
    /// Packets of at most this many bytes are refused only where the bound has no room for them: handshakes,
    /// requests and DNS queries, whose loss costs far more than they do.
    pub const SMALL_PACKET: u64 = 128;

    /// Longer packets than this, in bytes, may be aggregates that take long.
    pub const LARGE: u64 = 4 * 1_500;

    /// An aggregate that arrives takes too long, in nanoseconds of the limit, where it would leave nothing to
    /// anybody for so long that timers double.
    pub const LONG_NS: u64 = 500_000_000;

    /// A pace counts as the limit's own up to one part in so many above it: a pace counts payload, a limit
    /// packets.
    pub const PACE_ABOVE: u64 = 8;
}

/// Which connections share a limit.
pub mod crowd {
    use crate::kernel::SHORTEST_TIMER_NS;

    /// Connections are counted in epochs of so many nanoseconds, as a power of two: about half a second. A gate's
    /// pause and pulse fit into one.
    pub const EPOCH_SHIFT: u32 = 29;

    /// A connection is busy that has carried one part in so many of what the fair rate brings in an epoch.
    pub const BUSY_PART: u64 = 8;

    /// How long a connection is new at most, in nanoseconds, that has not carried a good part of the fair rate yet.
    /// New ones begin with a part of it, since nobody knows yet whether they are many.
    pub const LONGEST_NEW_NS: u64 = 1_000_000_000;

    /// And how long at least: as long as a timer of its sender, should its first packets be lost.
    pub const LEAST_NEW_NS: u64 = SHORTEST_TIMER_NS;

    /// Slow start takes some round trips.
    pub const NEW_ROUND_TRIPS: u64 = 8;

    /// Nearer ends than this, in microseconds, wait for their programs rather than for the network.
    pub const SHORTEST_ROUND_TRIP_US: u64 = 100;

    /// A round trip that is longer was not measured well, in microseconds.
    pub const LONGEST_ROUND_TRIP_US: u64 = 60_000_000;
}

/// The pace of uploads.
pub mod pace {
    /// One that has become so many times faster restarts BBR, which would take seconds to find out.
    pub const MUCH_FASTER: u64 = 4;

    /// One part in so many is near enough: a finer step would set the option at nearly every look, for what the
    /// credit evens out anyway.
    pub const NEAR: u64 = 32;
}

/// The window of downloads.
pub mod window {
    /// Faster connections, in bytes a second, do not pause: the policer refuses little of them, and windows
    /// of one segment cost senders and receivers much.
    pub const FASTEST_PAUSING: u64 = 5_000_000;

    /// Slower connections, in bytes a second, do not pause by losing packets: a few are too many of a pulse.
    /// Those that do not pause are refused what the limit has to refuse, and their senders' timers double.
    pub const REFUSING_FROM: u64 = 32_000;

    /// Further ends than this, in microseconds, have longer timers, and more on their way to lose.
    pub const NEAR_US: u64 = 5_000;

    /// One that pauses is so many tenths as fast in between.
    pub const FASTER_TENTHS: u64 = 16;

    /// One part in so many is near enough: a finer step would set the option again and again for less than a
    /// segment.
    pub const NEAR: u64 = 16;

    /// The first window is for so many milliseconds: the round-trip time is not known yet, and it is enough for a
    /// near one.
    pub const FIRST_MS: u64 = 20;

    /// The first window has so many segments at least: a sender waits for room for one.
    pub const FEWEST_FIRST: u64 = 2;

    /// So many connections may share a limit, each of which may pause, for the units of their windows to be small
    /// from the start.
    pub const SHARING: u64 = 8;

    /// The largest window, in bytes, that is offered in units of 256 bytes.
    pub const SMALL_UNITS: u32 = (1 << 24) - 1;
}

/// The flight of slow uploads.
pub mod flight {
    /// Until it is paced, a connection may have so many segments on their way at least: it hands over two
    /// at once, of which the policer refuses what the limit has no room for, so that it is paced sooner.
    pub const AT_FIRST: u64 = 4;

    /// Two: with one, each would wait for an acknowledgement that may be held back.
    pub const FEWEST: u64 = 2;
}

/// The gate of downloads whose window cannot be small enough.
pub mod gate {
    use crate::kernel::SMALLEST_CLAMP;

    /// How long a turn of pause and pulse is, in nanoseconds. More than the shortest timers of senders
    /// (200 ms, and what rounding adds), and a whole part of a second.
    pub const TURN_NS: u64 = 250_000_000;

    /// A pause that began later in its turn, in nanoseconds, would last into the next one.
    pub const LATEST_PAUSE_NS: u64 = 70_000_000;

    /// What is refused in a pause is refused to here in its turn, in nanoseconds: the first retransmission must pass.
    pub const PAUSE_END_NS: u64 = 180_000_000;

    /// A window that no full segment of an Ethernet fits into, in bytes.
    pub const CLOSED_WINDOW: u64 = SMALLEST_CLAMP;

    /// How much of the fair rate may be used after a pause, in nanoseconds. Senders far away pause for as
    /// much longer as a round trip.
    pub const BURST_NS: u64 = 2 * TURN_NS;

    /// What may still arrive after the window was closed, in nanoseconds of the fair rate.
    pub const MAX_DEBT_NS: u64 = TURN_NS;

    /// A limit that owes more, in nanoseconds of its own, has windows closed whatever their connections may still have:
    /// half of what it saves, which those that begin with nobody beside them have used up before the others.
    pub const LIMIT_DEBT_NS: u64 = 125_000_000;

    /// What a connection can owe that others left more to than its share, in nanoseconds of the fair rate:
    /// when they come back, it does not have to wait long.
    pub const FAIR_DEBT_NS: u64 = 600_000_000;

    /// A closed window that the sender asks about later than this, in nanoseconds, has stopped it for too
    /// long: Linux asks after a fifth of a second, others after five.
    pub const LONG_STOP_NS: u64 = 1_000_000_000;

    /// So many of them without a short one between, and the window is closed no more: a download at rest has
    /// one now and then.
    pub const LONG_STOPS: u64 = 2;

    /// A sender's probe timer has gone off by then, in nanoseconds and without round trips, unless an acknowledgement
    /// has wound it up again meanwhile: it takes 200 ms, and what the round-trip time varies by.
    pub const QUIET_NS: u64 = 500_000_000;

    /// How many round trips come to that.
    pub const QUIET_ROUND_TRIPS: u64 = 2;

    /// A connection that has sent so often, each time before the timer of the other end could go off, sends steadily. A
    /// request and what comes before it, as of TLS, are fewer.
    pub const STEADY: u64 = 4;

    /// So often nothing more is sent for a while until a window grows: what ends it may be too short for that.
    pub const MOST_HUSHES: u64 = 2;
}
