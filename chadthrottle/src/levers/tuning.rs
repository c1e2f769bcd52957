//! Every constant by which the fair rate moves, with its unit and its reason. `sim.rs` has a case that fails
//! where one of those far from here stands: without growth, decay, room above the limit, or credit that is
//! left alone between the two marks.

use std::time::Duration;

/// How often fair rates move. Senders react within a round trip or a timer of 200 ms, so more often would be
/// no better.
pub const INTERVAL: Duration = Duration::from_millis(50);

/// How a fair rate moves.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// With more credit than this (in bursts), somebody uses less than the fair rate, and the others
    /// may have more.
    pub unused: f64,
    /// With less, they use too much together. Those that keep to the fair rate leave a third.
    pub used_up: f64,
    /// By so much the fair rate grows in an [`INTERVAL`] while the limit is not used: by half in a second.
    /// Connections that are far away need a second or two until they carry what they may; a rate that has
    /// grown much by then is too high for all of them.
    pub growth: f64,
    /// By so much it shrinks in an [`INTERVAL`] while the limit is used up: it halves in half a second.
    pub decay: f64,
}

/// How fair rates move.
pub const TUNING: Tuning = Tuning {
    unused: 0.8,
    used_up: 0.15,
    growth: 1.02,
    decay: 0.94,
};

/// A fair download may be so many times the limit: round trips are longer than the one that the kernel
/// measured, by queues on the way or acknowledgements that are held back, and windows that much too small.
pub const MOST_DOWN: f64 = 2.0;

/// A fair upload is the limit at most: a pace is exact.
pub const MOST_UP: f64 = 1.0;

/// A line through points, and level beyond its ends.
pub type Curve = &'static [(f64, f64)];

/// What credit, in bursts, makes of an upload's pace. The limit counts packets, a pace counts payload, and how
/// far the two are apart depends on the sizes: so the credit grows while less is sent than allowed, and with
/// it the pace, until both agree with credit to spare. An empty bucket does not slow a pace down much: what
/// TCP hands over at once may empty a small one, and is waited for at the pace of that moment.
pub const PACE: Curve = &[(0.0, 0.8), (0.3, 0.965), (1.0, 1.04)];

/// The same of a download's window; more steeply, since windows are whole segments.
pub const WINDOW: Curve = &[(0.0, 0.4), (0.3, 0.92), (1.0, 1.06)];

/// The same of gates, which alone would leave a bucket in debt for ever.
pub const GATE: Curve = &[(-1.0, 0.88), (0.2, 1.0), (0.5, 1.0), (1.0, 1.08)];

/// How long a namespace lets windows shrink when a limit begins: until connections have received something
/// and acknowledged it, also those that lose what comes.
pub const SHRINKING: Duration = Duration::from_secs(1);

/// How often all sockets of limited processes' namespaces are passed over, for those that have come to a
/// process with a limit, or left it.
pub const PASS_INTERVAL: Duration = Duration::from_secs(1);

/// The same where the kernel calls our program for packets of connections only that were made under a limit
/// (before 6.12): the pass alone holds the others.
pub const FREQUENT_PASS_INTERVAL: Duration = Duration::from_millis(250);

/// What the reasons above rest on.
const _: () = {
    // A connection that has lost what came waits for its timer (`TCP_RTO_MIN`), twice, from 100 ms away.
    assert!(SHRINKING.as_millis() >= 2 * (200 + 100));
    // Who is held by the pass alone waits for less.
    assert!(2 * FREQUENT_PASS_INTERVAL.as_millis() <= PASS_INTERVAL.as_millis());
};
