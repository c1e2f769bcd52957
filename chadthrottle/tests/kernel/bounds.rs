//! What happens at the bounds: all slots in use, a kernel that tells little.

use std::{io::Write, process::Command};

use serde_json::Value;

use crate::{
    audit::{assert_nothing_left, map},
    following::Limit,
    iperf::{Client, MB, server, to_server},
    lab::Lab,
    observer::Observer,
    program::{Chadthrottle, Running},
    traffic::{Traffic, far_side},
};

/// Takes every free slot away, as that many processes would.
#[track_caller]
pub fn take_all_slots() {
    let free = map("chad_free");
    let mut batch = tempfile::NamedTempFile::new().expect("a temporary file");
    for _ in 0..free["max_entries"].as_u64().expect("a number") {
        writeln!(batch, "map pop id {}", free["id"]).expect("writing the batch");
    }
    // The last ones fail, since some slots are in use.
    let output = Command::new("bpftool")
        .args(["batch", "file"])
        .arg(batch.path())
        .output()
        .expect("bpftool");
    assert!(!output.status.success(), "no slot was in use");
    let empty = Command::new("bpftool")
        .args(["map", "pop", "id", &free["id"].to_string()])
        .output()
        .expect("bpftool");
    assert!(!empty.status.success(), "slots are left");
}

#[test]
fn with_all_slots_in_use_new_processes_are_unattributed_and_limits_hold() {
    let lab = Lab::new();
    let _iperf = server(&lab, 5201);
    let _server = far_side(&lab);
    let program = Chadthrottle::new();
    let mut limited = Client::held(&lab, &to_server(5201, 5, "-R"));
    let limit = Limit::start(&program, &format!("{} --down 1MB", limited.pid()));
    take_all_slots();
    limited.go();
    let newcomer = Traffic::start(&lab.client, "udp v4 connected 1000");
    newcomer.says("client");
    limit.says("slots are in use");
    let ratio = limited.report().goodput() / MB;
    println!("with no slot free: goodput / limit {ratio:.3}");
    assert!((0.7..1.15).contains(&ratio), "{ratio:.3}");
    drop(limit);
    assert_nothing_left();
}

#[test]
fn a_process_without_a_slot_is_counted_to_the_byte_as_nobodys() {
    let lab = Lab::new();
    let _server = far_side(&lab);
    let program = Chadthrottle::new();
    let observer = Observer::start(&program);
    take_all_slots();
    let number = |sample: &Value| {
        let unattributed = &sample["unattributed"];
        unattributed["up_bytes"].as_u64().expect("a number")
    };
    let before = number(&observer.fresh());
    let newcomer = Traffic::start(&lab.client, "udp v4 unconnected 1000");
    let said = newcomer.says("client");
    let grown = number(&observer.fresh()) - before;
    println!("unattributed: {grown} more, {} were sent", said.up);
    assert!(
        (said.up..said.up + said.up / 100).contains(&grown),
        "{grown} of {}",
        said.up
    );
    assert!(observer.entries(said.pid).is_empty());
    observer.stop();
    assert_nothing_left();
}

/// The program where the kernel has no BTF: a mount of its own hides it.
fn without_btf(program: &Chadthrottle, arguments: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c"]);
    command.arg("mount --bind /dev/null /sys/kernel/btf/vmlinux && exec \"$@\"");
    let original = program.command(arguments);
    command.arg("sh").arg(original.get_program());
    command.args(original.get_args());
    command
}

#[test]
fn without_btf_sockets_that_change_hands_are_found_within_seconds() {
    // New processes before every look, which must not have it pass over the others.
    let mut others = Command::new("sh");
    others.args(["-c", "while :; do sleep 0.2; done"]);
    let _others = Running(others.spawn().expect("sh"));
    for scenario in [
        "fork_after_accept 8000",
        "pass_over 8000",
        "prefork 8000 2 shared",
    ] {
        let lab = Lab::new();
        let program = Chadthrottle::new();
        let observer = Observer::of(without_btf(&program, "list --json --interval 1s"));
        let server = Traffic::start(&lab.client, scenario);
        server.says("ready");
        let connections = if scenario.starts_with("prefork") {
            4
        } else {
            1
        };
        // Beside other work a look may take longer than the two seconds that two looks take.
        let far = format!("connect_to 8000 {connections} 10000000 4");
        let far = Traffic::start(&lab.server, &far);
        let workers = server.all_say("worker", connections);
        far.says("far");
        for worker in workers {
            observer.assert_agrees(&format!("without BTF, {scenario}"), worker, 0.005);
        }
        drop(server);
        observer.stop();
    }
    assert_nothing_left();
}

#[test]
fn without_btf_the_doctor_says_so() {
    let program = Chadthrottle::new();
    let output = without_btf(&program, "doctor").output().expect("unshare");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let mut lines = text.lines();
    let btf = lines.find(|line| line.starts_with("kernel BTF"));
    let said = btf.and_then(|line| line.split_whitespace().nth(2));
    assert_eq!(said, Some("NO:"), "{text}");
    assert!(text.contains("found by searching /proc"), "{text}");
    assert_nothing_left();
}
