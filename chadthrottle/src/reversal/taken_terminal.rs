//! A terminal that the engine has taken over, and how it was before.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
};

use crossterm::{
    cursor::Show,
    event::{DisableBracketedPaste, DisableMouseCapture},
    queue,
    terminal::LeaveAlternateScreen,
};
use nix::sys::termios::{
    ControlFlags, InputFlags, LocalFlags, OutputFlags, SetArg, tcgetattr, tcsetattr,
};
use serde::{Deserialize, Serialize};

/// Writes what undoes all that the screen has told a terminal.
///
/// # Errors
/// Where it cannot be written.
pub fn leave_screen(terminal: &mut impl Write) -> io::Result<()> {
    queue!(
        terminal,
        DisableMouseCapture,
        DisableBracketedPaste,
        LeaveAlternateScreen,
        Show
    )
}

/// What a terminal does with what is typed and shown (termios(3)).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modes {
    input: u32,
    output: u32,
    control: u32,
    local: u32,
    characters: Vec<u8>,
}

impl Modes {
    /// Those of a terminal now.
    ///
    /// # Errors
    /// Where it is none.
    pub fn of(terminal: impl AsFd) -> io::Result<Self> {
        let now = tcgetattr(terminal)?;
        Ok(Self {
            input: now.input_flags.bits(),
            output: now.output_flags.bits(),
            control: now.control_flags.bits(),
            local: now.local_flags.bits(),
            characters: now.control_chars.into(),
        })
    }
}

/// The terminal, and how it was.
#[derive(Debug)]
pub struct TakenTerminal {
    file: File,
    before: Modes,
}

impl TakenTerminal {
    /// A terminal that is to be as `before` again.
    pub fn of(fd: OwnedFd, before: Modes) -> Self {
        Self {
            file: fd.into(),
            before,
        }
    }

    /// Puts it back. It is not our controlling terminal, so the kernel lets us.
    pub fn restore(mut self) {
        // A terminal that has gone needs no restoring.
        let _ = leave_screen(&mut self.file);
        let Ok(mut modes) = tcgetattr(&self.file) else {
            return;
        };
        modes.input_flags = InputFlags::from_bits_retain(self.before.input);
        modes.output_flags = OutputFlags::from_bits_retain(self.before.output);
        modes.control_flags = ControlFlags::from_bits_retain(self.before.control);
        modes.local_flags = LocalFlags::from_bits_retain(self.before.local);
        for (now, before) in modes.control_chars.iter_mut().zip(&self.before.characters) {
            *now = *before;
        }
        let _ = tcsetattr(&self.file, SetArg::TCSANOW, &modes);
    }
}
