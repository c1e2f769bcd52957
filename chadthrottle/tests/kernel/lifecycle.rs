//! Many lives and deaths, and nothing left of any.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    audit::{Cgroup, OURS, assert_nothing_left, attached, cgroup2},
    iperf::{Client, MB, server, to_server},
    lab::Lab,
    program::{Chadthrottle, Running, eventually},
};

const QUIET: &str = "list --json --attach legacy";

fn start(program: &Chadthrottle, arguments: &str) -> Running {
    let child = program
        .command(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Running(child.expect("chadthrottle"))
}

/// Starts an engine that attaches the legacy way and waits until it has.
#[track_caller]
fn attached_engine(program: &Chadthrottle) -> Running {
    let engine = start(program, QUIET);
    eventually("attached", Duration::from_secs(3), || {
        program.journal().matches("\"attach\"").count() == 3
    });
    engine
}

#[test]
fn fifty_normal_ends() {
    let program = Chadthrottle::new();
    for _ in 0..50 {
        let mut run = start(&program, "run --root --attach legacy -- true");
        assert!(run.wait(Duration::from_secs(3)).success());
    }
    assert_nothing_left();
}

#[test]
fn fifty_times_sigterm() {
    let program = Chadthrottle::new();
    for _ in 0..50 {
        let mut engine = attached_engine(&program);
        engine.signal("-TERM");
        assert_eq!(engine.wait(Duration::from_secs(2)).code(), Some(0));
    }
    assert_nothing_left();
}

#[test]
fn fifty_times_sigkill_of_the_engine() {
    let program = Chadthrottle::new();
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        let mut engine = attached_engine(&program);
        engine.signal("-KILL");
        let killed = Instant::now();
        engine.wait(Duration::from_secs(1));
        eventually("the guard has cleaned up", Duration::from_secs(1), || {
            program.journal().is_empty()
        });
        slowest = slowest.max(killed.elapsed());
    }
    println!("guard: slowest clean-up after SIGKILL, with our looking: {slowest:?}");
    assert_nothing_left();
}

#[test]
fn twenty_times_sigkill_of_engine_and_guard() {
    let program = Chadthrottle::new();
    for round in 0..20 {
        let mut engine = attached_engine(&program);
        engine.kill_with_its_guard();
        assert_eq!(attached(&cgroup2()), OURS, "round {round}");
    }
    // Each start has cleaned up before it attached: what is there is the last one's.
    let mut next = program.spawn("run --root --attach legacy -- sleep 1");
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(attached(&cgroup2()), OURS, "exactly one of each");
    assert!(next.wait(Duration::from_secs(3)).success());
    assert_nothing_left();
}

#[test]
fn signals_to_the_foreground_group_do_not_reach_the_guard() {
    let program = Chadthrottle::new();
    let engine = attached_engine(&program);
    let [guard] = engine.children()[..] else {
        panic!("one guard")
    };
    let stat = std::fs::read_to_string(format!("/proc/{guard}/stat")).expect("the guard");
    let session = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.split(' ').nth(3));
    assert_eq!(
        session,
        Some(guard.to_string().as_str()),
        "a session of its own"
    );
    for signal in ["-INT", "-TERM", "-HUP", "-QUIT"] {
        let status = Command::new("kill")
            .args([signal, &guard.to_string()])
            .status();
        assert!(status.expect("kill(1)").success());
    }
    std::thread::sleep(Duration::from_millis(100));
    let status = std::fs::read_to_string(format!("/proc/{guard}/status")).expect("it lives");
    let field = |name: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .expect("a line");
        line.trim()
            .trim_end_matches(" kB")
            .parse::<u64>()
            .expect("a number")
    };
    println!(
        "guard: {} KB resident, {} KB of its own",
        field("VmRSS:"),
        field("RssAnon:")
    );
    assert!(field("RssAnon:") < 2_000, "more than 2 MB of its own");
    drop(engine);
    eventually("cleaned up", Duration::from_secs(1), || {
        attached(&cgroup2()).is_empty()
    });
    assert_nothing_left();
}

#[test]
fn the_cgroup_is_removed_while_it_is_attached() {
    for attach in ["link", "legacy"] {
        let program = Chadthrottle::new();
        let cgroup = Cgroup::new("removed");
        let arguments = format!("list --json --attach {attach} --cgroup {}", cgroup.0);
        let mut engine = start(&program, &arguments);
        eventually("attached", Duration::from_secs(3), || {
            attached(&cgroup.0) == OURS
        });
        std::fs::remove_dir(&cgroup.0).expect("removing the cgroup");
        std::thread::sleep(Duration::from_millis(300));
        engine.signal("-INT");
        assert_eq!(
            engine.wait(Duration::from_secs(2)).code(),
            Some(0),
            "{attach}"
        );
        assert_eq!(program.journal(), "", "{attach}");
        assert_nothing_left();
    }
}

#[test]
fn limits_hold_while_the_engine_is_stopped() {
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    let program = Chadthrottle::new();
    let mut client = Client::held(&lab, &to_server(5201, 8, "-R"));
    let mut limit = program.spawn(&format!(
        "limit {} --down 1MB --attach legacy",
        client.pid()
    ));
    eventually("attached", Duration::from_secs(3), || {
        attached(&cgroup2()) == OURS
    });
    std::thread::sleep(Duration::from_millis(200));
    client.go();
    std::thread::sleep(Duration::from_secs(1));
    limit.signal("-STOP");
    std::thread::sleep(Duration::from_secs(5));
    limit.signal("-CONT");
    let ratio = client.report().goodput() / MB;
    println!("stopped for 5 of 8 seconds: goodput / limit {ratio:.3}");
    assert!((0.7..1.15).contains(&ratio), "{ratio}");
    // Its only process has ended.
    assert!(limit.wait(Duration::from_secs(3)).success());
    assert_nothing_left();
}
