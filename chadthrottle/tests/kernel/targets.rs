//! Targets as people name them, and what is said where nothing matches.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

use crate::{
    audit::{Cgroup, assert_nothing_left},
    program::{Chadthrottle, Running, eventually, example, lives},
};

/// A copy of sleep(1) in that directory, and a process of it.
fn sleeper(directory: &Path, name: &str) -> (PathBuf, Running) {
    let path = directory.join(name);
    fs::copy("/bin/sleep", &path).expect("a copy of sleep(1)");
    let running = Running(Command::new(&path).arg("60").spawn().expect("sleep(1)"));
    eventually("it is that program", Duration::from_secs(5), || {
        let exe = fs::read_link(format!("/proc/{}/exe", running.pid()));
        exe.is_ok_and(|exe| exe == path)
    });
    (path, running)
}

/// What is said of a limit for that target, which is held for a second.
#[track_caller]
fn limit(program: &Chadthrottle, target: &str) -> String {
    let output = program.output(&format!("limit {target} --down 1MB --for 1s"));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{target}: {words}");
    words
}

#[track_caller]
fn assert_limits(program: &Chadthrottle, target: &str, pid: u32) {
    let words = limit(program, target);
    assert!(
        words.contains(&format!("limited: {pid} ")) && !words.contains("nothing matches"),
        "{target}: {words}"
    );
}

#[test]
fn names_that_the_kernel_cuts_and_files_that_were_replaced_match_all_the_same() {
    let program = Chadthrottle::new();
    let directory = tempfile::tempdir().expect("a directory");
    let name = "ct-name-of-more-than-fifteen";
    let (path, running) = sleeper(directory.path(), name);
    assert_limits(&program, &format!("name:{name}"), running.pid());
    assert_limits(&program, "name:ct-name-of-more-*-fifteen", running.pid());
    // As a package manager does it.
    let new = directory.path().join("new");
    fs::copy("/bin/sleep", &new).expect("a copy of sleep(1)");
    fs::rename(&new, &path).expect("replacing it");
    assert_limits(&program, &format!("exe:{}", path.display()), running.pid());
    assert_nothing_left();
}

#[test]
fn a_cgroup_may_be_named_by_the_path_that_it_is_mounted_at() {
    let program = Chadthrottle::new();
    let cgroup = Cgroup::new("named");
    let directory = tempfile::tempdir().expect("a directory");
    let (_, running) = sleeper(directory.path(), "sleeper");
    fs::write(
        Path::new(&cgroup.0).join("cgroup.procs"),
        running.pid().to_string(),
    )
    .expect("moving it");
    assert_limits(&program, &format!("cgroup:{}", cgroup.0), running.pid());
    drop(running);
}

/// A unit and a container are what their cgroups say; here they are made by hand.
#[test]
fn units_containers_groups_commands_and_what_is_started_below() {
    let program = Chadthrottle::new();
    let id = "c0ffee00".repeat(8);
    let unit = Cgroup::new("unit.service");
    let container = Cgroup::below(&unit, &format!("docker-{id}.scope"));
    let group = Command::new("setpriv")
        .args(["--regid", "1", "--clear-groups", "--"])
        .args(["unshare", "--net", "--ipc", "--uts"])
        .args(["sh", "-c", "sleep 71 & wait"])
        .spawn();
    let parent = Running(group.expect("setpriv(1)"));
    eventually("it has a child", Duration::from_secs(5), || {
        parent.children().len() == 1
    });
    let child = parent.children()[0];
    let inside = Path::new(&container.0).join("cgroup.procs");
    fs::write(inside, child.to_string()).expect("moving it");
    let unit_name = unit.0.rsplit('/').next().expect("a name");
    for target in [
        format!("unit:{unit_name}"),
        "container:c0ffee".to_owned(),
        "command:sleep?71".to_owned(),
        "group:1+name:sleep".to_owned(),
        format!("parent:{}", parent.pid()),
        format!("name:sleep+!user:1+cgroup:{}", unit.path()),
    ] {
        assert_limits(&program, &target, child);
    }
    for target in [
        format!("unit:{unit_name}+!group:1"),
        format!("parent:{child}"),
        "container:c0ffed".to_owned(),
    ] {
        let words = limit(&program, &target);
        assert!(words.contains("nothing matches"), "{target}: {words}");
    }
    signal::kill(Pid::from_raw(child as i32), Signal::SIGKILL).expect("it lives");
    eventually("it has ended", Duration::from_secs(5), || !lives(child));
    drop(parent);
    assert_nothing_left();
}

#[test]
fn where_nothing_matches_it_says_so_at_once_and_what_comes_near() {
    let program = Chadthrottle::new();
    let directory = tempfile::tempdir().expect("a directory");
    let (path, _running) = sleeper(directory.path(), "ct-near-by");
    for (target, near) in [
        ("exe:ct-near-by", format!("exe:{}", path.display())),
        ("exe:/opt/ct-near-by", format!("exe:{}", path.display())),
        ("name:CT-Near", "name:ct-near-by".to_owned()),
        ("name:ct-naer-by", "name:ct-near-by".to_owned()),
    ] {
        let words = limit(&program, target);
        let expected = format!("nothing matches {target} so far; near it: {near}");
        assert!(words.contains(&expected), "{words}");
        let waits = "the limit stays, and holds whoever comes, for 1s\n";
        assert!(words.contains(waits), "{words}");
    }
    let output = program.output("limit name:ct-naer-by --down 1MB --for 1s --detach");
    let words = String::from_utf8_lossy(&output.stderr);
    let waits = "the limit stays, and holds whoever comes, for 1s, or until 'chadthrottle unlimit ";
    assert!(output.status.success() && words.contains(waits), "{words}");
    assert!(!limit(&program, "name:ct-near-by").contains("whoever comes"));
    let words = limit(&program, "cgroup:/no-such-group");
    assert!(words.contains("nothing matches cgroup:/no-such-group"));
}

#[test]
fn a_process_whose_first_thread_has_ended_can_be_limited() {
    let program = Chadthrottle::new();
    let mut command = Command::new(example("load"));
    command.arg("without-first-thread").stdin(Stdio::piped());
    let running = Running::ready(&mut command);
    let pid = running.pid();
    eventually("its first thread has ended", Duration::from_secs(5), || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.is_ok_and(|stat| stat.contains(") Z "))
    });
    assert_limits(&program, &pid.to_string(), pid);
    assert_nothing_left();
}
