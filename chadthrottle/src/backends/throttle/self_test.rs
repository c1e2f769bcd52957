//! Before anything is attached: does the policer do in the kernel what it does here?
//!
//! Compilers of BPF have miscompiled what the policer is made of (LLVM issue 210280), and an
//! object may come from anybody's toolchain. So the loaded policer runs over a made-up while, and
//! each of its verdicts, and the state that it leaves, is compared with the same code's here.

use std::os::fd::BorrowedFd;

use chadthrottle_common::{
    abi::Rule,
    policer::{Bucket, Verdict},
    scope::Scope,
};

use super::ThrottleError;
use crate::sys::bpf;

/// 1 MB/s, a quarter of a second.
const RATE: u64 = 1_000_000;
const BURST_NS: u64 = 250_000_000;

/// Instants in nanoseconds, and lengths in bytes: a rest, a burst, debt of both degrees, an
/// aggregate, the longest packet there is, an old machine's clock, one that jumps back.
const PACKETS: [(u64, u64); 14] = [
    (1_000_000_000, 1_500),
    (1_000_000_000, 65_535),
    (1_000_000_000, 200_000),
    (1_000_100_000, 1_500),
    (1_100_000_000, 40),
    (1_200_000_000, 524_288),
    (1_200_000_001, 1_500),
    (1_600_000_000, 1_500),
    (9_000_000_000, 1_500),
    (9_000_000_000, 600_000),
    (8_000_000_000, 1_500),
    (9_400_000_000, 1_500),
    (1_600_000_000_000_000_000, 65_535),
    (1_600_000_000_100_000_000, 1_500),
];

/// What `BPF_PROG_TEST_RUN` takes for an Ethernet header: addresses, and a protocol for
/// experiments (IEEE 802, 0x88B5).
const ETHERNET: [u8; 14] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x88, 0xb5];

/// Runs it with `rule`, which no process may have. Its bucket is as new afterwards.
///
/// # Errors
/// [`ThrottleError::SelfTest`] where the two differ, and where the kernel does not run it.
pub fn run(program: BorrowedFd<'_>, rule: &Rule) -> Result<(), ThrottleError> {
    let here = Bucket::default();
    let there = &rule.ingress;
    for bucket in [&here, there] {
        bucket.configure(Some(RATE), BURST_NS, Scope::ALL);
    }
    let result = compare(program, &here, there);
    there.configure(None, 0, Scope::ALL);
    result
}

fn compare(program: BorrowedFd<'_>, here: &Bucket, there: &Bucket) -> Result<(), ThrottleError> {
    for (number, (now, len)) in PACKETS.into_iter().enumerate() {
        let mut packet = Vec::from(ETHERNET);
        packet.extend(now.to_ne_bytes());
        packet.extend(len.to_ne_bytes());
        let answer = bpf::prog_test_run(program, &packet).map_err(|source| {
            ThrottleError::SelfTest(format!("the kernel did not run it: {source}"))
        })?;
        let verdict = here.verdict(now);
        if verdict != Verdict::Drop {
            here.charge(now, len);
        }
        let (expected, state) = (here.tat_ns.get(), there.tat_ns.get());
        if answer != verdict as u32 || state != expected {
            return Err(ThrottleError::SelfTest(format!(
                "packet {number} of {len} bytes: {answer} and {state}, where {} and {expected} \
                 are right",
                verdict as u32
            )));
        }
    }
    Ok(())
}
