//! How an engine starts and ends: privilege, the PID namespace, signals.

pub mod pid_namespace;
pub mod privilege;
pub mod signals;

use std::{os::fd::BorrowedFd, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    backends::throttle::{
        AttachMode, ThrottleError, cgroup,
        linux_ebpf_utils::{AttachConfig, AttachPoint, LegacyLedger},
    },
    engine::{Config, Handle},
    error::Error,
    output,
    reversal::{EngineLock, GuardError, Heir, Ledger, cleanup},
};

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
    /// Time between samples.
    pub interval: Duration,
}

/// A running engine, and the lock that makes it the only one.
#[derive(Debug)]
pub struct Session {
    /// The engine.
    pub engine: Handle,
    ledger: Arc<Ledger>,
    /// Goes after the engine.
    _lock: EngineLock,
}

impl Session {
    /// Checks privilege, takes the lock, removes what earlier runs left, starts an engine.
    ///
    /// # Errors
    /// What is missing or refused; nothing is attached then.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        privilege::check()?;
        pid_namespace::check()?;
        let mount = cgroup::cgroup2_mount()?;
        let point = AttachPoint::open(settings.cgroup.as_deref().unwrap_or(&mount))?;
        let lock = EngineLock::take(&settings.state_dir)?;
        let left = cleanup::run(&mount, cleanup::State::Ours(&lock), false)?;
        for leftover in left.programs {
            log::warn!("left by an earlier run: {leftover}");
        }
        if let Some(sockets) = left.sockets.filter(|sockets| *sockets > 0) {
            log::warn!("left by an earlier run: options of {sockets} sockets, put back");
        }
        let ledger = Arc::new(Ledger::open(&settings.program, lock.directory())?);
        let engine = Handle::start(Config {
            throttle: AttachConfig {
                point,
                mode: settings.attach,
                ledger: Arc::clone(&ledger) as Arc<dyn LegacyLedger>,
            },
            heir: Arc::clone(&ledger) as Arc<dyn Heir>,
            proc_root: "/proc".into(),
            cgroup2: mount,
            interval: settings.interval,
        })
        .await?;
        Ok(Self {
            engine,
            ledger,
            _lock: lock,
        })
    }

    /// Has the terminal put back to what it is now, should the engine be killed.
    ///
    /// # Errors
    /// Where the guard process cannot be started.
    pub fn protect_terminal(&self, terminal: BorrowedFd<'_>) -> Result<(), GuardError> {
        self.ledger.protect_terminal(terminal)
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
