//! The screen.
//!
//! Events become actions; [`update()`] turns an action and the state into a new state and effects,
//! without any I/O; [`carry_out`] and [`inspect`] carry effects out; [`view`] draws from a read-only
//! state.

mod act;
mod carry_out;
mod changes;
mod colours;
mod columns;
mod command;
mod command_palette;
mod connection_columns;
mod details_layout;
mod dialog;
mod effect;
mod field;
mod filter;
#[cfg(test)]
mod fixtures;
mod footer;
mod held;
mod help;
mod history;
mod inspect;
mod keep;
mod keymap;
mod layout;
mod limit_words;
mod menu;
mod mouse;
mod palette;
mod pending;
mod remotes;
mod rgb;
mod rows;
mod rulebook;
mod rules_back;
mod state;
mod symbols;
mod terminal;
mod theme;
mod time_axis;
mod update;
mod view;
mod views;
mod wrap;

use std::{fmt::Display, io, time::Duration};

use crossterm::event::{Event, EventStream, KeyEventKind};
use futures_util::StreamExt;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ratatui::layout::Size;
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::Instant,
};

use crate::{
    client::Requests,
    config::Config,
    logging::Warnings,
    process::Seen,
    protocol::RequestError,
    session::{
        Opened,
        signals::{Ending, Job, JobControl, Signals},
    },
    sys::signals::stop_self,
};
use carry_out::Effects;
use colours::Colours;
use effect::Effect;
use inspect::{Connections, Inspector, MAX_OF_MACHINE, MAX_PROCESSES, Purpose, Request};
pub use keymap::Keymap;
use state::{Message, State};
use symbols::Symbols;
pub use symbols::only_ascii;
pub use terminal::Terminal;
pub use theme::Scheme;
use update::{Action, update};
use view::Look;

/// At most 60 frames a second.
const FRAME: Duration = Duration::from_millis(16);

/// How long after an engine could not be started the next one is.
const AGAIN: Duration = Duration::from_secs(1);

/// How long an engine may be without a sample, which it has each second, until that is said.
const SILENCE: Duration = Duration::from_secs(5);

/// Why the screen was closed.
#[derive(Debug)]
pub enum Outcome {
    /// The user said so.
    Quit,
    /// A signal did.
    Signal(Ending),
    /// The terminal cannot be read or written any more.
    TerminalGone(io::Error),
}

/// Takes the terminal over as the configuration and the environment would have it.
///
/// # Errors
/// Where it cannot be set up.
pub fn open(config: &Config) -> io::Result<Terminal> {
    Terminal::enter(config.mouse, Colours::of(|name| std::env::var_os(name)))
}

