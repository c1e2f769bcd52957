//! The policer as it runs in the kernel, driven by a made-up clock.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use chadthrottle_common::{
    policer::{Bucket, MAX_RATE, MIN_RATE, Verdict},
    scope::Scope,
};

const BURST_NS: u64 = 250_000_000;
const SECOND: u64 = 1_000_000_000;

/// Rates from the slowest to the fastest, in bytes a second; 12.5 GB/s is 100 Gbit/s.
const RATES: [u64; 8] = [
    MIN_RATE,
    20_000,
    1_000_000,
    12_345_678,
    100_000_000,
    1_250_000_000,
    12_500_000_000,
    MAX_RATE,
];
const LENGTHS: [u64; 5] = [40, 576, 1_500, 65_536, 524_288];

fn bucket(rate: u64) -> Bucket {
    let bucket = Bucket::default();
    bucket.configure(Some(rate), BURST_NS, Scope::ALL);
    bucket
}

/// One packet; gives the bytes that passed.
fn offer(bucket: &Bucket, now: u64, len: u64) -> u64 {
    match bucket.verdict(now) {
        Verdict::Congested | Verdict::Drop | Verdict::Blocked => 0,
        Verdict::Pass => {
            bucket.charge(now, len);
            len
        }
    }
}

/// Offers four times the rate for as long as that many packets take at the rate. Gives the bytes
/// that passed and what the rate allows in that time.
fn saturate(rate: u64, len: u64, start: u64) -> (u64, f64) {
    const PACKETS: u64 = 40_000;
    let bucket = bucket(rate);
    let packet_ns = len as f64 * SECOND as f64 / rate as f64;
    let mut passed = 0;
    for index in 0..PACKETS * 4 {
        let now = start + (index as f64 * packet_ns / 4.0) as u64;
        passed += offer(&bucket, now, len);
    }
    (passed, PACKETS as f64 * len as f64)
}

#[test]
fn never_more_than_rate_times_time_and_burst_and_never_starved() {
    // Now, and after 50 years of uptime.
    for start in [SECOND, 50 * 366 * 86_400 * SECOND] {
        for rate in RATES {
            for len in LENGTHS {
                let (passed, allowed) = saturate(rate, len, start);
                let burst = rate as f64 * BURST_NS as f64 / SECOND as f64;
                // The last packet may go into debt, and cost is rounded to a nanosecond a packet.
                let bound = (allowed + burst + len as f64) * 1.000_01
                    + passed as f64 / len as f64 * rate as f64 / SECOND as f64;
                assert!(
                    passed as f64 <= bound,
                    "{rate} B/s, {len} B: {passed} of {allowed}"
                );
                let least = allowed - len as f64;
                assert!(
                    passed as f64 >= least * 0.99,
                    "{rate} B/s, {len} B: {passed} of {allowed}"
                );
            }
        }
    }
}

/// Numbers from a linear congruential generator (Knuth's MMIX).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// What may pass beyond rate × time, in bytes.
fn allowance(rate: u64) -> f64 {
    rate.max(65_536) as f64
}

/// Whoever decides, and however, what passes is within the bound over every stretch of time: packets of all
/// sizes at all times, of which rules within the bound spare as many as they like.
#[test]
fn whatever_is_sent_and_spared_stays_within_the_bound() {
    let mut random = Random(7);
    for round in 0..2_000 {
        let rate = RATES[random.below(4) as usize];
        let burst_ns = [BURST_NS, 2 * BURST_NS][random.below(2) as usize];
        let bucket = Bucket::default();
        bucket.configure(Some(rate), burst_ns, Scope::ALL);
        let spared_of_8 = random.below(9);
        let pause_ns = [0, 1_000, 1_000_000, 100_000_000, SECOND][random.below(5) as usize];
        let largest = LENGTHS[random.below(LENGTHS.len() as u64) as usize];
        let mut now = SECOND;
        // When, and how much had passed before: one for each start of a stretch.
        let (mut starts, mut passed) = (vec![(now, 0u64)], 0u64);
        for _ in 0..200 {
            now += random.below(pause_ns + 1);
            let len = 20 + random.below(largest);
            let spared = random.below(8) < spared_of_8;
            if bucket.has_room(now, len) && (spared || bucket.verdict(now) == Verdict::Pass) {
                bucket.charge(now, len);
                starts.push((now, passed));
                passed += len;
            }
            for (since, before) in &starts {
                let allowed = rate as f64 * (now - since) as f64 / SECOND as f64;
                // Costs are rounded to a nanosecond a packet.
                let most = (allowed + allowance(rate)) * 1.000_1 + rate as f64 / 1e6;
                let through = (passed - before) as f64;
                assert!(through <= most, "round {round}: {through} of {most} bytes");
            }
        }
    }
}

