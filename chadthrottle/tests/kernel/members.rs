//! Rules: who is held by which, and who is not any more.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    audit::Cgroup,
    engine::{call, connect},
    lab::{Lab, SERVER_V4},
    program::{Running, eventually},
    ruled::{Ruled, rule, said, sleeper},
};

/// Each of a thousand processes has a limit of its own, and they all end with their rule.
#[test]
fn a_thousand_limits_of_a_rule_end_at_once() {
    const PROCESSES: usize = 1_000;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ct-many");
    fs::copy("/bin/sleep", &path).expect("a copy of sleep(1)");
    let script = format!(
        "for n in $(seq {PROCESSES}); do {} 60 & done; wait",
        path.display()
    );
    let mut all = Command::new("sh");
    let all = Running(all.args(["-c", &script]).spawn().expect("sh"));
    eventually("they run", Duration::from_secs(20), || {
        all.children().len() == PROCESSES
    });
    let ruled = Ruled::with(&rule(
        "each",
        "name:ct-many",
        "down = '1MB/s'\nshare = 'process'",
    ));
    eventually("each has its limit", Duration::from_secs(20), || {
        let limits: Value = serde_json::from_str(&ruled.run("limits --json")).expect("JSON");
        limits["limits"].as_array().expect("limits").len() == PROCESSES
    });
    ruled.write("");
    let began = Instant::now();
    ruled.run("rule reload");
    let took = began.elapsed();
    println!("{PROCESSES} limits ended in {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    for child in all.children() {
        crate::program::signal(child, "-KILL");
    }
    drop(all);
    ruled.end();
}

#[test]
fn a_limit_set_by_hand_stands_above_rules_and_the_first_rule_above_later_ones() {
    let directory = tempfile::tempdir().expect("a directory");
    let held = sleeper(directory.path(), "ct-held");
    let rules = [
        rule("second", "name:ct-h*", "down = '2MB/s'"),
        rule("third", "name:ct-held", "down = '3MB/s'"),
    ];
    let ruled = Ruled::with(&rules.concat());
    ruled.is_held(held.pid(), Some(2_000_000));
    ruled.run(&format!("limit {} --down 1MB --detach", held.pid()));
    ruled.is_held(held.pid(), Some(1_000_000));
    // Whatever happens to rules meanwhile.
    ruled.run("rule add first name:ct-held --down 4MB --first");
    ruled.is_held(held.pid(), Some(1_000_000));
    ruled.run(&format!("unlimit {}", held.pid()));
    ruled.is_held(held.pid(), Some(4_000_000));
    let (id, _) = ruled.limit(held.pid()).expect("a limit");
    let output = ruled
        .command(&format!("unlimit {id}"))
        .output()
        .expect("chadthrottle");
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("rule 'first'"), "{}", said(&output));
    ruled.run("rule move first 3");
    ruled.is_held(held.pid(), Some(2_000_000));
    ruled.run("rule remove second");
    ruled.is_held(held.pid(), Some(3_000_000));
    let why = ruled.run(&format!("rule test {}", held.pid()));
    assert!(
        why.contains("rule 'third' holds it") && why.contains("'first' matches too"),
        "{why}"
    );
    ruled.run("rule disable third");
    ruled.run("rule disable first");
    ruled.is_held(held.pid(), None);
    ruled.end();
}

