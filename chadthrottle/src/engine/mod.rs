//! The engine: the one owner of all kernel state. Commands go in, snapshots come out.
//!
//! Architecture invariant: nothing but this module, with the backends and levers that it owns, touches the
//! maps of a running engine. The kernel's own state (which slot has which rule) is the source of truth;
//! what is kept here is only what the kernel does not know: names, the user's wishes, and the last sample.

mod active;
mod attribution;
mod command;
mod enrolling;
mod error;
mod guises;
mod handle;
mod heirs;
mod in_force;
mod levers;
mod limits;
mod membership;
mod patterns;
mod rejecting;
mod ruled;
mod sampling;
mod slots;
mod tally;
mod unseen;
mod ways;

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

pub use command::Command;
pub use error::EngineError;
pub use handle::{Commands, Handle};
pub use in_force::InForce;
pub use unseen::NOT_HELD;

use chadthrottle_common::abi::MAX_EXECS;

use crate::{
    backends::throttle::{
        ThrottleError,
        below::CgroupPath,
        doubts::Doubts,
        linux_ebpf_utils::{AttachConfig, LegacyLedger},
        manager::ThrottleManager,
        resets::Resets,
    },
    levers::Levers,
    model::{EngineInfo, ProcessKey},
    process::{NewestPid, ProcessReader, Reread, find},
    reversal::Heir,
    sys::memory,
};
use active::Limits;
use attribution::Attribution;
use guises::Guises;
use in_force::RulesInForce;
use patterns::Patterns;
use sampling::Sampling;
use slots::Slots;
use tally::Tally;
use unseen::{Asking, Unseen};

/// How long the engine waits for a look at all processes before it goes on without.
const PATIENCE: Duration = Duration::from_millis(250);

/// And how long for the first one.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);

/// How long after a process has started, or become another program, each watch looks at all processes.
const UNSETTLED: Duration = Duration::from_secs(1);

/// How long after that looks come twice a second: by then most have the name and the user that they keep.
const SETTLING: Duration = Duration::from_secs(8);

/// Between looks then.
const WHILE_SETTLING: Duration = Duration::from_millis(500);

/// Between looks at all processes at most, while limits wait for some.
const LONGEST_REST: Duration = Duration::from_secs(2);

/// How long to rest after a look, that long after there was news of a process.
fn rest(since_news: Option<Duration>) -> Duration {
    match since_news {
        Some(since) if since < UNSETTLED => Duration::ZERO,
        Some(since) if since < SETTLING => WHILE_SETTLING,
        _ => LONGEST_REST,
    }
}

/// When all processes were looked at, and why.
#[derive(Debug, Default)]
struct Looks {
    last: Option<Instant>,
    /// The id that was given out last.
    newest: Option<u32>,
    /// When one was that was not before, or an exec told of.
    news_at: Option<Instant>,
}

/// How to run an engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where and how to attach.
    pub throttle: AttachConfig,
    /// Who puts things back, should we be killed.
    pub heir: Arc<dyn Heir>,
    /// Where to read processes, `/proc` but in tests.
    pub proc_root: PathBuf,
    /// Where cgroup2 is mounted, to see who is in a cgroup that is limited.
    pub cgroup2: PathBuf,
    /// Time between samples.
    pub interval: Duration,
    /// Whether the programs of an engine before still hold its limits: levers wait for [`Command::TakeOver`].
    pub takes_over: bool,
}

/// The engine. Dropping it removes every limit and detaches every program.
pub struct Engine {
    levers: Levers,
    throttle: ThrottleManager,
    ledger: Arc<dyn LegacyLedger>,
    processes: ProcessReader,
    /// Processes that have called exec since all were last read.
    execed: HashSet<u32>,
    /// Which of them are to be read again.
    told: Reread,
    looks: Looks,
    newest_pid: NewestPid,
    cgroup2: PathBuf,
    /// Where programs are attached; `None`: no mount shows it.
    attached_to: Option<CgroupPath>,
    slots: Slots,
    limits: Limits,
    ruled: RulesInForce,
    patterns: Patterns,
    attribution: Attribution,
    sampling: Sampling,
    tally: Tally,
    guises: Guises,
    unseen: Unseen,
    asking: Option<Asking>,
    doubts: Doubts,
    /// `None` until a limit resets connections.
    resets: Option<Arc<Resets>>,
}

