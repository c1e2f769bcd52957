//! iperf3 as the load: nobody here wrote it.

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    lab::{Lab, SERVER_V4},
    program::{Running, eventually},
};

/// Bytes a second of 1 MB/s.
pub const MB: f64 = 1e6;

/// A server on a port of the laboratory's other side. It serves one client after the other.
pub fn server(lab: &Lab, port: u16) -> Running {
    let child = Lab::command(&lab.server, "iperf3")
        .args(["-s", "-p", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("iperf3");
    let server = Running(child);
    let listening = format!(":{port}");
    eventually("iperf3 listens", Duration::from_secs(5), || {
        let output = Command::new("ip")
            .args(["netns", "exec", &lab.server, "ss", "-tlnH"])
            .output()
            .expect("ss(8)");
        String::from_utf8_lossy(&output.stdout).contains(&listening)
    });
    server
}

/// A client that waits for the word before it becomes iperf3, so that its limit comes first.
pub struct Client {
    running: Running,
    what: String,
}

impl Client {
    /// `arguments` go to iperf3, such as `-c ADDRESS -p PORT -t 5 -R`.
    pub fn held(lab: &Lab, arguments: &str) -> Self {
        // The shell becomes ip, which becomes iperf3: one process all the time.
        let script = format!(
            "read go; exec ip netns exec {} iperf3 -J {arguments}",
            lab.client
        );
        let child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh");
        Self {
            running: Running(child),
            what: arguments.to_owned(),
        }
    }

    /// One that has begun.
    pub fn started(lab: &Lab, arguments: &str) -> Self {
        let mut client = Self::held(lab, arguments);
        client.go();
        client
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    pub fn go(&mut self) {
        let mut input = self.running.0.stdin.take().expect("a client goes once");
        input.write_all(b"go\n").expect("the client's input");
    }

    /// Waits for its end and reads its report.
    #[track_caller]
    pub fn report(mut self) -> Report {
        let mut text = String::new();
        let mut output = self.running.0.stdout.take().expect("a client reports once");
        output
            .read_to_string(&mut text)
            .expect("the client's report");
        Report::parse(&text, &self.what)
    }
}

/// What iperf3 measured.
pub struct Report {
    json: Value,
    what: String,
}

impl Report {
    #[track_caller]
    pub fn parse(text: &str, what: &str) -> Self {
        let json: Value = serde_json::from_str(text)
            .unwrap_or_else(|error| panic!("iperf3 {what}: {error}: {text}"));
        assert!(
            json.get("error").is_none(),
            "iperf3 {what}: {}",
            json["error"]
        );
        Self {
            json,
            what: what.to_owned(),
        }
    }

    /// All of it.
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// Bytes a second that arrived, whichever way they went.
    #[track_caller]
    pub fn goodput(&self) -> f64 {
        let bits = self.json["end"]["sum_received"]["bits_per_second"].as_f64();
        bits.unwrap_or_else(|| panic!("iperf3 {}: {}", self.what, self.json["end"])) / 8.0
    }

    /// Bytes that arrived, connection by connection.
    pub fn connections(&self) -> Vec<f64> {
        let streams = self.json["end"]["streams"].as_array().expect("streams");
        streams
            .iter()
            .map(|one| one["receiver"]["bytes"].as_f64().expect("a number"))
            .collect()
    }

    /// Bytes of the intervals that start so many seconds after the beginning or later, connection by
    /// connection, as this end saw it.
    pub fn connections_since(&self, start: f64) -> Vec<f64> {
        let intervals = self.json["intervals"].as_array().expect("intervals");
        let mut sums = Vec::new();
        for interval in intervals {
            let streams = interval["streams"].as_array().expect("streams");
            sums.resize(streams.len(), 0.0);
            for (sum, stream) in sums.iter_mut().zip(streams) {
                if stream["start"].as_f64().expect("a number") > start - 0.1 {
                    *sum += stream["bytes"].as_f64().expect("a number");
                }
            }
        }
        sums
    }

    /// Start in seconds and bytes a second, interval by interval, as this end saw it.
    pub fn intervals(&self) -> Vec<(f64, f64)> {
        let intervals = self.json["intervals"].as_array().expect("intervals");
        let field =
            |interval: &Value, name: &str| interval["sum"][name].as_f64().expect("a number");
        intervals
            .iter()
            .map(|one| (field(one, "start"), field(one, "bits_per_second") / 8.0))
            .collect()
    }
}

/// Arguments for a transfer to the laboratory's server.
pub fn to_server(port: u16, seconds: u32, more: &str) -> String {
    format!("-c {SERVER_V4} -p {port} -t {seconds} {more}")
}
