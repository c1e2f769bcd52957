//! All commands with the keys that they have unless the configuration says otherwise.

use crossterm::event::KeyCode::{
    BackTab, Char, Down, End, Enter, Esc, F, Home, Left, PageDown, PageUp, Right, Tab, Up,
};

use super::{
    Command, Key,
    Place::{self, Both, Details, Table},
    Subject::{self, Finding, Limits, Screen, Views},
};
use crate::config::View;

/// A command as it is without a configuration.
pub struct Default {
    pub command: Command,
    pub name: &'static str,
    pub keys: &'static [Key],
    pub place: Place,
    pub subject: Subject,
    pub description: &'static str,
    pub footer: Option<(u8, &'static str)>,
}

const fn of(
    subject: Subject,
    command: Command,
    name: &'static str,
    keys: &'static [Key],
    place: Place,
    description: &'static str,
) -> Default {
    Default {
        command,
        name,
        keys,
        place,
        subject,
        description,
        footer: None,
    }
}

impl Default {
    /// The same with a word in the footer; the lower the rank, the longer it stays.
    const fn in_footer(mut self, rank: u8, word: &'static str) -> Self {
        self.footer = Some((rank, word));
        self
    }
}

const fn key(letter: char) -> Key {
    Key::plain(Char(letter))
}

/// In the order of the help.
#[rustfmt::skip]
pub const DEFAULTS: &[Default] = &[
    of(Limits, Command::Limit, "limit", &[Key::plain(Enter), key('l')], Both,
        "limit it: download, upload, scope, children").in_footer(0, "limit"),
    of(Limits, Command::Block, "block", &[key('B')], Both,
        "block it, or end the block").in_footer(1, "block"),
    of(Limits, Command::Remove, "remove", &[key('x')], Both,
        "remove its limit").in_footer(2, "remove"),
    of(Limits, Command::RemoveAll, "remove-all", &[key('X')], Both,
        "remove all limits, after asking"),
    of(Limits, Command::Lower, "lower", &[key('[')], Both,
        "lower its limit by a step").in_footer(13, "slower"),
    of(Limits, Command::Raise, "raise", &[key(']')], Both,
        "raise its limit by a step").in_footer(14, "faster"),
    of(Limits, Command::Undo, "undo", &[key('u')], Both,
        "take back the last change, step by step").in_footer(8, "undo"),
    of(Limits, Command::Tag, "tag", &[key(' ')], Table,
        "tag the row: actions apply to all tagged"),
    of(Limits, Command::Untag, "untag", &[key('U')], Table, "untag all"),
    of(Limits, Command::Keep, "keep", &[key('K')], Both,
        "keep its limit as a rule").in_footer(3, "keep"),
    of(Limits, Command::Profile, "profile", &[key('P')], Table,
        "another profile of rules").in_footer(5, "profile"),

    of(Views, Command::Go(View::List), "processes", &[key('1')], Both, "processes, each for itself"),
    of(Views, Command::Go(View::Programs), "programs", &[key('2')], Both,
        "programs: all processes of one executable"),
    of(Views, Command::Go(View::Tree), "tree", &[key('3')], Both, "processes below their parents"),
    of(Views, Command::Go(View::Connections), "connections", &[key('4')], Both,
        "connections of the whole machine"),
    of(Views, Command::Go(View::Units), "units", &[key('5')], Both, "units of systemd and containers"),
    of(Views, Command::Go(View::Users), "users", &[key('6')], Both, "users, with all their processes"),
    of(Views, Command::Go(View::Rules), "rules", &[key('7'), key('R')], Both,
        "rules: switch, order, change").in_footer(4, "rules"),
    of(Views, Command::NextView, "next-view", &[Key::plain(Tab)], Both, "the next view"),
    of(Views, Command::PreviousView, "previous-view", &[Key::plain(BackTab)], Both, "the view before"),
    of(Views, Command::Grouping, "grouping", &[key('t'), Key::plain(F(5))], Table,
        "processes, tree, programs in turn").in_footer(11, "view"),
    of(Views, Command::Fold, "fold", &[Key::plain(Left), key('=')], Table,
        "in the tree: fold it, or open it"),
    of(Views, Command::Details, "details", &[Key::plain(Right), key('d')], Table,
        "its details: graphs, connections").in_footer(7, "details"),
    of(Views, Command::Back, "back", &[Key::plain(Left), key('d')], Details, "back to the table"),
    of(Views, Command::Resolve, "names", &[key('n')], Both,
        "names of remote addresses").in_footer(15, "names"),

    of(Views, Command::Longer, "longer", &[key('+')], Both, "graphs of five and fifteen minutes"),
    of(Views, Command::Shorter, "shorter", &[key('-')], Both, "graphs of a shorter time"),

    of(Finding, Command::Filter, "filter", &[key('/')], Table,
        "filter by text, user:, unit:, port: and more").in_footer(6, "filter"),
    of(Finding, Command::Show, "show", &[key('f')], Table,
        "show all, with traffic, limited").in_footer(12, "show"),
    of(Finding, Command::Sort, "sort", &[key('s'), Key::plain(F(6))], Table,
        "choose the order (or click a title)").in_footer(10, "sort"),
    of(Finding, Command::Reverse, "reverse", &[key('I')], Table, "turn the order round"),

    of(Screen, Command::Palette, "commands", &[key(':'), Key::control('p')], Both,
        "all commands, to be found by typing").in_footer(9, "commands"),
    of(Screen, Command::Up, "up", &[Key::plain(Up), key('k')], Both, "up"),
    of(Screen, Command::Down, "down", &[Key::plain(Down), key('j')], Both, "down"),
    of(Screen, Command::PageUp, "page-up", &[Key::plain(PageUp)], Both, "a screen up"),
    of(Screen, Command::PageDown, "page-down", &[Key::plain(PageDown)], Both, "a screen down"),
    of(Screen, Command::Top, "top", &[Key::plain(Home), key('g')], Both, "to the top"),
    of(Screen, Command::Bottom, "bottom", &[Key::plain(End), key('G')], Both, "to the bottom"),
    of(Screen, Command::Pause, "pause", &[key('p')], Both,
        "freeze the view; limits go on").in_footer(16, "pause"),
    of(Screen, Command::Bits, "bits", &[key('b')], Both, "bits or bytes").in_footer(17, "bits"),
    of(Screen, Command::Cancel, "cancel", &[Key::plain(Esc)], Both,
        "close what is open, drop the filter, untag"),
    of(Screen, Command::Suspend, "suspend", &[], Both,
        "back to the shell, as Ctrl-Z does; fg returns here"),
    of(Screen, Command::Help, "help", &[key('?'), Key::plain(F(1))], Both,
        "this help").in_footer(18, "help"),
    of(Screen, Command::Quit, "quit", &[key('q'), Key::plain(F(10))], Both,
        "quit: limits end (Ctrl-C: at once)").in_footer(19, "quit"),
];
