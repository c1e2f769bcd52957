//! The parts of a load, each a process of its own in a namespace: they say that they are ready,
//! and end when their input does. What they do is in chadthrottle/examples/load.

use std::{
    io::Read,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};

use super::{lab::Lab, programs};

/// It in a namespace.
pub fn command(namespace: &str) -> Command {
    Lab::command(namespace, &programs::load().display().to_string())
}

/// A part that runs. It ends when this is dropped.
pub struct Running(Child);

impl Running {
    /// Starts a part in a namespace and waits until it is ready.
    pub fn start(namespace: &str, arguments: &str) -> anyhow::Result<Self> {
        Self::spawn(command(namespace), arguments)
    }

    /// Starts a part that is in no namespace.
    pub fn start_here(arguments: &str) -> anyhow::Result<Self> {
        Self::spawn(Command::new(programs::load()), arguments)
    }

    /// Starts what says that it is ready, and ends with its input.
    pub fn spawn(mut command: Command, arguments: &str) -> anyhow::Result<Self> {
        let mut child = command
            .args(arguments.split(' '))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting the load '{arguments}'"))?;
        let mut word = [0; 6];
        let output = child.stdout.as_mut().context("its output")?;
        if output.read_exact(&mut word).is_err() {
            let _ = child.wait();
            bail!("the load '{arguments}' has ended");
        }
        Ok(Self(child))
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// So many processes that only sleep, and have no sockets: all that is there to see of a process
/// that has nothing to do with the network.
pub fn sleepers(count: usize) -> anyhow::Result<Vec<Ended>> {
    (0..count)
        .map(|_| {
            let mut sleeper = Command::new("sleep");
            Ok(Ended(sleeper.arg("600").stdin(Stdio::null()).spawn()?))
        })
        .collect()
}

/// Runs a part to its end and reads the number that it prints.
pub fn figure(namespace: &str, arguments: &str) -> anyhow::Result<f64> {
    let output = command(namespace)
        .args(arguments.split(' '))
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .with_context(|| format!("the load '{arguments}' printed '{text}'"))
}

/// Ends a program that is not ours, and waits for it.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        let _ = Command::new("kill")
            .args(["-TERM", &self.0.id().to_string()])
            .status();
        let _ = self.0.wait();
    }
}