/// The same where the limit itself changes again and again: what may pass is what its rates add up to, the
/// allowance of the fastest, and what was owed and is too much for a slower one to owe.
#[test]
fn changing_a_limit_gives_nothing_away_but_what_a_slower_one_cannot_owe() {
    let mut random = Random(11);
    for round in 0..500 {
        let bucket = Bucket::default();
        let mut rate = RATES[random.below(4) as usize];
        bucket.configure(Some(rate), BURST_NS, Scope::ALL);
        let (mut now, mut passed, mut allowed, mut fastest) = (SECOND, 0.0, 0.0, rate);
        for _ in 0..400 {
            let later = random.below(20_000_000);
            now += later;
            allowed += rate as f64 * later as f64 / SECOND as f64;
            if random.below(4) == 0 {
                let owed = |rate: u64| {
                    bucket.tat_ns.get().saturating_sub(now) as f64 * rate as f64 / SECOND as f64
                };
                let before = owed(rate);
                rate = RATES[random.below(4) as usize];
                fastest = fastest.max(rate);
                bucket.change(Some(rate), BURST_NS, Scope::ALL, now);
                if before > owed(rate) * 1.01 + 1_500.0 {
                    assert_eq!(bucket.tat_ns.get() - now, bucket.most_debt_ns.get());
                }
                allowed += (before - owed(rate)).max(0.0);
            }
            while bucket.has_room(now, 1_500) {
                bucket.charge(now, 1_500);
                passed += 1_500.0;
            }
            // A slower one may owe what a faster one may save.
            let most = (allowed + allowance(fastest) + fastest as f64 / 4.0) * 1.000_1 + 1_500.0;
            assert!(passed <= most, "round {round}: {passed} of {most}");
        }
    }
}

#[test]
fn nobody_waits_for_longer_than_the_allowance_after_anything() {
    for rate in RATES {
        let bucket = bucket(rate);
        let mut now = SECOND;
        for _ in 0..100_000 {
            if bucket.has_room(now, 128) {
                bucket.charge(now, 128);
            }
        }
        now += (allowance(rate) * SECOND as f64 / rate as f64) as u64;
        assert_eq!(bucket.verdict(now), Verdict::Pass, "{rate} B/s");
    }
}

#[test]
fn the_longest_packet_that_is_usual_passes_after_a_rest_at_any_rate() {
    for rate in RATES {
        assert!(bucket(rate).has_room(SECOND, 65_535), "{rate} B/s");
    }
}

#[test]
fn what_is_tolerated_is_the_tolerance() {
    let bucket = bucket(1_000_000);
    bucket.tolerance_ns.set(2 * BURST_NS);
    for _ in 0..2 {
        bucket.charge(SECOND, 500_000);
    }
    // It had a quarter of a second.
    for (after, verdict) in [
        (0, Verdict::Drop),
        (BURST_NS, Verdict::Congested),
        (3 * BURST_NS, Verdict::Pass),
    ] {
        assert_eq!(bucket.verdict(SECOND + after), verdict, "{after}");
    }
}

#[test]
fn mixed_lengths_do_not_starve_the_long_ones() {
    let bucket = bucket(1_000_000);
    let mut passed = [0u64; 2];
    // 20 seconds, in which the short ones alone offer a fourteenth of the rate.
    for index in 0..28_000u64 {
        let now = SECOND + index * 700_001;
        let long = index.is_multiple_of(2);
        let len = if long { 65_536 } else { 100 };
        passed[usize::from(long)] += offer(&bucket, now, len) / len;
    }
    let [short, long] = passed;
    assert!(long >= 200, "{long} long packets beside {short} short ones");
}

