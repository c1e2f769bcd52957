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
        Verdict::Congested | Verdict::Drop => 0,
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

#[test]
fn where_all_that_may_be_tolerated_is_the_bound_is_one_burst_or_aggregate_a_flow_more() {
    for (rate, flows) in RATES.into_iter().flat_map(|rate| [(rate, 0), (rate, 8)]) {
        for len in LENGTHS {
            let bucket = bucket(rate);
            bucket.flows.set(flows);
            bucket.tolerate_aggregates();
            let packet_ns = len as f64 * SECOND as f64 / rate as f64;
            let (mut passed, mut tolerated) = (0, 0);
            for index in 0..160_000u64 {
                let now = SECOND + (index as f64 * packet_ns / 4.0) as u64;
                let verdict = bucket.verdict(now);
                if verdict == Verdict::Drop {
                    continue;
                }
                bucket.charge(now, len);
                passed += len;
                tolerated += u64::from(verdict == Verdict::Congested);
            }
            let allowed = 40_000.0 * len as f64;
            let burst = rate as f64 * BURST_NS as f64 / SECOND as f64;
            let rounding = passed as f64 / len as f64 * rate as f64 / SECOND as f64;
            let tolerance = burst.max(65_536.0 * flows.max(1) as f64);
            let bound = (allowed + burst + tolerance + len as f64) * 1.000_01 + rounding;
            assert!(passed as f64 <= bound, "{rate} B/s, {len} B: {passed}");
            // A packet that takes longer than the burst leaves more debt than is tolerated, and
            // the shortest at the highest rates do not use the burst up.
            let lasts_ns = 40_000.0 * packet_ns;
            if packet_ns < BURST_NS as f64 / 2.0 && lasts_ns > 2.0 * BURST_NS as f64 {
                assert!(tolerated > 0, "{rate} B/s, {len} B, {flows} flows");
            }
        }
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
