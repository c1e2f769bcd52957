//! The commands, one file each.

pub mod cleanup;
pub mod completions;
pub mod doctor;
pub mod engine;
pub mod limit;
pub mod limits;
pub mod list;
pub mod man;
mod rows;
pub mod rule;
pub mod run;
mod table;
mod taken;
pub mod tui;
pub mod unlimit;
pub mod version;

use std::io::{self, IsTerminal};

use crossterm::terminal;

use crate::{
    client::Requests,
    error::Error,
    model::{Carried, LimitId},
    output,
};

/// Warnings of samples, each said once, and again when it has been gone for a while.
#[derive(Debug, Default)]
struct Warned(Vec<String>);

impl Warned {
    /// Those that were not there before.
    fn news(&mut self, warnings: &[String]) -> Vec<String> {
        let before = std::mem::replace(&mut self.0, warnings.to_vec());
        let mut news = warnings.to_vec();
        news.retain(|warning| !before.contains(warning));
        news
    }
}

/// Logs what a limit has carried so far, where somebody reads that; nothing of one that has ended.
async fn log_carried(requests: &Requests, id: LimitId) {
    if log::log_enabled!(log::Level::Info)
        && let Ok(Carried { passed, dropped }) = requests.carried(id).await
    {
        log::info!(
            "carried: down {} dropped {}, up {} dropped {}",
            passed.down,
            dropped.down,
            passed.up,
            dropped.up
        );
    }
}

/// Columns and lines of the terminal that standard output is; `None` where it is something else.
fn size_of_terminal() -> Option<(usize, usize)> {
    let is_one = io::stdout().is_terminal();
    let (columns, lines) = is_one.then(terminal::size)?.ok()?;
    Some((columns.into(), lines.into()))
}

/// Writes what a command without an engine has to say to standard output.
fn print(text: &[u8]) -> Result<(), Error> {
    output::print(text).map_err(|error| Error::io("writing to standard output", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_that_stays_is_said_once() {
        let words = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut warned = Warned::default();
        for (given, said) in [
            (&["rain"][..], &["rain"][..]),
            (&["rain", "snow"], &["snow"]),
            (&["snow"], &[]),
            (&["rain"], &["rain"]),
        ] {
            assert_eq!(warned.news(&words(given)), words(said));
        }
    }
}