#[test]
fn a_rest_gives_one_burst_and_no_more_however_long_it_was() {
    for rest in [BURST_NS, SECOND, 3_600 * SECOND, 1 << 60] {
        let bucket = bucket(1_000_000);
        let mut now = SECOND;
        while offer(&bucket, now, 1_500) > 0 {}
        now += rest;
        let mut passed = 0;
        loop {
            match offer(&bucket, now, 1_500) {
                0 => break,
                bytes => passed += bytes,
            }
        }
        assert!(
            (248_500..=251_500).contains(&passed),
            "{passed} bytes after {rest} ns"
        );
    }
}

#[test]
fn a_clock_that_jumps_back_stops_nothing_for_longer_than_the_jump() {
    let bucket = bucket(1_000_000);
    let mut now = 1_000 * SECOND;
    while offer(&bucket, now, 1_500) > 0 {}
    now -= 5 * SECOND;
    assert_eq!(offer(&bucket, now, 1_500), 0);
    now += 5 * SECOND + 2_000_000;
    assert_eq!(offer(&bucket, now, 1_500), 1_500);
}

#[test]
fn a_new_limit_forgives_the_debt_of_the_old_one() {
    let bucket = bucket(MIN_RATE);
    assert_eq!(offer(&bucket, SECOND, 524_288), 524_288);
    assert_eq!(offer(&bucket, 2 * SECOND, 40), 0, "minutes of debt");
    bucket.configure(Some(1_000_000), BURST_NS, Scope::ALL);
    assert_eq!(offer(&bucket, 2 * SECOND, 1_500), 1_500);
}

#[test]
fn a_limit_that_changes_keeps_what_is_owed_and_saved_in_bytes() {
    let now = 10 * SECOND;
    let bucket = bucket(1_000_000);
    bucket.tat_ns.set(now + 500_000_000);
    bucket.change(Some(2_000_000), BURST_NS, Scope::ALL, now);
    assert_eq!(bucket.tat_ns.get() - now, 250_000_000);
    // No more than a second of the new one, less what it may save.
    bucket.change(Some(20_000), BURST_NS, Scope::ALL, now);
    assert_eq!(bucket.tat_ns.get() - now, bucket.most_debt_ns.get());
    bucket.tat_ns.set(now - 100_000_000);
    bucket.change(Some(40_000), BURST_NS, Scope::ALL, now);
    assert_eq!(now - bucket.tat_ns.get(), 50_000_000);
}

#[test]
fn callers_on_all_cpus_at_once_overshoot_by_a_bounded_race() {
    // The state moves by an add and a store, without compare-and-swap: callers that look at the
    // same instant may all pass. Far above that bound would be a broken bucket.
    const THREADS: usize = 4;
    const LEN: u64 = 1_500;
    let rate = 10_000_000;
    let bucket = bucket(rate);
    let started = Instant::now();
    let passed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while started.elapsed() < Duration::from_secs(1) {
                    let now = SECOND + started.elapsed().as_nanos() as u64;
                    passed.fetch_add(offer(&bucket, now, LEN), Relaxed);
                }
            });
        }
    });
    let ratio = passed.load(Relaxed) as f64 / (rate as f64 * 1.25);
    println!("{THREADS} callers: {ratio:.4} of rate × time + burst");
    assert!((0.95..1.5).contains(&ratio), "{ratio}");
}

#[test]
fn nothing_passes_a_block_and_what_comes_after_it_starts_afresh() {
    let bucket = Bucket::default();
    let now = 5_000_000_000;
    bucket.block(Scope::DEFAULT);
    for len in [0, 1, 1_500, 1 << 19] {
        for later in [0, 1, 3_600_000_000_000, 1 << 60] {
            assert!(!bucket.has_room(now + later, len), "{len} after {later}");
        }
    }
    bucket.change(Some(1_000_000), 250_000_000, Scope::DEFAULT, now);
    assert!(bucket.has_room(now, 64_000) && bucket.verdict(now) == Verdict::Pass);
    assert!((bucket.credit(now) - 1.0).abs() < f64::EPSILON);
    bucket.block(Scope::DEFAULT);
    assert!(!bucket.has_room(now, 1));
}
