//! The help: a page for each subject, made from the keymap.

use ratatui::layout::Size;

use super::{
    keymap::{Keymap, Subject},
    wrap::wrapped,
};

/// Columns of the box that it is in, where the screen has so many.
pub const WIDTH: u16 = 72;
/// Columns of the keys.
pub const KEYS: usize = 16;
/// Lines of the screen that are not the page's: edges, and above it the names of all pages.
pub const AROUND: u16 = 4;

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

    /// Its lines on a screen of that size: keys and what they do, which may take several.
    pub fn lines(self, keymap: &Keymap, screen: Size) -> Vec<(String, String)> {
        let subject = self.subject();
        let bindings = keymap.bindings().iter();
        let own = bindings.filter(|binding| binding.subject == subject);
        let own = own.map(|binding| (binding.label(), binding.description));
        let more: &[(&str, &str)] = match subject {
            Subject::Finding => &FILTERS,
            Subject::Limits | Subject::Views | Subject::Screen => &[],
        };
        let gap = (!more.is_empty()).then(|| (String::new(), " "));
        let more = more
            .iter()
            .map(|(keys, words)| ((*keys).to_owned(), *words));
        // Edges, and what stands before the keys.
        let room = usize::from(WIDTH.min(screen.width)).saturating_sub(KEYS + 3);
        let lines = own.chain(gap).chain(more).flat_map(|(keys, words)| {
            let keys = std::iter::once(keys).chain(std::iter::repeat(String::new()));
            keys.zip(wrapped(words, room))
        });
        lines.collect()
    }

    /// The last line that may be the first on the screen.
    fn last(self, keymap: &Keymap, screen: Size) -> usize {
        self.lines(keymap, screen)
            .len()
            .saturating_sub(room(screen))
    }

    /// Goes on to the page so many after this, round and round.
    pub fn turn(&mut self, by: usize) {
        *self = Self {
            page: (self.page + by) % Subject::ALL.len(),
            offset: 0,
        };
    }

    /// Scrolls, no further than there is help.
    pub fn scroll(&mut self, rows: isize, keymap: &Keymap, screen: Size) {
        let last = self.last(keymap, screen);
        self.offset = self.offset.saturating_add_signed(rows).min(last);
    }

    /// A screen on: further down on the page, and from its end to the next one.
    pub fn forward(&mut self, keymap: &Keymap, screen: Size) {
        match self.offset < self.last(keymap, screen) {
            true => self.scroll(
                isize::try_from(room(screen)).unwrap_or(isize::MAX),
                keymap,
                screen,
            ),
            false => self.turn(1),
        }
    }

    /// A screen back, and from the beginning of the page to the one before.
    pub fn backward(&mut self, keymap: &Keymap, screen: Size) {
        match self.offset > 0 {
            true => self.scroll(
                isize::try_from(room(screen)).map_or(isize::MIN, |rows| -rows),
                keymap,
                screen,
            ),
            false => self.turn(Subject::ALL.len() - 1),
        }
    }
}

/// How many lines of a page fit on a screen.
fn room(screen: Size) -> usize {
    usize::from(screen.height.saturating_sub(AROUND)).max(1)
}
