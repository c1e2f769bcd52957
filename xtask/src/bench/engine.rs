//! The release binary as users run it, with a state directory of its own.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use anyhow::{Context, bail};
use tempfile::TempDir;

use super::programs;
use crate::shell::program_for_other_objects;

/// A running engine, ended with SIGTERM and waited for.
pub struct Engine {
    child: Child,
    /// Commands that find an engine share its own.
    state: Arc<TempDir>,
}

impl Engine {
    fn command_at(state: &Path, object: Option<&Path>, arguments: &[&str]) -> Command {
        let program = match object {
            Some(_) => program_for_other_objects(),
            None => programs::chadthrottle(),
        };
        let mut command = Command::new(program);
        command.envs(object.map(|object| ("CHADTHROTTLE_EBPF_OBJECT", object)));
        command.arg("--state-dir").arg(state).args(arguments);
        command
    }

    /// `list`, which counts and limits nobody, once it has printed its first line. With an object
    /// other than the embedded one where it is given.
    pub fn counting(interval: &str, object: Option<&Path>) -> anyhow::Result<Self> {
        let state = Arc::new(tempfile::tempdir()?);
        let list = ["list", "--json", "--interval", interval];
        let mut command = Self::command_at(state.path(), object, &list);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("its output")?;
        let mut lines = BufReader::new(output);
        let engine = Self { child, state };
        let mut line = String::new();
        lines.read_line(&mut line)?;
        if line.is_empty() {
            bail!("chadthrottle list has ended");
        }
        // Read on, or it would wait for us.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Ok(engine)
    }

    /// `limit` on these processes, at a rate that nothing reaches: all is done but dropping.
    pub fn limiting(pids: &[u32], object: Option<&Path>) -> anyhow::Result<Self> {
        Self::limiting_to("900GB/s", pids, object)
    }

    /// `limit` on these processes, both ways.
    pub fn limiting_to(rate: &str, pids: &[u32], object: Option<&Path>) -> anyhow::Result<Self> {
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let mut arguments = vec!["limit"];
        arguments.extend(pids.iter().map(String::as_str));
        arguments.extend(["--down", rate, "--up", rate, "--scope", "all"]);
        let state = Arc::new(tempfile::tempdir()?);
        Self::saying("until Ctrl-C", state, object, &arguments)
    }

    /// `engine`, which is there for other commands.
    pub fn serving() -> anyhow::Result<Self> {
        let state = Arc::new(tempfile::tempdir()?);
        Self::saying("is there for commands", state, None, &["engine"])
    }

    /// The same with rules, in the words of a file of them.
    pub fn with_rules(rules: &str) -> anyhow::Result<Self> {
        let state = Arc::new(tempfile::tempdir()?);
        let root = state.path().join("rules");
        let directory = root.join("etc/chadthrottle");
        fs::create_dir_all(&directory)?;
        fs::write(directory.join("rules.toml"), rules)?;
        let root = root.display().to_string();
        let arguments = ["engine", "--rules-root", &root];
        Self::saying("is there for commands", state, None, &arguments)
    }

    /// `limit` on a process, by that engine; by one of its own where none is given.
    pub fn limiting_by(engine: Option<&Self>, pid: u32) -> anyhow::Result<Self> {
        let state = match engine {
            Some(engine) => Arc::clone(&engine.state),
            None => Arc::new(tempfile::tempdir()?),
        };
        let limit = ["limit", &pid.to_string(), "--down", "1MB"];
        Self::saying("until Ctrl-C", state, None, &limit)
    }

    /// A command that goes on once it has said these words.
    fn saying(
        words: &str,
        state: Arc<TempDir>,
        object: Option<&Path>,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let mut command = Self::command_at(state.path(), object, arguments);
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let errors = child.stderr.take().context("its standard error")?;
        let mut lines = BufReader::new(errors);
        let engine = Self { child, state };
        let mut said = String::new();
        while !said.contains(words) {
            if lines.read_line(&mut said)? == 0 {
                bail!("chadthrottle {} has ended: {said}", arguments.join(" "));
            }
        }
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Ok(engine)
    }

    /// The process itself: the engine, where it is `engine`.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A command that finds this engine.
    pub fn command(&self, arguments: &[&str]) -> Command {
        Self::command_at(self.state.path(), None, arguments)
    }

    /// The engine's socket.
    pub fn socket(&self) -> PathBuf {
        self.state.path().join("control.sock")
    }

    /// The command, and the engine that it has started.
    pub fn pids(&self) -> anyhow::Result<[u32; 2]> {
        Ok([self.child.id(), engine_of(self.state.path())?])
    }
}

/// The engine of that state directory, which wrote its id into its lock.
pub fn engine_of(state: &Path) -> anyhow::Result<u32> {
    let text = fs::read_to_string(state.join("engine.lock"))?;
    text.trim().parse().context("the engine's process id")
}

impl Drop for Engine {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.child.wait();
    }
}