#[test]
fn who_shares_a_limit_is_as_the_rule_says_and_who_becomes_another_program_leaves_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let two = ["ct-one", "ct-two"].map(|name| sleeper(directory.path(), name));
    let shell = format!("sleep 1; exec {}/ct-other 60", directory.path().display());
    let _other = sleeper(directory.path(), "ct-other");
    let path = directory.path().join("ct-shell");
    fs::copy("/bin/sh", &path).expect("a copy of sh");
    let ruled = Ruled::with(&rule(
        "each",
        "name:ct-*+!name:ct-other",
        "down = '1MB/s'\nshare = 'process'",
    ));
    let ids: Vec<u64> = two
        .iter()
        .map(|process| {
            ruled.is_held(process.pid(), Some(1_000_000));
            ruled.limit(process.pid()).expect("a limit").0
        })
        .collect();
    assert_ne!(ids[0], ids[1]);
    let becomes = Command::new(&path).args(["-c", &shell]).spawn();
    let becomes = Running(becomes.expect("a shell"));
    ruled.is_held(becomes.pid(), Some(1_000_000));
    ruled.is_held(becomes.pid(), None);
    ruled.write(&rule("each", "name:ct-*", "down = '1MB/s'"));
    call(&mut connect(&ruled.program), "ReloadRules", &json!({}));
    for process in two.iter().chain([&becomes]) {
        ruled.is_held(process.pid(), Some(1_000_000));
    }
    let id = |process: &Running| ruled.limit(process.pid()).expect("a limit").0;
    assert_eq!(id(&two[0]), id(&two[1]));
    ruled.end();
}

#[test]
fn units_and_containers_are_held_when_they_start_later() {
    let id = "c0ffee00".repeat(8);
    let unit = Cgroup::new("later.service");
    let container = Cgroup::below(&unit, &format!("docker-{id}.scope"));
    let rules = [
        rule("container", "container:c0ffee00", "down = '1MB/s'"),
        rule(
            "unit",
            "unit:*later.service",
            "down = '2MB/s'\nshare = 'unit'",
        ),
    ];
    let ruled = Ruled::with(&rules.concat());
    let start = |cgroup: &Cgroup| {
        let script = format!(
            "echo $$ > {}/cgroup.procs; exec unshare --net --uts --ipc sleep 60",
            cgroup.0
        );
        Running(
            Command::new("sh")
                .args(["-c", &script])
                .spawn()
                .expect("sh"),
        )
    };
    let (inside, beside) = (start(&container), start(&unit));
    ruled.is_held(inside.pid(), Some(1_000_000));
    ruled.is_held(beside.pid(), Some(2_000_000));
    drop((inside, beside));
    ruled.end();
}

/// A program that sends a datagram a hundredth of a second to itself, and becomes what it is told to.
const CHANGING: &str = "
import ctypes, os, socket, sys, threading, time
def send():
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    while True:
        out.sendto(b'x', ('127.0.0.1', 9))
        time.sleep(0.01)
threading.Thread(target=send, daemon=True).start()
print('ready', flush=True)
for line in sys.stdin:
    what, value = line.split()
    if what == 'name':
        # PR_SET_NAME
        ctypes.CDLL(None).prctl(15, value.encode(), 0, 0, 0)
    else:
        os.seteuid(int(value))
    print('done', flush=True)
";

/// Nobody tells of a name or a user that changes without an exec, which only a look at the process shows.
#[test]
fn who_sends_is_found_soon_under_another_name_or_as_another_user() {
    let mut command = Command::new("python3");
    command.args(["-c", CHANGING]).stdin(Stdio::piped());
    let mut process = Running::ready(&mut command);
    let mut output = BufReader::new(process.0.stdout.take().expect("its output"));
    let rules = [
        rule("name", "name:ct-another", "down = '1MB/s'"),
        rule("user", "user:54321", "down = '2MB/s'"),
    ];
    let ruled = Ruled::with(&rules.concat());
    // It has been looked at as often as one that has run for long.
    std::thread::sleep(Duration::from_secs(10));
    for (what, down) in [
        ("name ct-another", Some(1_000_000)),
        ("name ct-nobody", None),
        ("user 54321", Some(2_000_000)),
        ("user 0", None),
    ] {
        let input = process.0.stdin.as_mut().expect("its input");
        writeln!(input, "{what}").expect("its input");
        output.read_line(&mut String::new()).expect("its answer");
        let began = Instant::now();
        ruled.is_held(process.pid(), down);
        let took = began.elapsed();
        println!("{what}: {took:?}");
        // A tenth of a second, and what asking the engine takes. In its turn it would be up to two minutes.
        assert!(took < Duration::from_secs(4), "{what}: {took:?}");
    }
    drop(process);
    ruled.end();
}

