//! What keys do: the one source for the update, the footer and the help.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

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
    /// Make its limit a rule.
    Keep,
    /// Show the rules.
    Rules,
    /// The next profile of rules.
    Profile,
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
    /// List, tree, programs.
    View,
    /// Hide what is below the row, or show it.
    Fold,
    /// Which rows are shown.
    Show,
    /// Open the details.
    Details,
    /// Look up names, or no longer.
    Resolve,
    /// Freeze the view.
    Pause,
    /// Bits or bytes.
    Bits,
    /// Open the help.
    Help,
    /// Close whatever is open.
    Cancel,
    /// Give the terminal to the shell for a while.
    Suspend,
    /// Close the screen.
    Quit,
}

/// Where a key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the table.
    Table,
    /// In the details.
    Details,
    /// In both.
    Both,
}

/// A command with its keys.
#[derive(Debug)]
pub struct Binding {
    /// The command.
    pub command: Command,
    /// Its keys; of letters, upper and lower case differ.
    pub keys: &'static [KeyCode],
    /// Where they work.
    pub place: Place,
    /// What it does, for the help.
    pub description: &'static str,
    /// Its word in the footer, where it is worth a place there.
    pub footer: Option<&'static str>,
}

impl Binding {
    /// Whether it works in the details, or else in the table.
    pub fn works(&self, in_details: bool) -> bool {
        match self.place {
            Both => true,
            Table => !in_details,
            Details => in_details,
        }
    }

    /// Its keys as the help shows them.
    pub fn label(&self) -> String {
        let mut names: Vec<String> = self.keys.iter().map(|key| name(*key)).collect();
        match self.command {
            Command::Suspend => names.push("Ctrl-Z".to_owned()),
            Command::Quit => names.push("Ctrl-C".to_owned()),
            _ => {}
        }
        names.join(" ")
    }
}

/// A key as the help and the footer show it.
pub fn name(key: KeyCode) -> String {
    match key {
        Char(' ') => "Space".to_owned(),
        Char(c) => c.to_string(),
        F(n) => format!("F{n}"),
        PageUp => "PgUp".to_owned(),
        PageDown => "PgDn".to_owned(),
        other => format!("{other:?}"),
    }
}

const fn binding(
    command: Command,
    keys: &'static [KeyCode],
    place: Place,
    description: &'static str,
    footer: Option<&'static str>,
) -> Binding {
    Binding {
        command,
        keys,
        place,
        description,
        footer,
    }
}

use KeyCode::{Char, Down, End, Enter, Esc, F, Home, Left, PageDown, PageUp, Right, Up};
use Place::{Both, Details, Table};

