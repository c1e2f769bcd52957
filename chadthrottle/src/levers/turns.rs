//! When the packets of slow uploads leave: in turn.
//!
//! Connections that start together and have the same share send their packets together ever after:
//! at a few kilobytes a second, seconds of one packet each and of two each. So each has a place of
//! its own in a cycle, which is the time in which each sends one packet, and its pace is off by as
//! much as brings it there.

/// Faster flows, in packets a second, are even enough by themselves, and send more than one packet
/// from one look to the next.
const FASTEST: f64 = 10.0;

/// What part of being late is made up for in the next gap. A pace that is set shows one or two
/// packets later (TCP takes a faster one at the next acknowledgement): with more than 0.6 it would
/// swing.
const GAIN: f64 = 0.4;

/// The cycle of the flows under one limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cycle {
    /// How many there have been.
    done: f64,
    /// How many there are in a second; 0: its flows need no turns.
    per_second: f64,
    /// How many flows have been given a place in it.
    places: u32,
}

impl Cycle {
    /// Goes on by so many seconds; from now on each flow sends so many packets a second.
    pub fn advance(&mut self, seconds: f64, packets_a_second: f64) {
        self.done += seconds * self.per_second;
        self.per_second = if packets_a_second <= FASTEST {
            packets_a_second
        } else {
            0.0
        };
    }

    /// A place for one flow more. However many there are, they are spread evenly (van der Corput's
    /// sequence).
    fn place(&mut self) -> f64 {
        let number = self.places;
        self.places += 1;
        f64::from(number.reverse_bits()) / (f64::from(u32::MAX) + 1.0)
    }
}

/// A flow's place in the cycle, and how it gets there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    place: Option<f64>,
    segments: u32,
    late: f64,
}

impl Turn {
    /// What to multiply the flow's pace by, at a look at which it has sent so many segments, the
    /// last one so many seconds ago.
    pub fn factor(&mut self, cycle: &mut Cycle, segments: u32, seconds_ago: f64) -> f64 {
        if cycle.per_second == 0.0 {
            return 1.0;
        }
        let place = *self.place.get_or_insert_with(|| cycle.place());
        if segments != self.segments {
            self.segments = segments;
            let late = cycle.done - seconds_ago * cycle.per_second - place;
            self.late = late - late.round();
        }
        1.0 + GAIN * self.late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK_S: f64 = 0.05;

    /// A connection that is paced as the kernel does it: the gap behind a packet is settled when it
    /// leaves, and a faster pace counts from the acknowledgement of the next one.
    struct Flow {
        turn: Turn,
        pace: f64,
        set: f64,
        sent: u32,
        last: f64,
        next: f64,
    }

    /// Flows that start together; gives when each has sent in the last three seconds of `seconds`.
    fn simulate(flows: usize, packets_a_second: f64, seconds: f64) -> Vec<f64> {
        let mut cycle = Cycle::default();
        let mut all: Vec<Flow> = (0..flows)
            .map(|_| Flow {
                turn: Turn::default(),
                pace: packets_a_second,
                set: packets_a_second,
                sent: 0,
                last: 0.0,
                next: 0.0,
            })
            .collect();
        let mut leaves = Vec::new();
        let looks = (seconds / LOOK_S) as u32;
        for look in 1..=looks {
            let now = f64::from(look) * LOOK_S;
            cycle.advance(LOOK_S, packets_a_second);
            for flow in &mut all {
                while flow.next <= now {
                    flow.last = flow.next;
                    flow.next += 1.0 / flow.pace;
                    flow.pace = flow.set;
                    flow.sent += 1;
                    leaves.push(flow.last);
                }
                let factor = flow.turn.factor(&mut cycle, flow.sent, now - flow.last);
                flow.set = packets_a_second * factor;
                flow.pace = flow.pace.min(flow.set);
            }
        }
        leaves.retain(|time| *time >= seconds - 3.0);
        leaves.sort_unstable_by(f64::total_cmp);
        leaves
    }

    #[test]
    fn connections_that_start_together_send_in_turn() {
        for flows in [2, 3, 8, 13] {
            let each = 14.0 / flows as f64;
            let leaves = simulate(flows, each, 20.0);
            let longest = leaves
                .windows(2)
                .map(|pair| pair[1] - pair[0])
                .fold(0.0, f64::max);
            // A fourteenth of a second would be even; van der Corput's gaps are up to twice as long.
            assert!(longest < 2.2 / 14.0, "{flows} flows: {longest} s");
            let rate = leaves.len() as f64 / 3.0;
            assert!((13.0..15.0).contains(&rate), "{flows} flows: {rate}");
        }
    }

    #[test]
    fn fast_flows_are_left_alone() {
        let mut cycle = Cycle::default();
        cycle.advance(LOOK_S, 2.0 * FASTEST);
        let mut turn = Turn::default();
        for segments in 0..10 {
            assert!((turn.factor(&mut cycle, segments, 0.01) - 1.0).abs() < 1e-9);
        }
    }
}
