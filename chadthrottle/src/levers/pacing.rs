//! Uploads: TCP paces itself, and the policer beneath has nothing to refuse.

/// What a flow that may have `share` bytes a second is paced at.
///
/// The limit counts packets, the pacing counts payload, and how far the two are apart depends on
/// the sizes. So the bucket itself steers: its credit grows while less is sent than allowed, and
/// with it the pace, until both agree with credit to spare. An empty bucket does not slow it down
/// much: what TCP hands over at once may empty a small one, and is waited for at the pace of that
/// moment.
///
/// A flow that goes out in single packets is not refused any: a debt that it has started with is paid
/// back slowly, so that no second is much slower than the others.
///
/// `credit` as from [`chadthrottle_common::policer::Bucket::credit`].
pub fn pace(share: f64, credit: f64, in_single_packets: bool) -> f64 {
    let factor = match (credit >= KNEE, in_single_packets) {
        (true, _) => between((KNEE, AT_KNEE), (1.0, AT_FULL), credit),
        (false, false) => between((0.0, AT_EMPTY), (KNEE, AT_KNEE), credit),
        (false, true) if credit >= DEEP => between((DEEP, AT_DEEP), (KNEE, AT_KNEE), credit),
        (false, true) => between((DEEPEST, AT_EMPTY), (DEEP, AT_DEEP), credit),
    };
    share * factor
}

/// Credit, in bursts, and what it makes of a share.
const KNEE: f64 = 0.3;
const DEEP: f64 = -2.5;
const DEEPEST: f64 = -6.0;
const AT_FULL: f64 = 1.04;
const AT_KNEE: f64 = 0.965;
const AT_DEEP: f64 = 0.925;
const AT_EMPTY: f64 = 0.8;

/// On the line from one point to another; before the first as there.
fn between(from: (f64, f64), to: (f64, f64), at: f64) -> f64 {
    let part = (at.max(from.0) - from.0) / (to.0 - from.0);
    from.1 + (to.1 - from.1) * part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_steers_the_pace_to_the_limit_whatever_the_headers_take() {
        // A tenth of a second at a time, with a bucket of a quarter.
        for overhead in [1.001, 1.018, 1.036] {
            let (mut credit, mut sent, mut least) = (1.0f64, 0.0, 1.0f64);
            for _ in 0..300 {
                let on_the_wire = pace(1.0, credit, false) * overhead * 0.1;
                sent += on_the_wire;
                credit = (credit + (0.1 - on_the_wire) / 0.25).min(1.0);
                least = least.min(credit);
            }
            assert!((29.9..30.2).contains(&sent), "{sent} of 30");
            assert!(least > 0.3, "nothing is refused: {least}");
        }
    }
    #[test]
    fn single_packets_pay_a_debt_back_slowly_and_a_large_one_sooner() {
        for (credit, least, most) in [(0.3, 0.964, 0.966), (-2.0, 0.92, 0.95), (-9.0, 0.79, 0.81)] {
            let pace = pace(1.0, credit, true);
            assert!((least..most).contains(&pace), "{credit}: {pace}");
        }
        assert!(pace(1.0, -0.1, false) < 0.81);
    }
}
