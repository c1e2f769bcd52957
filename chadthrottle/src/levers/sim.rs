//! Fair rates before made-up senders, in virtual time: the policer is the real one.

use chadthrottle_common::{
    policer::{Bucket, Verdict},
    scope::Scope,
};

use super::{
    fair_rate::{FairRate, Look, at},
    tuning::{self, Curve, INTERVAL, MOST_DOWN, MOST_UP, TUNING, Tuning},
};

const SECOND: u64 = 1_000_000_000;
const BURST_NS: u64 = 250_000_000;
const STEP_NS: u64 = 1_000_000;
const PAYLOAD: f64 = 1_448.0;
const PACKET: u64 = 1_500;

/// How a sender is held.
#[derive(Clone, Copy, Debug)]
enum Held {
    /// It paces itself.
    Paced,
    /// It sends whole segments, as many as its window holds, each round trip of so many seconds; the window is
    /// made for one of so many.
    Windowed { round_trip: f64, thought: f64 },
    /// It comes in pulses: it rests for so many seconds where it has used its share up.
    Pulsed { rest: f64 },
}

/// A connection.
#[derive(Clone, Debug)]
struct Sender {
    held: Held,
    /// What it would carry, in bytes a second.
    need: f64,
    /// Payload that it may send by now, in bytes.
    ready: f64,
    /// When its round trip, or its rest, is over, in seconds.
    waits: f64,
    /// Of a pulsed one: payload over its share.
    owed: f64,
    carried: f64,
    refused: f64,
}

impl Sender {
    fn new(held: Held, need: f64) -> Self {
        Self {
            held,
            need,
            ready: 0.0,
            waits: 0.0,
            owed: 0.0,
            carried: 0.0,
            refused: 0.0,
        }
    }

    /// How many segments it sends in a step that ends at `now`, in seconds.
    fn send(&mut self, now: f64, rate: f64) -> u32 {
        let step = STEP_NS as f64 / 1e9;
        match self.held {
            Held::Paced => self.ready += rate.min(self.need) * step,
            Held::Windowed {
                round_trip,
                thought,
            } => {
                if now >= self.waits {
                    self.waits = now + round_trip;
                    let window = (rate * thought).max(PAYLOAD).min(self.need * round_trip);
                    self.ready = (window / PAYLOAD).floor() * PAYLOAD;
                }
            }
            Held::Pulsed { rest } => {
                self.owed = (self.owed - rate * step).max(-rate / 2.0);
                if now >= self.waits {
                    // It is near: it could bring much more.
                    self.ready = 4.0 * PAYLOAD;
                    self.owed += self.ready;
                    if self.owed > 0.0 {
                        self.waits = now + rest;
                    }
                }
            }
        }
        let segments = (self.ready / PAYLOAD).floor();
        self.ready -= segments * PAYLOAD;
        segments as u32
    }
}

/// A limit with its senders.
struct World {
    bucket: Bucket,
    limit: f64,
    most: f64,
    curve: Curve,
    tuning: Tuning,
    fair: FairRate,
    rate: f64,
    now_ns: u64,
    senders: Vec<Sender>,
    /// What each had carried half a second ago.
    before: Vec<f64>,
    connections: u64,
    /// The highest fair rate of all, in bytes a second.
    highest: f64,
}

impl World {
    fn new(limit: f64, most: f64, curve: Curve, senders: Vec<Sender>) -> Self {
        let bucket = Bucket::default();
        bucket.configure(Some(limit as u64), BURST_NS, Scope::ALL);
        let connections = senders.len() as u64;
        let before = vec![0.0; senders.len()];
        Self {
            bucket,
            limit,
            most,
            curve,
            tuning: TUNING,
            fair: FairRate::default(),
            rate: limit,
            now_ns: SECOND,
            senders,
            before,
            connections,
            highest: 0.0,
        }
    }

    fn up(limit: f64, senders: Vec<Sender>) -> Self {
        Self::new(limit, MOST_UP, tuning::PACE, senders)
    }

