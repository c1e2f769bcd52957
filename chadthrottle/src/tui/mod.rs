//! The screen.
//!
//! Events become actions; [`update()`] turns an action and the state into a new state and effects,
//! without any I/O; [`effect`] carries effects out; [`view`] draws from a read-only state.

mod dialog;
mod effect;
#[cfg(test)]
mod fixtures;
mod keymap;
mod state;
mod terminal;
mod theme;
mod update;
mod view;

use std::{io, time::Duration};

use crossterm::event::{Event, EventStream, KeyEventKind};
use futures_util::StreamExt;
use tokio::time::Instant;

use crate::{
    engine::Handle,
    lifecycle::signals::{Ending, Signals},
    units::Style,
};
use effect::Effect;
use state::State;
use terminal::Terminal;
use theme::Theme;
use update::{Action, update};

/// At most 60 frames a second.
const FRAME: Duration = Duration::from_millis(16);

/// How the screen looks at the start.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bits or bytes.
    pub style: Style,
    /// Without colours.
    pub monochrome: bool,
}

/// Why the screen was closed.
#[derive(Debug)]
pub enum Outcome {
    /// The user said so.
    Quit,
    /// A signal did.
    Signal(Ending),
    /// The terminal cannot be read or written any more.
    TerminalGone(io::Error),
    /// The engine has stopped by itself.
    EngineStopped,
}

/// Shows the screen until something ends it. The terminal is as before when it returns.
///
/// # Errors
/// Where the terminal cannot be set up.
pub async fn run(
    engine: &mut Handle,
    signals: &mut Signals,
    options: Options,
) -> io::Result<Outcome> {
    let theme = Theme::new(options.monochrome);
    let mut terminal = Terminal::enter()?;
    let mut state = State::new(engine.info().clone(), terminal.size()?, options.style);
    let mut events = EventStream::new();
    let mut last_frame = Instant::now() - FRAME;
    let mut changed = true;
    loop {
        let action = tokio::select! {
            () = tokio::time::sleep_until(last_frame + FRAME), if changed => {
                if let Err(error) = terminal.draw(|frame| view::draw(frame, &state, &theme)) {
                    return Ok(Outcome::TerminalGone(error));
                }
                last_frame = Instant::now();
                changed = false;
                continue;
            }
            ending = signals.next() => return Ok(Outcome::Signal(ending)),
            snapshot = engine.next_snapshot() => match snapshot {
                Some(snapshot) => Action::Snapshot(snapshot),
                None => return Ok(Outcome::EngineStopped),
            },
            event = events.next() => match event {
                Some(Ok(event)) => match action_of(event) {
                    Some(action) => action,
                    None => continue,
                },
                Some(Err(error)) => return Ok(Outcome::TerminalGone(error)),
                None => return Ok(Outcome::TerminalGone(io::ErrorKind::UnexpectedEof.into())),
            },
        };
        changed = true;
        for effect in update(&mut state, action) {
            match effect {
                Effect::Quit => return Ok(Outcome::Quit),
                effect => {
                    let message = effect::apply(engine, effect).await;
                    update(&mut state, Action::Applied(message));
                }
            }
        }
    }
}

fn action_of(event: Event) -> Option<Action> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => Some(Action::Key(key)),
        Event::Paste(text) => Some(Action::Paste(text)),
        Event::Resize(width, height) => Some(Action::Resize { width, height }),
        Event::Key(_) | Event::Mouse(_) | Event::FocusGained | Event::FocusLost => None,
    }
}
