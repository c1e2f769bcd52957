//! The signals that end the program, as something to wait for.

use tokio::signal::unix::{Signal, SignalKind, signal};

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
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    quit: Signal,
}

impl Signals {
    /// Catches them.
    ///
    /// # Errors
    /// Where the runtime cannot.
    pub fn catch() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Waits for the next one. Cancel safe.
    pub async fn next(&mut self) -> Ending {
        tokio::select! {
            _ = self.interrupt.recv() => Ending::Interrupt,
            _ = self.terminate.recv() => Ending::Terminate,
            _ = self.hang_up.recv() => Ending::HangUp,
            _ = self.quit.recv() => Ending::Quit,
        }
    }
}
