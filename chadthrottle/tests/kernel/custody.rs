//! What a running engine rests on is taken away: its guard is killed, its programs are detached, its
//! journal is removed. It notices, says so, and puts all of it back.

use std::{process::Stdio, time::Duration};

use nix::{sys::signal::Signal, unistd::Pid};
use serde_json::Value;

use crate::{
    audit::{OURS, assert_nothing_left, attached, bpftool, top},
    client::{Client, UNLIMITED},
    program::{Chadthrottle, Running, eventually},
};

const LIMIT: Duration = Duration::from_secs(15);

fn kill(pid: u32) {
    send(Signal::SIGKILL, pid);
}

#[track_caller]
fn send(signal: Signal, pid: u32) {
    let pid = i32::try_from(pid).expect("a process id");
    nix::sys::signal::kill(Pid::from_raw(pid), signal).expect("sending a signal");
}

/// Kills the engine's guard, and waits until another one has taken its place, of which `said` tells.
#[track_caller]
fn lose_guard(program: &Chadthrottle, said: impl Fn() -> String) {
    let times = || said().matches("another one has taken its place").count();
    let before = times();
    let [guard] = program.guards()[..] else {
        panic!("guards: {:?}", program.guards());
    };
    kill(guard);
    eventually("another guard is there", LIMIT, || times() > before);
    assert!(matches!(program.guards()[..], [next] if next != guard));
}

#[test]
fn a_guard_that_was_killed_is_followed_by_one_that_knows_as_much() {
    let mut client = Client::start();
    client.connect("connect");
    let before = client.options();
    let program = Chadthrottle::new();
    let mut engine = program.spawn(&format!(
        "--attach legacy limit {} --down 1MB --up 100KB --log-file {}",
        client.pid(),
        program.state().join("log").display()
    ));
    let said = || std::fs::read_to_string(program.state().join("log")).unwrap_or_default();
    eventually("the limit's options are set", LIMIT, || {
        client.options()[0].pacing != UNLIMITED
    });
    for _ in 0..2 {
        lose_guard(&program, said);
    }
    program.kill_engine(&mut engine);
    eventually("all is detached", LIMIT, || attached(&top()).is_empty());
    eventually("options are as before", LIMIT, || {
        client.options()[0].pacing == before[0].pacing
    });
    assert_nothing_left();
}

/// The engine's link at egress, or its program, as bpftool has it.
fn at_egress(list: &[&str], key: &str) -> String {
    let programs = bpftool(&["prog", "list"]);
    let is_ours = |entry: &&Value| entry["name"] == "chadthrottle_eg";
    let all = programs.as_array().expect("a list");
    let id = &all.iter().find(is_ours).expect("our program")["id"];
    let entries = bpftool(list);
    let entries = entries.as_array().expect("a list");
    let ours = entries.iter().find(|entry| entry[key] == *id);
    ours.expect("ours")["id"].to_string()
}

#[test]
fn programs_that_somebody_has_detached_are_attached_again() {
    for attach in ["link", "legacy"] {
        let program = Chadthrottle::new();
        let mut command = program.command(&format!("list --attach {attach}"));
        let engine = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut engine = Running(engine.expect("an engine"));
        let all_there = || attached(&top()) == OURS;
        eventually("attached", LIMIT, all_there);
        match attach {
            "link" => {
                let link = at_egress(&["link", "list"], "prog_id");
                bpftool(&["link", "detach", "id", &link]);
            }
            _ => {
                let id = at_egress(&["prog", "list"], "id");
                bpftool(&["cgroup", "detach", &top(), "egress", "id", &id]);
            }
        }
        assert!(!all_there());
        eventually("attached again", LIMIT, all_there);
        engine.signal("-TERM");
        let output = engine.0.stderr.take().expect("its output");
        let said = std::io::read_to_string(output).expect("its words");
        assert!(engine.wait(LIMIT).success());
        assert!(
            said.contains("somebody has detached chadthrottle_eg"),
            "{said}"
        );
        assert_nothing_left();
    }
}

#[test]
fn a_journal_that_was_removed_is_written_anew() {
    let program = Chadthrottle::new();
    let mut command = program.command("list --attach legacy");
    let engine = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut engine = Running(engine.expect("an engine"));
    eventually("attached", LIMIT, || attached(&top()) == OURS);
    let records = || program.journal().matches("\"attach\"").count();
    let before = records();
    std::fs::remove_file(program.state().join("attachments.jsonl")).expect("its journal");
    eventually("it is there again", LIMIT, || records() == before);
    program.kill_with_guard(&mut engine);
    assert!(program.output("cleanup").status.success());
    assert_nothing_left();
}

/// Its engine was killed, and a later one has recovered what that left; what is there by now is the later one's.
#[test]
fn a_guard_that_comes_late_leaves_what_a_later_engine_keeps() {
    let mut client = Client::start();
    client.connect("connect");
    let program = Chadthrottle::new();
    let holds = |client: &mut Client| {
        eventually("the limit holds", LIMIT, || {
            client.options()[0].pacing != UNLIMITED
        });
    };
    let mut first = program.spawn(&format!("limit {} --up 30KB", client.pid()));
    holds(&mut client);
    let [late] = program.guards()[..] else {
        panic!("one guard")
    };
    send(Signal::SIGSTOP, late);
    program.kill_engine(&mut first);
    let mut second = program.spawn(&format!("limit {} --up 20KB", client.pid()));
    eventually("the second one holds it", LIMIT, || {
        program.state().join("pins/put_back").exists() && client.options()[0].pacing < 25_000
    });
    program.kill_with_guard(&mut second);
    send(Signal::SIGCONT, late);
    eventually("the late guard has gone", LIMIT, || {
        !std::fs::exists(format!("/proc/{late}")).expect("/proc")
    });
    assert!(program.state().join("pins/put_back").exists());
    assert!(program.output("cleanup").status.success());
    assert_eq!(client.options()[0].pacing, UNLIMITED);
    drop(client);
    assert_nothing_left();
}
