//! Explicit congestion notification: told before dropped, where it was negotiated.

use std::time::Duration;

use crate::{
    audit::assert_nothing_left,
    lab::{Lab, SERVER_V4, SERVER_V6},
    load,
    program::{Chadthrottle, Running},
};

/// 500 KB/s offered for three seconds under 100 KB/s, `--down` or `--up`: how many came, and how many
/// were marked.
#[track_caller]
fn arrived(limit: &str, server: &str, traffic_class: u8) -> (u64, u64) {
    let lab = Lab::new();
    let program = Chadthrottle::new();
    let command = |limited: bool, namespace: &str, arguments: &str| {
        if limited {
            load::limited(&program, &format!("{limit} 100KB/s"), namespace, arguments)
        } else {
            load::command(namespace, arguments)
        }
    };
    let marked = format!("marked {server} {traffic_class}");
    let mut sender = Running::ready(&mut command(limit == "--up", &lab.server, &marked));
    let marks = format!("marks {server}");
    let output = command(limit == "--down", &lab.client, &marks).output();
    let text = String::from_utf8(output.expect("a client").stdout).expect("two numbers");
    println!("{limit} {server}, class {traffic_class}: {text}");
    sender.wait(Duration::from_secs(5));
    let (came, marked) = text.trim().split_once(' ').expect("two numbers");
    let number = |text: &str| text.parse().expect("a number");
    (number(came), number(marked))
}

const WAYS: [(&str, &str); 4] = [
    ("--down", SERVER_V4),
    ("--down", SERVER_V6),
    ("--up", SERVER_V4),
    ("--up", SERVER_V6),
];

#[test]
fn who_negotiated_ecn_is_told_before_anything_is_dropped() {
    for (limit, server) in WAYS {
        let (came, marked) = arrived(limit, server, 2);
        // Rate times time with a burst, and what is tolerated: another, or 64 KB at egress.
        assert!((300..=410).contains(&came), "{limit} {server}: {came}");
        assert!(marked > came / 2, "{limit} {server}: {marked} of {came}");
    }
    assert_nothing_left();
}

#[test]
fn who_did_not_is_dropped_at_once_and_never_marked() {
    for (limit, server) in WAYS {
        let (came, marked) = arrived(limit, server, 0);
        assert!((280..=350).contains(&came), "{limit} {server}: {came}");
        assert_eq!(marked, 0, "{limit} {server}");
    }
    assert_nothing_left();
}
