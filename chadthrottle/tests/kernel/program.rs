//! The program under test, as users call it.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::audit::lane;

/// A child that is ended and waited for when the test is over, however it ends.
pub struct Running(pub Child);

impl Running {
    /// Starts a program that says "ready" before anything else, and waits for that.
    #[track_caller]
    pub fn ready(command: &mut Command) -> Self {
        let child = command.stdout(Stdio::piped()).spawn();
        let mut running = Self(child.expect("a program"));
        let mut word = [0; 6];
        let output = running.0.stdout.as_mut().expect("its output");
        output.read_exact(&mut word).expect("its word");
        assert_eq!(word, *b"ready\n");
        running
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits for its end; more than `limit` fails the test.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.0.try_wait().expect("waiting for a child") {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "process {} did not end in {limit:?}",
                self.pid()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ids of its children.
    pub fn children(&self) -> Vec<u32> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid());
        let mut text = std::fs::read_to_string(path).unwrap_or_default();
        // Children belong to the thread that made them.
        for task in std::fs::read_dir(format!("/proc/{}/task", self.pid()))
            .into_iter()
            .flatten()
        {
            let task = task.expect("a thread").path();
            text += &std::fs::read_to_string(task.join("children")).unwrap_or_default();
        }
        let mut pids: Vec<u32> = text
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Ends it and its guard so that neither can clean up: the guard first, while the engine is
    /// stopped and cannot see it go.
    #[track_caller]
    pub fn kill_with_its_guard(&mut self) {
        self.signal("-STOP");
        for pid in self.children() {
            let status = Command::new("kill")
                .args(["-KILL", &pid.to_string()])
                .status();
            assert!(status.expect("kill(1)").success());
        }
        self.signal("-KILL");
        self.wait(Duration::from_secs(2));
    }

    /// Sends a signal by name.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([name, &self.pid().to_string()])
            .status();
        assert!(
            status.expect("kill(1)").success(),
            "kill {name} {}",
            self.pid()
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A helper of the tests, which is built beside them.
#[track_caller]
pub fn example(name: &str) -> PathBuf {
    let here = std::env::current_exe().expect("our own path");
    let target = here.ancestors().nth(2).expect("the target directory");
    let path = target.join("examples").join(name);
    assert!(
        path.exists(),
        "missing: cargo build --package chadthrottle --example {name}"
    );
    path
}

/// The program with a state directory of its own.
pub struct Chadthrottle {
    state: TempDir,
}

impl Chadthrottle {
    pub fn new() -> Self {
        Self {
            state: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    /// Its state directory.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// What its journal holds; nothing where there is none.
    pub fn journal(&self) -> String {
        std::fs::read_to_string(self.state().join("attachments.jsonl")).unwrap_or_default()
    }

    pub fn path() -> PathBuf {
        env!("CARGO_BIN_EXE_chadthrottle").into()
    }

    /// The program with these arguments, not yet started.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(Self::path());
        command.arg("--state-dir").arg(self.state.path());
        if let Some(lane) = lane()
            && !arguments.contains("--cgroup")
        {
            command.args(["--cgroup", lane]);
        }
        command.args(arguments.split(' ').filter(|argument| !argument.is_empty()));
        command
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn output(&self, arguments: &str) -> Output {
        self.command(arguments)
            .output()
            .expect("starting chadthrottle")
    }

    /// Starts it.
    #[track_caller]
    pub fn spawn(&self, arguments: &str) -> Running {
        Running(
            self.command(arguments)
                .spawn()
                .expect("starting chadthrottle"),
        )
    }
}

/// Waits until `condition` holds; more than `limit` fails the test.
#[track_caller]
pub fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
