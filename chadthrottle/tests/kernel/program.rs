//! The program under test, as users call it.

use std::{
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// A child that is ended and waited for when the test is over, however it ends.
pub struct Running(pub Child);

impl Running {
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

    pub fn path() -> PathBuf {
        env!("CARGO_BIN_EXE_chadthrottle").into()
    }

    /// The program with these arguments, not yet started.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(Self::path());
        command.arg("--state-dir").arg(self.state.path());
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
