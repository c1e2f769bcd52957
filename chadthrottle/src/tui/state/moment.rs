//! The moment that graphs mark and rates are told of.

use super::State;
use crate::tui::history::SAMPLES;

impl State {
    /// How many samples ago it was; `None`: it is now.
    pub fn age(&self) -> Option<usize> {
        self.history.age_of(self.moment?)
    }

    /// Marks a moment; the newest one is now.
    pub fn mark(&mut self, moment: usize) {
        self.moment = Some(moment).filter(|moment| moment + 1 < self.history.samples);
    }

    /// Marks a moment a sixtieth of the span before or after the one that is marked, or after now no other.
    pub fn step_in_time(&mut self, steps: isize) {
        let samples = self.history.samples;
        let Some(newest) = samples.checked_sub(1) else {
            return;
        };
        let step = isize::try_from(self.span.samples() / 60).unwrap_or(1);
        let moment = self.moment.unwrap_or(newest);
        let moment = moment.saturating_add_signed(steps * step);
        self.mark(moment.max(samples.saturating_sub(SAMPLES)));
    }
}
