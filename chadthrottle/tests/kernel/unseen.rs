//! A limit under which the programs see nothing of what its processes carry is said not to hold.

use std::{fs, path::Path, process::Stdio, time::Duration};

use crate::{
    audit::{Cgroup, assert_nothing_left},
    lab::{Lab, SERVER_V4},
    load,
    program::{Chadthrottle, Running, eventually},
};

/// A process that receives without end through a connection which belongs to no cgroup but the root:
/// a socket keeps the one that it was made in.
fn receiver(lab: &Lab) -> (Running, Running) {
    let server = load::start(&lab.server, "feed 7200");
    let client = load::start(&lab.client, &format!("fetch {SERVER_V4} 7200"));
    (server, client)
}

#[test]
fn a_limit_that_sees_nothing_of_its_process_says_so() {
    let lab = Lab::new();
    let cgroup = Cgroup::new("unseen");
    let (_server, client) = receiver(&lab);
    fs::write(
        Path::new(&cgroup.0).join("cgroup.procs"),
        client.pid().to_string(),
    )
    .expect("moving it");
    let program = Chadthrottle::new();
    let log = program.state().join("log");
    let log_path = log.display().to_string();
    let mut command = program.command(&format!(
        "limit {} --down 100KB --cgroup {} --log-file {log_path}",
        client.pid(),
        cgroup.0
    ));
    let mut limit = Running(command.stderr(Stdio::null()).spawn().expect("an engine"));
    let said = || fs::read_to_string(&log).unwrap_or_default();
    eventually("it says so", Duration::from_secs(8), || {
        said().contains("NOT HELD")
    });
    limit.signal("-INT");
    limit.wait(Duration::from_secs(4));
    drop((client, limit));
    assert_nothing_left();
}

#[test]
fn a_limit_that_holds_is_not_said_not_to() {
    let lab = Lab::new();
    let (_server, client) = receiver(&lab);
    let program = Chadthrottle::new();
    let log = program.state().join("log");
    let output = program.output(&format!(
        "limit {} --down 100KB --for 5s --log-file {}",
        client.pid(),
        log.display()
    ));
    assert!(output.status.success(), "{output:?}");
    let said = fs::read_to_string(&log).unwrap_or_default();
    assert!(!said.contains("NOT HELD"), "{said}");
    assert_nothing_left();
}
