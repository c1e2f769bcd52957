//! What keys do: the one source for the update, the footer, the help and the palette.

mod configured;
mod defaults;
mod key;

use crossterm::event::KeyEvent;

pub use key::Key;

use crate::config::View;
use defaults::DEFAULTS;

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Select the row above.
    Up,
    /// Select the row below.
    Down,
    /// A screen up.
    PageUp,
    /// A screen down.
    PageDown,
    /// The first row.
    Top,
    /// The last row.
    Bottom,
    /// Open the limit dialog.
    Limit,
    /// A slower limit.
    Lower,
    /// A faster limit.
    Raise,
    /// Remove the limit.
    Remove,
    /// Remove all limits, after asking.
    RemoveAll,
    /// Block it, or end the block.
    Block,
    /// Switch the rule off, or on.
    Switch,
    /// Try the rule earlier.
    Earlier,
    /// Try the rule later.
    Later,
    /// Make its limit a rule.
    Keep,
    /// Take back the last change.
    Undo,
    /// Another profile of rules.
    Profile,
    /// Read the files of rules anew.
    Reload,
    /// Tag the row, or untag it.
    Tag,
    /// Untag all.
    Untag,
    /// Type a filter.
    Filter,
    /// Open the menu of orders.
    Sort,
    /// Turn the order round.
    Reverse,
    /// Show this view.
    Go(View),
    /// The view after this.
    NextView,
    /// The view before this.
    PreviousView,
    /// List, tree, programs.
    Grouping,
    /// Hide what is below the row, or show it.
    Fold,
    /// Which rows are shown.
    Show,
    /// Open the details.
    Details,
    /// Back to the table.
    Back,
    /// Look up names, or no longer.
    Resolve,
    /// Freeze the view.
    Pause,
    /// Details beside the table, or the table alone.
    Split,
    /// Bits or bytes.
    Bits,
    /// Graphs of a longer time.
    Longer,
    /// Graphs of a shorter time.
    Shorter,
    /// Mark a moment before on the graphs.
    Backward,
    /// Mark a moment after it, up to now.
    Forward,
    /// Open the list of all commands.
    Palette,
    /// Open the help.
    Help,
    /// Close whatever is open.
    Cancel,
    /// Give the terminal to the shell for a while.
    Suspend,
    /// Close the screen.
    Quit,
}

/// Where a key is pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the table.
    Table,
    /// In the details.
    Details,
    /// In the rules.
    Rules,
}

impl Place {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Table, Self::Details, Self::Rules];
}

/// What a command is about: a page of the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Limits and rules.
    Limits,
    /// What is shown.
    Views,
    /// Which rows, in which order.
    Finding,
    /// Ways around, and out.
    Screen,
}

impl Subject {
    /// All, in the order of the help.
    pub const ALL: [Self; 4] = [Self::Limits, Self::Views, Self::Finding, Self::Screen];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Limits => "limits and rules",
            Self::Views => "views",
            Self::Finding => "finding",
            Self::Screen => "screen",
        }
    }
}

/// A command with its keys.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The command.
    pub command: Command,
    /// Its name in the configuration and the palette.
    pub name: &'static str,
    /// Its keys.
    pub keys: Vec<Key>,
    /// Where they work.
    pub places: &'static [Place],
    /// What it is about.
    pub subject: Subject,
    /// What it does.
    pub description: &'static str,
    /// Its word in the footer, with its place there, where it is worth one.
    pub footer: Option<(u8, &'static str)>,
}

impl Binding {
    /// Whether it works there.
    pub fn works(&self, place: Place) -> bool {
        self.places.contains(&place)
    }

    /// Its keys as the help shows them.
    pub fn label(&self) -> String {
        let names: Vec<String> = self.keys.iter().map(Key::to_string).collect();
        names.join(" ")
    }

    /// Its key with the shortest name, as the footer shows it; of several a letter.
    pub fn shortest(&self) -> Option<String> {
        let names = self.keys.iter().map(Key::to_string);
        names.min_by_key(|name| (name.chars().count(), !name.contains(char::is_alphabetic)))
    }
}

