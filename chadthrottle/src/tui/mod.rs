//! The screen.
//!
//! Events become actions; [`update()`] turns an action and the state into a new state and effects,
//! without any I/O; [`effect`] and [`inspect`] carry effects out; [`view`] draws from a read-only
//! state.

mod act;
mod dialog;
mod effect;
mod field;
#[cfg(test)]
mod fixtures;
mod held;
mod history;
mod inspect;
mod keymap;
mod layout;
mod mouse;
mod rows;
mod state;
mod symbols;
mod terminal;
mod theme;
mod update;
mod view;

use std::{io, path::Path, time::Duration};

use crossterm::event::{Event, EventStream, KeyEventKind};
use futures_util::StreamExt;
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::Instant,
};

use crate::{
    config::Config,
    engine::Handle,
    lifecycle::signals::{Ending, Signals},
    logging::LastWarning,
};
use effect::Effect;
use inspect::{Inspector, Request};
use state::{Message, State};
use symbols::Symbols;
use terminal::Terminal;
use theme::Theme;
use update::{Action, update};
use view::Look;

/// At most 60 frames a second.
const FRAME: Duration = Duration::from_millis(16);

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
    config: &Config,
    warnings: &LastWarning,
) -> io::Result<Outcome> {
    let term = std::env::var("TERM").unwrap_or_default();
    let look = Look {
        theme: Theme::new(config.theme, &term),
        symbols: Symbols::new(config.ascii),
    };
    let mut terminal = Terminal::enter(config.mouse)?;
    let mut state = State::new(engine.info().clone(), terminal.size()?, config);
    let mut events = EventStream::new();
    let mut inspection = Inspection::default();
    let mut last_frame = Instant::now() - FRAME;
    let mut changed = true;
    loop {
        let action = tokio::select! {
            () = tokio::time::sleep_until(last_frame + FRAME), if changed => {
                if let Err(error) = terminal.draw(|frame| view::draw(frame, &state, &look)) {
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
            seen = inspection.next(), if inspection.is_under_way() => match seen {
                Some(action) => action,
                None => continue,
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
        // Of a frozen view a sample changes nothing.
        changed |= !matches!(action, Action::Snapshot(_)) || state.paused.is_none();
        for effect in update(&mut state, action) {
            match effect {
                Effect::Quit => return Ok(Outcome::Quit),
                Effect::Inspect(request) => inspection.ask(request),
                effect => {
                    if let Some(message) = effect::apply(engine, effect).await {
                        update(&mut state, Action::Said(message));
                    }
                }
            }
        }
        if let Some(warning) = warnings.take() {
            let text = crate::text::escape(&warning);
            update(&mut state, Action::Said(Message::error(text)));
            changed = true;
        }
    }
}

fn action_of(event: Event) -> Option<Action> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => Some(Action::Key(key)),
        Event::Mouse(event) => mouse::is_used(event).then_some(Action::Mouse(event)),
        Event::Paste(text) => Some(Action::Paste(text)),
        Event::Resize(width, height) => Some(Action::Resize { width, height }),
        Event::Key(_) | Event::FocusGained | Event::FocusLost => None,
    }
}

/// Looks at connections on a thread of its own, one look at a time.
#[derive(Default)]
struct Inspection {
    inspector: Inspector,
    under_way: Option<JoinHandle<Action>>,
    /// Asked for while another one was under way.
    next: Option<Request>,
}

impl Inspection {
    fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    fn ask(&mut self, request: Request) {
        if self.is_under_way() {
            self.next = Some(request);
            return;
        }
        let inspector = self.inspector.clone();
        self.under_way = Some(spawn_blocking(move || Action::Inspected {
            connections: inspector.look(Path::new("/proc"), &request),
            key: request.key,
        }));
    }

    /// What was seen; `None` where looking failed. Cancel safe.
    async fn next(&mut self) -> Option<Action> {
        let seen = self.under_way.as_mut()?.await;
        self.under_way = None;
        if let Some(request) = self.next.take() {
            self.ask(request);
        }
        seen.inspect_err(|error| log::warn!("looking at connections: {error}"))
            .ok()
    }
}
