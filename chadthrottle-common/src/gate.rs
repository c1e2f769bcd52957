//! Gates: downloads in pulses, where no window is small enough for their rate.
//!
//! A sender fills a window of at least one segment once a round trip, so a near one is too fast
//! with any window, and the policer would waste what comes too much. A gate is a token bucket of one
//! connection, for the fair rate, that stops the connection where it has used it up. Two ways stop a
//! sender for the fifth of a second that its shortest timer lasts:
//!
//! - *Closing the window*: an acknowledgement offers less than a segment. The sender waits for its
//!   probe timer, and nothing is lost. It takes small enough units of the window, and a connection that does not
//!   send steadily itself: each acknowledgement winds the timer up again (`tcp_ack_probe`), and until something
//!   comes the window stays as it is (`tcp_grow_window`). A connection that begins to send then is hushed, until the
//!   timer has gone off.
//! - *Refusing all*: a few packets are lost, and the sender waits for its retransmission timer.
//!
//! Where the window does it, or neither way is open, a gate sees to it that what the limit has to refuse
//! is that of connections that have had their share: by luck alone one of eight takes everything, while
//! the others wait for timers that double with each packet they lose.
//!
//! What is refused is so in turns of a quarter of a second, so that each second brings the same number of pulses.

use crate::{
    kernel::LEAST_GROWING,
    policer::charge,
    sys::Shared,
    tuning::gate::{
        BURST_NS, FAIR_DEBT_NS, LATEST_PAUSE_NS, LIMIT_DEBT_NS, LONG_STOP_NS, LONG_STOPS,
        MAX_DEBT_NS, MOST_HUSHES, PAUSE_END_NS, QUIET_NS, QUIET_ROUND_TRIPS, STEADY, TURN_NS,
    },
};

/// How a connection is kept to the fair rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Mode {
    /// By nothing.
    Open = 0,
    /// By its window; the gate refuses what the limit has to refuse.
    Fair = 1,
    /// By closing its window when it has to.
    Closing = 2,
    /// By refusing all for a while, at the start of a turn.
    Refusing = 3,
}

impl Mode {
    #[inline(always)]
    const fn of(word: u64) -> Self {
        match word {
            1 => Self::Fair,
            2 => Self::Closing,
            3 => Self::Refusing,
            _ => Self::Open,
        }
    }

    /// Whether the connection comes in pulses.
    #[inline(always)]
    pub const fn pauses(self) -> bool {
        matches!(self, Self::Closing | Self::Refusing)
    }
}

/// The gate of a connection. Acknowledgements and packets that arrive meet it on different CPUs.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Gate {
    /// [`Mode`]
    mode: Shared,
    /// The theoretical arrival time, in nanoseconds of the monotonic clock.
    tat_ns: Shared,
    /// Where all is refused for a while: until when, in nanoseconds of the monotonic clock.
    pause_ns: Shared,
    /// Since when the window is closed and nothing has come, in nanoseconds of the monotonic clock; 0: it is open.
    closed_ns: Shared,
    /// How many stops in a row were long.
    long_stops: Shared,
    /// How many segments with data the connection has sent.
    sent: Shared,
    /// When that was last seen to have changed, in nanoseconds of the monotonic clock.
    sent_ns: Shared,
    /// How often in a row it has changed before the timer of the other end could go off.
    sent_in_a_row: Shared,
    /// While nothing has come that makes the closed window grow: with how many segments sent the other end has to be
    /// left alone; 0: something has come.
    awaited: Shared,
    /// How often it was, until the window grew.
    hushes: Shared,
}

/// How long the other end takes to ask again for room, in nanoseconds.
#[inline(always)]
pub const fn quiet_ns(round_trip_us: u64) -> u64 {
    QUIET_NS + QUIET_ROUND_TRIPS * round_trip_us * 1_000
}

impl Gate {
    /// How the connection is kept to the fair rate.
    #[inline(always)]
    pub fn mode(&self) -> Mode {
        Mode::of(self.mode.get())
    }

    /// Keeps it so from now on.
    #[inline(always)]
    pub fn set_mode(&self, mode: Mode) {
        if self.mode.get() != mode as u64 {
            self.mode.set(mode as u64);
        }
    }

    /// Notes at `now` (nanoseconds, monotonic) how many segments with data the connection has sent by then.
    #[inline(always)]
    pub fn note_sent(&self, now: u64, segments: u64, round_trip_us: u64) {
        if self.sent.get() == segments {
            return;
        }
        let since = now.saturating_sub(self.sent_ns.get());
        self.sent_in_a_row.set(if since < quiet_ns(round_trip_us) {
            self.sent_in_a_row.get() + 1
        } else {
            0
        });
        self.sent.set(segments);
        self.sent_ns.set(now);
    }

    /// Whether the other end starts again soon after its window is closed at `now` (nanoseconds, monotonic).
    #[inline(always)]
    pub fn may_close(&self, now: u64, round_trip_us: u64) -> bool {
        let since = now.saturating_sub(self.sent_ns.get());
        let sends_steadily = self.sent_in_a_row.get() >= STEADY && since < quiet_ns(round_trip_us);
        self.long_stops.get() < LONG_STOPS && !sends_steadily
    }

