//! Nobody reads what we say: the engine goes on, and ends when it is told to.

use std::{
    fs::File,
    io::{PipeReader, Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::stat::Mode,
    unistd::mkfifo,
};

use crate::{
    audit::{OURS, assert_nothing_left, attached, top},
    program::{Chadthrottle, Running, eventually},
    pty::Screen,
};

/// From SIGTERM to the end, whatever blocks.
const PROMPT: Duration = Duration::from_secs(2);

/// A pipe that takes nothing more, and its other end.
fn full_pipe() -> (PipeReader, OwnedFd) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let writer = OwnedFd::from(writer);
    fill(writer.try_clone().expect("a duplicate").into());
    (reader, writer)
}

/// Writes until nothing more fits. Both ends block again after it.
fn fill(mut sink: File) {
    let set = |flags| fcntl(&sink, FcntlArg::F_SETFL(flags)).expect("fcntl(2)");
    set(OFlag::O_NONBLOCK);
    while (&sink).write(&[b'x'; 4096]).is_ok() {}
    set(OFlag::empty());
    sink.flush().expect("nothing to flush");
}

/// How many bytes wait in a pipe whose reader this is.
fn is_full(reader: &impl AsFd) -> bool {
    let mut fds = [nix::poll::PollFd::new(
        reader.as_fd(),
        nix::poll::PollFlags::POLLIN,
    )];
    nix::poll::poll(&mut fds, nix::poll::PollTimeout::ZERO).expect("poll(2)") == 1
}

#[track_caller]
fn is_attached() {
    eventually("attached", Duration::from_secs(15), || {
        attached(&top()) == OURS
    });
}

/// A process that does nothing for a while.
fn idle() -> Running {
    let child = Command::new("sleep").arg("60").spawn();
    Running(child.expect("sleep(1)"))
}

/// A thread of that process waits for room in what it writes to.
fn blocks(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    threads.flatten().any(|thread| {
        let place = std::fs::read_to_string(thread.path().join("wchan")).unwrap_or_default();
        ["pipe_write", "anon_pipe_write", "n_tty_write", "wait_woken"].contains(&place.trim())
    })
}

#[test]
fn a_standard_error_that_is_not_read_delays_no_end() {
    for attach in ["link", "legacy"] {
        for (arguments, by_itself) in [("", false), ("--for 3s", true)] {
            let program = Chadthrottle::new();
            let target = idle();
            let (reader, full) = full_pipe();
            let arguments = format!(
                "limit {} --down 1MB --attach {attach} -vv {arguments}",
                target.pid()
            );
            let child = program.command(&arguments).stderr(full).spawn();
            let mut limit = Running(child.expect("chadthrottle"));
            is_attached();
            if by_itself {
                // What it cannot write would keep it for ever.
                let status = limit.wait(Duration::from_secs(15));
                assert!(status.success(), "{attach}: {status}");
            } else {
                // Two samples more, each of which it has something to say of.
                std::thread::sleep(Duration::from_millis(2_100));
                limit.signal("-TERM");
                assert!(limit.wait(PROMPT).success(), "{attach}");
            }
            assert!(is_full(&reader), "it was read");
            assert_nothing_left();
        }
    }
}

#[test]
fn a_list_that_is_not_read_ends_when_told_to() {
    for arguments in [
        "list --json --all --interval 100ms",
        "list --all --interval 100ms",
    ] {
        let program = Chadthrottle::new();
        let (_reader, full) = full_pipe();
        let child = program.command(arguments).stdout(full).spawn();
        let mut list = Running(child.expect("chadthrottle"));
        is_attached();
        eventually("it blocks", Duration::from_secs(5), || blocks(list.pid()));
        list.signal("-TERM");
        assert!(list.wait(PROMPT).success());
        assert_nothing_left();
    }
}

