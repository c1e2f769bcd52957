//! Ownership without gaps: children that have made no socket yet, slots that run out, sockets whose
//! owner has ended, and calls that take long.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use chadthrottle_common::abi::MAX_PROCESSES;
use serde_json::Value;

use crate::{
    audit::{assert_nothing_left, bpftool, map, map_entries},
    bounds::take_all_slots,
    following::Limit,
    lab::{Lab, SERVER_V4},
    load::peer,
    observer::Observer,
    program::{Chadthrottle, eventually},
    traffic::{Traffic, far_side},
};

/// The number of one of our maps.
#[track_caller]
fn id(name: &str) -> String {
    map(name)["id"].to_string()
}

#[test]
fn forks_take_no_slots_and_leave_nothing_behind() {
    const CHILDREN: usize = 300;
    let lab = Lab::new();
    let program = Chadthrottle::new();
    let mut parent = Traffic::load(&lab.client, &format!("fork-and-wait {CHILDREN}"));
    let limit = Limit::start(&program, &format!("{} --children --up 1MB", parent.pid()));
    let before = map_entries("chad_processes");
    parent.go_on();
    parent.says("forked");
    let (slots, heirs) = (map_entries("chad_processes"), map_entries("chad_heirs"));
    println!(
        "{CHILDREN} children: {} slots more, {heirs} heirs",
        slots - before
    );
    assert!(slots < before + 10, "{slots} slots, {before} before");
    assert!(heirs >= CHILDREN, "{heirs} heirs");
    parent.go_on();
    eventually("they are forgotten", Duration::from_secs(5), || {
        map_entries("chad_heirs") < 10
    });
    drop(limit);
    assert_nothing_left();
}

/// How long 2 MB take at 1 MB/s under a limit that is for children too, where that matters with no
/// slot left.
#[track_caller]
fn with_children_limited(scenario: &str, no_slots: bool) -> Duration {
    let lab = Lab::new();
    let _server = peer(&lab);
    let program = Chadthrottle::new();
    let scenario = format!("{scenario} {SERVER_V4} 2000000");
    let mut parent = Traffic::load(&lab.client, &scenario);
    let limit = Limit::start(&program, &format!("{} --children --up 1MB", parent.pid()));
    if no_slots {
        take_all_slots();
    }
    let started = Instant::now();
    parent.go_on();
    parent.says("done");
    let took = started.elapsed();
    println!("{scenario}, without a slot: {no_slots}: {took:?}");
    drop(limit);
    assert_nothing_left();
    took
}

#[test]
fn a_child_for_which_no_slot_is_left_is_held_with_its_parent() {
    let took = with_children_limited("fork-and-send", true);
    assert!(took > Duration::from_millis(1_600), "{took:?}");
}

#[test]
fn a_grandchild_is_held_whose_parent_ended_without_a_socket() {
    for no_slots in [false, true] {
        let took = with_children_limited("orphan-and-send", no_slots);
        assert!(took > Duration::from_millis(1_600), "{took:?}");
    }
}

/// Has it look as if all slots but so many were in use.
#[track_caller]
fn leave_slots(left: u32) {
    let used = (MAX_PROCESSES - left).to_le_bytes();
    let mut command = Command::new("bpftool");
    command.args(["map", "update", "id", &id("chad_shares")]);
    command.args(["key", "0", "0", "0", "0", "value"]);
    command.args(used.map(|byte| byte.to_string()));
    command.args(["0", "0", "0", "0"]);
    assert!(command.status().expect("bpftool").success());
}