/// All commands with their keys, in the order of the help.
#[derive(Clone, Debug)]
pub struct Keymap(Vec<Binding>);

impl Default for Keymap {
    fn default() -> Self {
        let bindings = DEFAULTS.iter().map(|default| Binding {
            command: default.command,
            name: default.name,
            keys: default.keys.to_vec(),
            places: default.places,
            subject: default.subject,
            description: default.description,
            footer: default.footer,
        });
        Self(bindings.collect())
    }
}

impl Keymap {
    /// All of them.
    pub fn bindings(&self) -> &[Binding] {
        &self.0
    }

    /// What the key does there.
    pub fn command_of(&self, event: KeyEvent, place: Place) -> Option<Command> {
        let key = Key::of(event)?;
        let mut bindings = self.0.iter();
        let found = bindings.find(|binding| binding.works(place) && binding.keys.contains(&key));
        Some(found?.command)
    }

    /// Whether the command works there.
    pub fn works(&self, command: Command, place: Place) -> bool {
        let mut bindings = self.0.iter();
        bindings.any(|binding| binding.command == command && binding.works(place))
    }

    /// A key of that command, for sentences; its name where it has none.
    pub fn key_of(&self, command: Command) -> String {
        let found = self.0.iter().find(|binding| binding.command == command);
        found.map_or_else(String::new, |binding| {
            let first = binding.keys.first();
            first.map_or_else(|| format!(":{}", binding.name), Key::to_string)
        })
    }
}

/// Whether it is Ctrl-C, which quits from everywhere.
pub fn is_interrupt(event: KeyEvent) -> bool {
    Key::of(event) == Some(Key::INTERRUPT)
}

/// Whether it is Ctrl-Z, which works everywhere too.
pub fn is_suspend(event: KeyEvent) -> bool {
    Key::of(event) == Some(Key::SUSPEND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossterm::event::{KeyCode::Char, KeyModifiers};

    #[test]
    fn no_key_has_two_meanings_and_no_two_commands_one_name() {
        let keymap = Keymap::default();
        for place in Place::ALL {
            let bindings = keymap.bindings().iter();
            let bindings = bindings.filter(|binding| binding.works(place));
            let keys: Vec<_> = bindings.flat_map(|binding| &binding.keys).collect();
            for (index, key) in keys.iter().enumerate() {
                assert!(!keys[index + 1..].contains(key), "{key}");
            }
        }
        let mut names: Vec<_> = keymap.bindings().iter().map(|it| it.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), keymap.bindings().len());
    }

    #[test]
    fn with_control_or_alt_a_letter_is_another_key() {
        let keymap = Keymap::default();
        let plain = KeyEvent::new(Char('q'), KeyModifiers::NONE);
        assert_eq!(keymap.command_of(plain, Place::Table), Some(Command::Quit));
        for modifier in [KeyModifiers::CONTROL, KeyModifiers::ALT] {
            let key = KeyEvent::new(Char('q'), modifier);
            assert_eq!(keymap.command_of(key, Place::Table), None);
        }
        let control_c = KeyEvent::new(Char('c'), KeyModifiers::CONTROL);
        assert!(is_interrupt(control_c));
        assert!(!is_interrupt(KeyEvent::new(Char('c'), KeyModifiers::NONE)));
    }

    #[test]
    fn labels_are_made_from_the_keys() {
        let keymap = Keymap::default();
        let label = |command| {
            let mut bindings = keymap.bindings().iter();
            let binding = bindings.find(|binding| binding.command == command);
            (binding.unwrap().label(), binding.unwrap().shortest())
        };
        let both = |label: &str, shortest: &str| (label.to_owned(), Some(shortest.to_owned()));
        assert_eq!(label(Command::Tag), both("Space", "Space"));
        assert_eq!(label(Command::Limit), both("Enter l", "l"));
        assert_eq!(label(Command::Quit), both("q F10", "q"));
        assert_eq!(label(Command::PageUp), both("PgUp", "PgUp"));
    }
}
