//! What keys do: the one source for the update, the footer and the help.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What a key in the main view does.
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
    /// Remove the limit of the selected process.
    Remove,
    /// The next sort order.
    Sort,
    /// Turn the order round.
    Reverse,
    /// Bits or bytes.
    Bits,
    /// Open the help.
    Help,
    /// Close the screen.
    Quit,
    /// Close whatever is open.
    Cancel,
}

/// A command with its keys.
#[derive(Debug)]
pub struct Binding {
    /// The command.
    pub command: Command,
    /// Its keys; of letters, upper and lower case differ.
    pub keys: &'static [KeyCode],
    /// The keys as the help shows them.
    pub label: &'static str,
    /// What it does, for the help.
    pub description: &'static str,
    /// Its word in the footer, where it is worth a place there.
    pub footer: Option<&'static str>,
}

const fn binding(
    command: Command,
    keys: &'static [KeyCode],
    label: &'static str,
    description: &'static str,
    footer: Option<&'static str>,
) -> Binding {
    Binding {
        command,
        keys,
        label,
        description,
        footer,
    }
}

use KeyCode::{Char, Down, End, Enter, Esc, F, Home, PageDown, PageUp, Up};

/// All keys of the main view, in the order of the help.
pub const KEYMAP: &[Binding] = &[
    binding(
        Command::Up,
        &[Up, Char('k')],
        "↑ k",
        "the process above",
        None,
    ),
    binding(
        Command::Down,
        &[Down, Char('j')],
        "↓ j",
        "the process below",
        None,
    ),
    binding(Command::PageUp, &[PageUp], "PgUp", "a screen up", None),
    binding(
        Command::PageDown,
        &[PageDown],
        "PgDn",
        "a screen down",
        None,
    ),
    binding(
        Command::Top,
        &[Home, Char('g')],
        "Home g",
        "the first process",
        None,
    ),
    binding(
        Command::Bottom,
        &[End, Char('G')],
        "End G",
        "the last process",
        None,
    ),
    binding(
        Command::Limit,
        &[Enter, Char('l')],
        "Enter l",
        "limit the process and what it starts",
        Some("limit"),
    ),
    binding(
        Command::Remove,
        &[Char('x')],
        "x",
        "remove its limit",
        Some("remove"),
    ),
    binding(
        Command::Sort,
        &[Char('s'), F(6)],
        "s F6",
        "the next sort order",
        Some("sort"),
    ),
    binding(
        Command::Reverse,
        &[Char('I')],
        "I",
        "turn the order round",
        None,
    ),
    binding(
        Command::Bits,
        &[Char('b')],
        "b",
        "bits or bytes",
        Some("bits"),
    ),
    binding(
        Command::Help,
        &[Char('?'), F(1)],
        "? F1",
        "this help",
        Some("help"),
    ),
    binding(Command::Cancel, &[Esc], "Esc", "close what is open", None),
    binding(
        Command::Quit,
        &[Char('q')],
        "q Ctrl-C",
        "quit: limits end",
        Some("quit"),
    ),
];

/// Whether it is Ctrl-C, which quits from everywhere.
pub fn is_interrupt(key: KeyEvent) -> bool {
    key.code == Char('c') && key.modifiers.contains(KeyModifiers::CONTROL)
}

/// What the key does in the main view.
pub fn command_of(key: KeyEvent) -> Option<Command> {
    if key
        .modifiers
        .intersects(KeyModifiers::CONTROL | KeyModifiers::ALT)
    {
        return None;
    }
    KEYMAP
        .iter()
        .find(|binding| binding.keys.contains(&key.code))
        .map(|binding| binding.command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_has_two_meanings() {
        let keys: Vec<_> = KEYMAP.iter().flat_map(|binding| binding.keys).collect();
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[index + 1..].contains(key), "{key:?}");
        }
    }

    #[test]
    fn with_control_or_alt_a_letter_is_another_key() {
        let plain = KeyEvent::new(Char('q'), KeyModifiers::NONE);
        assert_eq!(command_of(plain), Some(Command::Quit));
        for modifier in [KeyModifiers::CONTROL, KeyModifiers::ALT] {
            assert_eq!(command_of(KeyEvent::new(Char('q'), modifier)), None);
        }
        assert!(is_interrupt(KeyEvent::new(
            Char('c'),
            KeyModifiers::CONTROL
        )));
        assert!(!is_interrupt(KeyEvent::new(Char('c'), KeyModifiers::NONE)));
    }
}