/// What a process carries under a limit of its own counts for the rule, also where that ends before the next sample.
#[test]
fn what_a_limit_has_carried_counts_for_its_rule_when_it_has_ended() {
    let lab = Lab::new();
    let _sink = sink(&lab);
    let ruled = Ruled::with(&rule(
        "own",
        "name:ct-send",
        "up = '100MB/s'\nshare = 'process'",
    ));
    let bash = bash_as(&ruled, "ct-send");
    // It sends, and becomes a program that the rule does not hold, each time within a moment.
    let script = format!("sleep 1; {SEND}; sleep 0.15; exec sleep 0.5");
    for _ in 0..5 {
        run_for_a_moment(&lab, &bash, &script);
    }
    std::thread::sleep(Duration::from_millis(1_500));
    assert_carried(&ruled, &[5 * SENT]);
    ruled.end();
}

/// The kernel programs know both rules, and nobody looks but the engine itself.
#[test]
fn what_a_program_carried_before_it_became_another_counts_for_the_rule_of_that_one() {
    let lab = Lab::new();
    let _sink = sink(&lab);
    let rules =
        ["first", "second"].map(|name| rule(name, &format!("name:ct-{name}"), "up = '100MB/s'"));
    let ruled = Ruled::with(&rules.concat());
    let [first, second] = ["ct-first", "ct-second"].map(|name| bash_as(&ruled, name));
    // bash would become the last command.
    let then = format!("{SEND}; {SEND}; sleep 0.7; :");
    let script = format!(
        "sleep 1; {SEND}; sleep 0.7; exec {} -c '{then}'",
        second.display()
    );
    for _ in 0..3 {
        run_for_a_moment(&lab, &first, &script);
    }
    std::thread::sleep(Duration::from_millis(1_500));
    assert_carried(&ruled, &[3 * SENT, 6 * SENT]);
    ruled.end();
}

/// For bash: sends so many bytes.
const SEND: &str =
    "exec 3<>/dev/udp/198.18.0.2/9; for n in 1 2 3 4 5 6 7 8 9 10; do printf %01000d 0 >&3; done";
const SENT: u64 = 10_000;

/// Takes what is sent.
fn sink(lab: &Lab) -> Running {
    let sink = "import socket\ns = socket.socket(type=socket.SOCK_DGRAM)\ns.bind(('', 9))\nprint('ready', flush=True)\n\
                while True: s.recv(9999)";
    assert!(SEND.contains(SERVER_V4));
    Running::ready(Lab::command(&lab.server, "python3").args(["-c", sink]))
}

/// A copy of bash that has that name.
fn bash_as(ruled: &Ruled, name: &str) -> PathBuf {
    let copy = ruled.root.join(name);
    let which = Command::new("sh").args(["-c", "command -v bash"]).output();
    let path = String::from_utf8(which.expect("sh").stdout).expect("a path");
    fs::copy(path.trim_end(), &copy).expect("a copy of bash");
    copy
}

fn run_for_a_moment(lab: &Lab, bash: &Path, script: &str) {
    let mut command = Lab::command(&lab.client, "timeout");
    let status = command.arg("5").arg(bash).args(["-c", script]).status();
    assert!(status.expect("timeout(1)").success());
}

/// What the rules have carried today, each with headers.
#[track_caller]
fn assert_carried(ruled: &Ruled, expected: &[u64]) {
    let list = ruled.run("rule list --json");
    let rules: Value = serde_json::from_str(&list).expect("JSON");
    for (at, bytes) in expected.iter().enumerate() {
        let carried = rules[at]["carried_today"]["up"].as_u64().expect("bytes");
        println!("rule {at}: {carried} bytes of {bytes}, and headers");
        assert!((*bytes..bytes * 11 / 10).contains(&carried), "{carried}");
    }
}
