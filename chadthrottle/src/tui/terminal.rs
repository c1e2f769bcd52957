//! The terminal in raw mode on its alternate screen, and put back exactly once.

use std::io::{self, stdout};

use crossterm::{
    event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture},
    execute,
};
use ratatui::{DefaultTerminal, Frame, layout::Size};

/// The terminal while the screen is open. Dropping it puts the terminal back; a panic does so
/// before its message is printed.
#[derive(Debug)]
pub struct Terminal {
    inner: DefaultTerminal,
}

impl Terminal {
    /// Takes the terminal over, with or without its mouse.
    ///
    /// # Errors
    /// Where it is none, or cannot be written.
    pub fn enter(mouse: bool) -> io::Result<Self> {
        // Chains a panic hook that restores the terminal first.
        let inner = ratatui::try_init()?;
        let terminal = Self { inner };
        execute!(stdout(), EnableBracketedPaste)?;
        if mouse {
            execute!(stdout(), EnableMouseCapture)?;
        }
        Ok(terminal)
    }

    /// Columns and rows.
    ///
    /// # Errors
    /// Where the terminal does not say.
    pub fn size(&self) -> io::Result<Size> {
        self.inner.size()
    }

    /// Draws one frame.
    ///
    /// # Errors
    /// Where the terminal cannot be written any more.
    pub fn draw(&mut self, render: impl FnOnce(&mut Frame)) -> io::Result<()> {
        self.inner.draw(render).map(drop)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that has gone needs no restoring.
        let _ = execute!(stdout(), DisableMouseCapture, DisableBracketedPaste);
        let _ = self.inner.show_cursor();
        let _ = ratatui::try_restore();
    }
}
