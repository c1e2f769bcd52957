//! Gates as they run in the kernel, before made-up senders that wait as Linux does.

use chadthrottle_common::{
    gate::{Gate, Mode, quiet_ns},
    kernel::{LEAST_GROWING, SHORTEST_TIMER_NS},
    policer::ns_per_byte,
    tuning::gate::{MOST_HUSHES, QUIET_NS, STEADY},
};

const SECOND: u64 = 1_000_000_000;
const SEGMENT: u64 = 1_500;
/// A sender's shortest timer, as it is rounded.
const TIMER_NS: u64 = 208_000_000;
const PROBE_NS: u64 = 4_000_000;
const ROUND_TRIP_NS: u64 = 80_000;

/// A gate and what a byte costs at its share, as the bucket of the limit says.
struct Door {
    gate: Gate,
    ns_per_byte: u64,
}

impl Door {
    fn new(share: u64, mode: Mode) -> Self {
        let gate = Gate::default();
        gate.set_mode(mode);
        let door = Self {
            gate,
            ns_per_byte: ns_per_byte(share),
        };
        // Nothing saved: what half a second brings, in pieces.
        for _ in 0..share / 2_000 {
            door.charge(SECOND, 1_000);
        }
        door
    }

    fn charge(&self, now: u64, len: u64) {
        self.gate.charge(now, len, self.ns_per_byte);
    }

    fn refuses(&self, now: u64, limit_tat_ns: u64) -> bool {
        self.gate.refuses(now, limit_tat_ns)
    }
}

