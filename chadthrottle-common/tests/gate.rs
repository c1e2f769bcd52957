//! Gates as they run in the kernel, before made-up senders that wait as Linux does.

use chadthrottle_common::{
    gate::{CLOSES, FAIR, Gate, SLOW, SLOW_DEBT_NS, TURNS},
    policer::ns_per_byte,
};

const SECOND: u64 = 1_000_000_000;
const SEGMENT: u64 = 1_500;
/// What fills a closed window, with its headers.
const PROBE: u64 = 1_332;
/// A sender's shortest timer, as it is rounded.
const TIMER_NS: u64 = 208_000_000;
const PROBE_NS: u64 = 4_000_000;
const ROUND_TRIP_NS: u64 = 80_000;

fn gate(share: u64, mode: u64) -> Gate {
    let gate = Gate::default();
    gate.ns_per_byte.set(ns_per_byte(share));
    gate.tat_ns.set(SECOND);
    gate.mode.set(mode);
    gate
}

/// What a sender brings through a gate in each of twenty seconds, and how many packets it loses.
///
/// It sends a segment a round trip. Where the acknowledgement closes the window it waits for its
/// timer; where a segment is refused it probes for a lost tail soon, and when that is lost too, waits
/// for its timer.
fn send(gate: &Gate) -> (Vec<u64>, u64) {
    let (mut seconds, mut lost, mut in_a_row) = (vec![0; 20], 0, 0);
    let mut now = SECOND;
    while let Some(second) = seconds.get_mut((now / SECOND) as usize - 1) {
        if gate.refuses(now, now) {
            lost += 1;
            in_a_row += 1;
            now += if in_a_row == 1 { PROBE_NS } else { TIMER_NS };
            continue;
        }
        in_a_row = 0;
        gate.charge(now, SEGMENT);
        *second += SEGMENT;
        now += if gate.is_closed(now) {
            TIMER_NS
        } else {
            ROUND_TRIP_NS
        };
    }
    (seconds, lost)
}

fn ratio(seconds: &[u64], share: u64) -> f64 {
    seconds.iter().sum::<u64>() as f64 / (seconds.len() as u64 * share) as f64
}

#[test]
fn closing_the_window_holds_a_share_and_loses_nothing() {
    for share in [20_000, 125_000, 1_000_000] {
        let gate = gate(share, CLOSES);
        let (seconds, lost) = send(&gate);
        let ratio = ratio(&seconds, share);
        assert!((0.97..1.02).contains(&ratio), "{share} B/s: {ratio}");
        assert_eq!(lost, 0, "{share} B/s");
    }
}

/// What a sender brings in a hundred seconds to whom the window is closed, and how many packets it
/// loses: it asks each time its timer ends, which doubles while packets are lost.
fn ask(gate: &Gate) -> (u64, u64) {
    let (mut passed, mut lost, mut in_a_row) = (0, 0, 0);
    let mut now = SECOND;
    while now < 101 * SECOND {
        if gate.refuses(now, now) {
            lost += 1;
            now += TIMER_NS << in_a_row;
            in_a_row += 1;
        } else {
            in_a_row = 0;
            gate.charge(now, PROBE);
            passed += PROBE;
            now += TIMER_NS;
        }
    }
    (passed, lost)
}

#[test]
fn a_slow_share_is_held_with_refusals_in_a_row() {
    for share in [2_000, 2_500, 3_500, 5_000] {
        let gate = gate(share, CLOSES | SLOW);
        let (passed, lost) = ask(&gate);
        let ratio = passed as f64 / (100 * share) as f64;
        assert!((0.95..1.08).contains(&ratio), "{share} B/s: {ratio}");
        // Refused one by one, more than half would be lost.
        assert!(lost * PROBE < passed, "{share} B/s: {lost} lost");
    }
    // Whose share is as much as it brings loses nothing.
    let (_, lost) = ask(&gate(6_500, CLOSES | SLOW));
    assert_eq!(lost, 0);
}

#[test]
fn who_owes_something_leaves_what_is_left_to_the_others() {
    let owed_ns = PROBE * SECOND / 2_500;
    let gate = gate(2_500, CLOSES | SLOW);
    assert!(gate.is_closed(SECOND));
    assert!(!gate.refuses(SECOND, SECOND + 1));
    gate.charge(SECOND, PROBE);
    assert!(!gate.refuses(SECOND, SECOND), "it owes little");
    assert!(gate.refuses(SECOND, SECOND + 1), "there is not enough");
    let paid = SECOND + owed_ns;
    assert!(gate.refuses(paid - 10_000, paid), "until it is paid");
    assert!(!gate.refuses(paid - 10_000, SECOND / 2), "nobody else asks");
    assert!(!gate.refuses(paid + 10_000, paid + SECOND));
}

