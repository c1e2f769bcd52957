//! What stays when the program is killed, and what `cleanup` does about it.

use std::time::Duration;

use crate::{
    audit::{OURS, assert_nothing_left, attached, top},
    program::{Chadthrottle, eventually},
};

/// Signals that ask for an end are answered with a clean one.
#[test]
fn each_signal_ends_it_cleanly() {
    for (signal, code) in [("-INT", 0), ("-TERM", 0), ("-HUP", 129), ("-QUIT", 131)] {
        for attach in ["link", "legacy"] {
            let program = Chadthrottle::new();
            let arguments = format!("limit {} --down 1GB --attach {attach}", std::process::id());
            let mut limit = program.spawn(&arguments);
            eventually("attached", Duration::from_secs(15), || {
                attached(&top()) == OURS
            });
            limit.signal(signal);
            let status = limit.wait(Duration::from_secs(2));
            assert_eq!(status.code(), Some(code), "{signal} {attach}");
            assert_nothing_left();
        }
    }
}

#[test]
fn a_link_goes_with_a_killed_engine() {
    let program = Chadthrottle::new();
    let mut engine = program.spawn("list --attach link");
    eventually("attached", Duration::from_secs(15), || {
        attached(&top()) == OURS
    });
    program.kill_engine(&mut engine);
    eventually("detached", Duration::from_secs(1), || {
        attached(&top()).is_empty()
    });
    assert_nothing_left();
}

#[test]
fn cleanup_detaches_what_a_killed_engine_left_and_nothing_of_a_living_one() {
    let program = Chadthrottle::new();
    let mut engine = program.spawn("list --attach legacy");
    eventually("attached", Duration::from_secs(15), || {
        attached(&top()) == OURS
    });

    let living = program.output("cleanup");
    assert!(living.status.success());
    assert_eq!(
        attached(&top()),
        OURS,
        "a living engine's programs were touched"
    );

    program.kill_with_guard(&mut engine);
    assert_eq!(
        attached(&top()),
        OURS,
        "legacy attachments outlive their maker"
    );

    let shown = program.output("cleanup --dry-run");
    assert_eq!(shown.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&shown.stdout)
            .matches("would detach")
            .count(),
        OURS.len()
    );
    assert_eq!(attached(&top()), OURS, "a dry run detached something");

    let cleaned = program.output("cleanup --json");
    assert!(cleaned.status.success());
    let report: serde_json::Value = serde_json::from_slice(&cleaned.stdout).expect("JSON");
    let leftovers = report["leftovers"].as_array().expect("a list");
    assert_eq!(leftovers.len(), OURS.len());
    assert!(
        leftovers
            .iter()
            .all(|leftover| leftover["detached"] == true),
        "{report}"
    );
    assert_nothing_left();
}
