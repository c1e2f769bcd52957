//! How often samples are taken: as often as the one who wants them most often, and hardly where nobody does.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::engine::Commands;

/// Between samples, where nobody says otherwise; and where a limit is set, whose end is found with them.
pub const SECOND: Duration = Duration::from_secs(1);

/// Between samples where nobody watches and nothing is limited: slots of processes that have ended are given back with
/// them, before all are in use.
pub const IDLE: Duration = Duration::from_secs(10);

/// Between samples at least: one looks at every process.
pub const SHORTEST: Duration = Duration::from_millis(10);

/// Who wants samples.
#[derive(Debug, Default)]
pub struct Intervals(Mutex<Wishes>);

#[derive(Debug, Default)]
struct Wishes {
    /// How many want them at which interval.
    watching: BTreeMap<Duration, usize>,
    /// Whether there are limits.
    limits: bool,
}

/// Somebody who wants samples. Dropping it ends that.
#[derive(Debug)]
pub struct Wanted<'a> {
    intervals: &'a Intervals,
    interval: Duration,
    engine: &'a Commands,
}

impl Intervals {
    /// Has samples taken at that interval, or a shorter one.
    pub fn want<'a>(&'a self, interval: Duration, engine: &'a Commands) -> Wanted<'a> {
        self.change(engine, |wishes| {
            *wishes.watching.entry(interval).or_default() += 1;
        });
        Wanted {
            intervals: self,
            interval,
            engine,
        }
    }

    /// Has samples taken that show when limits end, or no longer.
    pub fn for_limits(&self, limits: bool, engine: &Commands) {
        self.change(engine, |wishes| wishes.limits = limits);
    }

    fn change(&self, engine: &Commands, change: impl FnOnce(&mut Wishes)) {
        let mut wishes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut wishes);
        let watching = wishes.watching.keys().next().copied();
        let limits = wishes.limits.then_some(SECOND);
        let shortest = watching.into_iter().chain(limits).chain([IDLE]).min();
        // The engine knows whether it is another one.
        engine.set_interval(shortest.unwrap_or(IDLE));
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.intervals.change(self.engine, |wishes| {
            if let Some(count) = wishes.watching.get_mut(&self.interval) {
                *count -= 1;
                if *count == 0 {
                    wishes.watching.remove(&self.interval);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Command;
    use tokio::sync::mpsc;

    #[test]
    fn the_shortest_that_is_wanted_is_taken_and_a_long_one_when_nobody_wants_any() {
        let (running, mut commands) = mpsc::unbounded_channel();
        let engine = Commands::to(&running);
        let mut interval = move || match commands.try_recv() {
            Ok(Command::SetInterval { interval }) => interval.as_millis(),
            other => panic!("{other:?}"),
        };
        let intervals = Intervals::default();
        let want = |ms| intervals.want(Duration::from_millis(ms), &engine);
        let slow = want(5_000);
        assert_eq!(interval(), 5_000);
        let quick = want(10);
        assert_eq!(interval(), 10);
        let as_quick = want(10);
        assert_eq!(interval(), 10);
        drop(quick);
        assert_eq!(interval(), 10, "another one wants it");
        drop(as_quick);
        assert_eq!(interval(), 5_000);
        intervals.for_limits(true, &engine);
        assert_eq!(interval(), 1_000);
        drop(slow);
        assert_eq!(interval(), 1_000);
        intervals.for_limits(false, &engine);
        assert_eq!(interval(), 10_000);
        let hardly_ever = want(u64::MAX);
        assert_eq!(interval(), 10_000);
        drop(hardly_ever);
    }
}
