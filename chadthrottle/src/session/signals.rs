//! The signals that end the program, stop it and continue it, as something to wait for.
//!
//! What was ignored when the program was started, as SIGHUP is behind nohup, stays so.

use futures_util::FutureExt;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::sys::signals::ignored_at_start;

/// A signal that asks us to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Ctrl-C.
    Interrupt,
    /// `kill`.
    Terminate,
    /// The terminal has gone.
    HangUp,
    /// Ctrl-\.
    Quit,
}

impl Ending {
    /// The signal's number.
    pub const fn number(self) -> i32 {
        match self {
            Self::HangUp => 1,
            Self::Interrupt => 2,
            Self::Quit => 3,
            Self::Terminate => 15,
        }
    }

    /// What a shell reports for it: 130 for Ctrl-C.
    pub const fn exit_code(self) -> u8 {
        128 + self.number() as u8
    }
}

/// The four signals. From when it is made they no longer end the process by themselves, so that
/// a second Ctrl-C cannot break off the clean-up.
#[derive(Debug)]
pub struct Signals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    hang_up: Option<Signal>,
    quit: Option<Signal>,
}

impl Signals {
    /// Catches them.
    ///
    /// # Errors
    /// Where the runtime cannot.
    pub fn catch() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: caught(SignalKind::interrupt())?,
            terminate: caught(SignalKind::terminate())?,
            hang_up: caught(SignalKind::hangup())?,
            quit: caught(SignalKind::quit())?,
        })
    }

    /// Waits for the next one. Cancel safe.
    pub async fn next(&mut self) -> Ending {
        tokio::select! {
            () = next(&mut self.interrupt) => Ending::Interrupt,
            () = next(&mut self.terminate) => Ending::Terminate,
            () = next(&mut self.hang_up) => Ending::HangUp,
            () = next(&mut self.quit) => Ending::Quit,
        }
    }
}

/// Somebody at the terminal puts the program aside, or comes back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Ctrl-Z: it is to stop.
    Stop,
    /// It goes on.
    Continue,
}

/// Both. From when it is made SIGTSTP no longer stops the process by itself.
#[derive(Debug)]
pub struct JobControl {
    stop: Option<Signal>,
    go_on: Option<Signal>,
}

impl JobControl {
    /// Catches them.
    ///
    /// # Errors
    /// Where the runtime cannot.
    pub fn catch() -> std::io::Result<Self> {
        Ok(Self {
            stop: caught(SignalKind::from_raw(libc::SIGTSTP))?,
            go_on: caught(SignalKind::from_raw(libc::SIGCONT))?,
        })
    }

    /// Takes it that whoever was to stop has stopped: what has come so far has been done.
    pub fn has_stopped(&mut self) {
        if let Some(stop) = &mut self.stop {
            while stop.recv().now_or_never().flatten().is_some() {}
        }
    }

    /// Waits for the next one. Cancel safe.
    pub async fn next(&mut self) -> Job {
        tokio::select! {
            () = next(&mut self.go_on) => Job::Continue,
            () = next(&mut self.stop) => Job::Stop,
        }
    }
}

fn caught(kind: SignalKind) -> std::io::Result<Option<Signal>> {
    (!ignored_at_start(kind.as_raw_value()))
        .then(|| signal(kind))
        .transpose()
}

/// Waits for the signal; for ever where it is ignored.
async fn next(signal: &mut Option<Signal>) {
    let came = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if came.is_none() {
        std::future::pending::<()>().await;
    }
}
