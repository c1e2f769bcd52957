//! `run` and `list` as a user of the command line meets them.

use std::process::Output;

use serde_json::Value;

use crate::{
    audit::assert_nothing_left,
    iperf::{Client, server, to_server},
    lab::Lab,
    program::{Chadthrottle, Running},
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
fn behind_sudo_and_the_like_the_program_runs_as_the_user_who_called() {
    let program = Chadthrottle::new();
    let script = "id -u; id -g; echo $HOME $USER $XDG_RUNTIME_DIR $DBUS_SESSION_BUS_ADDRESS";
    let run = |option: &str, (name, value): (&str, &str)| {
        let mut command = program.command(&format!("run {option} -- sh -c"));
        for name in [
            "SUDO_UID",
            "DOAS_USER",
            "PKEXEC_UID",
            "DBUS_SESSION_BUS_ADDRESS",
        ] {
            command.env_remove(name);
        }
        let output = command
            .arg(script)
            .env(name, value)
            .env("HOME", "/root")
            .env("USER", "root")
            .env("XDG_RUNTIME_DIR", "/run/user/0")
            .output();
        String::from_utf8(output.expect("chadthrottle").stdout).expect("UTF-8")
    };
    for caller in [
        ("SUDO_UID", "1"),
        ("DOAS_USER", "daemon"),
        ("PKEXEC_UID", "1"),
    ] {
        assert_eq!(run("", caller), "1\n1\n/usr/sbin daemon\n", "{caller:?}");
        let as_root = "0\n0\n/root root /run/user/0\n";
        assert_eq!(run("--root", caller), as_root, "{caller:?}");
    }
}

/// A program may call itself anything, and a terminal may be all that reads the list.
#[test]
fn names_in_json_hold_nothing_that_a_terminal_would_obey() {
    let program = Chadthrottle::new();
    let name = "a\u{9b}31m\u{202e}b";
    let path = program.state().join(name);
    std::fs::copy("/bin/sleep", &path).expect("a copy");
    let sleep = std::process::Command::new(&path).arg("30").spawn();
    let sleep = Running(sleep.expect("its start"));
    let output = program.output("list --json --all --count 1 --interval 100ms");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(!text.contains(['\u{9b}', '\u{202e}']));
    let sample: Value = serde_json::from_str(&text).expect("JSON");
    let processes = sample["processes"].as_array().expect("a list");
    let process = processes
        .iter()
        .find(|process| process["pid"] == sleep.pid());
    assert_eq!(process.expect("it is listed")["name"], name);
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
