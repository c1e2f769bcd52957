//! `run`: a program under a limit, from its first packet, with all that it starts.

use std::{
    cell::Cell,
    ffi::OsStr,
    io,
    os::unix::process::ExitStatusExt,
    path::Path,
    pin::{Pin, pin},
    process::{Command, ExitStatus},
    time::Duration,
};

use nix::{
    sys::{
        prctl,
        signal::{Signal, kill},
    },
    unistd::Pid,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, Interval, interval_at},
};

use super::Warned;
use crate::{
    cli::{Global, Run},
    error::Error,
    model::{ProcessKey, Snapshot},
    output,
    process::{
        Invoker, Targets, key_of,
        offspring::{children, with_offspring},
    },
    protocol::Limited,
    session::{
        self, Opened,
        signals::{Ending, Job, JobControl, Signals},
    },
    sys::{
        process::{HeldChild, is_helper, news_of},
        signals::stop_self,
    },
};

/// Exit codes of a shell for a program that is not there, and one that cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// How long the program waits for our words before it, which are to come first.
const WORDS_FIRST: Duration = Duration::from_millis(100);

const PROC: &str = "/proc";

/// Runs the program and gives the exit code: its own, or 128 and the signal that ended it.
pub async fn run(global: &Global, args: Run) -> Result<u8, Error> {
    let invoker = invoker(args.root)?;
    let mut signals = Signals::catch().map_err(|error| Error::io("catching signals", error))?;
    let opened =
        session::open_unless_ended(global.settings(Duration::from_secs(1)), &mut signals).await?;
    let mut session = match opened {
        Ok(session) => session,
        Err(ending) => return Ok(ending.exit_code()),
    };

    let mut command = args.command.into_iter();
    let program = command
        .next()
        .ok_or_else(|| Error::Usage("no program is given".to_owned()))?;
    let shown = crate::text::escape(&program.to_string_lossy()).into_owned();
    let mut builder = Command::new(&program);
    builder.args(command);
    if let Some(invoker) = &invoker {
        let screen = std::env::var_os("WAYLAND_DISPLAY");
        for (name, value) in invoker.environment("/run/user".as_ref(), screen) {
            match value {
                Some(value) => builder.env(name, value),
                None => builder.env_remove(name),
            };
        }
    }
    let limit = args.limits.limit();
    // Without a limit there is nothing to stay for.
    let stays = args.limits.is_some() && !args.no_wait;
    if stays {
        // What outlives its parent becomes our child, so that we know of it.
        prctl::set_child_subreaper(true)
            .map_err(|error| Error::io("becoming a subreaper", error.into()))?;
    }
    let held = HeldChild::fork(builder, invoker.map(|invoker| invoker.user))
        .map_err(|error| Error::io(format!("starting {shown}"), error))?;

    let limited = Cell::new(None);
    if args.limits.is_some() {
        let key = key_of(PROC.as_ref(), held.pid())
            .ok_or_else(|| Error::NoTarget(format!("process {} has ended", held.pid())))?;
        let targets = Targets {
            processes: vec![key],
            children: true,
            ..Targets::default()
        };
        let set = session.engine.requests().set_limit(targets, limit).await?;
        limited.set(Some(set));
        output::say(format_args!("{shown} ({}): {}", held.pid(), limit));
    } else {
        output::say(format_args!(
            "{shown} ({}) is not limited, since neither --down nor --up is given",
            held.pid()
        ));
    }
    output::finish(WORDS_FIRST);
    let requests = session.engine.requests().clone();
    let log_carried = async || {
        if let Some(Limited { id, .. }) = limited.get() {
            super::log_carried(&requests, id).await;
        }
    };
    let code = match held.release() {
        Ok(child) => {
            let held = Held {
                name: &shown,
                program: key_of(PROC.as_ref(), child.id()),
                limit: &limited,
                session: &mut session,
            };
            // One for all the time: what is begun, as the start of the next engine, is not broken off and begun again
            // whenever something else happens.
            let mut hand_on = pin!(held.hand_on());
            let mut watch = Watch::new(child.id(), &mut signals)?;
            let end = watch.program(&log_carried, hand_on.as_mut()).await?;
            if stays && !end.was_asked_for {
                watch.offspring(&shown, &log_carried, hand_on).await;
            }
            end.code
        }
        Err(error) => refused(&program, &error),
    };
    log_carried().await;
    let clean = session.close().await;
    Ok(if clean { code } else { code.max(1) })
}

