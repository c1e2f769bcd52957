//! `run` and `list` as a user of the command line meets them.

use std::process::Output;

use serde_json::Value;

use crate::{
    audit::assert_nothing_left,
    iperf::{Client, server, to_server},
    lab::Lab,
    program::Chadthrottle,
};

fn error_text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_exit_status_is_the_programs() {
    let program = Chadthrottle::new();
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143)] {
        let output = program
            .command("run --root --down 1MB -- sh -c")
            .arg(script)
            .output();
        assert_eq!(
            output.expect("chadthrottle").status.code(),
            Some(code),
            "{script}"
        );
    }
    let missing = program.output("run --root --down 1MB -- no-such-program");
    assert_eq!(missing.status.code(), Some(127));
    assert!(error_text(&missing).contains("no-such-program"));
    let not_executable = program.output("run --root --down 1MB -- /etc/passwd");
    assert_eq!(not_executable.status.code(), Some(126));
    assert_nothing_left();
}

#[test]
fn standard_output_belongs_to_the_program_and_the_echo_goes_elsewhere() {
    let program = Chadthrottle::new();
    let output = program.output("run --root --down 1MB --up 4Mbit -- echo hello");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\n");
    let words = error_text(&output);
    assert!(words.contains("down 1 MB/s (8 Mbit/s)"), "{words}");
    assert!(words.contains("up 500 KB/s (4 Mbit/s)"), "{words}");
}

#[test]
fn a_standard_error_that_cannot_be_written_ends_neither_program_nor_limit() {
    let program = Chadthrottle::new();
    for attach in ["link", "legacy"] {
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .expect("/dev/full");
        let arguments = format!("run --root --attach {attach} --down 1MB -- echo hello");
        let output = program
            .command(&arguments)
            .stderr(full)
            .output()
            .expect("chadthrottle");
        assert_eq!(output.status.code(), Some(0), "{attach}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\n");
        assert_nothing_left();
    }
}

#[test]
fn behind_sudo_the_program_runs_as_the_user_who_called() {
    let program = Chadthrottle::new();
    let script = "id -u; id -g; echo $HOME";
    let run = |option: &str| {
        let mut command = program.command(&format!("run {option} -- sh -c"));
        let output = command
            .arg(script)
            .env("SUDO_UID", "1")
            .env("HOME", "/root")
            .output();
        String::from_utf8(output.expect("chadthrottle").stdout).expect("UTF-8")
    };
    assert_eq!(run(""), "1\n1\n/usr/sbin\n");
    assert_eq!(run("--root"), "0\n0\n/root\n");
}

#[test]
fn list_shows_a_transfer_with_its_limit_and_bytes() {
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    let program = Chadthrottle::new();
    let client = Client::started(&lab, &to_server(5201, 5, "-R -b 16M"));
    let output = program.output("list --json --count 2 --sort down");
    assert!(output.status.success(), "{}", error_text(&output));
    let lines: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("one JSON object a line"))
        .collect();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line["schema"] == 1));
    let process = lines[1]["processes"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|process| process["pid"] == client.pid())
        .expect("the client is listed");
    assert_eq!(process["name"], "iperf3");
    assert_eq!(process["user"], "root");
    assert_eq!(process["limit"], Value::Null);
    assert!(
        process["sockets"].as_u64().expect("a number") >= 2,
        "{process}"
    );
    let rate = process["down_bytes_per_s"].as_f64().expect("a number");
    assert!(
        (1.5e6..2.6e6).contains(&rate),
        "{rate} for a transfer of 2 MB/s"
    );
    assert!(process["down_bytes"].as_u64().expect("a number") > 1_000_000);
    drop(client);
    assert_nothing_left();
}