/// A reader that comes late gets whole lines, and as many as were asked for.
#[test]
fn a_list_that_is_read_late_is_whole() {
    let program = Chadthrottle::new();
    let child = program
        .command("list --json --all --interval 100ms --count 4")
        .stdout(Stdio::piped())
        .spawn();
    let mut list = Running(child.expect("chadthrottle"));
    let mut output = list.0.stdout.take().expect("its output");
    // Twenty intervals.
    std::thread::sleep(Duration::from_secs(2));
    let mut text = String::new();
    output.read_to_string(&mut text).expect("UTF-8");
    assert!(list.wait(PROMPT).success());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4);
    for line in lines {
        let sample: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(sample["schema"], 1);
    }
    assert_nothing_left();
}

#[test]
fn a_log_that_is_not_read_delays_neither_start_nor_end() {
    for has_reader in [true, false] {
        let program = Chadthrottle::new();
        let log = program.state().join("log");
        mkfifo(&log, Mode::S_IRWXU).expect("a pipe with a name");
        // Open for both, so that opening it does not wait for anybody.
        let both = has_reader.then(|| {
            let both = File::options().read(true).write(true).open(&log);
            let both = both.expect("the pipe");
            fill(both.try_clone().expect("a duplicate"));
            both
        });
        let target = idle();
        let arguments = format!(
            "limit {} --down 1MB -vv --for 2s --log-file {}",
            target.pid(),
            log.display()
        );
        let mut limit = program.spawn(&arguments);
        is_attached();
        assert!(limit.wait(Duration::from_secs(4)).success());
        drop(both);
        assert_nothing_left();
    }
}

/// What is said is said, where it is read.
#[test]
fn all_words_are_there_when_the_program_has_ended() {
    let program = Chadthrottle::new();
    let log = program.state().join("log");
    for _ in 0..5 {
        let arguments = format!(
            "run --root -v --down 1MB --log-file {} -- true",
            log.display()
        );
        let output = program.output(&arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("down 1 MB/s (8 Mbit/s)"), "{text}");
        let text = std::fs::read_to_string(&log).expect("the log");
        assert!(text.contains("carried: down 0"), "{text}");
        std::fs::remove_file(&log).expect("removing it");
    }
}

#[test]
fn a_terminal_that_takes_nothing_more_ends_no_later() {
    for attach in ["link", "legacy"] {
        let program = Chadthrottle::new();
        let mut screen = Screen::open(&program, &format!("--attach {attach}"));
        screen.shows("the table", |text| text.contains("processes by"));
        // Large, and read no more: a few frames fill it.
        screen.stop_reading();
        screen.resize(200, 400);
        eventually("it blocks", Duration::from_secs(20), || {
            screen.press("?");
            blocks(screen.pid())
        });
        let asked = Instant::now();
        screen.signal("-TERM");
        let code = screen.wait(PROMPT);
        assert_eq!(code, 143, "{attach}");
        println!("{attach}: ended after {:?}", asked.elapsed());
        assert_eq!(attached(&top()), [""; 0]);
        // Whoever reads on finds the terminal as it was.
        screen.read_on();
        screen.shows_that("the terminal is as it was", |screen| {
            !screen.alternate_screen()
                && !screen.hide_cursor()
                && screen.mouse_protocol_mode() == vt100::MouseProtocolMode::None
        });
        assert!(!Path::new(&format!("/proc/{}", screen.pid())).exists());
        assert_nothing_left();
    }
}

/// With Ctrl-S on the terminal that the status line goes to.
#[test]
fn a_terminal_that_was_stopped_delays_no_end() {
    for (arguments, by_itself) in [("--for 3s", true), ("", false)] {
        let program = Chadthrottle::new();
        let target = idle();
        let arguments = format!("limit {} --down 1MB {arguments}", target.pid());
        let mut terminal = Screen::open(&program, &arguments);
        terminal.shows("the status", |text| text.contains("1 process"));
        terminal.press("\x13");
        eventually("it blocks", Duration::from_secs(3), || {
            blocks(terminal.pid())
        });
        if !by_itself {
            terminal.signal("-TERM");
        }
        assert_eq!(terminal.wait(Duration::from_secs(3)), 0);
        assert_nothing_left();
    }
}
