//! What a program under `run` leaves running when it ends itself.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    audit::{OURS, assert_nothing_left, attached, top},
    following::Limit,
    iperf::{MB, server},
    lab::{Lab, SERVER_V4},
    load,
    program::{Chadthrottle, Running, eventually},
};

/// Starts `sh -c SCRIPT` under a limit, with its words in a pipe.
fn start(program: &Chadthrottle, options: &str, script: &str) -> Running {
    let child = program
        .command(&format!("run --root --down 1MB {options} -- sh -c"))
        .arg(script)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    Running(child.expect("chadthrottle"))
}

fn words(running: Running) -> String {
    let mut running = running;
    let mut text = String::new();
    let mut pipe = running.0.stderr.take().expect("its words");
    std::io::Read::read_to_string(&mut pipe, &mut text).expect("UTF-8");
    text
}

/// A daemon as they are made: in a session of its own, and nobody's child.
const DAEMON: &str = "(setsid sh -c 'sleep 3; true' >/dev/null 2>&1 &); exit 7";

/// A limit holds for children that have made no socket when their parent ends.
#[test]
fn a_child_that_waits_for_the_end_of_its_parent_is_held() {
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    let program = Chadthrottle::new();
    let report = program.state().join("report");
    // Longer than it takes to find that the parent has ended.
    let script = format!(
        "echo ready; read -r go; (sleep 3; exec ip netns exec {} iperf3 -c {SERVER_V4} -p 5201 -R -t 4 -J >{} 2>&1) &",
        lab.client,
        report.display()
    );
    let mut parent = Command::new("sh");
    let mut parent = Running::ready(parent.args(["-c", &script]).stdin(Stdio::piped()));
    let mut limit = Limit::start(&program, &format!("{} --children --down 1MB", parent.pid()));
    let mut input = parent.0.stdin.take().expect("its input");
    input.write_all(b"\n").expect("its input");
    parent.wait(Duration::from_secs(2));
    eventually("its report", Duration::from_secs(15), || {
        std::fs::read_to_string(&report).is_ok_and(|text| text.ends_with("}\n"))
    });
    // The limit ends with it.
    limit.wait(Duration::from_secs(12));
    let ratio = received(&report) / MB;
    assert!((0.7..1.15).contains(&ratio), "{ratio} of the limit");
    assert_nothing_left();
}

/// Bytes a second that iperf3 has received.
fn received(report: &Path) -> f64 {
    let text = std::fs::read_to_string(report).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let rate = report["end"]["sum_received"]["bits_per_second"].as_f64();
    rate.expect("a rate") / 8.0
}

#[test]
fn it_stays_limited_until_it_ends() {
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    let program = Chadthrottle::new();
    let report = program.state().join("report");
    let script = format!(
        "(setsid ip netns exec {} iperf3 -c {SERVER_V4} -p 5201 -R -t 4 -J >{} 2>&1 &); exit 7",
        lab.client,
        report.display()
    );
    let mut run = start(&program, "", &script);
    assert_eq!(run.wait(Duration::from_secs(12)).code(), Some(7));
    let said = words(run);
    assert!(
        said.contains("lives on") && said.contains("Ctrl-C"),
        "{said}"
    );
    let ratio = received(&report) / MB;
    assert!((0.7..1.15).contains(&ratio), "{ratio} of the limit");
    assert_nothing_left();
}

/// Of these processes each may begin after a look at all of them, and end before the look comes to it.
#[test]
fn a_chain_of_forks_stays_limited_however_fast_it_is() {
    const SECONDS: f64 = 16.0;
    let lab = Lab::new();
    let program = Chadthrottle::new();
    let started = Instant::now();
    // For half of the time they fork, and then the last one sends.
    let job = format!("escape fork-chain up {SERVER_V4} {SECONDS}");
    let run = load::limited(&program, "--up 100KB", &lab.client, &job).spawn();
    let mut run = Running(run.expect("chadthrottle"));
    run.wait(Duration::from_secs(40));
    let waited = started.elapsed().as_secs_f64();
    assert!(waited > 0.9 * SECONDS, "the limit ended after {waited} s");
    assert_nothing_left();
}

/// The kernel gives back who had an id before when somebody else has it already.
#[test]
fn a_chain_that_uses_two_ids_in_turn_stays_limited() {
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    let program = Chadthrottle::new();
    let report = program.state().join("report");
    let script = format!(
        "exec ip netns exec {} python3 {}/tests/kernel/ids.py iperf3 -c {SERVER_V4} -p 5201 -R -t 4 -J >{} 2>&1",
        lab.client,
        env!("CARGO_MANIFEST_DIR"),
        report.display()
    );
    let mut run = start(&program, "", &script);
    run.wait(Duration::from_secs(12));
    let ratio = received(&report) / MB;
    assert!((0.7..1.15).contains(&ratio), "{ratio} of the limit");
    assert_nothing_left();
}

#[test]
fn all_of_it_is_waited_for_and_its_number_said() {
    let program = Chadthrottle::new();
    let started = Instant::now();
    let told = program.state().join("started");
    let script = format!(
        "mkfifo {0}; (setsid sh -c 'sleep 3 & echo >{0}; wait' >/dev/null 2>&1 &); \
         read word <{0}; exit 7",
        told.display()
    );
    let mut run = start(&program, "", &script);
    assert_eq!(run.wait(Duration::from_secs(8)).code(), Some(7));
    assert!(started.elapsed() > Duration::from_secs(3));
    let said = words(run);
    assert!(
        said.contains("2 processes that it started live on"),
        "{said}"
    );
    assert_nothing_left();
}

#[test]
fn ctrl_c_ends_the_waiting_and_no_wait_has_none() {
    let program = Chadthrottle::new();
    let mut run = start(&program, "", DAEMON);
    eventually("attached", Duration::from_secs(15), || {
        attached(&top()) == OURS
    });
    // The shell has ended when the daemon is ours.
    eventually("it waits", Duration::from_secs(3), || {
        let path = format!("/proc/{}/task/{0}/children", run.pid());
        let children = std::fs::read_to_string(path).unwrap_or_default();
        children.split_whitespace().any(|pid| {
            let session = nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(
                pid.parse().expect("a number"),
            )));
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            session.is_ok_and(|session| session.to_string() == pid)
                && comm.is_ok_and(|name| name.trim() == "sh")
        })
    });
    run.signal("-INT");
    assert_eq!(run.wait(Duration::from_secs(2)).code(), Some(7));
    assert_nothing_left();

    let started = Instant::now();
    let mut run = start(&program, "--no-wait", DAEMON);
    assert_eq!(run.wait(Duration::from_secs(2)).code(), Some(7));
    assert!(started.elapsed() < Duration::from_secs(2));
    let said = words(run);
    assert!(!said.contains("Ctrl-C"), "{said}");
    assert_nothing_left();
}

/// Whoever ends the program by way of us wants us to end too.
#[test]
fn what_is_told_to_end_waits_for_nobody() {
    let program = Chadthrottle::new();
    let script = "(setsid sleep 30 >/dev/null 2>&1 &); exec sleep 30";
    let mut run = start(&program, "", script);
    eventually("it runs", Duration::from_secs(5), || {
        run.children().iter().any(|pid| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim() == "sleep")
        })
    });
    let daemons = run.children();
    run.signal("-TERM");
    assert_eq!(run.wait(Duration::from_secs(2)).code(), Some(143));
    assert_nothing_left();
    // What is left of it lives on, without us.
    for pid in daemons {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("an id"));
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
}
