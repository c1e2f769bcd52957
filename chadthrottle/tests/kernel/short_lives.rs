//! Limits on what processes are: they hold from the first packet of one that is gone before anybody
//! can look at /proc.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    audit::{Cgroup, assert_nothing_left},
    following::Limit,
    lab::Lab,
    load::peer,
    program::{Chadthrottle, Running, example},
};

/// A shell in a directory of its own, by the name ct-brief.
struct Brief {
    directory: tempfile::TempDir,
}

impl Brief {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).expect("others may look into it");
        std::fs::copy("/bin/bash", directory.path().join("ct-brief")).expect("a copy of bash");
        Self { directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("ct-brief")
    }
}

/// A process connects, sends 100 KB, and ends when all has arrived.
const SEND: &str = "exec 3<>/dev/tcp/198.18.0.2/7000; printf 'U 100000\\n%0100000d' 0 >&3; \
                    read -n 1 -u 3";

/// How long ten of them take, one after the other, each started by `start`, with an open target that
/// is held to 300 KB/s.
#[track_caller]
fn ten_take(target: &str, brief: &Path, start: &str, seen_before: bool) -> Duration {
    let lab = Lab::new();
    let _server = peer(&lab);
    let program = Chadthrottle::new();
    let limit = Limit::start(&program, &format!("{target} --up 300KB"));
    if seen_before {
        let mut one = Command::new(brief);
        let one = one.args(["-c", "read go; true"]).stdin(Stdio::piped());
        let _one = Running(one.spawn().expect("bash"));
        limit.says("limited: ");
    }
    let begin = Instant::now();
    let script = format!("for n in {{1..10}}; do {start}; done");
    let status = Command::new("bash")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .env("BRIEF", brief)
        .env("SEND", SEND)
        .env("LOAD", example("load"))
        .env("IN", format!("ip netns exec {}", lab.client))
        .status();
    assert!(status.expect("bash").success(), "{script}");
    let took = begin.elapsed();
    println!("{target}: 1 MB at 300 KB/s in ten short lives: {took:?}");
    drop(limit);
    assert_nothing_left();
    took
}

/// They are held from the first one on: a second of the limit may come at once.
#[track_caller]
fn ten_are_held(target: &str, brief: &Path, start: &str) {
    let took = ten_take(target, brief, start, false);
    assert!(took > Duration::from_millis(2_200), "{target}: {took:?}");
}

const START: &str = "$IN $BRIEF -c \"$SEND\"";

#[test]
fn short_lives_are_held_by_name() {
    let brief = Brief::new();
    for target in ["name:ct-brief", "name:ct-b*"] {
        ten_are_held(target, &brief.path(), START);
    }
}

#[test]
fn short_lives_are_held_by_executable() {
    let brief = Brief::new();
    ten_are_held(
        &format!("exe:{}", brief.path().display()),
        &brief.path(),
        START,
    );
}

#[test]
fn short_lives_are_held_by_user_whether_it_changes_before_exec_or_after() {
    let brief = Brief::new();
    for start in [
        "$IN setpriv --reuid 4321 --clear-groups $BRIEF -c \"$SEND\"",
        "$IN $LOAD send-as 4321 198.18.0.2 100000",
    ] {
        ten_are_held("user:4321", &brief.path(), start);
    }
}

#[test]
fn short_lives_are_held_by_name_where_it_comes_without_exec() {
    let brief = Brief::new();
    // A shell that matches forks, and what it forks sends.
    let start = "$IN $BRIEF -c \"($SEND); true\"";
    ten_are_held("name:ct-brief", &brief.path(), start);
}

#[test]
fn short_lives_are_held_by_cgroup() {
    let brief = Brief::new();
    let cgroup = Cgroup::new("brief");
    let start = format!("(echo $BASHPID > {}/cgroup.procs; exec {START})", cgroup.0);
    ten_are_held(&format!("cgroup:{}", cgroup.path()), &brief.path(), &start);
}

#[test]
fn short_lives_are_held_by_other_patterns_once_one_was_seen() {
    let brief = Brief::new();
    let directory = brief.directory.path().display().to_string();
    for target in [
        format!("exe:{directory}/ct-?rief"),
        "name:c?-brief".to_owned(),
    ] {
        let took = ten_take(&target, &brief.path(), START, true);
        assert!(took > Duration::from_millis(2_200), "{target}: {took:?}");
    }
}

#[test]
fn short_lives_that_do_not_match_are_not_held() {
    let brief = Brief::new();
    let lab = Lab::new();
    let _server = peer(&lab);
    let program = Chadthrottle::new();
    let limit = Limit::start(&program, "name:ct-other name:ct-bri --up 300KB");
    let mut command = Command::new("bash");
    let begin = Instant::now();
    let script = format!("for n in {{1..10}}; do {START}; done");
    let command: &mut Command = command.args(["-c", &script]).stdin(Stdio::null());
    let status = command
        .env("BRIEF", brief.path())
        .env("SEND", SEND)
        .env("IN", format!("ip netns exec {}", lab.client))
        .status();
    assert!(status.expect("bash").success());
    let took = begin.elapsed();
    println!("1 MB of short lives that match nothing: {took:?}");
    assert!(took < Duration::from_millis(1_500), "{took:?}");
    drop(limit);
    assert_nothing_left();
}
