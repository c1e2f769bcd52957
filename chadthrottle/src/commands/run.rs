//! `run`: a program under a limit, from its first packet, with all that it starts.

use std::{
    ffi::OsStr,
    io,
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, interval_at},
};

use super::words::describe;
use crate::{
    cli::{Global, Run},
    engine::{Carried, Targets},
    error::Error,
    lifecycle::{
        Session,
        signals::{Ending, Signals},
    },
    process::{
        key_of,
        user::{self, Invoker},
    },
    sys::process::HeldChild,
};

/// Exit codes of a shell for a program that is not there, and one that cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// Runs the program and gives the exit code: its own, or 128 and the signal that ended it.
pub async fn run(global: &Global, args: Run) -> Result<u8, Error> {
    let invoker = invoker(args.root)?;
    let mut signals = Signals::catch().map_err(|error| Error::io("catching signals", error))?;
    let session = Session::start(global.settings(Duration::from_secs(1))).await?;

    let mut command = args.command.into_iter();
    let program = command
        .next()
        .ok_or_else(|| Error::Usage("no program is given".to_owned()))?;
    let shown = crate::text::escape(&program.to_string_lossy()).into_owned();
    let mut builder = Command::new(&program);
    builder.args(command);
    if let Some(invoker) = &invoker {
        builder.env("HOME", &invoker.home);
        builder
            .env("USER", &invoker.name)
            .env("LOGNAME", &invoker.name);
    }
    let held = HeldChild::fork(builder, invoker.map(|invoker| invoker.user))
        .map_err(|error| Error::io(format!("starting {shown}"), error))?;

    let limit = args.limits.limit();
    let mut limited = None;
    if args.limits.is_some() {
        let key = key_of("/proc".as_ref(), held.pid())
            .ok_or_else(|| Error::NoTarget(format!("process {} has ended", held.pid())))?;
        let targets = Targets {
            processes: vec![key],
            children: true,
            ..Targets::default()
        };
        limited = Some(session.engine.set_limit(targets, limit).await?);
        crate::text::say(format_args!(
            "{shown} ({}): {}",
            held.pid(),
            describe(limit)
        ));
    }
    let log_carried = async || {
        if let Some(id) = limited
            && let Ok(Carried { passed, dropped }) = session.engine.carried(id).await
        {
            log::info!(
                "carried: down {} dropped {}, up {} dropped {}",
                passed.down_bytes,
                dropped.down_bytes,
                passed.up_bytes,
                dropped.up_bytes
            );
        }
    };
    let code = match held.release() {
        Ok(child) => exit_code(wait(child, &mut signals, &log_carried).await?),
        Err(error) => refused(&program, &error),
    };
    log_carried().await;
    let clean = session.stop();
    Ok(if clean { code } else { code.max(1) })
}

/// Who called sudo, unless the program is to run as root.
fn invoker(as_root: bool) -> Result<Option<Invoker>, Error> {
    if as_root {
        return Ok(None);
    }
    Ok(user::invoker(std::env::var("SUDO_UID").ok().as_deref())?)
}

/// Waits for the program, and hands it the signals that we get: but for Ctrl-C and Ctrl-\, which
/// the terminal gives to it as well as to us. Where somebody reads the log, it hears each second
/// what was carried.
async fn wait(
    mut child: Child,
    signals: &mut Signals,
    log_carried: impl AsyncFn(),
) -> Result<ExitStatus, Error> {
    const SECOND: Duration = Duration::from_secs(1);
    let failed = |error| Error::io("waiting for the program", error);
    let mut seconds = interval_at(Instant::now() + SECOND, SECOND);
    let mut ended = signal(SignalKind::child()).map_err(failed)?;
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(status);
        }
        tokio::select! {
            _ = ended.recv() => {}
            _ = seconds.tick(), if log::log_enabled!(log::Level::Info) => log_carried().await,
            ending = signals.next() => {
                let passed_on = match ending {
                    Ending::Terminate => Signal::SIGTERM,
                    Ending::HangUp => Signal::SIGHUP,
                    Ending::Interrupt | Ending::Quit => continue,
                };
                // It may have ended in this moment, which the next round sees.
                let pid = i32::try_from(child.id()).unwrap_or(i32::MAX);
                let _ = kill(Pid::from_raw(pid), passed_on);
            }
        }
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

fn refused(program: &OsStr, error: &io::Error) -> u8 {
    let shown = crate::text::escape(&program.to_string_lossy()).into_owned();
    crate::text::say(format_args!("{shown}: {error}"));
    match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    }
}
