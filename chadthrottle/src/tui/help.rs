//! The help: a page for each subject, made from the keymap.

use super::keymap::{Keymap, Subject};

/// Which page is open, from which line on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Help {
    /// Place among the subjects.
    pub page: usize,
    /// The first line on the screen, where it has too few for the page.
    pub offset: usize,
}

/// What a filter may hold.
const FILTERS: [(&str, &str); 9] = [
    ("text", "in name, id, user or command line"),
    ("user:ada", "processes of a user, by name or number"),
    ("unit:ssh", "in a unit; also container: cgroup: name:"),
    ("exe:*/curl", "wildcards * ? []; also command: parent:"),
    ("port:443", "a connection with that port, here or there"),
    ("remote:10.0.", "a connection to that address or name"),
    ("limited", "has a limit"),
    ("held", "is held back by its limit right now"),
    ("!", "before one: all others; words must all hold"),
];

impl Help {
    /// What the page is about.
    pub fn subject(self) -> Subject {
        Subject::ALL
            .get(self.page)
            .copied()
            .unwrap_or(Subject::Limits)
    }

    /// Its lines: keys and what they do.
    pub fn lines(self, keymap: &Keymap) -> Vec<(String, &'static str)> {
        let subject = self.subject();
        let bindings = keymap.bindings().iter();
        let own = bindings.filter(|binding| binding.subject == subject);
        let mut lines: Vec<(String, &'static str)> = own
            .map(|binding| (binding.label(), binding.description))
            .collect();
        let more: &[(&str, &str)] = match subject {
            Subject::Finding => &FILTERS,
            Subject::Limits | Subject::Views | Subject::Screen => &[],
        };
        if !more.is_empty() {
            lines.push((String::new(), ""));
        }
        lines.extend(
            more.iter()
                .map(|(keys, words)| ((*keys).to_owned(), *words)),
        );
        lines
    }

    /// Goes on to the page so many after this, round and round.
    pub fn turn(&mut self, by: usize) {
        *self = Self {
            page: (self.page + by) % Subject::ALL.len(),
            offset: 0,
        };
    }

    /// Scrolls, no further than there is help.
    pub fn scroll(&mut self, rows: isize, keymap: &Keymap) {
        let last = self.lines(keymap).len().saturating_sub(1);
        self.offset = self.offset.saturating_add_signed(rows).min(last);
    }
}
