//! What is done for senders that stay slow, as it runs in the kernel, before made-up senders.

use chadthrottle_common::undo::{Duplicate, Undo};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
const SEGMENT: u64 = 1_448;
const SHARE: u64 = 20_000;

/// A download that was held to [`SHARE`], at an end 100 µs away.
fn watched() -> Undo {
    let undo = Undo::default();
    undo.ns_per_byte.set(SECOND / SHARE);
    undo.round_trip_ns.set(100_000);
    undo
}

/// The same when its sender has kept to its pace for so long that its acknowledgements are withheld, the
/// first of them at that time.
fn withheld() -> (Undo, u64) {
    let undo = watched();
    let (mut now, mut bytes) = (SECOND, SEGMENT);
    while !undo.withholds(now, bytes, Duplicate::Nothing) {
        assert!(now < 2 * SECOND, "it has not sped up");
        (now, bytes) = (now + 72 * MS, bytes + SEGMENT);
    }
    (undo, now)
}

#[test]
fn a_sender_that_keeps_to_its_pace_has_its_timer_run_out() {
    let (undo, since) = withheld();
    assert!(since < SECOND + 150 * MS, "after two packets or three");
    // New ones are no reason to give in.
    assert!(undo.withholds(since + 72 * MS, 4 * SEGMENT, Duplicate::Nothing));
    assert!(undo.withholds(since + 144 * MS, 5 * SEGMENT, Duplicate::Nothing));
    // Its first segment, once more.
    assert!(!undo.withholds(since + 204 * MS, 5 * SEGMENT, Duplicate::Earlier));
    assert!(!undo.withholds(since + 205 * MS, 9 * SEGMENT, Duplicate::Nothing));
}

#[test]
fn a_probe_for_a_lost_tail_is_no_timeout() {
    let (undo, since) = withheld();
    assert!(undo.withholds(since + 10 * MS, 3 * SEGMENT, Duplicate::Last));
    assert!(!undo.withholds(since + 220 * MS, 3 * SEGMENT, Duplicate::Earlier));
    // With one segment on its way, either is the last one.
    let (undo, since) = withheld();
    assert!(undo.withholds(since + 204 * MS, 3 * SEGMENT, Duplicate::Last));
    assert!(!undo.withholds(since + 612 * MS, 3 * SEGMENT, Duplicate::Last));
}

#[test]
fn a_sender_that_speeds_up_is_left_alone() {
    let undo = watched();
    let (mut now, mut bytes) = (SECOND, SEGMENT);
    // Twice as much each round trip.
    for round in 0..8 {
        assert!(!undo.withholds(now, bytes, Duplicate::Nothing), "{round}");
        (now, bytes) = (now + MS, bytes + (SEGMENT << round));
    }
    // Also when it has nothing more to send for a while.
    assert!(!undo.withholds(now + SECOND, bytes + SEGMENT, Duplicate::Nothing));
}

#[test]
fn a_sender_that_is_known_to_be_slow_need_not_show_it() {
    let undo = watched();
    undo.since_ns.set(SECOND - 60 * MS);
    undo.bytes.set(SEGMENT);
    assert!(undo.withholds(SECOND, 2 * SEGMENT, Duplicate::Nothing));
}

/// Whatever comes: nothing is withheld any more a second and a half after the first.
#[test]
fn nobody_is_kept_waiting_for_long() {
    const ALL: [Duplicate; 3] = [Duplicate::Nothing, Duplicate::Last, Duplicate::Earlier];
    for (interval, step) in [(1, 0), (7, 3), (60, SEGMENT), (199, 600), (400, SEGMENT)] {
        for pattern in 0..81 {
            let undo = watched();
            let (mut now, mut bytes) = (SECOND, SEGMENT);
            let (mut first, mut ended) = (None, false);
            for event in 0..3_000 / interval {
                let duplicate = ALL[pattern / 3usize.pow(event as u32 % 4) % 3];
                if undo.withholds(now, bytes, duplicate) {
                    let first = *first.get_or_insert(now);
                    assert!(!ended && now <= first + 1_500 * MS);
                } else {
                    ended |= first.is_some();
                }
                (now, bytes) = (now + interval * MS, bytes + step);
            }
            assert_eq!(first.is_some(), step != 0, "{interval} {step}");
        }
    }
}