/// Who called sudo or the like, unless the program is to run as root.
fn invoker(as_root: bool) -> Result<Option<Invoker>, Error> {
    if as_root {
        return Ok(None);
    }
    Ok(Invoker::behind(|name| std::env::var_os(name))?)
}

/// How the program has ended.
struct End {
    code: u8,
    /// By a signal that was meant for us too.
    was_asked_for: bool,
}

/// Watches over the program, and takes part in the terminal's job control with it. Where somebody
/// reads the log, it hears each second what was carried.
struct Watch<'a> {
    program: Pid,
    signals: &'a mut Signals,
    jobs: JobControl,
    ended: tokio::signal::unix::Signal,
    seconds: Interval,
}

impl<'a> Watch<'a> {
    fn new(pid: u32, signals: &'a mut Signals) -> Result<Self, Error> {
        const SECOND: Duration = Duration::from_secs(1);
        let failed = |error| Error::io("catching signals", error);
        Ok(Self {
            program: pid_of(pid),
            signals,
            jobs: JobControl::catch().map_err(failed)?,
            ended: signal(SignalKind::child()).map_err(failed)?,
            seconds: interval_at(Instant::now() + SECOND, SECOND),
        })
    }

    /// Waits for the program, and hands it the signals that we get: but for Ctrl-C and Ctrl-\, which
    /// the terminal gives to it as well as to us. Stops when it stops, so that a shell takes its
    /// terminal back, and has it go on when we do.
    async fn program(
        &mut self,
        log_carried: impl AsyncFn(),
        mut hand_on: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<End, Error> {
        let failed = |error| Error::io("waiting for the program", error);
        let (mut stopped, mut interrupted, mut passed_on) = (false, false, false);
        let mut continued = false;
        loop {
            reap(self.other_orphans());
            while let Some(status) = news_of(self.program).map_err(failed)? {
                if status.stopped_signal().is_some() {
                    stopped = true;
                    // Ctrl-Z has reached both of us, and is not to stop it again when it goes on.
                    self.jobs.has_stopped();
                    // Where we cannot stop, it has stopped alone.
                    let _ = stop_self();
                } else if status.continued() {
                    stopped = false;
                } else {
                    let code = exit_code(status);
                    let by_keyboard = [Ending::Interrupt, Ending::Quit].map(Ending::exit_code);
                    return Ok(End {
                        code,
                        was_asked_for: passed_on || interrupted && by_keyboard.contains(&code),
                    });
                }
            }
            // Who continued us may not have continued it, as a shell does.
            if std::mem::take(&mut continued) && stopped {
                self.send(Signal::SIGCONT);
            }
            tokio::select! {
                _ = self.ended.recv() => {}
                () = &mut hand_on => {}
                _ = self.seconds.tick(), if log::log_enabled!(log::Level::Info) => log_carried().await,
                job = self.jobs.next() => match job {
                    Job::Stop => self.send(Signal::SIGTSTP),
                    Job::Continue => continued = true,
                },
                ending = self.signals.next() => match ending {
                    Ending::Interrupt | Ending::Quit => interrupted = true,
                    Ending::Terminate => {
                        passed_on = true;
                        self.send(Signal::SIGTERM);
                    }
                    Ending::HangUp => {
                        passed_on = true;
                        self.send(Signal::SIGHUP);
                    }
                }
            }
        }
    }

    /// Waits until all that the program has started has ended, or somebody wants us to end.
    async fn offspring(
        &mut self,
        name: &str,
        log_carried: impl AsyncFn(),
        mut hand_on: Pin<&mut impl Future<Output = ()>>,
    ) {
        let mut said = false;
        loop {
            // One of them may have the program's id by now.
            reap(orphans());
            let alive = with_offspring(PROC.as_ref(), orphans()).len();
            if alive == 0 {
                return;
            }
            if !said {
                let processes = if alive == 1 {
                    "a process that it started lives".to_owned()
                } else {
                    format!("{alive} processes that it started live")
                };
                output::say(format_args!(
                    "{name} has ended, but {processes} on, and the limit with it. Ctrl-C ends the limit, and \
                     leaves what lives on without one"
                ));
                said = true;
            }
            tokio::select! {
                _ = self.ended.recv() => {}
                () = &mut hand_on => {}
                _ = self.seconds.tick(), if log::log_enabled!(log::Level::Info) => log_carried().await,
                job = self.jobs.next() => if job == Job::Stop {
                    let _ = stop_self();
                },
                _ = self.signals.next() => return,
            }
        }
    }

    /// What outlived its parent, while the program, whose end we wait for by itself, has its id.
    fn other_orphans(&self) -> impl Iterator<Item = u32> {
        let orphans = orphans().into_iter();
        orphans.filter(|pid| pid_of(*pid) != self.program)
    }

    /// It may have ended in this moment, which the next look sees.
    fn send(&self, signal: Signal) {
        let _ = kill(self.program, signal);
    }
}

/// The program's limit, and the engine that holds it.
struct Held<'a> {
    name: &'a str,
    program: Option<ProcessKey>,
    /// For as long as there is one.
    limit: &'a Cell<Option<Limited>>,
    session: &'a mut Opened,
}

