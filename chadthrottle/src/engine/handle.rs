//! The engine on a thread of its own, and the handle that the rest of the program holds.

use std::{os::fd::OwnedFd, sync::Arc, thread::JoinHandle, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::{Command, Config, Engine, InForce};
use crate::{
    backends::throttle::ThrottleError,
    engine::EngineError,
    levers::tuning::INTERVAL,
    model::{Carried, EngineInfo, Limit, LimitId, Snapshot},
    process::Targets,
};

/// How often limits look for new processes that match, between samples.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// How often the engine looks whether somebody has taken away what it rests on.
const LOOK_AFTER_INTERVAL: Duration = Duration::from_millis(500);

/// How often the levers of limits are set anew.
const LEVER_INTERVAL: Duration = INTERVAL;

/// A running engine. Dropping the handle stops it, which detaches everything.
#[derive(Debug)]
pub struct Handle {
    info: EngineInfo,
    commands: Commands,
    /// The engine runs until this goes.
    running: Option<mpsc::UnboundedSender<Command>>,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    thread: Option<JoinHandle<Vec<ThrottleError>>>,
}

impl Handle {
    /// Starts an engine and waits until its programs are attached.
    ///
    /// # Errors
    /// What [`Engine::start`] says.
    pub async fn start(config: Config) -> Result<Self, EngineError> {
        let (ready, started) = oneshot::channel();
        let (commands, command_receiver) = mpsc::unbounded_channel();
        let (snapshot_sender, snapshots) = watch::channel(None);
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || run(&config, ready, command_receiver, &snapshot_sender))
            .map_err(|error| EngineError::io("starting the engine's thread", error))?;
        let info = started.await.map_err(|_| EngineError::Stopped)??;
        Ok(Self {
            info,
            commands: Commands::to(&commands),
            running: Some(commands),
            snapshots,
            thread: Some(thread),
        })
    }

    /// What the engine found out about the machine.
    pub fn info(&self) -> &EngineInfo {
        &self.info
    }

    /// The newest sample, `None` before the first, and whenever there is a newer one. Closed when the engine has
    /// ended.
    pub fn snapshots(&self) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.snapshots.clone()
    }

    /// To command it with, for as long as it runs.
    pub fn commands(&self) -> &Commands {
        &self.commands
    }

    /// Stops the engine and waits until everything is detached.
    ///
    /// Gives what could not be detached.
    pub fn stop(mut self) -> Vec<ThrottleError> {
        self.join()
    }

    fn join(&mut self) -> Vec<ThrottleError> {
        // The engine's loop ends when nobody can command it any more.
        self.running = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(errors)) => errors,
            // It panicked, and said so; unwinding has detached everything.
            Some(Err(_)) | None => Vec::new(),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        for error in self.join() {
            log::error!("{error}");
        }
    }
}

/// What an engine is commanded with. It may outlive the engine, and does not keep it running.
#[derive(Clone, Debug)]
pub struct Commands(mpsc::WeakUnboundedSender<Command>);

impl Commands {
    /// Commands to that engine.
    pub(crate) fn to(engine: &mpsc::UnboundedSender<Command>) -> Self {
        Self(engine.downgrade())
    }

    /// Sets a limit for the targets, which share it.
    ///
    /// # Errors
    /// Where there is no room for it.
    pub async fn set_limit(&self, targets: Targets, limit: Limit) -> Result<LimitId, EngineError> {
        self.ask(|answer| Command::SetLimit {
            targets,
            limit,
            answer,
        })
        .await
    }

    /// Has rules hold, those that are on in the order in which they are tried, in place of those before.
    ///
    /// # Errors
    /// [`EngineError::Stopped`].
    pub async fn set_rules(&self, rules: Vec<InForce>) -> Result<(), EngineError> {
        self.ask(|answer| Command::SetRules { rules, answer }).await
    }

    /// Changes a limit for all its members.
    ///
    /// # Errors
    /// [`EngineError::NoLimit`] where it is not set any more.
    pub async fn change_limit(&self, id: LimitId, limit: Limit) -> Result<(), EngineError> {
        self.ask(|answer| Command::ChangeLimit { id, limit, answer })
            .await
    }

    /// Has a limit hold for what its members start too, or no longer. Gives its name from now on.
    ///
    /// # Errors
    /// [`EngineError::NoLimit`] where it is not set any more.
    pub async fn set_children(&self, id: LimitId, children: bool) -> Result<LimitId, EngineError> {
        self.ask(|answer| Command::SetChildren {
            id,
            children,
            answer,
        })
        .await
    }

    /// What a limit's members have carried so far.
    ///
    /// # Errors
    /// [`EngineError::NoLimit`] where it is not set any more.
    pub async fn carried(&self, id: LimitId) -> Result<Carried, EngineError> {
        self.ask(|answer| Command::Carried { id, answer }).await
    }

