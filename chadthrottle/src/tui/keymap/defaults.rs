//! All commands with the keys that they have unless the configuration says otherwise.

use crossterm::event::KeyCode::{
    BackTab, Char, Down, End, Enter, Esc, F, Home, Left, PageDown, PageUp, Right, Tab, Up,
};

use super::{
    Command, Key,
    Place::{self, Details, Rules, Table},
    Subject::{self, Finding, Limits, Screen, Views},
};
use crate::config::View;

/// A command as it is without a configuration.
pub struct Default {
    pub command: Command,
    pub name: &'static str,
    pub keys: &'static [Key],
    pub places: &'static [Place],
    pub subject: Subject,
    pub description: &'static str,
    pub footer: Option<(u8, &'static str)>,
}

const fn of(
    subject: Subject,
    command: Command,
    name: &'static str,
    keys: &'static [Key],
    places: &'static [Place],
    description: &'static str,
) -> Default {
    Default {
        command,
        name,
        keys,
        places,
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

const TABLE: &[Place] = &[Table];
const RULES: &[Place] = &[Rules];
/// Where rows of the machine are shown, and not rules.
const ROWS: &[Place] = &[Table, Details];
const EVERYWHERE: &[Place] = &Place::ALL;

/// In the order of the help.
#[rustfmt::skip]
pub const DEFAULTS: &[Default] = &[
    of(Limits, Command::Limit, "limit", &[Key::plain(Enter), key('l')], EVERYWHERE,
        "limit it: download, upload, scope, children").in_footer(0, "limit"),
    of(Limits, Command::Block, "block", &[key('B')], ROWS,
        "block it, or end the block").in_footer(1, "block"),
    of(Limits, Command::Remove, "remove", &[key('x')], EVERYWHERE,
        "remove its limit").in_footer(2, "remove"),
    of(Limits, Command::RemoveAll, "remove-all", &[key('X')], ROWS,
        "remove all limits, after asking"),
    of(Limits, Command::Lower, "lower", &[key('[')], ROWS,
        "lower its limit by a step").in_footer(13, "slower"),
    of(Limits, Command::Raise, "raise", &[key(']')], ROWS,
        "raise its limit by a step").in_footer(14, "faster"),
    of(Limits, Command::Undo, "undo", &[key('u')], EVERYWHERE,
        "take back the last change, step by step").in_footer(8, "undo"),
    of(Limits, Command::Tag, "tag", &[key(' ')], TABLE,
        "tag the row: actions apply to all tagged"),
    of(Limits, Command::Untag, "untag", &[key('U')], TABLE, "untag all"),
    of(Limits, Command::Keep, "keep", &[key('K')], ROWS,
        "keep its limit as a rule").in_footer(3, "keep"),
    of(Limits, Command::Profile, "profile", &[key('P')], &[Table, Rules],
        "choose a profile of rules").in_footer(5, "profile"),
    of(Limits, Command::Reload, "reload", &[key('r')], &[Table, Rules],
        "read the files of rules anew").in_footer(1, "reload"),
    of(Limits, Command::Switch, "switch", &[key(' ')], RULES,
        "in the rules: switch it off, or on").in_footer(0, "on or off"),
    of(Limits, Command::Earlier, "earlier", &[key('<'), key('-')], RULES,
        "in the rules: move it up").in_footer(3, "earlier"),
    of(Limits, Command::Later, "later", &[key('>'), key('+')], RULES,
        "in the rules: move it down").in_footer(4, "later"),

    of(Views, Command::Go(View::List), "processes", &[key('1')], EVERYWHERE, "processes, each for itself"),
    of(Views, Command::Go(View::Programs), "programs", &[key('2')], EVERYWHERE,
        "programs: all processes of one executable"),
    of(Views, Command::Go(View::Tree), "tree", &[key('3')], EVERYWHERE, "processes below their parents"),
    of(Views, Command::Go(View::Connections), "connections", &[key('4')], EVERYWHERE,
        "connections of the whole machine"),
    of(Views, Command::Go(View::Units), "units", &[key('5')], EVERYWHERE, "units of systemd and containers"),
    of(Views, Command::Go(View::Users), "users", &[key('6')], EVERYWHERE, "users, with all their processes"),
    of(Views, Command::Go(View::Rules), "rules", &[key('7'), key('R')], EVERYWHERE,
        "rules: switch, order, change").in_footer(4, "rules"),
    of(Views, Command::NextView, "next-view", &[Key::plain(Tab)], EVERYWHERE, "the next view"),
    of(Views, Command::PreviousView, "previous-view", &[Key::plain(BackTab)], EVERYWHERE, "the view before"),
    of(Views, Command::Grouping, "grouping", &[key('t'), Key::plain(F(5))], TABLE,
        "processes, tree, programs in turn").in_footer(11, "view"),
    of(Views, Command::Fold, "fold", &[Key::plain(Left), key('=')], TABLE,
        "in the tree: fold it, or open it"),
    of(Views, Command::Details, "details", &[Key::plain(Right), key('d')], TABLE,
        "its details: graphs, connections").in_footer(7, "details"),
    of(Views, Command::Back, "back", &[Key::plain(Left), key('d')], &[Details, Rules],
        "back to the table").in_footer(5, "back"),
    of(Views, Command::Resolve, "names", &[key('n')], ROWS,
        "names of remote addresses").in_footer(15, "names"),

    of(Views, Command::Longer, "longer", &[key('+')], ROWS, "graphs of five and fifteen minutes"),
    of(Views, Command::Shorter, "shorter", &[key('-')], ROWS, "graphs of a shorter time"),
    of(Views, Command::Backward, "backward", &[key('<')], ROWS,
        "mark an earlier moment of the graphs (or click)"),
    of(Views, Command::Forward, "forward", &[key('>')], ROWS,
        "mark a later one, up to now"),

    of(Finding, Command::Filter, "filter", &[key('/')], TABLE,
        "filter by text, user:, unit:, port: and more").in_footer(6, "filter"),
    of(Finding, Command::Show, "show", &[key('f')], TABLE,
        "show all, with traffic, limited").in_footer(12, "show"),
    of(Finding, Command::Sort, "sort", &[key('s'), Key::plain(F(6))], TABLE,
        "choose the order (or click a title)").in_footer(10, "sort"),
    of(Finding, Command::Reverse, "reverse", &[key('I')], TABLE, "reverse the order"),

    of(Screen, Command::Palette, "commands", &[key(':'), Key::control('p')], EVERYWHERE,
        "all commands, to be found by typing").in_footer(9, "commands"),
    of(Screen, Command::Up, "up", &[Key::plain(Up), key('k')], EVERYWHERE, "up"),
    of(Screen, Command::Down, "down", &[Key::plain(Down), key('j')], EVERYWHERE, "down"),
    of(Screen, Command::PageUp, "page-up", &[Key::plain(PageUp)], EVERYWHERE, "a screen up"),
    of(Screen, Command::PageDown, "page-down", &[Key::plain(PageDown)], EVERYWHERE, "a screen down"),
    of(Screen, Command::Top, "top", &[Key::plain(Home), key('g')], EVERYWHERE, "to the top"),
    of(Screen, Command::Bottom, "bottom", &[Key::plain(End), key('G')], EVERYWHERE, "to the bottom"),
    of(Screen, Command::Pause, "pause", &[key('p')], EVERYWHERE,
        "freeze the view; limits go on").in_footer(16, "pause"),
    of(Screen, Command::Split, "split", &[key('v')], TABLE,
        "details beside the table, or the table alone"),
    of(Screen, Command::Bits, "bits", &[key('b')], EVERYWHERE, "bits or bytes").in_footer(17, "bits"),
    of(Screen, Command::Cancel, "cancel", &[Key::plain(Esc)], EVERYWHERE,
        "close what is open, clear the filter, untag"),
    of(Screen, Command::Suspend, "suspend", &[Key::SUSPEND], EVERYWHERE,
        "back to the shell, whose fg returns here"),
    of(Screen, Command::Help, "help", &[key('?'), Key::plain(F(1))], EVERYWHERE,
        "this help").in_footer(18, "help"),
    of(Screen, Command::Quit, "quit", &[key('q'), Key::plain(F(10))], EVERYWHERE,
        "quit: limits end (Ctrl-C: at once)").in_footer(19, "quit"),
];
