//! Many lives and deaths, and nothing left of any.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use chadthrottle::{
    backends::throttle::AttachMode,
    engine::Handle,
    model,
    process::{Targets, key_of},
    session::{Session, Settings},
    units::Rate,
};

use crate::{
    audit::{Cgroup, OURS, assert_nothing_left, attached, lane, top},
    following::Limit,
    iperf::{Client, MB, server, to_server},
    lab::Lab,
    program::{Chadthrottle, Running, eventually, lives, signal},
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
    eventually("attached", Duration::from_secs(15), || {
        // Not those of an engine before it, which this one has detached before it writes of its own;
        // and what is written of is not attached yet.
        let engine = program.engine();
        let of_engine = format!("\"engine_pid\":{engine},");
        let journal = program.journal();
        let records = journal.lines().filter(|line| line.contains(&of_engine));
        let recorded = records.filter(|line| line.contains("\"attach\"")).count();
        lives(engine) && recorded == OURS.len() && attached(&top()) == OURS
    });
    engine
}

#[test]
fn twenty_normal_ends() {
    let program = Chadthrottle::new();
    for _ in 0..20 {
        let mut run = start(&program, "run --root --attach legacy -- true");
        assert!(run.wait(Duration::from_secs(3)).success());
    }
    assert_nothing_left();
}

#[test]
fn twenty_times_sigterm() {
    let program = Chadthrottle::new();
    for _ in 0..20 {
        let mut engine = attached_engine(&program);
        engine.signal("-TERM");
        assert_eq!(engine.wait(Duration::from_secs(2)).code(), Some(0));
    }
    assert_nothing_left();
}

#[test]
fn twenty_times_sigkill_of_the_engine() {
    let program = Chadthrottle::new();
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let mut engine = attached_engine(&program);
        let killed = Instant::now();
        program.kill_engine(&mut engine);
        eventually("the guard has cleaned up", Duration::from_secs(3), || {
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
        program.kill_with_guard(&mut engine);
        assert_eq!(attached(&top()), OURS, "round {round}");
    }
    // Each start has cleaned up before it attached: what is there is the last one's.
    let mut next = program.spawn("run --root --attach legacy -- sleep 3");
    eventually("exactly one of each", Duration::from_secs(15), || {
        attached(&top()) == OURS
    });
    assert!(next.wait(Duration::from_secs(6)).success());
    assert_nothing_left();
}

#[test]
fn signals_to_the_foreground_group_do_not_reach_the_guard() {
    let program = Chadthrottle::new();
    let engine = attached_engine(&program);
    let [guard] = program.guards()[..] else {
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
    // In which it would have ended.
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
    println!("guard, debug build: {} KB resident", field("VmRSS:"));
    // Of the code that is resident, a debug build has several times as much as a release build,
    // which test_cleanup.sh measures.
    // And tables of addresses, which the loader fills in.
    assert!(field("RssAnon:") < 2_000, "memory of its own");
    drop(engine);
    eventually("cleaned up", Duration::from_secs(1), || {
        attached(&top()).is_empty()
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
        eventually("attached", Duration::from_secs(15), || {
            attached(&cgroup.0) == OURS
        });
        std::fs::remove_dir(&cgroup.0).expect("removing the cgroup");
        // Until the kernel has let go of what was attached there, which nobody can see.
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
    let arguments = format!("{} --down 1MB --attach legacy", client.pid());
    let mut limit = Limit::start(&program, &arguments);
    client.go();
    std::thread::sleep(Duration::from_secs(1));
    signal(program.engine(), "-STOP");
    std::thread::sleep(Duration::from_secs(5));
    signal(program.engine(), "-CONT");
    let ratio = client.report().goodput() / MB;
    println!("stopped for 5 of 8 seconds: goodput / limit {ratio:.3}");
    assert!((0.7..1.15).contains(&ratio), "{ratio}");
    // Its only process has ended.
    assert!(limit.wait(Duration::from_secs(3)).success());
    assert_nothing_left();
}

/// Runs a test with an engine in this process, which has stopped when it is over.
pub fn with_engine<T>(test: impl AsyncFnOnce(&Handle) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let state = tempfile::tempdir().expect("a temporary directory");
    runtime.expect("a runtime").block_on(async {
        let session = Session::start(in_this_process(state.path())).await;
        let session = session.expect("an engine");
        let result = test(&session.engine).await;
        assert!(session.stop());
        result
    })
}

/// Settings for an engine in the test's own process.
pub fn in_this_process(state: &Path) -> Settings {
    Settings {
        program: Chadthrottle::path(),
        attach: AttachMode::Link,
        cgroup: lane().map(Into::into),
        state_dir: state.to_owned(),
        // Rules of the machine are not to hold there.
        rules_root: Some(state.to_owned()),
        fields: None,
        interval: Duration::from_secs(1),
        verbose: 0,
        log_file: None,
        engine_speaks: false,
    }
}

#[test]
fn a_panic_detaches_everything() {
    let state = tempfile::tempdir().expect("a temporary directory");
    let settings = in_this_process(state.path());
    let panicked = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let session = runtime
            .expect("a runtime")
            .block_on(Session::start(settings));
        let _session = session.expect("an engine");
        assert_eq!(attached(&top()), OURS);
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    assert_nothing_left();
}

#[test]
fn five_hundred_limits_set_and_removed_leave_memory_descriptors_and_journal_flat() {
    let state = tempfile::tempdir().expect("a temporary directory");
    let settings = in_this_process(state.path());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let session = runtime
        .block_on(Session::start(settings))
        .expect("an engine");
    let pid = std::process::id();
    let key = key_of("/proc".as_ref(), pid).expect("ourselves");
    let limit = model::Limit {
        down: Some(Rate::MAX),
        up: Some(Rate::MAX),
        ..model::Limit::NONE
    };
    let cycle = || {
        let targets = Targets {
            processes: vec![key],
            children: true,
            ..Targets::default()
        };
        runtime.block_on(async {
            let id = session
                .engine
                .commands()
                .set_limit(targets, limit)
                .await
                .expect("a limit");
            session
                .engine
                .commands()
                .remove_limit(id)
                .await
                .expect("removing it");
        });
    };
    let journal = state.path().join("attachments.jsonl");
    let sizes = || {
        let fds = std::fs::read_dir("/proc/self/fd")
            .expect("descriptors")
            .count();
        let status = std::fs::read_to_string("/proc/self/status").expect("status");
        let memory = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let memory = memory.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        let length = std::fs::metadata(&journal).map_or(0, |metadata| metadata.len());
        let maps = crate::audit::loaded();
        (fds, memory.unwrap_or(0u64), length, maps)
    };
    // What is made once, at the first use, is not growth.
    (0..20).for_each(|_| cycle());
    let before = sizes();
    (0..500).for_each(|_| cycle());
    let after = sizes();
    println!(
        "500 cycles: {} descriptors, {} then {} KB",
        after.0, before.1, after.1
    );
    // A client may just have gone, or a look be under way.
    eventually("as many descriptors", Duration::from_secs(5), || {
        sizes().0 <= before.0
    });
    assert_eq!(after.2, before.2);
    eventually("as much is loaded", Duration::from_secs(5), || {
        crate::audit::loaded() == before.3
    });
    assert!(
        after.1 < before.1 + 1_000,
        "{} KB became {} KB",
        before.1,
        after.1
    );
    assert!(session.stop());
    assert_nothing_left();
}
