//! The commands, one file each.

pub mod cleanup;
pub mod completions;
pub mod doctor;
pub mod engine;
pub mod limit;
pub mod limits;
pub mod list;
pub mod man;
pub mod rule;
pub mod run;
mod table;
pub mod tui;
pub mod unlimit;
pub mod version;

use crate::{error::Error, output};

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