    /// What to say of a limit's selectors that match nothing now.
    ///
    /// # Errors
    /// Where the engine has stopped.
    pub async fn unmatched(&self, id: LimitId) -> Result<Vec<String>, EngineError> {
        self.ask(|answer| Command::Unmatched { id, answer }).await
    }

    /// Removes a limit.
    ///
    /// # Errors
    /// [`EngineError::NoLimit`] where it is not set any more.
    pub async fn remove_limit(&self, id: LimitId) -> Result<(), EngineError> {
        self.ask(|answer| Command::RemoveLimit { id, answer }).await
    }

    /// Duplicates of the links that keep its programs attached, by those who have them, whatever becomes of it.
    ///
    /// # Errors
    /// Where there are no descriptors left.
    pub async fn links(&self) -> Result<Vec<OwnedFd>, EngineError> {
        self.ask(|answer| Command::Links { answer }).await
    }

    /// Says that the programs of the engine before are gone.
    ///
    /// # Errors
    /// Where the engine has stopped.
    pub async fn take_over(&self) -> Result<(), EngineError> {
        self.ask(|answer| Command::TakeOver { answer }).await
    }

    /// Returns when the engine has done what it was asked before.
    ///
    /// # Errors
    /// Where the engine has stopped.
    pub async fn ping(&self) -> Result<(), EngineError> {
        self.ask(|answer| Command::Ping { answer }).await
    }

    /// Takes samples at another interval from now on.
    pub fn set_interval(&self, interval: Duration) {
        if let Some(engine) = self.0.upgrade() {
            // One that is about to stop takes no more samples.
            let _ = engine.send(Command::SetInterval { interval });
        }
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, EngineError>>) -> Command,
    ) -> Result<T, EngineError> {
        let (answer, receiver) = oneshot::channel();
        let commands = self.0.upgrade().ok_or(EngineError::Stopped)?;
        commands
            .send(command(answer))
            .map_err(|_| EngineError::Stopped)?;
        drop(commands);
        receiver.await.map_err(|_| EngineError::Stopped)?
    }
}

/// The engine's thread.
fn run(
    config: &Config,
    ready: oneshot::Sender<Result<EngineInfo, EngineError>>,
    commands: mpsc::UnboundedReceiver<Command>,
    snapshots: &watch::Sender<Option<Arc<Snapshot>>>,
) -> Vec<ThrottleError> {
    let started = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| EngineError::io("starting the engine's timers", error))
        .and_then(|runtime| Ok((runtime, Engine::start(config)?)));
    let (runtime, mut engine) = match started {
        Ok(started) => started,
        Err(error) => {
            let _ = ready.send(Err(error));
            return Vec::new();
        }
    };
    // Nobody waits any more: stop at once.
    if ready.send(Ok(engine.info(config))).is_ok() {
        runtime.block_on(serve(&mut engine, config.interval, commands, snapshots));
    }
    engine.stop()
}

async fn serve(
    engine: &mut Engine,
    mut interval: Duration,
    mut commands: mpsc::UnboundedReceiver<Command>,
    snapshots: &watch::Sender<Option<Arc<Snapshot>>>,
) {
    // The first sample at once, so that a screen has something to show; it has no rates yet.
    let mut last = None;
    let mut samples = interval_at(Instant::now(), interval);
    samples.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = interval_at(Instant::now() + WATCH_INTERVAL, WATCH_INTERVAL);
    watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut levers = interval_at(Instant::now() + LEVER_INTERVAL, LEVER_INTERVAL);
    levers.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut look_after = interval_at(Instant::now() + LOOK_AFTER_INTERVAL, LOOK_AFTER_INTERVAL);
    look_after.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::SetInterval { interval: wanted }) => if wanted != interval {
                    interval = wanted;
                    // At once where the last one is older than that.
                    let due = last.map_or_else(Instant::now, |last| last + interval);
                    samples = interval_at(due.max(Instant::now()), interval);
                    samples.set_missed_tick_behavior(MissedTickBehavior::Delay);
                }
                Some(command) => engine.handle(command),
                None => return,
            },
            _ = samples.tick() => {
                last = Some(Instant::now());
                // Nobody listening is no reason to stop: limits hold until the handle goes. And
                // who does not keep up gets the newest, rather than have them pile up.
                snapshots.send_replace(Some(Arc::new(engine.sample())));
            }
            _ = look_after.tick() => engine.look_after(),
            _ = watch.tick(), if engine.watches_for_processes() => engine.watch(),
            _ = levers.tick(), if engine.wants_looks() => engine.follow_levers(),
        }
    }
}