    /// Goes on for so many seconds. Gives what was carried, over the limit, and the part that was refused.
    fn run(&mut self, seconds: f64) -> (f64, f64) {
        for sender in &mut self.senders {
            (sender.carried, sender.refused) = (0.0, 0.0);
        }
        self.before = vec![0.0; self.senders.len()];
        let end = self.now_ns + (seconds * 1e9) as u64;
        while self.now_ns < end {
            self.now_ns += STEP_NS;
            if self.now_ns.is_multiple_of(INTERVAL.as_nanos() as u64) {
                self.look();
            }
            let now = self.now_ns as f64 / 1e9;
            for sender in &mut self.senders {
                for _ in 0..sender.send(now, self.rate) {
                    if self.bucket.verdict(self.now_ns) == Verdict::Drop {
                        sender.refused += PAYLOAD;
                    } else {
                        self.bucket.charge(self.now_ns, PACKET);
                        sender.carried += PAYLOAD;
                    }
                }
            }
        }
        let sum = |part: fn(&Sender) -> f64| self.senders.iter().map(part).sum::<f64>();
        let (carried, refused) = (sum(|it| it.carried), sum(|it| it.refused));
        (
            carried * PACKET as f64 / PAYLOAD / seconds / self.limit,
            refused / (carried + refused),
        )
    }

    fn look(&mut self) {
        if self.now_ns.is_multiple_of(SECOND / 2) {
            let busy = self
                .senders
                .iter()
                .zip(&self.before)
                .filter(|(sender, before)| sender.carried - *before > self.rate / 16.0);
            self.connections = busy.count() as u64;
            self.before = self.senders.iter().map(|sender| sender.carried).collect();
        }
        let credit = self.bucket.credit(self.now_ns);
        let look = Look {
            limit: self.limit,
            most: self.most,
            credit,
            connections: self.connections,
        };
        let fair = self.fair.follow(look, &self.tuning);
        self.highest = self.highest.max(fair);
        self.rate = fair * at(self.curve, credit);
    }
}

fn greedy(held: Held, count: usize) -> Vec<Sender> {
    vec![Sender::new(held, f64::INFINITY); count]
}

#[test]
fn paced_senders_carry_the_limit_each_its_part_and_nothing_is_refused() {
    for (limit, count) in [(100e3, 1), (1e6, 1), (1e6, 8), (10e6, 50)] {
        let mut world = World::up(limit, greedy(Held::Paced, count));
        world.run(2.0);
        let (carried, refused) = world.run(10.0);
        assert!(
            (0.97..1.01).contains(&carried),
            "{limit}, {count}: {carried}"
        );
        assert_eq!(refused, 0.0, "{limit}, {count}");
        let parts = world.senders.iter().map(|sender| sender.carried);
        let (least, most) = parts.fold((f64::MAX, 0.0f64), |(least, most), part| {
            (least.min(part), most.max(part))
        });
        assert!(most < 1.1 * least, "{limit}, {count}: {least} to {most}");
    }
}

/// One that would carry everything, and seven that need a fortieth of the limit each.
fn one_of_eight(limit: f64) -> World {
    let mut senders = vec![Sender::new(Held::Paced, limit / 40.0); 8];
    senders[0].need = f64::INFINITY;
    World::up(limit, senders)
}

#[test]
fn who_needs_little_leaves_the_rest_to_the_others() {
    let mut world = one_of_eight(1e6);
    world.run(3.0);
    let (carried, _) = world.run(5.0);
    assert!(carried > 0.97, "{carried}");
    // It takes a rate that grows.
    let mut world = one_of_eight(1e6);
    world.tuning.growth = 1.0;
    world.connections = 8;
    world.run(3.0);
    let one = world.senders[0].carried / 3.0;
    assert!(one < 0.9 * 0.82 * 1e6, "{one}");
}

#[test]
fn when_all_want_more_the_fair_rate_is_down_within_a_second() {
    let mut world = one_of_eight(1e6);
    world.run(5.0);
    for sender in &mut world.senders {
        sender.need = f64::INFINITY;
    }
    // They are counted half a second later.
    world.connections = 8;
    world.run(1.5);
    let (_, refused) = world.run(3.0);
    assert!(refused < 0.02, "{refused}");
}

/// Of a limit that nobody uses, whoever comes first may have all, and no more.
#[test]
fn a_fair_upload_is_the_limit_at_most() {
    let highest = |most| {
        let resting = vec![Sender::new(Held::Paced, 1e3); 8];
        let mut world = World::new(1e6, most, tuning::PACE, resting);
        world.run(5.0);
        world.highest
    };
    assert_eq!(highest(MOST_UP), 1e6);
    assert!(highest(1.3) > 1e6);
}

