//! What an engine that a command has started tells it, once, on its standard output.

use std::{
    io::{self, Read, Write},
    process::ChildStdout,
};

use serde::{Deserialize, Serialize};

use crate::{error::Error, reversal::LockError};

/// How the start went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// It listens.
    Ready,
    /// Another engine has the lock.
    Held {
        /// What to say where that one has no socket.
        message: String,
    },
    /// It could not be.
    Failed {
        /// Why, and what to do.
        message: String,
        /// Of the contract.
        exit_code: u8,
    },
}

impl Report {
    /// Of a start that failed.
    pub fn of(error: &Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Lock(LockError::Held(_)) => Self::Held { message },
            error => Self::Failed {
                message,
                exit_code: error.exit_code(),
            },
        }
    }

    /// Writes it to standard output. Gives whether there is somebody who reads it.
    pub fn write(&self) -> bool {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        let mut out = io::stdout().lock();
        let written = out.write_all(&line).and_then(|()| out.flush());
        if let Err(error) = &written {
            log::debug!("who started this engine does not listen: {error}");
        }
        written.is_ok()
    }

    /// Reads it: blocks until it is there, or the engine has ended without one.
    ///
    /// # Errors
    /// Where it has, or cannot be read.
    pub fn read(from: ChildStdout) -> io::Result<Self> {
        /// Longest message, in bytes.
        const LONGEST: u64 = 64 * 1024;
        let mut line = Vec::new();
        let mut from = io::BufReader::new(from.take(LONGEST));
        io::BufRead::read_until(&mut from, b'\n', &mut line)?;
        Ok(serde_json::from_slice(&line)?)
    }
}
