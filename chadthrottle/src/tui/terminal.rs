//! The terminal in raw mode on its alternate screen, and put back exactly once.
//!
//! A frame is drawn into memory, and a thread writes it to the terminal: one that takes nothing any
//! more delays neither a signal nor the end.

use std::{
    cell::RefCell,
    io::{self, Write},
    mem,
    os::fd::AsFd,
    rc::Rc,
    sync::{Mutex, MutexGuard, Once, PoisonError},
    time::{Duration, Instant},
};

use crossterm::{
    event::{EnableBracketedPaste, EnableMouseCapture},
    queue,
    terminal::EnterAlternateScreen,
};
use nix::sys::termios::{
    FlowArg, FlushArg, SetArg, Termios, cfmakeraw, tcflow, tcflush, tcgetattr, tcsetattr,
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::{getpgrp, tcgetpgrp},
};
use ratatui::{
    Frame,
    backend::CrosstermBackend,
    layout::{Rect, Size},
};

use super::{colours::Colours, rgb::Rgb};
use crate::{
    output::{self, Outlet, Writing},
    reversal::leave_screen,
};

/// How long a terminal has for what puts it back, and once more when it is being rid of what it has.
const PATIENCE: Duration = Duration::from_millis(150);

/// How long it has for its answer to a question.
const ANSWER: Duration = Duration::from_millis(100);

/// A longer one is none.
const LONGEST_ANSWER: usize = 256;

/// The exit code of a program that has panicked, as Rust has it.
const PANICKED: i32 = 101;

/// How long it has to take what there is room for.
const RETRY: Duration = Duration::from_millis(10);

/// The terminal while the screen is open. Dropping it puts the terminal back; a panic does so
/// before its message is printed.
pub struct Terminal {
    inner: ratatui::Terminal<CrosstermBackend<Memory>>,
    drawn: Memory,
    outlet: &'static Outlet,
    colours: Colours,
    mouse: bool,
    writing: Option<Writing>,
}

