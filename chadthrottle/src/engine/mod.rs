//! The engine: the one owner of all kernel state. Commands go in, snapshots come out.
//!
//! Architecture invariant: nothing outside this module touches the maps. The kernel's own state
//! (which slot has which rule) is the source of truth; what is kept here is only what the kernel
//! does not know: names, the user's wishes, and the last sample.

mod attribution;
mod command;
mod handle;
mod limits;
mod sampling;
mod slots;
mod snapshot;

use std::{path::PathBuf, time::Duration};

pub use command::{Command, Targets};
pub use handle::Handle;
pub use snapshot::{BothWays, EngineInfo, Limit, LimitId, ProcessSample, Snapshot, Traffic};

use crate::{
    backends::throttle::{ThrottleError, linux_ebpf_utils::AttachConfig, manager::ThrottleManager},
    error::Error,
    process::{ProcessKey, ProcessTable},
};
use attribution::Attribution;
use limits::Limits;
use sampling::Sampling;
use slots::Slots;

/// How to run an engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where and how to attach.
    pub throttle: AttachConfig,
    /// Where to read processes, `/proc` but in tests.
    pub proc_root: PathBuf,
    /// Time between samples.
    pub interval: Duration,
}

/// The engine. Dropping it removes every limit and detaches every program.
pub struct Engine {
    throttle: ThrottleManager,
    table: ProcessTable,
    slots: Slots,
    limits: Limits,
    attribution: Attribution,
    sampling: Sampling,
}

impl Engine {
    /// Loads and attaches the programs and finds out who owns the sockets that are open.
    ///
    /// # Errors
    /// What the kernel refused; nothing is attached then.
    pub fn start(config: &Config) -> Result<Self, Error> {
        let throttle = ThrottleManager::start(&config.throttle)?;
        let mut engine = Self {
            throttle,
            table: ProcessTable::new(&config.proc_root),
            slots: Slots::default(),
            limits: Limits::default(),
            attribution: Attribution::default(),
            sampling: Sampling::default(),
        };
        engine.refresh_processes()?;
        let processes: Vec<ProcessKey> = engine.table.iter().map(|info| info.key).collect();
        engine.note_all_sockets(&processes)?;
        Ok(engine)
    }

    /// What it found out about the machine.
    pub fn info(&self, config: &Config) -> EngineInfo {
        EngineInfo {
            attach: self.throttle.method(),
            cgroup: config.throttle.point.path().display().to_string(),
        }
    }

    /// Detaches every program, and says what could not be detached.
    pub fn stop(mut self) -> Vec<ThrottleError> {
        self.throttle.stop()
    }

    /// Carries out one command.
    pub fn handle(&mut self, command: Command) {
        // Whoever asked may have gone meanwhile; then nobody wants the answer.
        match command {
            Command::SetLimit {
                targets,
                limit,
                answer,
            } => {
                let _ = answer.send(self.set_limit(targets, limit));
            }
            Command::ChangeLimit { id, limit, answer } => {
                let _ = answer.send(self.change_limit(id, limit));
            }
            Command::RemoveLimit { id, answer } => {
                let _ = answer.send(self.remove_limit(id));
            }
        }
    }

    /// Whether limits wait for processes that only /proc can show, so that a look between samples
    /// is needed.
    pub fn watches_for_processes(&self) -> bool {
        self.limits
            .any_open_ended(self.children_inherit_in_kernel())
    }

    fn children_inherit_in_kernel(&self) -> bool {
        self.throttle.task_offsets.tgid != 0
    }

    fn refresh_processes(&mut self) -> Result<(), Error> {
        let changes = self.table.refresh().map_err(|error| {
            Error::io(format!("listing {}", self.table.root().display()), error)
        })?;
        self.attribution.started(&changes.started);
        self.sampling.ended(changes.ended);
        Ok(())
    }
}
