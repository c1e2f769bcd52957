//! The fair rate of a limit in one direction: what one connection may have.
//!
//! Who needs less uses less; the rate grows until the sum is the limit. That is max-min sharing, and takes no
//! knowledge of any single connection: only how many there are, and how much of the limit they leave.

use super::tuning::{Curve, Tuning};

/// A limit in one direction at one look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The limit, in bytes a second.
    pub limit: f64,
    /// So many times the limit is the most that one connection may have.
    pub most: f64,
    /// Of its bucket, as from [`chadthrottle_common::policer::Bucket::credit`].
    pub credit: f64,
    /// How many connections use a good part of the fair rate.
    pub connections: u64,
}

/// How the fair rate of one direction moves.
#[derive(Clone, Debug, Default)]
pub struct FairRate {
    /// Bytes a second; 0: nobody has looked yet.
    rate: f64,
    connections: u64,
}

impl FairRate {
    /// Where it is, in bytes a second.
    #[cfg(test)]
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Takes in a look, and gives the rate, in bytes a second.
    pub fn follow(&mut self, look: Look, tuning: &Tuning) -> f64 {
        let connections = look.connections.max(1);
        let equal = look.limit / connections as f64;
        let most = look.limit * look.most;
        if self.rate == 0.0 {
            *self = Self {
                rate: equal,
                connections,
            };
            return equal;
        }
        // Who has just come shares from the first look on.
        if connections > self.connections {
            self.rate *= self.connections as f64 / connections as f64;
        }
        self.connections = connections;
        if look.credit > tuning.unused {
            self.rate *= tuning.growth;
        } else if look.credit < tuning.used_up {
            self.rate *= tuning.decay;
        }
        self.rate = self.rate.clamp(equal, most.max(equal));
        self.rate
    }
}

/// The value of a curve.
pub fn at(curve: Curve, x: f64) -> f64 {
    let Some(&(first_x, first_y)) = curve.first() else {
        return x;
    };
    if x <= first_x {
        return first_y;
    }
    for pair in curve.windows(2) {
        if let &[(from_x, from_y), (to_x, to_y)] = pair
            && x <= to_x
        {
            return from_y + (to_y - from_y) * (x - from_x) / (to_x - from_x);
        }
    }
    curve.last().map_or(x, |(_, y)| *y)
}
