//! A process with connections, and their socket options as that process reads them.

use std::{
    io::{BufRead, BufReader, Write},
    process::{ChildStdin, ChildStdout, Stdio},
};

use serde_json::Value;

use crate::{
    lab::{Lab, SERVER_V4},
    load,
    program::Running,
};

const PORT: u16 = 7100;
/// `SO_MAX_PACING_RATE` of a socket that nobody paces.
pub const UNLIMITED: u64 = u64::MAX;

/// A process with connections, and the server that they go to.
pub struct Client {
    running: Running,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _alone: Option<(Running, Lab)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// `SO_MAX_PACING_RATE`, in bytes a second.
    pub pacing: u64,
    /// `TCP_WINDOW_CLAMP`, in bytes.
    pub window: u64,
    /// The slow-start threshold, in segments. No option, but the kernel sets it with the largest
    /// congestion window, which nobody can read.
    pub threshold: u64,
}

/// A server for clients.
pub fn feed(namespace: &str) -> Running {
    load::start(namespace, &format!("feed {PORT}"))
}

impl Client {
    pub fn start() -> Self {
        Self::of(|lab| &lab.server, SERVER_V4)
    }

    /// One whose server is on the same machine.
    pub fn on_loopback() -> Self {
        Self::of(|lab| &lab.client, "127.0.0.1")
    }

    fn of(host: impl FnOnce(&Lab) -> &str, address: &str) -> Self {
        let lab = Lab::new();
        let server = feed(host(&lab));
        let client = Self::to(&lab, address);
        Self {
            _alone: Some((server, lab)),
            ..client
        }
    }

    /// One in a laboratory where somebody feeds at that address.
    pub fn to(lab: &Lab, address: &str) -> Self {
        let child = load::command(&lab.client, &format!("client {address} {PORT}"))
            .stdout(Stdio::piped())
            .spawn();
        let mut running = Running(child.expect("a client"));
        Self {
            input: running.0.stdin.take().expect("its input"),
            output: BufReader::new(running.0.stdout.take().expect("its output")),
            running,
            _alone: None,
        }
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    #[track_caller]
    pub fn ask(&mut self, command: &str) -> Value {
        writeln!(self.input, "{command}").expect("its input");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("its output");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{command}: {error} in {line}"))
    }

    pub fn connect(&mut self, command: &str) -> Options {
        Options::of(&self.ask(command))
    }

    pub fn options(&mut self) -> Vec<Options> {
        let all = self.ask("options");
        all.as_array()
            .expect("a list")
            .iter()
            .map(Options::of)
            .collect()
    }

    /// The congestion window of the first connection, in segments.
    pub fn flight(&mut self) -> u64 {
        self.ask("options")[0]["flight"].as_u64().expect("a number")
    }

    /// Bytes a second.
    pub fn carry(&mut self, command: &str) -> f64 {
        self.ask(command).as_f64().expect("a rate")
    }
}

impl Options {
    fn of(value: &Value) -> Self {
        let number = |key: &str| value[key].as_u64().expect("a number");
        Self {
            pacing: number("pacing"),
            window: number("window"),
            threshold: number("threshold"),
        }
    }
}
