//! How often samples are taken: as often as the one who wants them most often.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::engine::Commands;

/// Between samples, where nobody says otherwise: limits that have ended are found with them.
pub const SECOND: Duration = Duration::from_secs(1);

/// How many want samples at which interval.
#[derive(Debug, Default)]
pub struct Intervals(Mutex<BTreeMap<Duration, usize>>);

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
        self.change(engine, |wanted| *wanted.entry(interval).or_default() += 1);
        Wanted {
            intervals: self,
            interval,
            engine,
        }
    }

    fn change(&self, engine: &Commands, change: impl FnOnce(&mut BTreeMap<Duration, usize>)) {
        let mut wanted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut wanted);
        let shortest = wanted.keys().next().copied();
        // The engine knows whether it is another one.
        engine.set_interval(shortest.unwrap_or(SECOND));
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.intervals.change(self.engine, |wanted| {
            if let Some(count) = wanted.get_mut(&self.interval) {
                *count -= 1;
                if *count == 0 {
                    wanted.remove(&self.interval);
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
    fn the_shortest_that_is_wanted_is_taken_and_a_second_when_nobody_wants_any() {
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
        drop(slow);
        assert_eq!(interval(), 1_000);
    }
}
