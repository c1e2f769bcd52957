//! Attaching: by link, by the legacy way, at the root and below it.

use std::{process::Command, time::Duration};

use serde_json::{Value, json};

use crate::{
    audit::{Cgroup, OURS, assert_nothing_left, attached, loaded, top},
    program::{Chadthrottle, Running, eventually},
};

/// While it runs there is exactly one of each program, and afterwards none.
#[track_caller]
fn one_of_each(attach: &str, cgroup: Option<&str>) {
    let program = Chadthrottle::new();
    let option = cgroup
        .map(|path| format!("--cgroup {path}"))
        .unwrap_or_default();
    let place = cgroup.map_or_else(top, str::to_owned);
    let mut running = program.spawn(&format!("run --root --attach {attach} {option} -- sleep 1"));
    eventually("attached", Duration::from_secs(15), || {
        attached(&place) == OURS
    });
    // Those of tracepoints are links in any case, as far as the kernel lists them.
    let links = loaded()
        .iter()
        .filter(|name| name.starts_with("chad cgroup link"))
        .count();
    let expected = if attach == "link" { OURS.len() } else { 0 };
    assert_eq!(links, expected, "{attach}");
    assert!(running.wait(Duration::from_secs(4)).success());
    assert_eq!(attached(&place), [""; 0]);
    assert_nothing_left();
}

#[test]
fn by_link_at_the_root_after_load() {
    one_of_each("link", None);
}

#[test]
fn by_the_legacy_way_at_the_root_after_load() {
    one_of_each("legacy", None);
}

/// Of others the programs see nothing, and a list of them would say that they carry nothing.
#[test]
fn attached_below_the_root_only_processes_there_are_listed() {
    let cgroup = Cgroup::new("listed");
    let outside = Command::new("sleep").arg("60").spawn();
    let outside = Running(outside.expect("sleep(1)"));
    let script = format!("echo $$ > {}/cgroup.procs; exec sleep 60", cgroup.0);
    let within = Running(
        Command::new("sh")
            .args(["-c", &script])
            .spawn()
            .expect("sh"),
    );
    let program = Chadthrottle::new();
    let arguments = format!(
        "list --json --all --count 1 --interval 100ms --cgroup {}",
        cgroup.0
    );
    eventually("only that one is listed", Duration::from_secs(15), || {
        let output = program.output(&arguments);
        let sample: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let listed = sample["processes"].as_array().expect("a list");
        let pids: Vec<&Value> = listed.iter().map(|it| &it["pid"]).collect();
        assert!(
            !pids.contains(&&json!(outside.pid())),
            "{} in {pids:?}",
            outside.pid()
        );
        pids == [&json!(within.pid())]
    });
    drop((within, outside));
    assert_nothing_left();
}

#[test]
fn below_the_root_by_either_way() {
    let cgroup = Cgroup::new("attach");
    one_of_each("link", Some(&cgroup.0));
    one_of_each("legacy", Some(&cgroup.0));
}