#[test]
fn who_owes_much_pauses_as_long_as_its_sender_may_wait() {
    let gate = gate(2_500, CLOSES | SLOW);
    for _ in 0..4 {
        assert!(!gate.refuses(SECOND, SECOND));
        gate.charge(SECOND, PROBE);
    }
    assert!(!gate.refuses(SECOND, SECOND), "2.1 seconds");
    gate.charge(SECOND, PROBE);
    // Where the sender asks again after 0.21, 0.62 and 1.46 seconds.
    for after in [0, TIMER_NS, 3 * TIMER_NS] {
        assert!(gate.refuses(SECOND + after, SECOND + after));
    }
    assert!(!gate.refuses(SECOND + 7 * TIMER_NS, SECOND + 7 * TIMER_NS));
}

#[test]
fn who_has_had_its_share_is_refused_what_the_limit_has_to_refuse() {
    let gate = gate(2_500, FAIR);
    assert!(gate.tolerates() && !gate.closes() && !gate.is_closed(SECOND));
    assert!(!gate.refuses(SECOND, 2 * SECOND), "it owes nothing");
    gate.charge(SECOND, SEGMENT);
    assert!(gate.refuses(SECOND, SECOND + 1));
    assert!(!gate.refuses(SECOND, SECOND), "nobody else wants it");
    // It has had all for a while, and the others come back.
    for _ in 0..1_000 {
        gate.charge(SECOND, SEGMENT);
    }
    let soon = SECOND + 550_000_000;
    assert!(gate.refuses(soon, soon + 1));
    let later = SECOND + 650_000_000;
    assert!(!gate.refuses(later, later + 1));
}

#[test]
fn in_turns_each_second_brings_the_same() {
    for mode in [CLOSES | TURNS, TURNS] {
        for share in [500_000, 1_000_000, 10_000_000] {
            let gate = gate(share, mode);
            let (seconds, lost) = send(&gate);
            let ratio = ratio(&seconds, share);
            assert!((0.93..1.02).contains(&ratio), "{share} B/s: {ratio}");
            let sent = seconds.iter().sum::<u64>() / SEGMENT;
            assert!(lost * 8 < sent, "{share} B/s: {lost} of {sent}");
            for second in &seconds[1..] {
                let part = *second as f64 / share as f64;
                assert!((0.88..1.08).contains(&part), "{share} B/s: {seconds:?}");
            }
        }
    }
}

#[test]
fn nobody_gets_more_than_the_share_with_a_burst_and_a_debt() {
    for mode in [CLOSES, CLOSES | TURNS, TURNS, CLOSES | SLOW] {
        for (share, len) in [(20_000, 1_500), (1_000_000, 64), (10_000_000, 65_536)] {
            let gate = gate(share, mode);
            let mut passed = 0;
            // Who does not care for windows, and sends four times the share.
            for index in 0..40_000u64 {
                let now = SECOND + index * len * SECOND / (4 * share);
                if !gate.refuses(now, now) {
                    gate.charge(now, len);
                    passed += len;
                }
            }
            let lasts = 10_000 * len;
            let debt = if mode & SLOW != 0 {
                share * SLOW_DEBT_NS / SECOND
            } else {
                share / 4
            };
            let bound = lasts + share / 2 + debt + 2 * len;
            assert!(passed <= bound, "{share} B/s, {mode}: {passed} of {lasts}");
        }
    }
}

#[test]
fn a_gate_that_is_not_set_lets_all_pass() {
    let gate = Gate::default();
    assert!(!gate.refuses(SECOND, SECOND) && !gate.is_closed(SECOND) && !gate.closes());
    let gate = self::gate(1_000, CLOSES);
    gate.charge(SECOND, 65_536);
    assert!(gate.is_closed(SECOND) && gate.refuses(SECOND, SECOND));
    gate.unset();
    assert!(!gate.refuses(SECOND, SECOND) && !gate.is_closed(SECOND));
}

#[test]
fn the_first_pause_waits_for_its_instant() {
    let gate = gate(1_000, CLOSES);
    gate.pause_ns.set(2 * SECOND);
    gate.charge(SECOND, 65_536);
    assert!(!gate.is_closed(SECOND) && gate.refuses(SECOND, SECOND));
    assert!(gate.is_closed(2 * SECOND));
}

#[test]
fn refusing_begins_a_pause_also_where_the_limit_is_used_up_before_the_share() {
    let gate = gate(1_000_000, TURNS);
    assert!(!gate.refuses(SECOND, SECOND));
    assert!(gate.refuses(SECOND, SECOND + 1));
    // The limit has room again, and the pause goes on to its end.
    assert!(gate.refuses(SECOND + 100_000_000, SECOND + 100_000_000));
    assert!(!gate.refuses(SECOND + 200_000_000, SECOND + 200_000_000));
    // Where it closes windows, what is on its way passes.
    let gate = self::gate(1_000_000, CLOSES);
    assert!(!gate.refuses(SECOND, SECOND + 1));
}