    /// Whether a window was closed, and nothing has come since.
    #[inline(always)]
    pub fn awaits(&self) -> bool {
        self.awaited.get() != 0
    }

    /// Whether the connection, of which a packet leaves, is to send nothing more for a while: it has sent since its
    /// window was closed, and the other end could not ask for room.
    #[inline(always)]
    pub fn hushes(&self) -> bool {
        let (awaited, sent) = (self.awaited.get(), self.sent.get());
        if awaited == 0 || sent < awaited {
            return false;
        }
        let hushes = self.hushes.get() + 1;
        self.hushes.set(hushes);
        if hushes >= MOST_HUSHES {
            self.awaited.set(0);
        }
        true
    }

    /// Nothing has come while it was hushed: the other end has nothing to send.
    #[inline(always)]
    pub fn awaits_no_more(&self) {
        self.awaited.set(0);
        self.hushes.set(MOST_HUSHES);
    }

    /// Whether what it does not refuse passes also where the limit is used up, but not for long: what comes after
    /// a window was closed was on its way.
    #[inline(always)]
    pub fn tolerates(&self) -> bool {
        !matches!(self.mode(), Mode::Open)
    }

    /// Whether the connection has not had its share at `now` (nanoseconds, monotonic), or was asked for what comes
    /// before its window closed. It is not to wait for those that have had theirs: its sender's timer doubles with each
    /// packet that it loses.
    #[inline(always)]
    pub fn is_owed(&self, now: u64) -> bool {
        let owes_until = self.tat_ns.get();
        match self.mode() {
            Mode::Open => false,
            Mode::Closing => owes_until <= now + MAX_DEBT_NS,
            Mode::Fair | Mode::Refusing => owes_until <= now,
        }
    }

    /// Whether an acknowledgement that leaves at `now` closes the window: where the connection has had its share. One
    /// that is `young`, whose share nobody knows yet, also where the limit owes much. `limit_tat_ns` is the theoretical
    /// arrival time of the limit; both in nanoseconds of the monotonic clock.
    #[inline(always)]
    pub fn closes(&self, now: u64, limit_tat_ns: u64, young: bool) -> bool {
        let may_close = matches!(self.mode(), Mode::Closing);
        let tat = self.tat_ns.get();
        // Not before something has come: a sender that was never offered more has segments of half a closed window
        // (`tcp_bound_to_half_wnd`), two of which it lets through.
        let waits = may_close && young && tat != 0 && limit_tat_ns > now + LIMIT_DEBT_NS;
        if waits && tat < now {
            // What it could have had meanwhile the others have.
            self.tat_ns.set(now);
        }
        let closes = waits || may_close && tat > now;
        let since = self.closed_ns.get();
        // Again where something has come since: what was on its way when the window closed asks for no room.
        let asks_anew = closes && self.awaited.get() == 0 && self.hushes.get() < MOST_HUSHES;
        if asks_anew {
            self.awaited.set(self.sent.get() + 1);
        }
        if closes && (since == 0 || asks_anew) {
            self.closed_ns.set(now);
        } else if !closes && since != 0 {
            self.closed_ns.set(0);
            let is_long = now.saturating_sub(since) > LONG_STOP_NS;
            self.long_stops.set(if is_long {
                self.long_stops.get() + 1
            } else {
                0
            });
        }
        closes
    }

    /// Whether a packet that arrives at `now` is refused. `limit_tat_ns` is the theoretical arrival time
    /// of the limit that the connection has a share of; both in nanoseconds of the monotonic clock.
    #[inline(always)]
    pub fn refuses(&self, now: u64, limit_tat_ns: u64) -> bool {
        let tat = self.tat_ns.get();
        match self.mode() {
            Mode::Open => false,
            Mode::Fair => tat > now && limit_tat_ns > now,
            // What was on its way when the window closed is not lost.
            Mode::Closing => tat > now + MAX_DEBT_NS,
            Mode::Refusing => {
                if now < self.pause_ns.get() {
                    return true;
                }
                if tat <= now {
                    return false;
                }
                let turn = now % TURN_NS;
                if turn < LATEST_PAUSE_NS {
                    self.pause_ns.set(now - turn + PAUSE_END_NS);
                }
                true
            }
        }
    }

    /// Charges `len` bytes that arrived at `now` (nanoseconds, monotonic), at `ns_per_byte` as in
    /// [`crate::policer::Bucket::gate_ns_per_byte`].
    #[inline(always)]
    pub fn charge(&self, now: u64, len: u64, ns_per_byte: u64) {
        let mode = self.mode();
        if matches!(mode, Mode::Open) {
            return;
        }
        if len >= LEAST_GROWING {
            if self.awaited.get() != 0 || self.hushes.get() != 0 {
                self.awaited.set(0);
                self.hushes.set(0);
            }
        } else if self.awaited.get() != 0 {
            // The window is as small as before. Whoever is answered may ask once more.
            self.awaited.set(self.sent.get() + 2);
        }
        charge(&self.tat_ns, ns_per_byte, BURST_NS, now, len);
        if matches!(mode, Mode::Fair) && self.tat_ns.get() > now + FAIR_DEBT_NS {
            self.tat_ns.set(now + FAIR_DEBT_NS);
        }
    }
}
