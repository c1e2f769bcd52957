//! The terminal after each way out, as tmux and stty see it.

use std::{path::Path, process::Command, time::Duration};

use crate::{
    audit::{OURS, assert_nothing_left, attached, there, top},
    program::{Chadthrottle, eventually},
};

/// A tmux server of the test's own with one window, ended when dropped.
pub struct Tmux {
    socket: String,
}

impl Tmux {
    /// Runs a shell script in a window of 80 by 24.
    pub fn run(name: &str, script: &str) -> Self {
        let tmux = Self {
            socket: format!("ct{}-{name}", std::process::id()),
        };
        tmux.command(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
            script,
        ]);
        tmux
    }

    pub fn command(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .args(["-L", &self.socket])
            .args(arguments)
            .output();
        let output = output.expect("tmux");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn screen(&self) -> String {
        self.command(&["capture-pane", "-p"])
    }

    /// One of tmux's own flags of the window.
    pub fn flag(&self, name: &str) -> String {
        let format = format!("#{{{name}}}");
        self.command(&["display-message", "-p", &format])
            .trim()
            .to_owned()
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .args(["-L", &self.socket, "kill-server"])
            // It may have ended by itself.
            .output();
    }
}

/// Process id of the client that has started the program's engine.
pub fn client(program: &Chadthrottle) -> String {
    let engine = program.engine();
    let stat = std::fs::read_to_string(format!("/proc/{engine}/stat")).expect("the engine");
    let parent = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.split(' ').nth(1));
    parent.expect("its parent").to_owned()
}

fn check(name: &str, attach: &str, end: impl FnOnce(&Tmux, &str)) {
    let program = Chadthrottle::new();
    let state = program.state();
    let (before, after) = (state.join("before"), state.join("after"));
    let script = format!(
        "stty -a > {}; {} --state-dir {} {} --attach {attach}; stty -a > {}.new; \
         mv {}.new {}; sleep 30",
        before.display(),
        Chadthrottle::path().display(),
        state.display(),
        there(),
        after.display(),
        after.display(),
        after.display(),
    );
    let tmux = Tmux::run(&format!("{name}-{attach}"), &script);
    eventually("the screen is drawn", Duration::from_secs(15), || {
        tmux.screen().contains("processes by")
    });
    assert_eq!(attached(&top()), OURS, "{name} {attach}");
    assert_eq!(tmux.flag("alternate_on"), "1");
    end(&tmux, &client(&program));
    eventually("the shell goes on", Duration::from_secs(3), || {
        after.exists()
    });
    // The guard, where it is the one who restores, may need a moment more.
    let soon = Duration::from_millis(500);
    let what = |what: &str| format!("{name} {attach}: {what}");
    eventually(&what("not on the alternate screen"), soon, || {
        tmux.flag("alternate_on") == "0"
    });
    eventually(&what("the cursor is shown"), soon, || {
        tmux.flag("cursor_flag") == "1"
    });
    let [before, after] =
        [&before, &after].map(|file| std::fs::read_to_string(file).expect("stty's words"));
    // SIGKILL lets the shell go on before the guard has put the terminal back: look again.
    eventually(&what("the terminal's settings"), soon, || {
        before == after || before == stty_of(&tmux)
    });
    assert_nothing_left();
}

/// What stty says of the window's terminal now.
pub fn stty_of(tmux: &Tmux) -> String {
    let tty = tmux.flag("pane_tty");
    let output = Command::new("stty")
        .args(["-a", "-F", &tty])
        .output()
        .expect("stty(1)");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn send_keys(keys: &'static str) -> impl Fn(&Tmux, &str) {
    move |tmux, _| {
        tmux.command(&["send-keys", keys]);
    }
}

fn send_signal(signal: &'static str) -> impl Fn(&Tmux, &str) {
    move |_, client| {
        let status = Command::new("kill").args([signal, client]).status();
        assert!(status.expect("kill(1)").success());
    }
}

#[test]
fn it_is_as_before_after_each_way_out() {
    for attach in ["link", "legacy"] {
        check("q", attach, send_keys("q"));
        check("ctrl-c", attach, send_keys("C-c"));
        check("term", attach, send_signal("-TERM"));
        check("hup", attach, send_signal("-HUP"));
        check("quit", attach, send_signal("-QUIT"));
        check("kill", attach, send_signal("-KILL"));
    }
}

#[test]
fn a_second_ctrl_c_and_a_storm_of_signals_do_not_break_the_clean_up() {
    check("storm", "legacy", |tmux, engine| {
        tmux.command(&["send-keys", "C-c"]);
        tmux.command(&["send-keys", "C-c"]);
        for signal in ["-INT", "-TERM", "-INT", "-HUP", "-INT"] {
            // It may have ended before the last of them.
            let _ = Command::new("kill").args([signal, engine]).output();
        }
    });
}

#[test]
fn a_terminal_that_goes_away_ends_it_cleanly() {
    for attach in ["link", "legacy"] {
        let program = Chadthrottle::new();
        let script = format!(
            "exec {} --state-dir {} {} --attach {attach}",
            Chadthrottle::path().display(),
            program.state().display(),
            there()
        );
        let tmux = Tmux::run(&format!("gone-{attach}"), &script);
        eventually("the screen is drawn", Duration::from_secs(15), || {
            tmux.screen().contains("processes by")
        });
        let client = client(&program);
        drop(tmux);
        eventually("it has ended", Duration::from_secs(3), || {
            !Path::new(&format!("/proc/{client}")).exists()
        });
        assert_nothing_left();
    }
}
