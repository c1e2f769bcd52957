//! Keys as the configuration has them.

use super::{Binding, Keymap, Place};
use crate::{
    config::{ConfigError, Keys},
    text::escape,
};

impl Keymap {
    /// The usual keys, but for commands that the configuration names: those have the keys that it gives them, and no
    /// others.
    ///
    /// # Errors
    /// Where it names what is no command or no key, or a key would do two things in one place.
    pub fn configured(keys: &Keys) -> Result<Self, ConfigError> {
        let refused = |line: usize, words: String| ConfigError::Invalid {
            path: keys.file.clone(),
            reason: format!("line {line}: {words}"),
        };
        let mut keymap = Self::default();
        for of in &keys.of {
            let mut bindings = keymap.0.iter_mut();
            let Some(binding) = bindings.find(|binding| binding.name == of.command) else {
                let command = escape(&of.command);
                let words = format!("'{command}' is not a command: ':' on the screen lists them");
                return Err(refused(of.line, words));
            };
            let read: Result<Vec<_>, String> = of.keys.iter().map(|key| key.parse()).collect();
            binding.keys = read.map_err(|words| refused(of.line, words))?;
        }
        let line_of = |binding: &Binding| {
            let mut of = keys.of.iter();
            of.find(|of| of.command == binding.name).map(|of| of.line)
        };
        for (at, one) in keymap.0.iter().enumerate() {
            for other in keymap.0.iter().skip(at + 1) {
                let mut places = Place::ALL.iter();
                let meet = places.any(|it| one.works(*it) && other.works(*it));
                let shared = one.keys.iter().find(|key| other.keys.contains(key));
                let (Some(key), true) = (shared, meet) else {
                    continue;
                };
                let (one, other) = match line_of(one) <= line_of(other) {
                    true => (one, other),
                    false => (other, one),
                };
                let words = match line_of(one) {
                    Some(line) => format!("line {line} has it for {}", one.name),
                    None => format!(
                        "it is {0}'s, unless a line {0} = … says otherwise",
                        one.name
                    ),
                };
                let words = format!("{key} cannot be for {}: {words}", other.name);
                return Err(refused(line_of(other).unwrap_or(1), words));
            }
        }
        Ok(keymap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn configured(text: &str) -> Result<Keymap, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        let config = Config::load(Some(&path)).unwrap();
        Keymap::configured(&config.keys).map_err(|error| error.to_string())
    }

    fn label(keymap: &Keymap, name: &str) -> String {
        let mut bindings = keymap.bindings().iter();
        bindings.find(|it| it.name == name).unwrap().label()
    }

    #[test]
    fn commands_have_the_keys_that_the_file_gives_them_and_the_others_their_own() {
        let keymap =
            configured("[keys]\nblock = ['Ctrl-B', 'F2']\nlimit = 'B'\nquit = []").unwrap();
        assert_eq!(label(&keymap, "block"), "Ctrl-B F2");
        assert_eq!(label(&keymap, "limit"), "B");
        assert_eq!(label(&keymap, "quit"), "");
        assert_eq!(label(&keymap, "remove"), "x");
        // In the table, the details and the rules a key may be different things.
        assert!(configured("[keys]\nfold = 'd'\ndetails = 'Right'").is_ok());
        let keymap = configured("[keys]\nswitch = 'B'").unwrap();
        assert_eq!(label(&keymap, "switch"), "B");
    }

    #[test]
    fn mistakes_and_conflicts_are_refused_with_their_lines() {
        for (text, words) in [
            (
                "[keys]\nlimt = 'l'",
                &["line 2: 'limt' is not a command"][..],
            ),
            (
                "[keys]\n\nlimit = 'Hyper-l'",
                &["line 3: 'Hyper-l' is not a key"],
            ),
            ("[keys]\nlimit = 'Ctrl-C'", &["line 2: Ctrl-C always"]),
            (
                "[keys]\nquit = 'Q'\nlimit = ['l', 'Q']",
                &["line 3: Q cannot be for limit: line 2 has it for quit"],
            ),
            (
                "[keys]\nquit = 'x'",
                &["line 2: x cannot be for quit: it is remove's", "remove = …"],
            ),
            (
                "[keys]\nswitch = 'F2'\nearlier = ['<', 'F2']",
                &["line 3: F2 cannot be for earlier: line 2 has it for switch"],
            ),
            (
                "[keys]\nswitch = 'x'",
                &["line 2: x cannot be for switch: it is remove's"],
            ),
            ("[keys]\n\"\\u001b\" = 'x'", &["line 2"]),
        ] {
            let error = configured(text).unwrap_err();
            for words in words {
                assert!(error.contains(words), "{error}");
            }
            assert!(error.contains("config.toml"), "{error}");
            assert!(!error.contains(char::is_control), "{error:?}");
        }
    }
}