/// What a sender brings through a gate in each of twenty seconds, and how many packets it loses.
///
/// It sends a segment a round trip. Where the acknowledgement closes the window it waits for its
/// timer; where a segment is refused it probes for a lost tail soon, and when that is lost too, waits
/// for its timer.
fn send(door: &Door) -> (Vec<u64>, u64) {
    let (mut seconds, mut lost, mut in_a_row) = (vec![0; 20], 0, 0);
    let mut now = SECOND;
    while let Some(second) = seconds.get_mut((now / SECOND) as usize - 1) {
        if door.refuses(now, now) {
            lost += 1;
            in_a_row += 1;
            now += if in_a_row == 1 { PROBE_NS } else { TIMER_NS };
            continue;
        }
        in_a_row = 0;
        door.charge(now, SEGMENT);
        *second += SEGMENT;
        now += if door.gate.closes(now, 0, false) {
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
        let (seconds, lost) = send(&Door::new(share, Mode::Closing));
        let ratio = ratio(&seconds, share);
        assert!((0.95..1.02).contains(&ratio), "{share} B/s: {ratio}");
        assert_eq!(lost, 0, "{share} B/s");
        for second in &seconds[1..] {
            let part = *second as f64 / share as f64;
            assert!((0.7..1.3).contains(&part), "{share} B/s: {seconds:?}");
        }
    }
}

/// Nobody knows yet of the others that begin a moment later: what is saved for all is not the first one's alone.
#[test]
fn who_begins_first_leaves_something_to_the_others() {
    const LIMIT: u64 = 100_000;
    let limit_ns = |bytes: u64| bytes * SECOND / LIMIT;
    // Its share is the whole limit, and half a second of that is saved.
    let gate = Gate::default();
    gate.set_mode(Mode::Closing);
    // Before it has anything it is asked for a segment, also where the limit owes much.
    assert!(!gate.closes(SECOND, 2 * SECOND, true));
    let mut limit_tat_ns = SECOND - SECOND / 4;
    while !gate.closes(SECOND, limit_tat_ns, true) {
        assert!(!gate.refuses(SECOND, limit_tat_ns));
        gate.charge(SECOND, SEGMENT, ns_per_byte(LIMIT));
        limit_tat_ns += limit_ns(SEGMENT);
    }
    let owes = limit_tat_ns - SECOND;
    let wanted = limit_ns(10_000)..limit_ns(15_000);
    assert!(wanted.contains(&owes), "{owes}");
    // Later its share is known, and it has that whatever others have taken, but not what it had to wait with.
    let later = SECOND + SECOND / 20;
    assert!(gate.closes(later, later + SECOND, true));
    assert!(!gate.closes(later, later + SECOND, false));
    gate.charge(later, SEGMENT, ns_per_byte(LIMIT));
    assert!(gate.closes(later, later + SECOND, false));
}

#[test]
fn refusing_brings_the_same_each_second() {
    for share in [500_000, 1_000_000, 10_000_000] {
        let (seconds, lost) = send(&Door::new(share, Mode::Refusing));
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

#[test]
fn who_has_had_its_share_is_refused_what_the_limit_has_to_refuse() {
    let door = Door::new(2_500, Mode::Fair);
    let now = 2 * SECOND;
    assert!(door.gate.tolerates() && !door.gate.closes(now, 0, false));
    assert!(!door.refuses(now, 2 * now), "it owes nothing");
    for _ in 0..2 {
        door.charge(now, SEGMENT);
    }
    assert!(door.refuses(now, now + 1));
    assert!(!door.refuses(now, now), "nobody else wants it");
    // It has had all for a while, and the others come back.
    for _ in 0..1_000 {
        door.charge(now, SEGMENT);
    }
    let soon = now + 550_000_000;
    assert!(door.refuses(soon, soon + 1));
    let later = now + 650_000_000;
    assert!(!door.refuses(later, later + 1));
}

#[test]
fn nobody_gets_more_than_the_share_with_a_burst_and_a_debt() {
    for mode in [Mode::Closing, Mode::Refusing] {
        for (share, len) in [(20_000, 1_500), (1_000_000, 64), (10_000_000, 65_536)] {
            let door = Door::new(share, mode);
            let mut passed = 0;
            // Who does not care for windows, and sends four times the share.
            for index in 0..40_000u64 {
                let now = SECOND + index * len * SECOND / (4 * share);
                if !door.refuses(now, now) {
                    door.charge(now, len);
                    passed += len;
                }
            }
            let lasts = 10_000 * len;
            let bound = lasts + share / 2 + share / 4 + 2 * len;
            assert!(
                passed <= bound,
                "{share} B/s, {mode:?}: {passed} of {lasts}"
            );
        }
    }
}

#[test]
fn an_open_gate_lets_all_pass_and_owes_nothing() {
    let door = Door::new(1_000, Mode::Open);
    door.charge(SECOND, 65_536);
    assert!(!door.refuses(SECOND, SECOND + 1) && !door.gate.closes(SECOND, 0, false));
    door.gate.set_mode(Mode::Closing);
    assert!(!door.gate.closes(SECOND, 0, false));
    door.charge(SECOND, 65_536);
    assert!(door.gate.closes(SECOND, 0, false) && door.refuses(SECOND, SECOND));
}

#[test]
fn a_sender_that_waits_long_after_pauses_is_given_no_more_of_them() {
    let door = Door::new(10_000, Mode::Closing);
    let stop = |at: u64, lasts: u64| {
        door.charge(at, 20_000);
        assert!(door.gate.closes(at, 0, false));
        assert!(!door.gate.closes(at + lasts, 0, false));
    };
    stop(10 * SECOND, 5 * SECOND);
    // At rest, once.
    stop(20 * SECOND, 5 * SECOND);
    assert!(!door.gate.may_close(0, 0));
    let door = Door::new(100_000, Mode::Closing);
    for (at, lasts) in [(10, 5 * SECOND), (20, SECOND / 2), (30, 5 * SECOND)] {
        door.charge(at * SECOND, 70_000);
        assert!(door.gate.closes(at * SECOND, 0, false));
        assert!(!door.gate.closes(at * SECOND + lasts, 0, false));
    }
    assert!(door.gate.may_close(0, 0), "a short one in between");
}

/// What the window alone holds is not held to wait, and keeps what it has saved.
#[test]
fn only_who_closes_windows_waits_for_what_the_limit_owes() {
    let gate = Gate::default();
    gate.set_mode(Mode::Fair);
    gate.charge(SECOND, SEGMENT, ns_per_byte(100_000));
    assert!(!gate.closes(SECOND, 2 * SECOND, true));
    gate.charge(SECOND, SEGMENT, ns_per_byte(100_000));
    assert!(gate.is_owed(SECOND));
}

/// The limit may owe so much that a young window stays closed for long: who asks meanwhile has not waited.
#[test]
fn a_window_that_stays_closed_for_others_has_not_stopped_its_sender_for_long() {
    let door = Door::new(10_000, Mode::Closing);
    for start in [10, 20, 30] {
        let until = (start + 3) * SECOND;
        let mut now = start * SECOND;
        while now < until {
            assert!(door.gate.closes(now, until + SECOND, true));
            now += TIMER_NS;
            door.charge(now, 1_280);
        }
        now += 2 * SECOND / 5;
        assert!(!door.gate.closes(now, now, true));
    }
    assert!(door.gate.may_close(0, 0));
}

#[test]
fn who_has_not_had_its_share_passes_also_where_the_limit_is_used_up() {
    let now = 2 * SECOND;
    for mode in [Mode::Fair, Mode::Closing, Mode::Refusing] {
        let door = Door::new(1_000_000, mode);
        assert!(!door.refuses(now, 2 * now) && door.gate.is_owed(now));
        for _ in 0..600 {
            door.charge(now, 1_000);
        }
        // What was on its way when its window closed was asked for.
        assert_eq!(door.gate.is_owed(now), mode == Mode::Closing, "{mode:?}");
        for _ in 0..200 {
            door.charge(now, 1_000);
        }
        assert!(!door.gate.is_owed(now), "{mode:?}");
    }
    assert!(!Door::new(1_000_000, Mode::Open).gate.is_owed(now));
}

#[test]
fn a_pause_of_refusals_goes_on_to_its_end() {
    let now = 2 * SECOND;
    let door = Door::new(1_000_000, Mode::Refusing);
    for _ in 0..550 {
        door.charge(now, 1_000);
    }
    assert!(door.refuses(now, now));
    // It owes nothing any more, but its sender is to wait for its timer.
    assert!(door.refuses(now + 100_000_000, now));
    assert!(!door.refuses(now + 200_000_000, now));
}

/// A pause that began late would last into the next turn: who owes something late in one is refused just that.
#[test]
fn a_pause_of_refusals_begins_early_in_a_turn_or_not_at_all() {
    const TURN: u64 = 8 * SECOND;
    let refused_at = |ms: u64| {
        let door = Door::new(1_000_000, Mode::Refusing);
        let now = TURN + ms * 1_000_000;
        // As much as it may, and 20 ms more.
        for _ in 0..520 {
            door.charge(now, 1_000);
        }
        assert!(door.refuses(now, now), "{ms} ms");
        // It owes nothing any more.
        door.refuses(now + 40_000_000, now)
    };
    assert!(refused_at(0) && refused_at(50));
    assert!(!refused_at(100) && !refused_at(130));
}

/// What a connection sends winds up the timer by which the other end asks for room, so one that sends steadily is not
/// closed, and one that begins to is hushed.
#[test]
fn a_connection_that_sends_steadily_is_not_closed() {
    let gate = Gate::default();
    let (mut now, mut sent) = (10 * SECOND, 0);
    let mut send = |after: u64| {
        now += after;
        sent += 1;
        gate.note_sent(now, sent, 0);
        (now, gate.may_close(now, 0))
    };
    // A request, and one now and then.
    for _ in 0..STEADY {
        assert!(send(SECOND / 10).1);
    }
    for _ in 0..10 {
        assert!(send(QUIET_NS).1);
    }
    for _ in 1..STEADY {
        assert!(send(QUIET_NS - 1).1);
    }
    let (last, may_close) = send(QUIET_NS - 1);
    assert!(!may_close);
    // Once it has stopped it may be, from far away after round trips.
    assert!(gate.may_close(last + QUIET_NS, 0));
    assert!(!gate.may_close(last + QUIET_NS, 1_000));
    assert!(gate.may_close(last + quiet_ns(1_000), 1_000));
}

/// A handshake, its end and a request are no conversation. What goes on for two seconds is.
#[test]
fn a_request_may_be_closed_and_a_conversation_may_not() {
    let closes_after = |sends: u64| {
        let gate = Gate::default();
        let now = |send: u64| SECOND + send * SECOND / 4;
        (1..=sends).for_each(|send| gate.note_sent(now(send), send, 0));
        gate.may_close(now(sends), 0)
    };
    assert!(closes_after(3));
    assert!(!closes_after(8));
}

/// The other end asks for room when its timer goes off, which may have doubled once.
#[test]
fn a_hush_is_longer_than_that_timer_and_shorter_than_a_second() {
    for round_trip_us in [0, 1_000, 20_000, 100_000] {
        let timer = SHORTEST_TIMER_NS + round_trip_us * 1_000;
        let hush = quiet_ns(round_trip_us);
        assert!((2 * timer..SECOND).contains(&hush), "{round_trip_us} µs");
    }
}

/// A gate that is closed, in debt for seconds, of a connection that has sent `sent` segments.
fn closed(now: u64, sent: u64) -> Gate {
    let gate = Gate::default();
    gate.set_mode(Mode::Closing);
    gate.charge(now, 1_000_000, ns_per_byte(100_000));
    gate.note_sent(now, sent, 0);
    assert!(!gate.hushes() && gate.closes(now, 0, false) && gate.awaits());
    gate
}

fn comes(gate: &Gate, now: u64, len: u64) {
    gate.charge(now, len, ns_per_byte(100_000));
}

#[test]
fn what_sends_while_it_is_closed_is_hushed_until_something_comes() {
    let now = SECOND;
    let gate = closed(now, 7);
    assert!(!gate.hushes(), "it has sent nothing since");
    gate.note_sent(now, 8, 0);
    assert!(gate.hushes() && gate.awaits());
    comes(&gate, now, SEGMENT);
    gate.note_sent(now, 9, 0);
    assert!(!gate.awaits() && !gate.hushes(), "something has come");
    // Nothing has come in time: the other end has nothing to send, also where it is still closed.
    let gate = closed(now, 7);
    gate.awaits_no_more();
    gate.note_sent(now, 8, 0);
    assert!(gate.closes(now, 0, false) && !gate.awaits() && !gate.hushes());
}

/// Of three segments that were on their way the first one's acknowledgement closes the window.
#[test]
fn what_was_on_its_way_when_it_closed_is_not_what_is_awaited() {
    let now = SECOND;
    let gate = closed(now, 7);
    for sent in 7..9 {
        comes(&gate, now, SEGMENT);
        gate.note_sent(now, sent, 0);
        assert!(gate.closes(now, 0, false) && gate.awaits());
    }
    gate.note_sent(now, 9, 0);
    assert!(gate.hushes());
}

/// What is too short makes no window larger: the end of a segment of which a part fitted, or an answer.
#[test]
fn what_is_too_short_leaves_it_closed() {
    let now = SECOND;
    let gate = closed(now, 7);
    // Questions and answers go on.
    for sent in 7..20 {
        gate.note_sent(now, sent, 0);
        assert!(gate.awaits() && !gate.hushes(), "{sent}");
        comes(&gate, now, LEAST_GROWING - 1);
    }
    let gate = closed(now, 7);
    for sent in 0..MOST_HUSHES {
        gate.note_sent(now, 10 + 2 * sent, 0);
        assert!(gate.hushes());
        comes(&gate, now, LEAST_GROWING - 1);
    }
    gate.note_sent(now, 30, 0);
    assert!(!gate.awaits() && !gate.hushes(), "so often and no more");
}
