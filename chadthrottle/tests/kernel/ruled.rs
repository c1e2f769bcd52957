//! Engines with rules, and programs for these.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use serde_json::Value;

use crate::{
    audit::assert_nothing_left,
    engine::{SOON, end},
    program::{Chadthrottle, Running, eventually},
};

/// An engine with rules of its own.
pub struct Ruled {
    pub program: Chadthrottle,
    pub root: PathBuf,
    engine: Option<Running>,
}

impl Ruled {
    /// With these rules in the file that commands edit.
    #[track_caller]
    pub fn with(rules: &str) -> Self {
        Self::at("UTC", rules)
    }

    /// The same in a time zone.
    #[track_caller]
    pub fn at(zone: &str, rules: &str) -> Self {
        Self::behind(&["env", &format!("TZ={zone}")], rules)
    }

    /// The same in a network namespace.
    #[track_caller]
    pub fn within(namespace: &str, rules: &str) -> Self {
        // `ip netns exec` would hide where cgroups are mounted.
        Self::behind(
            &["nsenter", &format!("--net=/run/netns/{namespace}")],
            rules,
        )
    }

    /// The same, started by that command.
    #[track_caller]
    pub fn behind(wrapper: &[&str], rules: &str) -> Self {
        let program = Chadthrottle::new();
        let root = program.state().join("root");
        let directory = root.join("etc/chadthrottle");
        fs::create_dir_all(&directory).expect("a directory");
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&directory, open).expect("its mode");
        let mut ruled = Self {
            program,
            root,
            engine: None,
        };
        ruled.write(rules);
        let bare = ruled.command("engine");
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(bare.get_program());
        let engine = command.args(bare.get_args()).spawn().expect("chadthrottle");
        ruled.engine = Some(Running(engine));
        // Debug builds on a busy machine read a thousand processes for seconds.
        eventually("it listens", Duration::from_secs(20), || {
            std::os::unix::net::UnixStream::connect(ruled.program.state().join("control.sock"))
                .is_ok()
        });
        ruled
    }

    pub fn file(&self) -> PathBuf {
        self.root.join("etc/chadthrottle/rules.toml")
    }

    pub fn write(&self, rules: &str) {
        fs::write(self.file(), rules).expect("the rules");
        let mode = fs::Permissions::from_mode(0o644);
        fs::set_permissions(self.file(), mode).expect("its mode");
    }

    pub fn command(&self, arguments: &str) -> Command {
        let root = self.root.display();
        self.program
            .command(&format!("{arguments} --rules-root {root}"))
    }

    /// Runs a command that has to succeed.
    #[track_caller]
    pub fn run(&self, arguments: &str) -> String {
        let output = self.command(arguments).output().expect("chadthrottle");
        assert!(output.status.success(), "{arguments}: {}", said(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// What somebody who watches is told.
    #[track_caller]
    pub fn warned(&self) -> String {
        let mut list = self.command("list --json --count 2 --interval 100ms");
        said(&list.output().expect("chadthrottle"))
    }

    /// The limit of a process: its id, and how much it may download.
    #[track_caller]
    pub fn limit(&self, pid: u32) -> Option<(u64, u64)> {
        let list = self.run("list --json --all --count 1 --interval 100ms");
        let sample: Value = serde_json::from_str(list.lines().last()?).expect("JSON");
        let mut processes = sample["processes"].as_array().expect("processes").iter();
        let process = processes.find(|it| it["pid"] == pid)?;
        let limit = &process["limit"];
        Some((limit["id"].as_u64()?, limit["down_bytes_per_s"].as_u64()?))
    }

    #[track_caller]
    pub fn is_held(&self, pid: u32, down: Option<u64>) {
        let words = format!("process {pid} has the limit {down:?}");
        eventually(&words, SOON, || {
            self.limit(pid).map(|(_, down)| down) == down
        });
    }

    /// Sends the engine a signal by name.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        self.engine.as_ref().expect("an engine").signal(name);
    }

    pub fn end(mut self) {
        end(self.engine.take().expect("an engine"));
        assert_nothing_left();
    }
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn rule(name: &str, target: &str, more: &str) -> String {
    format!("[[rule]]\nname = '{name}'\nmatch = '{target}'\n{more}\n")
}

/// A copy of sleep(1) under that name, and a process of it.
pub fn sleeper(directory: &Path, name: &str) -> Running {
    let path = directory.join(name);
    fs::copy("/bin/sleep", &path).expect("a copy of sleep(1)");
    Running(Command::new(&path).arg("60").spawn().expect("sleep(1)"))
}
