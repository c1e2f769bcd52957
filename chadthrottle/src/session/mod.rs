//! How an engine starts and ends, and how commands come to one: privilege, the PID namespace, signals.

mod open;
pub mod pid_namespace;
pub mod privilege;
pub mod report;
pub mod signals;

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf, absolute},
    sync::Arc,
    time::Duration,
};

use tokio::task::spawn_blocking;

use crate::{
    backends::throttle::{
        AttachMode, ThrottleError, cgroup,
        linux_ebpf_utils::{AttachConfig, AttachPoint, LegacyLedger},
    },
    config::Others,
    engine::{Config, Handle},
    error::Error,
    output,
    protocol::Field,
    reversal::{EngineLock, Heir, JournalError, Ledger, StateDir, cleanup},
    rules::Places,
    server::{Doctor, Server},
    service::{Predecessor, Store},
};
pub use open::{Opened, PATIENCE, SOCKET, open, open_running, open_unless_ended};

/// Between samples, for who wants just one.
pub const AT_ONCE: Duration = Duration::from_millis(10);

/// What the command line says about the engine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program itself, which is started once more as the guard.
    pub program: PathBuf,
    /// Link or legacy.
    pub attach: AttachMode,
    /// Where to attach; `None`: the root of cgroup2.
    pub cgroup: Option<PathBuf>,
    /// Where the lock is.
    pub state_dir: PathBuf,
    /// Below which directory an engine that a command starts looks for rules; `None`: /.
    pub rules_root: Option<PathBuf>,
    /// Time between samples.
    pub interval: Duration,
    /// Which lists of samples are wanted; all where none are given.
    pub fields: Option<Vec<Field>>,
    /// How much an engine logs that a command starts.
    pub verbose: u8,
    /// To which file.
    pub log_file: Option<PathBuf>,
    /// Whether it may write to our standard error.
    pub engine_speaks: bool,
}

impl Settings {
    /// The command line of an engine that ends with its last client. Its directory is another one than ours.
    fn arguments(&self) -> io::Result<Vec<OsString>> {
        let mut arguments: Vec<OsString> = vec!["engine".into(), "--until-idle".into()];
        arguments.extend(["--attach".into(), self.attach.to_string().into()]);
        arguments.extend(["--state-dir".into(), absolute(&self.state_dir)?.into()]);
        for (name, path) in [
            ("--cgroup", &self.cgroup),
            ("--log-file", &self.log_file),
            ("--rules-root", &self.rules_root),
        ] {
            if let Some(path) = path {
                arguments.extend([name.into(), absolute(path)?.into()]);
            }
        }
        arguments.extend((0..self.verbose).map(|_| "--verbose".into()));
        Ok(arguments)
    }
}

/// Removes what earlier runs have left, and says what that was.
fn clean_up(mount: &Path, lock: &EngineLock) -> Result<(), JournalError> {
    let left = cleanup::run(mount, cleanup::State::Ours(lock), false)?;
    for leftover in left.programs {
        log::warn!("left by an earlier run: {leftover}");
    }
    if let Some(sockets) = left.sockets.filter(|sockets| *sockets > 0) {
        log::warn!("left by an earlier run: options of {sockets} sockets, put back");
    }
    Ok(())
}

/// A running engine, and the lock that makes it the only one.
#[derive(Debug)]
pub struct Session {
    /// The engine.
    pub engine: Handle,
    cgroup2: PathBuf,
    /// Goes after the engine.
    lock: Arc<EngineLock>,
}

impl Session {
    /// Checks privilege, takes the lock, removes what earlier runs left, starts an engine.
    ///
    /// # Errors
    /// What is missing or refused; nothing is attached then.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        Self::start_as_service(settings, None, false).await
    }

    /// The same, as a service, whose manager has a `store`. Where the engine `takes_over`, the programs of the one
    /// before stay until [`Session::succeed`].
    ///
    /// # Errors
    /// As [`Session::start`].
    pub async fn start_as_service(
        settings: Settings,
        store: Option<Store>,
        takes_over: bool,
    ) -> Result<Self, Error> {
        privilege::check()?;
        pid_namespace::check()?;
        let mount = cgroup::cgroup2_mount()?;
        let point = AttachPoint::open(settings.cgroup.as_deref().unwrap_or(&mount))?;
        let lock = EngineLock::take(&settings.state_dir)?;
        if !takes_over {
            clean_up(&mount, &lock)?;
        }
        let ledger = Ledger::open(&settings.program, lock.directory(), store.clone())?;
        let ledger = Arc::new(ledger);
        let engine = Handle::start(Config {
            throttle: AttachConfig {
                point,
                mode: settings.attach,
                ledger: Arc::clone(&ledger) as Arc<dyn LegacyLedger>,
            },
            heir: Arc::clone(&ledger) as Arc<dyn Heir>,
            proc_root: "/proc".into(),
            cgroup2: mount.clone(),
            interval: settings.interval,
            takes_over,
        })
        .await?;
        if let Some(store) = store {
            store.keep_links(&engine.commands().links().await?);
        }
        Ok(Self {
            engine,
            cgroup2: mount,
            lock: Arc::new(lock),
        })
    }

    /// Ends what goes on of the engine before, now that this one holds its limits, and sets levers from then on.
    pub async fn succeed(&self, before: Predecessor) {
        let (mount, lock) = (self.cgroup2.clone(), Arc::clone(&self.lock));
        let ending = spawn_blocking(move || {
            before.end();
            // What its guard could not undo, because it was killed too.
            clean_up(&mount, &lock)
        });
        match ending.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::warn!("what the engine before has left: {error}"),
            Err(error) => log::warn!("what the engine before has left: {error}"),
        }
        if let Err(error) = self.engine.commands().take_over().await {
            log::warn!("taking over from the engine before: {error}");
        }
    }

    /// Serves clients of the engine, on the runtime that this is called on, and hands on the `warnings` that there are.
    /// With `until_idle`, the last client hears that its connection is closed when this process has ended.
    pub fn server(
        &self,
        until_idle: bool,
        others: Others,
        rules: Places,
        doctor: Doctor,
        warnings: impl Fn() -> Vec<String> + Send + 'static,
    ) -> Server {
        Server::of(&self.engine, until_idle, others, rules, doctor, warnings)
    }

    /// Where cgroup2 is mounted.
    pub fn cgroup2(&self) -> &Path {
        &self.cgroup2
    }

    /// Where the lock is.
    pub fn directory(&self) -> &StateDir {
        self.lock.directory()
    }

    /// Stops the engine, and says on standard error what could not be detached.
    ///
    /// Gives whether everything was.
    pub fn stop(self) -> bool {
        let errors = self.end();
        for error in &errors {
            output::say(error);
        }
        errors.is_empty()
    }

    /// Stops the engine, and gives what could not be detached.
    pub fn end(self) -> Vec<ThrottleError> {
        self.engine.stop()
    }
}