impl Drop for Engine {
    /// Limits off and sockets as they were; then the fields go, and with them the programs.
    fn drop(&mut self) {
        self.remove_all_limits();
    }
}

impl Engine {
    /// Loads and attaches the programs and finds out who owns the sockets that are open.
    ///
    /// # Errors
    /// What the kernel refused; nothing is attached then.
    pub fn start(config: &Config) -> Result<Self, EngineError> {
        let mut throttle = ThrottleManager::start(&config.throttle)?;
        let passes = throttle.take_passes();
        let mut levers = Levers::new(passes, Arc::clone(&config.heir), &config.proc_root);
        if config.takes_over {
            levers.wait();
        }
        let owners = throttle.maps.asked.take();
        let asking = owners.map(|owners| Asking::of(&config.proc_root, owners));
        let processes = ProcessReader::new(&config.proc_root, throttle.sees_processes)
            .map_err(|error| EngineError::io("starting a thread to read processes", error))?;
        let mut engine = Self {
            levers,
            throttle,
            ledger: Arc::clone(&config.throttle.ledger),
            processes,
            execed: HashSet::new(),
            told: Reread::InTurn,
            looks: Looks::default(),
            newest_pid: NewestPid::of(&config.proc_root),
            cgroup2: config.cgroup2.clone(),
            attached_to: CgroupPath::of_point(&config.throttle.point),
            slots: Slots::default(),
            limits: Limits::default(),
            ruled: RulesInForce::default(),
            patterns: Patterns::default(),
            attribution: Attribution::default(),
            sampling: Sampling::default(),
            tally: Tally::default(),
            guises: Guises::default(),
            unseen: Unseen::default(),
            asking,
            doubts: Doubts::default(),
            resets: None,
        };
        match engine.first_look() {
            Ok(()) => {}
            // It hangs: the kernel still notes who uses a socket.
            Err(error) if error.is_timeout() => log::warn!("{error}"),
            Err(error) => return Err(error),
        }
        if let Some(point) = &engine.attached_to {
            let others = engine
                .processes
                .iter()
                .map(|info| CgroupPath::of(&info.cgroup));
            let cut_off = others.filter(|cgroup| point.is_cut_off(cgroup)).count();
            if cut_off > 0 {
                log::warn!(
                    "{cut_off} processes are outside of the cgroup namespace that this runs in: \
                     what they carry is not seen, and they cannot be limited. Run it on the host"
                );
            }
        }
        let processes: Vec<ProcessKey> = engine.processes.iter().map(|info| info.key).collect();
        engine.note_all_sockets(&processes)?;
        memory::release_free_heap();
        Ok(engine)
    }

    /// What it found out about the machine.
    pub fn info(&self, config: &Config) -> EngineInfo {
        EngineInfo {
            attach: self.throttle.method().to_owned(),
            cgroup: config.throttle.point.path().display().to_string(),
            levers: self.levers.ability(),
            sees_socket_use: self.throttle.sees_socket_use,
        }
    }

