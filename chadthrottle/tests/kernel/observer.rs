//! What `chadthrottle list --json` reports while a test runs.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    program::{Chadthrottle, Running, eventually},
    traffic::Carried,
};

/// Some acknowledgements, which a connection sends after it has been asked.
const FEW_BYTES: u64 = 500;

/// A running `list`.
pub struct Observer {
    list: Running,
    latest: Arc<Mutex<Value>>,
}

impl Observer {
    /// Starts it and waits for its first line.
    #[track_caller]
    pub fn start(program: &Chadthrottle) -> Self {
        Self::of(program.command("list --json --interval 200ms"))
    }

    /// Starts that command and waits for its first line.
    #[track_caller]
    pub fn of(mut command: std::process::Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("starting chadthrottle");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let latest = Arc::new(Mutex::new(Value::Null));
        let writer = Arc::clone(&latest);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).expect("a line of JSON");
                *writer.lock().expect("no panic before") = line;
            }
        });
        let observer = Self {
            list: Running(child),
            latest,
        };
        eventually("list prints a line", Duration::from_secs(10), || {
            observer.sample() != Value::Null
        });
        observer
    }

    /// The latest line.
    pub fn sample(&self) -> Value {
        self.latest.lock().expect("no panic before").clone()
    }

    /// Waits until a line has come whose sampling began after now.
    pub fn fresh(&self) -> Value {
        let mut seen = self.sample();
        // The one that comes next may have been begun before.
        for _ in 0..2 {
            eventually("list prints a line", Duration::from_secs(10), || {
                self.sample() != seen
            });
            seen = self.sample();
        }
        seen
    }

    /// Bytes down and up of each process that has, or had, that id.
    pub fn entries(&self, pid: u32) -> Vec<Value> {
        let sample = self.sample();
        let processes = sample["processes"].as_array().expect("a list");
        processes
            .iter()
            .filter(|process| process["pid"] == pid)
            .cloned()
            .collect()
    }

    /// Bytes down and up of that process.
    pub fn carried(&self, pid: u32) -> Carried {
        let entries = self.entries(pid);
        assert!(entries.len() <= 1, "two processes of one id: {entries:?}");
        entries.first().map_or(
            Carried {
                pid,
                down: 0,
                up: 0,
            },
            carried,
        )
    }

    /// Within two seconds the report must be what was carried, but for `tolerance` of it; where
    /// there is any, for a few last acknowledgements too.
    #[track_caller]
    pub fn assert_agrees(&self, case: &str, said: Carried, tolerance: f64) {
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            let seen = self.carried(said.pid);
            let errors = [
                relative_error(seen.down, said.down),
                relative_error(seen.up, said.up),
            ];
            let few = |seen: u64, said: u64| tolerance > 0.0 && seen.abs_diff(said) <= FEW_BYTES;
            let fine = [few(seen.down, said.down), few(seen.up, said.up)];
            if errors
                .iter()
                .zip(fine)
                .all(|(error, fine)| fine || error.abs() <= tolerance)
            {
                println!(
                    "{case}: down {} ({:+.3} %), up {} ({:+.3} %)",
                    seen.down,
                    errors[0] * 100.0,
                    seen.up,
                    errors[1] * 100.0
                );
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{case}: process {} carried {} down and {} up, reported are {} and {}; \
                 unattributed {}",
                said.pid,
                said.down,
                said.up,
                seen.down,
                seen.up,
                self.sample()["unattributed"]
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it as Ctrl-C would.
    #[track_caller]
    pub fn stop(mut self) {
        self.list.signal("-INT");
        assert!(self.list.wait(Duration::from_secs(5)).success());
    }
}

/// Bytes down and up of an entry.
pub fn carried(entry: &Value) -> Carried {
    let number = |key: &str| entry[key].as_u64().expect("a number");
    Carried {
        pid: u32::try_from(number("pid")).expect("a process id"),
        down: number("down_bytes"),
        up: number("up_bytes"),
    }
}

/// How much `seen` is more than `expected`, as a fraction of it.
pub fn relative_error(seen: u64, expected: u64) -> f64 {
    match (seen, expected) {
        (0, 0) => 0.0,
        (_, 0) => f64::INFINITY,
        _ => seen as f64 / expected as f64 - 1.0,
    }
}