/// How far a fair rate is above the limit a second after its only connection's way has become shorter.
fn a_second_after_a_shorter_way(tuning: Tuning) -> f64 {
    let away = |round_trip| Held::Windowed {
        round_trip,
        thought: 0.02,
    };
    let senders = greedy(away(0.035), 1);
    let mut world = World::new(1e6, MOST_DOWN, tuning::WINDOW, senders);
    world.tuning = tuning;
    world.run(6.0);
    world.senders[0].held = away(0.02);
    world.run(1.0);
    world.fair.rate() / 1e6
}

#[test]
fn a_fair_rate_that_is_too_high_comes_down() {
    let above = a_second_after_a_shorter_way(TUNING);
    assert!(above < 1.6, "{above}");
    for without in [
        Tuning {
            decay: 1.0,
            ..TUNING
        },
        Tuning {
            used_up: -9.0,
            ..TUNING
        },
    ] {
        let above = a_second_after_a_shorter_way(without);
        assert!(above > 1.8, "{without:?}: {above}");
    }
}

/// The highest fair rate of eight at 1 MB/s in ten seconds, as a part of an equal share.
fn highest_share(mut world: World) -> f64 {
    world.run(10.0);
    world.highest / (1e6 / 8.0)
}

/// Those that keep to the fair rate leave a third of the burst: that is no sign that it is too low.
#[test]
fn a_fair_rate_that_is_right_stays() {
    let highest = |unused| {
        let mut world = World::up(1e6, greedy(Held::Paced, 8));
        world.tuning.unused = unused;
        highest_share(world)
    };
    let steady = highest(TUNING.unused);
    assert!(steady < 1.03, "{steady}");
    let restless = highest(0.2);
    assert!(restless > 1.08, "{restless}");
}

#[test]
fn far_windows_of_whole_segments_add_up_to_the_limit() {
    for (limit, count, round_trip) in [
        (100e3, 1, 0.02),
        (1e6, 1, 0.1),
        (1e6, 8, 0.1),
        (10e6, 8, 0.02),
    ] {
        let held = Held::Windowed {
            round_trip,
            thought: round_trip,
        };
        let mut world = World::new(limit, MOST_DOWN, tuning::WINDOW, greedy(held, count));
        world.run(3.0);
        let (carried, refused) = world.run(10.0);
        assert!(
            (0.95..1.01).contains(&carried),
            "{limit}, {count}, {round_trip}: {carried}"
        );
        assert!(refused < 0.02, "{limit}, {count}, {round_trip}: {refused}");
    }
}

#[test]
fn a_round_trip_that_is_longer_than_it_was_measured_is_made_up_for() {
    let held = Held::Windowed {
        round_trip: 0.035,
        thought: 0.02,
    };
    let run = |most| {
        let mut world = World::new(1e6, most, tuning::WINDOW, greedy(held, 1));
        world.run(3.0);
        world.run(10.0).0
    };
    let carried = run(MOST_DOWN);
    assert!((0.95..1.01).contains(&carried), "{carried}");
    let without = run(1.0);
    assert!(without < 0.7, "{without}");
}

#[test]
fn pulses_do_not_look_like_a_limit_that_is_not_used() {
    let highest = |growth| {
        let senders = greedy(Held::Pulsed { rest: 0.208 }, 8);
        let mut world = World::new(1e6, MOST_DOWN, tuning::GATE, senders);
        world.tuning.growth = growth;
        highest_share(world)
    };
    let steady = highest(TUNING.growth);
    assert!(steady < 1.3, "{steady}");
    let hasty = highest(1.3);
    assert!(hasty > 1.6, "{hasty}");
}

#[test]
fn curves_are_lines_through_their_points() {
    for curve in [tuning::PACE, tuning::WINDOW, tuning::GATE] {
        for (x, y) in curve {
            assert_eq!(at(curve, *x), *y);
        }
        let (first, last) = (curve[0], curve[curve.len() - 1]);
        assert_eq!(at(curve, first.0 - 5.0), first.1);
        assert_eq!(at(curve, last.0 + 5.0), last.1);
        assert!(curve.windows(2).all(|pair| pair[0].1 <= pair[1].1));
    }
    let half = at(&[(0.0, 1.0), (1.0, 3.0)], 0.5);
    assert_eq!(half, 2.0);
}