    /// Detaches every program, and says what could not be detached.
    pub fn stop(mut self) -> Vec<ThrottleError> {
        self.remove_all_limits();
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
            Command::Carried { id, answer } => {
                let _ = answer.send(self.carried(id));
            }
            Command::Unmatched { id, answer } => {
                let _ = answer.send(self.unmatched(id));
            }
            Command::SetChildren {
                id,
                children,
                answer,
            } => {
                let _ = answer.send(self.set_children(id, children));
            }
            Command::SetRules { rules, answer } => {
                self.set_rules(rules);
                let _ = answer.send(Ok(()));
            }
            // For who calls us at intervals.
            Command::SetInterval { .. } => {}
            Command::RemoveLimit { id, answer } => {
                let _ = answer.send(self.remove_limit(id));
            }
            Command::Links { answer } => {
                let links = self.throttle.links();
                let failed = |error| EngineError::io("duplicating links", error);
                let _ = answer.send(links.map_err(failed));
            }
            Command::TakeOver { answer } => {
                self.take_over();
                let _ = answer.send(Ok(()));
            }
            Command::Ping { answer } => {
                let _ = answer.send(Ok(()));
            }
        }
    }

    /// Sees to it that all that limits rest on is still there: the programs where they were attached,
    /// and who would clean up after us.
    pub fn look_after(&mut self) {
        self.throttle.look_after();
        self.ledger.look_after();
    }

    /// Whether limits wait for processes that only /proc can show, so that a look between samples
    /// is needed.
    pub fn watches_for_processes(&self) -> bool {
        !self.ruled.is_empty()
            || self
                .limits
                .any_open_ended(self.children_inherit_in_kernel())
    }

    fn children_inherit_in_kernel(&self) -> bool {
        self.throttle.sees_processes
    }

    /// The first look, which reads every process: thousands take a while.
    fn first_look(&mut self) -> Result<(), EngineError> {
        let deadline = Instant::now() + FIRST_PATIENCE;
        loop {
            match self.refresh_processes() {
                Err(error) if error.is_timeout() && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                result => return result,
            }
        }
    }

    /// Whether that very process lives. One that the last look at all of them does not have may be
    /// new, or the look has not come back.
    fn is_alive(&self, key: ProcessKey) -> bool {
        self.lives(key).unwrap_or(false)
    }

    /// The same, where it matters that nobody can tell.
    fn lives(&self, key: ProcessKey) -> Result<bool, EngineError> {
        if self.processes.contains(key) {
            return Ok(true);
        }
        let found = find(self.processes.root(), key.pid);
        let found =
            found.map_err(|error| EngineError::io(format!("reading process {}", key.pid), error));
        Ok(found? == Some(key))
    }

    fn refresh_processes(&mut self) -> Result<(), EngineError> {
        let reread = self.reread();
        let now = Instant::now();
        self.looks.last = Some(now);
        if reread.names_any() {
            self.looks.news_at = Some(now);
        }
        let result = self.processes.refresh(reread, PATIENCE);
        let changes = result.map_err(|error| {
            EngineError::io(
                format!("reading {}", self.processes.root().display()),
                error,
            )
        })?;
        self.ask_rules(&changes);
        self.attribution
            .started(changes.started.iter().map(|info| info.key));
        let execed = std::mem::take(&mut self.execed);
        let mut ended = changes.ended;
        for info in ended.iter_mut().filter(|it| execed.contains(&it.key.pid)) {
            self.name_by_slot(info);
        }
        self.sampling.ended(ended);
        Ok(())
    }

    /// Whether a look at all processes may show anything: one has started or become another program a moment ago, or has
    /// moved into a cgroup that is limited, or the last look was long ago.
    fn is_look_due(&mut self) -> bool {
        if !self.throttle.sees_processes {
            return true;
        }
        let now = Instant::now();
        let newest = self.newest_pid.get();
        self.hear_of_execs();
        let is_news = newest.is_none()
            || newest != self.looks.newest
            || self.told != Reread::InTurn
            || self.moved_processes().next().is_some();
        if is_news {
            self.looks.newest = newest;
            self.looks.news_at = Some(now);
        }
        // Whoever has just started may become another user, or get another name.
        let since = |at: Instant| now - at;
        let rest = rest(self.looks.news_at.map(since));
        self.looks.last.map(since).is_none_or(|since| since >= rest)
    }

    /// Which processes may have become another program, another user's, or moved into a cgroup
    /// that is limited.
    fn reread(&mut self) -> Reread {
        self.hear_of_execs();
        let mut reread = std::mem::take(&mut self.told);
        reread.and(Reread::These(self.moved_processes().collect()));
        reread
    }

    fn hear_of_execs(&mut self) {
        let mut pids = HashSet::new();
        for _ in 0..MAX_EXECS {
            match self.throttle.maps.execs.pop(0) {
                Ok(pid) => {
                    self.execed.insert(pid);
                    pids.insert(pid);
                }
                // Empty.
                Err(_) => {
                    if !pids.is_empty() {
                        self.told.and(Reread::These(pids));
                    }
                    return;
                }
            }
        }
        // More than fit: some were lost.
        self.told.and(Reread::All);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_come_often_after_news_and_rarely_without() {
        let ms = Duration::from_millis;
        for (since, expected) in [
            (Some(ms(0)), ms(0)),
            (Some(ms(999)), ms(0)),
            (Some(ms(1_000)), ms(500)),
            (Some(ms(7_999)), ms(500)),
            (Some(ms(8_000)), ms(2_000)),
            (None, ms(2_000)),
        ] {
            assert_eq!(rest(since), expected, "{since:?}");
        }
    }
}
