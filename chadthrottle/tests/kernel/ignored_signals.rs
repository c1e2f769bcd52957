//! Signals that were ignored when the program was started, as behind nohup.

use std::{process::Command, time::Duration};

use crate::{
    audit::{OURS, assert_nothing_left, attached, top},
    program::{Chadthrottle, Running, eventually},
};

/// The program behind a shell that has these signals ignored.
fn ignoring(signals: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("trap '' {signals}; exec \"$@\""))
        .arg("sh")
        .arg(command.get_program())
        .args(command.get_args());
    shell
}

#[test]
fn they_do_not_end_us() {
    let program = Chadthrottle::new();
    let target = Command::new("sleep").arg("60").spawn();
    let target = Running(target.expect("sleep(1)"));
    let command = program.command(&format!("limit {} --down 1MB --for 4s", target.pid()));
    let child = ignoring("HUP INT QUIT TERM", &command).spawn();
    let mut limit = Running(child.expect("sh(1)"));
    eventually("attached", Duration::from_secs(15), || {
        attached(&top()) == OURS
    });
    for signal in ["-HUP", "-INT", "-QUIT", "-TERM"] {
        limit.signal(signal);
    }
    // What does not end it must not have ended it by the time that it ends by itself.
    assert_eq!(limit.wait(Duration::from_secs(6)).code(), Some(0));
    assert_nothing_left();
}

#[test]
fn the_program_under_run_ignores_what_it_would_without() {
    let program = Chadthrottle::new();
    let ignored = |command: Command, signals: &str| {
        let output = ignoring(signals, &command).output().expect("sh(1)");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let mask = text.trim().strip_prefix("SigIgn:").expect("a line");
        let mask = u64::from_str_radix(mask.trim(), 16).expect("a number");
        // But for 32 and 33, which the C library keeps for itself.
        format!("{:x}", mask & !(0b11 << 31))
    };
    for signals in ["HUP", "HUP INT QUIT PIPE TSTP", "CHLD CONT TERM", "USR1"] {
        let mut grep = Command::new("grep");
        grep.args(["SigIgn", "/proc/self/status"]);
        let run = program.command("run --root --down 1MB -- grep SigIgn /proc/self/status");
        assert_eq!(ignored(run, signals), ignored(grep, signals), "{signals}");
    }
    assert_nothing_left();
}