/// Shows the screen until something ends it. The terminal is still ours when it returns.
///
/// # Errors
/// Where the terminal cannot be set up.
pub async fn run(
    session: &mut Opened,
    signals: &mut Signals,
    config: &Config,
    keymap: Keymap,
    scheme: &Scheme,
    warnings: &Warnings,
    terminal: &mut Terminal,
) -> io::Result<Outcome> {
    let look = Look {
        theme: scheme.theme(terminal.colours(), || terminal.background()),
        symbols: Symbols::new(config.ascii),
    };
    let mut jobs = JobControl::catch()?;
    let mut state = State::new(session.engine.info().clone(), terminal.size()?, config);
    state.pid = std::process::id();
    state.keymap = keymap;
    let mut events = EventStream::new();
    let mut inspection = Inspection::through(session.engine.requests().clone());
    let mut of_machine = Inspection::through(session.engine.requests().clone());
    let mut effects = Effects::on(session.engine.requests().patient());
    let mut last_frame = Instant::now() - FRAME;
    let mut changed = true;
    let mut has_engine = true;
    let mut heard = Heard::at(Instant::now());
    loop {
        let action = tokio::select! {
            // The end first: who was stopped may be told to end and to go on in one moment.
            biased;
            ending = signals.next() => return Ok(Outcome::Signal(ending)),
            job = jobs.next() => {
                let size = resume(terminal, job).and_then(|()| terminal.size());
                match size {
                    // It may have another size by now, which nobody has told us in the background.
                    Ok(Size { width, height }) => Action::Resize { width, height },
                    Err(error) => return Ok(Outcome::TerminalGone(error)),
                }
            }
            written = terminal.written() => match written {
                Ok(()) => continue,
                Err(error) => return Ok(Outcome::TerminalGone(error)),
            },
            () = tokio::time::sleep_until(last_frame + FRAME), if changed && !terminal.is_busy() => {
                if let Err(error) = terminal.draw(|frame| view::draw(frame, &state, &look)) {
                    return Ok(Outcome::TerminalGone(error));
                }
                last_frame = Instant::now();
                changed = false;
                continue;
            }
            action = from_engine(session, &mut has_engine) => action,
            () = tokio::time::sleep_until(heard.until), if has_engine && !heard.is_silent => match heard.nothing(Instant::now()) {
                Some(action) => action,
                None => continue,
            },
            action = effects.done() => action,
            seen = inspection.next(), if inspection.is_under_way() => match seen {
                Some(action) => action,
                None => continue,
            },
            seen = of_machine.next(), if of_machine.is_under_way() => match seen {
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
        if matches!(action, Action::Snapshot(_) | Action::Reopened { .. })
            && let Some(again) = heard.sample(Instant::now())
        {
            update(&mut state, again);
            changed = true;
        }
        // Of a frozen view a sample changes nothing.
        changed |= !matches!(action, Action::Snapshot(_)) || state.paused.is_none();
        for effect in update(&mut state, action) {
            match effect {
                Effect::Quit => return Ok(Outcome::Quit),
                // All of a pipeline or script stop with us, as if the terminal had seen the key. It
                // fails for none of them where it fails for us.
                Effect::Suspend => drop(kill(Pid::from_raw(0), Signal::SIGTSTP)),
                Effect::Inspect(request) => match request.purpose {
                    Purpose::Details(_) => inspection.ask(request),
                    Purpose::Machine | Purpose::Table => of_machine.ask(request),
                },
                effect => effects.carry_out(effect),
            }
        }
        if let Some(warning) = warnings.take().pop() {
            let text = crate::text::escape(&warning);
            update(&mut state, Action::Said(Message::error(text)));
            changed = true;
        }
    }
}

/// Whether the engine is heard of: what is on the screen is of now only then.
struct Heard {
    /// When it is to be said that it is not.
    until: Instant,
    /// It has been said.
    is_silent: bool,
}

impl Heard {
    fn at(now: Instant) -> Self {
        Self {
            until: now + SILENCE,
            is_silent: false,
        }
    }

    /// Nothing has come for too long; `None`: it is we who have been stopped.
    fn nothing(&mut self, now: Instant) -> Option<Action> {
        if now > self.until + AGAIN {
            *self = Self::at(now);
            return None;
        }
        self.is_silent = true;
        Some(Action::Said(Message::error(
            RequestError::Silent.to_string(),
        )))
    }

    /// A sample has come. What to say then where it was said that none do.
    fn sample(&mut self, now: Instant) -> Option<Action> {
        let was_silent = std::mem::replace(self, Self::at(now)).is_silent;
        was_silent.then(|| {
            Action::Said(Message {
                text: "the engine answers again".to_owned(),
                error: false,
            })
        })
    }
}

/// The next sample; where the engine has ended, the next one is waited for, for as long as it takes. Cancel safe.
async fn from_engine(session: &mut Opened, has_engine: &mut bool) -> Action {
    if *has_engine {
        if let Some(snapshot) = session.engine.next_snapshot().await {
            return Action::Snapshot(snapshot);
        }
        *has_engine = false;
        let text = "the engine has ended: waiting for the next one".to_owned();
        return Action::Said(Message::error(text));
    }
    match session.reopen().await {
        Ok(names) => {
            *has_engine = true;
            let lost = names.iter().filter(|(_, now)| now.is_none()).count();
            let text = match lost {
                0 => "an engine is there again".to_owned(),
                lost => format!("an engine is there again; {lost} limits could not be set again"),
            };
            let renamed = names
                .iter()
                .filter_map(|(before, now)| Some((*before, now.as_ref()?.id)));
            Action::Reopened {
                renamed: renamed.collect(),
                message: Message {
                    text,
                    error: lost > 0,
                },
            }
        }
        Err(error) => {
            tokio::time::sleep(AGAIN).await;
            let text = format!("no engine: {error}");
            Action::Said(Message::error(crate::text::escape(&text)))
        }
    }
}

/// Gives the terminal to the shell where we are to stop, and takes it again when we go on.
fn resume(terminal: &mut Terminal, job: Job) -> io::Result<()> {
    if job == Job::Stop {
        terminal.leave();
        stop_self()?;
    }
    terminal.take()
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

/// Asks the engine for connections, beside all else, one look at a time.
struct Inspection {
    engine: Requests,
    inspector: Inspector,
    under_way: Option<JoinHandle<Result<Action, RequestError>>>,
    /// Asked for while another one was under way.
    next: Option<Request>,
}

impl Inspection {
    fn through(engine: Requests) -> Self {
        Self {
            engine,
            inspector: Inspector::default(),
            under_way: None,
            next: None,
        }
    }

    fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    fn ask(&mut self, request: Request) {
        if self.is_under_way() {
            self.next = Some(request);
            return;
        }
        let (engine, inspector) = (self.engine.clone(), self.inspector.clone());
        self.under_way = Some(tokio::spawn(async move {
            let most = match request.purpose {
                Purpose::Machine => MAX_OF_MACHINE,
                Purpose::Details(_) | Purpose::Table => MAX_PROCESSES,
            };
            let mut all = Seen {
                more: request.processes.len() > most,
                ..Seen::default()
            };
            let processes = request.processes.get(..most).unwrap_or(&request.processes);
            for some in processes.chunks(MAX_PROCESSES) {
                let seen = engine.connections(some.to_vec()).await?;
                all.connections.extend(seen.connections);
                all.more |= seen.more;
            }
            let rows = spawn_blocking(move || {
                let connections = inspector.rows(all.connections, &request);
                let more = all.more;
                match request.purpose {
                    Purpose::Details(key) => Action::Inspected {
                        key,
                        connections,
                        more,
                    },
                    Purpose::Machine => Action::Connections(Connections { connections, more }),
                    Purpose::Table => Action::Remotes {
                        asked: request.processes,
                        connections,
                    },
                }
            });
            rows.await.map_err(|_| RequestError::Gone)
        }));
    }

    /// What was seen; `None` where looking failed. Cancel safe.
    async fn next(&mut self) -> Option<Action> {
        let seen = self.under_way.as_mut()?.await;
        self.under_way = None;
        if let Some(request) = self.next.take() {
            self.ask(request);
        }
        let said = |error: &dyn Display| log::info!("looking at connections: {error}");
        let seen = seen.inspect_err(|error| said(error)).ok()?;
        seen.inspect_err(|error| said(error)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_is_silent_is_said_to_be_so_once_and_again_when_it_answers() {
        let text = |action: Action| match action {
            Action::Said(message) => (message.text, message.error),
            other => panic!("{other:?}"),
        };
        let start = Instant::now();
        let mut heard = Heard::at(start);
        let second = Duration::from_secs(1);
        assert!(heard.sample(start + second).is_none());
        assert_eq!(heard.until, start + second + SILENCE);
        assert!(!heard.is_silent);
        // Who has been stopped for so long has not listened.
        assert!(heard.nothing(start + 20 * second).is_none() && !heard.is_silent);
        let late = start + 20 * second + SILENCE;
        let (words, is_error) = heard.nothing(late).map(text).unwrap();
        assert!(words.starts_with("the engine does not answer") && is_error);
        assert!(heard.is_silent);
        let again = heard.sample(start + 30 * second).map(text);
        assert_eq!(again, Some(("the engine answers again".to_owned(), false)));
        assert!(!heard.is_silent);
        assert!(heard.sample(start + 31 * second).is_none());
    }
}
