//! Traffic of every kind, whose processes say what they have carried: that of the attribution's oracle, and load
//! whose bytes nobody compares.

use std::{
    io::{BufRead, BufReader, Write},
    process::{ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use serde_json::Value;

use crate::{lab::Lab, load, program::Running};

/// Where Python finds the oracle, and how it is started: without leaving compiled files beside it.
const PLACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel");
const ORACLE: [&str; 4] = ["python3", "-B", "-m", "oracle"];

/// How long a scenario may take to say something.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a process says that it has carried, in IP bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    pub pid: u32,
    pub down: u64,
    pub up: u64,
}

/// A scenario that runs. It and its children are gone when the test ends.
pub struct Traffic {
    running: Running,
    what: String,
    input: ChildStdin,
    lines: Receiver<Value>,
}

impl Traffic {
    /// Starts a scenario of the oracle in a namespace.
    pub fn start(namespace: &str, scenario: &str) -> Self {
        Self::behind(namespace, "env", scenario)
    }

    /// Starts one behind other programs, as `unshare --pid --fork`.
    pub fn behind(namespace: &str, wrapper: &str, scenario: &str) -> Self {
        let mut wrapper = wrapper.split(' ');
        let mut command = Lab::command(namespace, wrapper.next().expect("a program"));
        command.args(wrapper).args(ORACLE).args(scenario.split(' '));
        Self::spawn(command.env("PYTHONPATH", PLACE), scenario)
    }

    /// Starts a part of the load generator that talks as scenarios do.
    pub fn load(namespace: &str, part: &str) -> Self {
        Self::spawn(&mut load::command(namespace, part), part)
    }

    fn spawn(command: &mut Command, what: &str) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a scenario");
        let input = child.stdin.take().expect("its input");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).expect("a line of JSON");
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            running: Running(child),
            what: what.to_owned(),
            input,
            lines,
        }
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Its process with its children.
    pub fn process(&self) -> &Running {
        &self.running
    }

    /// The next thing that a process called `who` says.
    #[track_caller]
    pub fn says(&self, who: &str) -> Carried {
        loop {
            let line = self
                .lines
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|error| panic!("'{}' says no '{who}': {error}", self.what));
            if line["who"] == who {
                let number = |key: &str| line[key].as_u64().expect("a number");
                return Carried {
                    pid: u32::try_from(number("pid")).expect("a process id"),
                    down: number("down"),
                    up: number("up"),
                };
            }
        }
    }

    /// What processes called `who` have said, the last of each, until the scenario falls silent.
    #[track_caller]
    pub fn all_say(&self, who: &str, times: usize) -> Vec<Carried> {
        let mut said: Vec<Carried> = Vec::new();
        for _ in 0..times {
            let next = self.says(who);
            said.retain(|earlier| earlier.pid != next.pid);
            said.push(next);
        }
        said
    }

    /// Tells it to go on.
    pub fn go_on(&mut self) {
        // One that has ended need not be told.
        let _ = self.input.write_all(b"\n");
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        // Its end of input lets it remove its children; what does not follow is ended.
        for child in self.running.children() {
            let _ = Command::new("kill")
                .args(["-KILL", &child.to_string()])
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// The far side of all scenarios, in the laboratory's server.
pub fn far_side(lab: &Lab) -> Traffic {
    let server = Traffic::start(&lab.server, "serve");
    server.says("ready");
    server
}