/// All keys, in the order of the help.
pub const KEYMAP: &[Binding] = &[
    binding(
        Command::Limit,
        &[Enter, Char('l')],
        Both,
        "limit it: download, upload, scope, children",
        Some("limit"),
    ),
    binding(
        Command::Remove,
        &[Char('x')],
        Both,
        "remove its limit",
        Some("remove"),
    ),
    binding(
        Command::RemoveAll,
        &[Char('X')],
        Both,
        "remove all limits, after asking",
        None,
    ),
    binding(
        Command::Block,
        &[Char('B')],
        Both,
        "block it, or end the block",
        None,
    ),
    binding(
        Command::Keep,
        &[Char('K')],
        Both,
        "keep its limit as a rule",
        None,
    ),
    binding(
        Command::Details,
        &[Right, Char('d')],
        Table,
        "its details: graphs, connections",
        Some("details"),
    ),
    binding(
        Command::Tag,
        &[Char(' ')],
        Table,
        "tag the row: actions apply to all tagged",
        None,
    ),
    binding(Command::Untag, &[Char('U')], Table, "untag all", None),
    binding(
        Command::Filter,
        &[Char('/')],
        Table,
        "filter by name, pid, user, command line",
        Some("filter"),
    ),
    binding(
        Command::View,
        &[Char('t'), F(5)],
        Table,
        "list, tree, programs",
        Some("view"),
    ),
    binding(
        Command::Fold,
        &[Left, Char('-'), Char('+'), Char('=')],
        Table,
        "in the tree: fold it, or open it",
        None,
    ),
    binding(
        Command::Sort,
        &[Char('s'), F(6)],
        Table,
        "choose the order (or click a title)",
        Some("sort"),
    ),
    binding(
        Command::Show,
        &[Char('f')],
        Table,
        "show all, with traffic, limited",
        Some("show"),
    ),
    binding(
        Command::Lower,
        &[Char('[')],
        Both,
        "lower its limit by a step",
        Some("slower"),
    ),
    binding(
        Command::Raise,
        &[Char(']')],
        Both,
        "raise its limit by a step",
        Some("faster"),
    ),
    binding(
        Command::Rules,
        &[Char('R')],
        Table,
        "the rules: switch, order, change",
        Some("rules"),
    ),
    binding(
        Command::Profile,
        &[Char('P')],
        Table,
        "the next profile of rules",
        None,
    ),
    binding(
        Command::Reverse,
        &[Char('I')],
        Table,
        "turn the order round",
        None,
    ),
    binding(
        Command::Resolve,
        &[Char('n')],
        Details,
        "names of remote addresses",
        Some("names"),
    ),
    binding(
        Command::Pause,
        &[Char('p')],
        Both,
        "freeze the view; limits go on",
        Some("pause"),
    ),
    binding(
        Command::Bits,
        &[Char('b')],
        Both,
        "bits or bytes",
        Some("bits"),
    ),
    binding(Command::Up, &[Up, Char('k')], Both, "up", None),
    binding(Command::Down, &[Down, Char('j')], Both, "down", None),
    binding(Command::PageUp, &[PageUp], Both, "a screen up", None),
    binding(Command::PageDown, &[PageDown], Both, "a screen down", None),
    binding(Command::Top, &[Home, Char('g')], Both, "to the top", None),
    binding(
        Command::Bottom,
        &[End, Char('G')],
        Both,
        "to the bottom",
        None,
    ),
    binding(
        Command::Help,
        &[Char('?'), F(1)],
        Both,
        "this help",
        Some("help"),
    ),
    binding(
        Command::Cancel,
        &[Esc],
        Both,
        "close what is open, drop the filter, untag",
        None,
    ),
    binding(
        Command::Suspend,
        &[],
        Both,
        "back to the shell; its fg comes back here",
        None,
    ),
    binding(
        Command::Quit,
        &[Char('q'), F(10)],
        Both,
        "quit: limits end (Ctrl-C: at once)",
        Some("quit"),
    ),
];

/// Whether it is Ctrl-C, which quits from everywhere.
pub fn is_interrupt(key: KeyEvent) -> bool {
    key.code == Char('c') && key.modifiers.contains(KeyModifiers::CONTROL)
}

/// Whether it is Ctrl-Z, which works everywhere too.
pub fn is_suspend(key: KeyEvent) -> bool {
    key.code == Char('z') && key.modifiers.contains(KeyModifiers::CONTROL)
}

/// What the key does in the details, or else in the table.
pub fn command_of(key: KeyEvent, in_details: bool) -> Option<Command> {
    if key
        .modifiers
        .intersects(KeyModifiers::CONTROL | KeyModifiers::ALT)
    {
        return None;
    }
    // Where the details are open, Left leads back to where Right came from.
    if in_details && matches!(key.code, Left | Char('d')) {
        return Some(Command::Cancel);
    }
    KEYMAP
        .iter()
        .find(|binding| binding.works(in_details) && binding.keys.contains(&key.code))
        .map(|binding| binding.command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_has_two_meanings() {
        for in_details in [false, true] {
            let bindings = KEYMAP.iter().filter(|binding| binding.works(in_details));
            let keys: Vec<_> = bindings.flat_map(|binding| binding.keys).collect();
            for (index, key) in keys.iter().enumerate() {
                assert!(!keys[index + 1..].contains(key), "{key:?}");
            }
        }
    }

    #[test]
    fn with_control_or_alt_a_letter_is_another_key() {
        let plain = KeyEvent::new(Char('q'), KeyModifiers::NONE);
        assert_eq!(command_of(plain, false), Some(Command::Quit));
        for modifier in [KeyModifiers::CONTROL, KeyModifiers::ALT] {
            assert_eq!(command_of(KeyEvent::new(Char('q'), modifier), false), None);
        }
        assert!(is_interrupt(KeyEvent::new(
            Char('c'),
            KeyModifiers::CONTROL
        )));
        assert!(!is_interrupt(KeyEvent::new(Char('c'), KeyModifiers::NONE)));
    }

    #[test]
    fn labels_are_made_from_the_keys() {
        let label = |command| {
            let binding = KEYMAP.iter().find(|binding| binding.command == command);
            binding.unwrap().label()
        };
        assert_eq!(label(Command::Tag), "Space");
        assert_eq!(label(Command::Sort), "s F6");
        assert_eq!(label(Command::Quit), "q F10 Ctrl-C");
        assert_eq!(label(Command::Suspend), "Ctrl-Z");
        assert_eq!(label(Command::PageUp), "PgUp");
    }
}
