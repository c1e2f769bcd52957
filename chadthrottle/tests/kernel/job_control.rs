//! Ctrl-Z, fg and bg, as a shell that has a terminal does them.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    audit::{OURS, assert_nothing_left, attached, there, top},
    program::{Chadthrottle, Running, eventually},
    terminal::{Tmux, client, stty_of},
};

const SOON: Duration = Duration::from_secs(5);

/// An interactive shell in a window, with its prompt.
fn shell(name: &str) -> Tmux {
    let tmux = Tmux::run(name, "PS1='READY> ' exec bash --norc --noprofile -i");
    eventually("a prompt", SOON, || tmux.screen().contains("READY>"));
    tmux
}

fn enter(tmux: &Tmux, line: &str) {
    tmux.command(&["send-keys", "-l", line]);
    tmux.command(&["send-keys", "Enter"]);
}

#[track_caller]
fn shows(tmux: &Tmux, text: &str) {
    let deadline = Instant::now() + SOON;
    loop {
        let screen = tmux.screen();
        if screen.contains(text) {
            return;
        }
        assert!(Instant::now() < deadline, "no '{text}' in:\n{screen}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The program as it is called in a shell.
fn line(program: &Chadthrottle, arguments: &str) -> String {
    let state = program.state().display();
    let path = Chadthrottle::path();
    format!(
        "{} --state-dir {state} {} {arguments}",
        path.display(),
        there()
    )
}

#[track_caller]
fn send(signal: &str, pid: &str) {
    let status = Command::new("kill").args([signal, pid]).status();
    assert!(status.expect("kill(1)").success(), "kill {signal} {pid}");
}

/// One letter of /proc/PID/stat; T where it is stopped.
fn state(pid: &str) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.get(..1));
    state.unwrap_or_default().to_owned()
}

/// The child of that process with this name.
fn child(pid: &str, name: &str) -> String {
    let output = Command::new("pgrep").args(["-P", pid, "-x", name]).output();
    let text = String::from_utf8(output.expect("pgrep(1)").stdout);
    text.expect("UTF-8").trim().to_owned()
}

#[test]
fn the_screen_gives_the_terminal_back_and_takes_it_again() {
    let program = Chadthrottle::new();
    let tmux = shell("stop");
    let at_the_prompt = stty_of(&tmux);
    enter(&tmux, &line(&program, ""));
    shows(&tmux, "processes by");
    let client = client(&program);
    for way in ["Ctrl-Z", "SIGTSTP"] {
        assert_eq!(tmux.flag("alternate_on"), "1", "{way}");
        match way {
            "Ctrl-Z" => drop(tmux.command(&["send-keys", "C-z"])),
            _ => send("-TSTP", &client),
        }
        shows(&tmux, "Stopped");
        assert_eq!(state(&client), "T", "{way}");
        for (flag, value) in [
            ("alternate_on", "0"),
            ("cursor_flag", "1"),
            ("mouse_any_flag", "0"),
        ] {
            assert_eq!(tmux.flag(flag), value, "{way}: {flag}");
        }
        eventually("the terminal's settings are the shell's", SOON, || {
            stty_of(&tmux) == at_the_prompt
        });
        assert_eq!(attached(&top()), OURS, "{way}: limits go on");
        enter(&tmux, "clear");
        // What nobody tells who is in the background.
        tmux.command(&["resize-window", "-x", "90", "-y", "30"]);
        enter(&tmux, "fg");
        shows(&tmux, "processes by");
        eventually("it is as large as the window", SOON, || {
            let screen = tmux.screen();
            let lines: Vec<&str> = screen.lines().collect();
            lines.len() == 30 && lines[29].contains("? help")
        });
        assert_eq!(tmux.flag("mouse_any_flag"), "1", "{way}");
        tmux.command(&["send-keys", "?"]);
        shows(&tmux, "remove all limits");
        tmux.command(&["send-keys", "Escape"]);
        tmux.command(&["resize-window", "-x", "80", "-y", "24"]);
        eventually("the help has gone", SOON, || {
            !tmux.screen().contains("remove all limits")
        });
    }
    // Nobody can be told before SIGSTOP, but after it.
    send("-STOP", &client);
    shows(&tmux, "Stopped");
    enter(&tmux, "fg");
    eventually("it is drawn anew", SOON, || {
        let screen = tmux.screen();
        screen.contains("processes by") && !screen.contains("Stopped")
    });
    tmux.command(&["send-keys", "q"]);
    eventually("it has ended", SOON, || {
        !Path::new(&format!("/proc/{client}")).exists()
    });
    assert_eq!(tmux.flag("alternate_on"), "0");
    eventually("the terminal is as it was", SOON, || {
        stty_of(&tmux) == at_the_prompt
    });
    assert_nothing_left();
}

/// As in tmux's own window: there is no shell to come back from.
#[test]
fn without_a_shell_ctrl_z_stops_nothing() {
    let program = Chadthrottle::new();
    let tmux = Tmux::run("orphan", &format!("exec {}", line(&program, "")));
    shows(&tmux, "processes by");
    tmux.command(&["send-keys", "C-z"]);
    tmux.command(&["send-keys", "?"]);
    shows(&tmux, "remove all limits");
    let client = client(&program);
    tmux.command(&["send-keys", "C-c"]);
    eventually("it has ended", SOON, || {
        !Path::new(&format!("/proc/{client}")).exists()
    });
    assert_nothing_left();
}

#[test]
fn run_stops_and_goes_on_with_its_program() {
    let program = Chadthrottle::new();
    let tmux = shell("run");
    let run = line(&program, "run --root --down 1MB");
    enter(&tmux, &format!("{run} -- sh -c 'kill -STOP $$; exit 7'"));
    shows(&tmux, "Stopped");
    enter(&tmux, "fg; echo status $?");
    shows(&tmux, "status 7");
    assert_nothing_left();

    enter(&tmux, "clear");
    enter(
        &tmux,
        &format!("{run} -- sed --unbuffered s/hello/goodbye/"),
    );
    shows(&tmux, "(8 Mbit/s)");
    tmux.command(&["send-keys", "C-z"]);
    shows(&tmux, "Stopped");
    enter(&tmux, "fg");
    enter(&tmux, "hello");
    // The terminal shows what is typed also where nobody reads it yet.
    shows(&tmux, "\ngoodbye");
    tmux.command(&["send-keys", "C-d"]);
    enter(&tmux, "echo status $?");
    shows(&tmux, "status 0");
    assert_nothing_left();
}

#[test]
fn the_program_stops_and_goes_on_with_run() {
    let program = Chadthrottle::new();
    let tmux = shell("signals");
    let run = line(&program, "run --root --down 1MB -- sleep 60 &");
    enter(&tmux, &run);
    shows(&tmux, "(8 Mbit/s)");
    let client = client(&program);
    let mut sleep = String::new();
    eventually("it runs", SOON, || {
        sleep = child(&client, "sleep");
        !sleep.is_empty()
    });
    let both = || state(&client) + &state(&sleep);
    send("-TSTP", &client);
    eventually("both have stopped", SOON, || both() == "TT");
    send("-CONT", &client);
    eventually("both go on", SOON, || both() == "SS");
    send("-TERM", &client);
    eventually("it has ended", SOON, || {
        !Path::new(&format!("/proc/{client}")).exists()
    });
    assert_nothing_left();
}

/// Where nobody would continue us we do not stop, and learn how the program ends.
#[test]
fn without_a_shell_a_program_stops_alone() {
    let program = Chadthrottle::new();
    let run = program.command("run --root --down 1MB -- sh -c");
    let child_of_setsid = Command::new("setsid")
        .arg(run.get_program())
        .args(run.get_args())
        .arg("kill -STOP $$; exit 7")
        .stderr(Stdio::null())
        .spawn();
    let mut running = Running(child_of_setsid.expect("setsid(1)"));
    let pid = running.pid().to_string();
    let mut shell = String::new();
    eventually("it has stopped", SOON, || {
        shell = child(&pid, "sh");
        state(&shell) == "T"
    });
    // And not we: it may run at any moment, and then waits again.
    eventually("we wait", SOON, || state(&pid) == "S");
    send("-CONT", &shell);
    assert_eq!(running.wait(SOON).code(), Some(7));
    assert_nothing_left();
}
