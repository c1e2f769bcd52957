//! `doctor` on this machine, and on one that something is wrong with.

use std::process::Command;

use serde_json::Value;

use crate::{
    audit::{Cgroup, assert_nothing_left},
    program::Chadthrottle,
};

#[track_caller]
fn examine(program: &Chadthrottle, arguments: &str) -> (Option<i32>, Value) {
    let output = program.output(&format!("doctor --json {arguments}"));
    let text = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (output.status.code(), report)
}

#[test]
fn the_probe_sees_every_packet_run_through_both_programs() {
    let statistics = || std::fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled").expect("it");
    let before = statistics();
    let program = Chadthrottle::new();
    for attach in ["link", "legacy"] {
        let (code, report) = examine(&program, &format!("--attach {attach}"));
        assert_eq!(code, Some(0), "{report}");
        let probe = &report["probe"];
        assert_eq!(probe["attach_method"], attach);
        assert_eq!(probe["counted"]["ingress"], probe["packets"]);
        assert_eq!(probe["counted"]["egress"], probe["packets"]);
        assert!(
            probe["runs"]["ingress"].as_u64() >= probe["packets"].as_u64(),
            "{report}"
        );
        assert_eq!(report["problem"], Value::Null);
        assert_nothing_left();
    }
    assert_eq!(statistics(), before, "BPF statistics were left on");
}

#[test]
fn programs_that_are_attached_and_do_not_run_are_named_with_the_cause() {
    let program = Chadthrottle::new();
    let cgroup = Cgroup::new("doctor");
    let (code, report) = examine(&program, &format!("--cgroup {}", cgroup.0));
    assert_eq!(code, Some(1));
    let problem = report["problem"].as_str().expect("a problem");
    assert!(
        problem.contains("attached, but") && problem.contains("--cgroup"),
        "{problem}"
    );
    assert_nothing_left();
}

#[test]
fn without_privilege_it_says_what_for() {
    let output = Command::new("setpriv")
        .args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"])
        .arg(Chadthrottle::path())
        .arg("doctor")
        .output()
        .expect("setpriv(1)");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.contains("CAP_NET_ADMIN is MISSING, to attach"),
        "{text}"
    );
}
