//! Uploads: TCP paces itself, and the policer beneath has nothing to refuse.

/// What a flow that may have `share` bytes a second is paced at.
///
/// The limit counts packets, the pacing counts payload, and how far the two are apart depends on
/// the sizes. So the bucket itself steers: its credit grows while less is sent than allowed, and
/// with it the pace, until both agree with credit to spare. An empty bucket does not slow it down
/// much: what TCP hands over at once may empty a small one, and is waited for at the pace of that
/// moment.
///
/// `credit` as from [`chadthrottle_common::policer::Bucket::credit`].
pub fn pace(share: f64, credit: f64) -> f64 {
    share * trim(credit)
}

fn trim(credit: f64) -> f64 {
    const KNEE: f64 = 0.3;
    let (at_empty, at_knee, at_full) = (0.8, 0.95, 1.04);
    if credit < KNEE {
        let part = credit.max(0.0) / KNEE;
        at_empty + (at_knee - at_empty) * part
    } else {
        let part = (credit - KNEE) / (1.0 - KNEE);
        at_knee + (at_full - at_knee) * part
    }
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
                let on_the_wire = pace(1.0, credit) * overhead * 0.1;
                sent += on_the_wire;
                credit = (credit + (0.1 - on_the_wire) / 0.25).min(1.0);
                least = least.min(credit);
            }
            assert!((29.9..30.2).contains(&sent), "{sent} of 30");
            assert!(least > 0.3, "nothing is refused: {least}");
        }
    }
}