impl Terminal {
    /// Takes the terminal over, with or without its mouse.
    ///
    /// # Errors
    /// Where it is none, or cannot be written.
    pub fn enter(mouse: bool, colours: Colours) -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                put_back();
                before(panic);
                // Whichever thread it is: without that of the keys, say, nobody could end the screen. Its limits end with
                // its connection to the engine.
                std::process::exit(PANICKED);
            }));
        });
        let drawn = Memory::default();
        let mut terminal = Self {
            inner: ratatui::Terminal::new(CrosstermBackend::new(drawn.clone()))?,
            drawn,
            outlet: output::stdout().ok_or(io::ErrorKind::OutOfMemory)?,
            colours,
            mouse,
            writing: None,
        };
        terminal.take()?;
        Ok(terminal)
    }

    /// Takes it over, also where somebody else has had it meanwhile, and draws anew from then on.
    /// From the background it stops us, until we are in the foreground again.
    ///
    /// # Errors
    /// Where it has gone.
    pub fn take(&mut self) -> io::Result<()> {
        let keyboard = io::stdin();
        let now = tcgetattr(&keyboard)?;
        let mut taken = taken();
        let before = match taken.take() {
            // Nobody has had it.
            Some(ours) if ours.raw == now => ours.before,
            _ => now,
        };
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&keyboard, SetArg::TCSANOW, &raw)?;
        // As the terminal understands it.
        let raw = tcgetattr(&keyboard)?;
        *taken = Some(Taken { before, raw });
        drop(taken);
        let mut bytes = Vec::new();
        queue!(bytes, EnterAlternateScreen, EnableBracketedPaste)?;
        if self.mouse {
            queue!(bytes, EnableMouseCapture)?;
        }
        self.outlet.put(&bytes);
        self.inner.resize(Rect::from(((0, 0).into(), self.size()?)))
    }

    /// Gives it back as it was.
    pub fn leave(&mut self) {
        put_back();
    }

    /// How many colours it has.
    pub fn colours(&self) -> Colours {
        self.colours
    }

    /// The colour of its background, where it says so within a tenth of a second. For before keys are read: what is
    /// typed meanwhile is lost.
    pub fn background(&mut self) -> Option<Rgb> {
        // The second question is one that every terminal answers: who has answered that has no answer to the first.
        self.outlet.put(b"\x1b]11;?\x1b\\\x1b[c");
        let keyboard = io::stdin();
        let deadline = Instant::now() + ANSWER;
        let mut answer = Vec::new();
        while !answer.ends_with(b"c") && answer.len() < LONGEST_ANSWER {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left).ok()?;
            let mut wait = [PollFd::new(keyboard.as_fd(), PollFlags::POLLIN)];
            match poll(&mut wait, left) {
                Ok(0) => break,
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(_) => return None,
            }
            let mut byte = [0];
            if nix::unistd::read(&keyboard, &mut byte).ok()? == 0 {
                return None;
            }
            answer.extend(byte);
        }
        Rgb::of_answer(&answer)
    }

    /// Columns and rows.
    ///
    /// # Errors
    /// Where the terminal does not say.
    pub fn size(&self) -> io::Result<Size> {
        self.inner.size()
    }

    /// Draws one frame, which is being written from then on.
    ///
    /// # Errors
    /// Where it cannot be drawn.
    pub fn draw(&mut self, render: impl FnOnce(&mut Frame)) -> io::Result<()> {
        self.inner.draw(render)?;
        let bytes = self.colours.translate(&self.drawn.take());
        self.writing = Some(self.outlet.write(bytes));
        Ok(())
    }

    /// Whether a frame is being written.
    pub fn is_busy(&self) -> bool {
        self.writing.is_some()
    }

    /// Waits until the frame is written; for ever where there is none. Cancel safe.
    ///
    /// # Errors
    /// Where the terminal cannot be written any more.
    pub async fn written(&mut self) -> io::Result<()> {
        output::written(&mut self.writing).await
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        put_back();
    }
}

/// A terminal that is taken over.
struct Taken {
    before: Termios,
    raw: Termios,
}

static TAKEN: Mutex<Option<Taken>> = Mutex::new(None);

fn taken() -> MutexGuard<'static, Option<Taken>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts the terminal back, where it was taken over. What it cannot show any more it is rid of first:
/// nobody would see it.
fn put_back() {
    let Some(Taken { before, .. }) = taken().take() else {
        return;
    };
    // In the background somebody else has set it, and doing so would stop us. A terminal that has gone
    // needs no putting back.
    let is_ours = tcgetpgrp(io::stdin()) == Ok(getpgrp());
    if is_ours {
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &before);
    }
    let mut bytes = Vec::new();
    let _ = leave_screen(&mut bytes);
    let Some(outlet) = output::stdout() else {
        return;
    };
    outlet.put(&bytes);
    if outlet.flush(Instant::now() + PATIENCE) || !is_ours {
        return;
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        // What waits makes room for what is still to come of a frame. That does not wake who waits
        // for the room, but going on after a stop does.
        let _ = tcflush(io::stdout(), FlushArg::TCOFLUSH);
        for flow in [FlowArg::TCOOFF, FlowArg::TCOON] {
            let _ = tcflow(io::stdout(), flow);
        }
        let now = Instant::now();
        if outlet.flush(now + RETRY) {
            break;
        }
        if now > deadline {
            return;
        }
    }
    // It may have been among what had to go.
    outlet.put(&bytes);
    outlet.flush(Instant::now() + PATIENCE);
}

/// What is drawn, until it is written.
#[derive(Clone, Default)]
struct Memory(Rc<RefCell<Vec<u8>>>);

impl Memory {
    fn take(&self) -> Vec<u8> {
        mem::take(&mut self.0.borrow_mut())
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
