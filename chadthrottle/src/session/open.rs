//! An engine for a command: the one that runs, or one that ends with its last client.

use std::{
    io,
    os::{fd::BorrowedFd, unix::net::UnixStream as StdUnixStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tokio::{
    net::UnixStream,
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::{
    Settings, pid_namespace, privilege,
    report::Report,
    signals::{Ending, Signals},
};
use crate::{
    client::Client,
    error::Error,
    model::LimitId,
    output,
    protocol::{Left, Limited, RequestError},
    reversal::{Guard, StateDir, lives},
    sys::process::spawn_helper,
};

/// Name of the engine's socket in the state directory.
pub const SOCKET: &str = "control.sock";

/// How long an engine may take that another command starts, or that is about to end; and so how long clients of one that
/// has ended wait for the next.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How long an engine that starts is waited for by who is told to end.
const LAST_MOMENT: Duration = Duration::from_millis(1_500);

/// Between starts, where others start one too.
const STARTS: Duration = Duration::from_millis(250);

/// Between looks whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// How long an engine may take to clear up behind us.
const CLEARING_UP: Duration = Duration::from_secs(5);

/// An engine that a command uses.
#[derive(Debug)]
pub struct Opened {
    /// What to ask it through.
    pub engine: Client,
    settings: Settings,
    /// It puts our terminal back, should we be killed.
    guard: Option<Guard>,
    /// The engine, where we have started it.
    child: Option<Child>,
    /// Not before that another one is started.
    next_start: Instant,
}

/// Opens the engine of that state directory; where none runs there, it starts one, which ends with its last client.
///
/// # Errors
/// What is missing or refused; nothing is attached then.
pub async fn open(settings: Settings) -> Result<Opened, Error> {
    let mut next_start = Instant::now();
    let (engine, child) = reach(&settings, true, &mut next_start).await?;
    Ok(Opened {
        engine,
        settings,
        guard: None,
        child,
        next_start,
    })
}

/// The same, unless a signal ends it before. An engine that starts then is closed, so that nothing is left; one that takes
/// longer than [`LAST_MOMENT`] ends by itself, as nobody comes to it.
///
/// # Errors
/// As [`open`].
pub async fn open_unless_ended(
    settings: Settings,
    signals: &mut Signals,
) -> Result<Result<Opened, Ending>, Error> {
    let mut opening = std::pin::pin!(open(settings));
    tokio::select! {
        opened = &mut opening => opened.map(Ok),
        ending = signals.next() => {
            if let Ok(Ok(opened)) = timeout(LAST_MOMENT, opening).await {
                opened.close().await;
            }
            Ok(Err(ending))
        }
    }
}

/// Comes to an engine: one that runs, within [`PATIENCE`], or one that `may_start`, which may take longer where many do.
/// None is started before `next_start`, also where this is broken off and done again.
async fn reach(
    settings: &Settings,
    may_start: bool,
    next_start: &mut Instant,
) -> Result<(Client, Option<Child>), Error> {
    let patience = if may_start { 3 * PATIENCE } else { PATIENCE };
    let deadline = Instant::now() + patience;
    let mut child = None;
    let mut without = RequestError::Gone;
    loop {
        match connect(settings).await {
            Ok(Some(engine)) => return Ok((engine, child)),
            Ok(None) if may_start && Instant::now() >= *next_start => {
                privilege::check()?;
                pid_namespace::check()?;
                *next_start = Instant::now() + STARTS;
                let (report, mut started) = start(settings).await?;
                match report {
                    Report::Ready => {
                        child = Some(started);
                        continue;
                    }
                    Report::Failed { message, exit_code } => {
                        let _ = started.wait();
                        return Err(RequestError::Failed { message, exit_code }.into());
                    }
                    // Somebody else starts one, or one has not ended yet.
                    Report::Held { message } => {
                        let _ = started.wait();
                        *next_start = Instant::now() + STARTS;
                        let exit_code = 1;
                        let message = format!("{message}; it does not answer");
                        without = RequestError::Failed { message, exit_code };
                    }
                }
            }
            // None is there, or it ends in this moment.
            Ok(None) | Err(Error::Request(RequestError::Gone)) => {}
            Err(error) => return Err(error),
        }
        if Instant::now() > deadline {
            return Err(without.into());
        }
        sleep(LOOK).await;
    }
}

/// Opens the engine of that state directory, where one runs.
///
/// # Errors
/// What is missing, or does not answer.
pub async fn open_running(settings: Settings) -> Result<Option<Opened>, Error> {
    let deadline = Instant::now() + PATIENCE;
    let engine = loop {
        match connect(&settings).await {
            // It ends in this moment, or takes nobody in: then something may be limited that we cannot see.
            Err(Error::Request(RequestError::Gone)) if Instant::now() < deadline => {
                sleep(LOOK).await;
            }
            result => break result?,
        }
    };
    if engine.is_none() {
        // One may be there that we cannot see.
        privilege::check()?;
    }
    Ok(engine.map(|engine| Opened {
        engine,
        settings,
        guard: None,
        child: None,
        next_start: Instant::now(),
    }))
}

/// Starts an engine, and waits until it listens or has failed.
async fn start(settings: &Settings) -> Result<(Report, Child), Error> {
    let failed = |error| Error::io("starting the engine", error);
    let mut command = Command::new(&settings.program);
    command
        .args(settings.arguments().map_err(failed)?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if !settings.engine_speaks {
        command.stderr(Stdio::null());
    }
    let mut child = spawn_helper(&mut command).map_err(failed)?;
    let Some(says) = child.stdout.take() else {
        return Err(failed(io::ErrorKind::BrokenPipe.into()));
    };
    let report = spawn_blocking(|| Report::read(says)).await;
    let report = report.map_err(|error| failed(error.into()))?;
    // It was killed, and another one is to be started.
    let report = report.unwrap_or_else(|error| Report::Held {
        message: format!("the engine has ended before it was ready: {error}"),
    });
    Ok((report, child))
}

/// Connects to the engine that runs with that state directory.
async fn connect(settings: &Settings) -> Result<Option<Client>, Error> {
    match sockets(&settings.state_dir)? {
        Some((requests, samples)) => {
            let fields = settings.fields.clone();
            let client = Client::over(requests, samples, settings.interval, fields);
            let client = timeout(PATIENCE, client).await;
            Ok(Some(client.unwrap_or(Err(RequestError::Silent))?))
        }
        None => Ok(None),
    }
}

/// Two connections to the engine that runs with that state directory.
fn sockets(state_dir: &Path) -> Result<Option<(UnixStream, UnixStream)>, Error> {
    // Whoever could put a socket there could have us trust it.
    let Ok(Some(directory)) = StateDir::open_of_engine(state_dir) else {
        return Ok(None);
    };
    let socket = directory.anchor().join(SOCKET);
    let connect = || -> io::Result<UnixStream> {
        let stream = StdUnixStream::connect(&socket)?;
        stream.set_nonblocking(true)?;
        UnixStream::from_std(stream)
    };
    match connect().and_then(|requests| Ok((requests, connect()?))) {
        Ok(both) => Ok(Some(both)),
        // Nobody has made it, or whoever had has gone.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(Error::io(
            format!("connecting to {}", state_dir.join(SOCKET).display()),
            error,
        )),
    }
}

impl Opened {
    /// Has the terminal put back to what it is now, should we be killed.
    ///
    /// # Errors
    /// Where the guard process cannot be started.
    pub fn protect_terminal(&mut self, terminal: BorrowedFd<'_>) -> Result<(), Error> {
        let failed = |error| Error::io("starting a guard of the terminal", error);
        let nothing = StateDir::of_nobody().map_err(failed)?;
        let guard = Guard::start(&self.settings.program, &nothing)?;
        Ok(self.guard.insert(guard).protect_terminal(terminal)?)
    }

    /// Comes to the next engine, where ours has ended, and sets our limits again there. Gives their names of before, with
    /// those that they have now, if they could be set.
    ///
    /// # Errors
    /// Where there is none within [`PATIENCE`]. One that is somebody else's to start is waited for, and not started.
    pub async fn reopen(&mut self) -> Result<Vec<(LimitId, Option<Limited>)>, Error> {
        if let Some(mut child) = self.child.take() {
            let _ = child.try_wait();
        }
        let may_start = self.engine.is_until_idle();
        let (engine, child) = reach(&self.settings, may_start, &mut self.next_start).await?;
        self.child = child;
        Ok(self.engine.move_to(engine).await)
    }

    /// Ends what belongs to us, and waits until it has; where we are the last client, until the engine has, and says on
    /// standard error what could not be detached.
    ///
    /// Gives whether everything was.
    pub async fn close(self) -> bool {
        let left = timeout(CLEARING_UP, self.engine.close()).await;
        let left = left.unwrap_or_else(|_| Left {
            words: vec!["the engine does not answer: what was limited may still be".to_owned()],
            failed: true,
        });
        for words in &left.words {
            output::say(words);
        }
        if let Some(mut child) = self.child
            && !lives(child.id())
        {
            // It has closed our connections, and nobody else collects it.
            let _ = child.wait();
        }
        // The terminal is whole again by now.
        if let Some(guard) = self.guard {
            guard.dismiss();
        }
        !left.failed
    }
}
