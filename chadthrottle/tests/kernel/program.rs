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
        children_of(self.pid())
    }

    /// Sends a signal by name.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }
}

/// Sends a signal by name.
#[track_caller]
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(status.expect("kill(1)").success(), "kill {name} {pid}");
}

/// Ids of a process's children.
fn children_of(pid: u32) -> Vec<u32> {
    // Children belong to the thread that made them.
    let mut pids: Vec<u32> = std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok())
        .flat_map(|pids| {
            pids.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter_map(|pid| pid.parse().ok())
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        // A thread of it may hang in the kernel, where nothing ends it.
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
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

    /// The same where a service sees it that has a /tmp of its own.
    pub fn in_memory() -> Self {
        Self {
            state: tempfile::tempdir_in("/dev/shm").expect("a temporary directory"),
        }
    }

    /// Its state directory.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// The engine's process, which writes its id into the lock. It may be one that has ended.
    #[track_caller]
    pub fn engine(&self) -> u32 {
        let lock = self.state().join("engine.lock");
        let engine = || std::fs::read_to_string(&lock).ok()?.trim().parse().ok();
        eventually("there is an engine", Duration::from_secs(5), || {
            engine().is_some()
        });
        engine().expect("its id")
    }

    /// The engine's guard, if there is one.
    #[track_caller]
    pub fn guards(&self) -> Vec<u32> {
        children_of(self.engine())
    }

    /// Stops all threads of the engine, and gives its id.
    #[track_caller]
    fn stop_engine(&self) -> u32 {
        let engine = self.engine();
        signal(engine, "-STOP");
        eventually("it has stopped", Duration::from_secs(2), || {
            let tasks = std::fs::read_dir(format!("/proc/{engine}/task")).expect("the engine");
            let mut stats = tasks.map(|task| std::fs::read_to_string(task?.path().join("stat")));
            stats.all(|stat| stat.is_ok_and(|stat| stat.contains(") T ")))
        });
        engine
    }

    /// Kills the engine and its client, so that neither can clean up, nor start another.
    #[track_caller]
    pub fn kill_engine(&self, client: &mut Running) {
        let engine = self.stop_engine();
        client.signal("-KILL");
        client.wait(Duration::from_secs(2));
        signal(engine, "-KILL");
        eventually("the engine has ended", Duration::from_secs(5), || {
            !lives(engine)
        });
    }

    /// Kills the engine, its client and its guard: the guard first, while the engine is stopped and cannot see it go.
    #[track_caller]
    pub fn kill_with_guard(&self, client: &mut Running) {
        self.stop_engine();
        for guard in self.guards() {
            signal(guard, "-KILL");
        }
        self.kill_engine(client);
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

/// Whether a process runs: one that nobody has waited for does not.
pub fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
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
