//! Sharing a limit between the flows that are under it.

/// Shares `total` by need, max-min fair: nobody gets more than it needs, and nobody gets less
/// than another who has more than it.
///
/// A need of infinity is "all that there is". Gives the shares in the order of the needs.
pub fn by_need(total: f64, needs: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..needs.len()).collect();
    order.sort_by(|a, b| needs[*a].total_cmp(&needs[*b]));
    let mut shares = vec![0.0; needs.len()];
    let mut left = total;
    for (done, flow) in order.into_iter().enumerate() {
        let fair = left / (needs.len() - done) as f64;
        shares[flow] = needs[flow].min(fair);
        left -= shares[flow];
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_needs_little_leaves_the_rest_to_the_others() {
        let all = f64::INFINITY;
        assert_eq!(by_need(100.0, &[all]), [100.0]);
        assert_eq!(by_need(100.0, &[0.0, all, 0.0]), [0.0, 100.0, 0.0]);
        assert_eq!(by_need(90.0, &[all, 10.0, all]), [40.0, 10.0, 40.0]);
        assert_eq!(by_need(100.0, &[10.0, 20.0]), [10.0, 20.0]);
        assert!(by_need(100.0, &[]).is_empty());
    }

    #[test]
    fn shares_are_max_min_fair() {
        // Numbers from a linear congruential generator (Knuth's MMIX).
        let mut state = 1u64;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..10_000 {
            let total = random(1_000_000_000) as f64;
            let flows = 1 + random(40);
            let needs: Vec<f64> = (0..flows)
                .map(|_| match random(4) {
                    0 => f64::INFINITY,
                    _ => random(100_000_000) as f64,
                })
                .collect();
            let shares = by_need(total, &needs);
            assert!(shares.iter().sum::<f64>() <= total * 1.000_001);
            let most = shares.iter().copied().fold(0.0, f64::max);
            for (share, need) in shares.iter().zip(&needs) {
                assert!(share <= need);
                // Who has not all that it needs has as much as anybody.
                assert!(*share >= need * 0.999_999 || *share >= most * 0.999_999);
            }
        }
    }
}