#[test]
fn one_users_processes_do_not_take_the_slots_of_all() {
    const LEFT: usize = 200;
    let lab = Lab::new();
    let _server = far_side(&lab);
    let program = Chadthrottle::new();
    let observer = Observer::start(&program);
    let mut storm = Traffic::load(&lab.client, "sockets-by-user 4321 400");
    leave_slots(LEFT as u32);
    let before = map_entries("chad_processes");
    storm.go_on();
    storm.says("made");
    let taken = map_entries("chad_processes") - before;
    println!("of {LEFT} slots that were left the user got {taken}");
    assert!((LEFT / 2 - 20..LEFT / 2 + 20).contains(&taken), "{taken}");
    let newcomer = Traffic::start(&lab.client, "udp v4 connected 100");
    let said = newcomer.says("client");
    observer.assert_agrees("a newcomer beside them", said, 0.0);
    storm.go_on();
    // A process gives back what it had.
    eventually("slots are free again", Duration::from_secs(12), || {
        map_entries("chad_processes") < before + 20
    });
    let shares = bpftool(&["map", "dump", "id", &id("chad_shares")]);
    let of_users: u64 = shares.as_array().expect("a list")[1..]
        .iter()
        .map(word)
        .sum();
    assert_eq!(of_users, 0, "slots counted for users");
    observer.stop();
    assert_nothing_left();
}

/// The value of an entry, a word.
fn word(entry: &Value) -> u64 {
    if let Some(number) = entry["formatted"]["value"].as_u64() {
        return number;
    }
    let bytes = entry["value"].as_array().expect("bytes");
    bytes.iter().rev().fold(0, |word, byte| {
        let byte = byte.as_str().expect("a byte").trim_start_matches("0x");
        word << 8 | u64::from_str_radix(byte, 16).expect("a byte")
    })
}

#[test]
fn a_socket_of_an_ended_child_is_held_from_the_first_packet() {
    let lab = Lab::new();
    let _server = peer(&lab);
    let program = Chadthrottle::new();
    let scenario = format!("send-by-ended {SERVER_V4} 3000000");
    let mut parent = Traffic::load(&lab.client, &scenario);
    let limit = Limit::start(&program, &format!("{} --children --up 1MB", parent.pid()));
    let before = map_entries("chad_processes");
    parent.go_on();
    parent.says("ended");
    eventually("the child has a slot", Duration::from_secs(2), || {
        map_entries("chad_processes") > before
    });
    // It goes to somebody else when the child's socket has been silent for a while.
    eventually("its slot is given back", Duration::from_secs(20), || {
        map_entries("chad_processes") == before
    });
    parent.go_on();
    let took = parent.says("took").down;
    println!("3 MB at 1 MB/s through the socket of an ended child: {took} ms");
    assert!(took > 1_900, "{took} ms");
    drop(limit);
    assert_nothing_left();
}

#[test]
fn what_has_come_before_a_worker_reads_is_the_workers() {
    let lab = Lab::new();
    let program = Chadthrottle::new();
    let observer = Observer::start(&program);
    let server = Traffic::start(&lab.client, "late_worker 8000");
    server.says("ready");
    let far = Traffic::start(&lab.server, "bring 8000 6");
    far.says("far");
    let worker = server.all_say("worker", 6)[0].pid;
    eventually("all is counted", Duration::from_secs(2), || {
        observer.carried(worker).down > 300_000
    });
    let master = observer.carried(server.pid());
    println!("worker {:?}, master {master:?}", observer.carried(worker));
    // Handshakes are the listener's.
    assert!(master.down < 2_000, "{master:?}");
    observer.stop();
    assert_nothing_left();
}

/// The child of a scenario has carried that, and its parent next to nothing.
#[track_caller]
fn is_the_childs(scenario: &str) {
    let lab = Lab::new();
    let _server = far_side(&lab);
    let program = Chadthrottle::new();
    let observer = Observer::start(&program);
    let parent = Traffic::start(&lab.client, scenario);
    let said = parent.says("child");
    eventually("it is the child's", Duration::from_secs(2), || {
        let child = observer.carried(said.pid);
        child.down >= said.down && child.up >= said.up
    });
    let master = observer.carried(parent.pid());
    println!(
        "{scenario}: {:?}, the parent {master:?}",
        observer.carried(said.pid)
    );
    assert!(master.down + master.up < 200_000, "{master:?}");
    observer.stop();
    assert_nothing_left();
}

#[test]
fn one_long_call_is_the_callers_and_not_the_makers() {
    is_the_childs("long_send 20000000");
}

#[test]
fn splicing_from_a_socket_is_a_use_of_it() {
    is_the_childs("splice 20000000");
}