impl Held<'_> {
    /// Says what the engine has to say, and what becomes of the limit: where the engine has ended, goes on with the next
    /// one, if there is one. Never ends.
    async fn hand_on(self) {
        let name = self.name;
        let mut warned = Warned::default();
        while self.limit.get().is_some() {
            while let Some(snapshot) = self.session.engine.next_snapshot().await {
                for warning in warned.news(&snapshot.warnings) {
                    output::say(warning);
                }
                if self.has_lost(&snapshot) {
                    self.limit.set(None);
                    output::say(format_args!(
                        "somebody has ended the limit: {name} goes on without it"
                    ));
                    return std::future::pending().await;
                }
            }
            output::say("the engine has ended: waiting for the next one");
            let names = self.session.reopen().await;
            let now = names.map(|names| names.first().and_then(|(_, now)| *now));
            match now {
                Ok(Some(now)) => {
                    self.limit.set(Some(now));
                    output::say(format_args!("{name} is limited again"));
                }
                refused => {
                    if let Err(error) = refused {
                        output::say(error);
                    }
                    self.limit.set(None);
                    output::say(format_args!("{name} goes on, and is not limited any more"));
                }
            }
        }
        std::future::pending::<()>().await;
    }
}

impl Held<'_> {
    /// Whether the limit is gone, and not because the program has ended.
    fn has_lost(&self, snapshot: &Snapshot) -> bool {
        let Some(limit) = self.limit.get() else {
            return false;
        };
        let mut limits = snapshot.limits.iter();
        let lives = |key: ProcessKey| key_of(PROC.as_ref(), key.pid) == Some(key);
        snapshot.sequence > limit.sequence
            && !limits.any(|it| it.id == limit.id)
            && snapshot.own_limit(std::process::id()).is_none()
            && self.program.is_some_and(lives)
    }
}

/// Our children that are the program's, or come from it.
fn orphans() -> Vec<u32> {
    let mut children = children(Path::new(PROC), std::process::id());
    children.retain(|pid| !is_helper(*pid));
    children
}

/// Waits for those of these children that have ended.
fn reap(children: impl IntoIterator<Item = u32>) {
    for pid in children {
        // It lives, mostly.
        let _ = news_of(pid_of(pid));
    }
}

fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX))
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

fn refused(program: &OsStr, error: &io::Error) -> u8 {
    let shown = crate::text::escape(&program.to_string_lossy()).into_owned();
    output::say(format_args!("{shown}: {error}"));
    match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    }
}
