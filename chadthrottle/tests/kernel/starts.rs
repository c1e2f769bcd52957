//! Slow uploads that start together: no burst of each of them, and one packet after the other.

use std::time::Duration;

use chadthrottle::{model::Both, process::key_of};

use crate::{
    audit::assert_nothing_left,
    iperf::{Client, server, to_server},
    lab::Lab,
    lifecycle::with_engine,
    limits::{both_ways, only},
};

/// Bytes a second.
const RATE: f64 = 20e3;

/// The kernel paces a connection from its tenth segment on: until then eight of them hand over what the policer has to
/// refuse. What may pass beyond the limit is the policer's bound.
#[test]
fn eight_slow_uploads_hold_their_limit_from_the_first_second_on() {
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    let mut client = Client::held(&lab, &to_server(5201, 12, "-P 8"));
    let (passed, dropped): (Vec<f64>, Vec<u64>) = with_engine(async |engine| {
        let key = key_of("/proc".as_ref(), client.pid()).expect("it runs");
        let id = engine
            .commands()
            .set_limit(only(key), both_ways("20KB"))
            .await;
        let id = id.expect("a limit");
        client.go();
        let mut before = Both::default();
        let mut seconds = Vec::new();
        for _ in 0..9 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let carried = engine.commands().carried(id).await.expect("the limit");
            let passed = carried.passed.up - before.up;
            before = carried.passed;
            seconds.push((passed as f64 / RATE, carried.dropped.up));
        }
        seconds.into_iter().unzip()
    });
    println!("each second {passed:.2?}, refused by then {dropped:?}");
    let first: f64 = passed.iter().take(3).sum();
    // What may pass beyond the limit is 64 KB.
    assert!(
        first < 3.0 + 65_536.0 / RATE,
        "{first:.2} s of the limit in the first three"
    );
    // A packet of each is more than half of a second.
    let later = passed[4..].iter().sum::<f64>() / (passed.len() - 4) as f64;
    assert!((0.75..1.25).contains(&later), "{passed:.2?}");
    drop(client);
    assert_nothing_left();
}
