//! How many TCP connections share a limit, as the kernel programs count them.

use chadthrottle_common::{abi::Crowd, connection::epoch};

/// Connections that use a good part of what they may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Downloads.
    pub down: u64,
    /// Uploads.
    pub up: u64,
    /// Downloads that pause where they have used their share up.
    pub pausing: u64,
}

impl Connections {
    fn of(crowd: &Crowd, epoch: u64) -> Self {
        let parity = usize::from(epoch % 2 == 1);
        let count = |counters: &[chadthrottle_common::sys::Shared; 2]| {
            counters.get(parity).map_or(0, |counter| counter.get())
        };
        Self {
            down: count(&crowd.down),
            up: count(&crowd.up),
            pausing: count(&crowd.pausing),
        }
    }

    fn max(self, other: Self) -> Self {
        Self {
            down: self.down.max(other.down),
            up: self.up.max(other.up),
            pausing: self.pausing.max(other.pausing),
        }
    }
}

/// The count of a limit, from epoch to epoch.
#[derive(Debug, Default)]
pub struct Count {
    epoch: u64,
    /// In the epoch that is over.
    last: Connections,
    latest: Connections,
}

impl Count {
    /// As last taken.
    pub fn connections(&self) -> Connections {
        self.latest
    }

    /// Takes it, at `now` (nanoseconds, monotonic).
    pub fn take(&mut self, crowd: &Crowd, now: u64) -> Connections {
        let this = epoch(now);
        if this != self.epoch {
            self.last = if this == self.epoch + 1 {
                Connections::of(crowd, self.epoch)
            } else {
                Connections::default()
            };
            // It counts the next one.
            let parity = usize::from(this % 2 == 0);
            for counters in [&crowd.down, &crowd.up, &crowd.pausing] {
                if let Some(counter) = counters.get(parity) {
                    counter.set(0);
                }
            }
            self.epoch = this;
        }
        self.latest = Connections::of(crowd, this).max(self.last);
        self.latest
    }
}
