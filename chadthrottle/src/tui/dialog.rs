//! The limit dialog: two rates that are read while they are typed, scope, and children.

use chadthrottle_common::scope::Scope;
use std::sync::Arc;

use crossterm::event::{KeyCode, KeyEvent};

use super::{field::Field, rows::RowKey};
use crate::{
    model::{Limit, LimitId},
    units::Rate,
};

/// What is typed into or chosen, in the order of Tab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    /// The download limit.
    Download,
    /// The upload limit.
    Upload,
    /// Which remote addresses.
    Scope,
    /// Whether what they start is limited too.
    Children,
}

impl Focus {
    /// All, in order.
    pub const ALL: [Self; 4] = [Self::Download, Self::Upload, Self::Scope, Self::Children];

    fn step(self, by: usize) -> Self {
        let at = Self::ALL.iter().position(|it| *it == self).unwrap_or(0);
        Self::ALL
            .get((at + by) % Self::ALL.len())
            .copied()
            .unwrap_or(self)
    }
}

/// The scopes to choose from, and what they mean.
pub const SCOPES: [(Scope, &str); 4] = [
    (Scope::DEFAULT, "everything but loopback"),
    (Scope::INTERNET, "internet only"),
    (Scope::LOCAL, "local network only"),
    (Scope::ALL, "everything, loopback too"),
];

/// What is typed where nothing is to pass.
pub const BLOCK: &str = "block";

/// What a field says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// It is empty: no limit.
    Unlimited,
    /// A rate.
    Rate(Rate),
    /// Not a rate, and why.
    Unreadable(String),
}

impl Reading {
    /// Of a field's text.
    pub fn of(field: &Field) -> Self {
        if field.text.trim().is_empty() {
            return Self::Unlimited;
        }
        if field.text.trim() == BLOCK {
            return Self::Rate(Rate::BLOCKED);
        }
        match field.text.parse() {
            Ok(rate) => Self::Rate(rate),
            Err(error) => {
                // Of the message the reason only: the dialog shows the forms anyway.
                let text = error.to_string();
                let reason = text.split(". ").next().unwrap_or(&text);
                Self::Unreadable(reason.to_owned())
            }
        }
    }

    fn rate(self) -> Option<Option<Rate>> {
        match self {
            Self::Unlimited => Some(None),
            Self::Rate(rate) => Some(Some(rate)),
            Self::Unreadable(_) => None,
        }
    }
}

/// The limit that the dialog changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present {
    /// Which.
    pub id: LimitId,
    /// Whether it holds for what its members start.
    pub children: bool,
    /// How many processes share it.
    pub members: usize,
}

/// Whom the dialog is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The rows.
    pub rows: Vec<RowKey>,
    /// The same in words, safe to show.
    pub who: String,
    /// What they are held to now, to start from.
    pub limit: Option<Limit>,
    /// The limit that is changed; `None`: a new one is set.
    pub present: Option<Present>,
    /// The rule that holds them now, which gives way to what is set.
    pub held_by: Option<Arc<str>>,
    /// The rule whose limit it is: that is changed, and no row is.
    pub rule: Option<Arc<str>>,
}

/// The dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitDialog {
    /// Whom it is about.
    pub subject: Subject,
    /// The download limit as it is typed.
    pub download: Field,
    /// The upload limit as it is typed.
    pub upload: Field,
    /// Index into [`SCOPES`].
    pub scope: usize,
    /// Whether what they start is limited too.
    pub children: bool,
    /// What is typed into.
    pub focus: Focus,
}

/// What a key did to the dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pressed {
    /// It stays open.
    Stay,
    /// Nothing is to be changed.
    Cancel,
    /// This is to be the limit.
    Apply(Limit),
}

impl LimitDialog {
    /// With the limit that they have filled in.
    pub fn new(subject: Subject) -> Self {
        let limit = subject.limit.unwrap_or(Limit::NONE);
        let field = |rate: Option<Rate>| Field::filled_in(rate.map(typed).unwrap_or_default());
        Self {
            download: field(limit.down),
            upload: field(limit.up),
            scope: SCOPES
                .iter()
                .position(|(scope, _)| *scope == limit.scope)
                .unwrap_or(0),
            children: match subject.present {
                Some(present) => present.children,
                // What init has started is the whole machine.
                None => !subject.rows.iter().any(is_init),
            },
            focus: Focus::Download,
            subject,
        }
    }

    /// Takes a key. In a rate, up and down go through the `presets`, slowest first.
    pub fn key(&mut self, key: KeyEvent, presets: &[Rate]) -> Pressed {
        match key.code {
            KeyCode::Esc => return Pressed::Cancel,
            KeyCode::Enter => match self.limit() {
                Some(limit) => return Pressed::Apply(limit),
                // To what is in the way.
                None => self.focus = self.unreadable(),
            },
            KeyCode::Tab => self.step(1),
            KeyCode::BackTab => self.step(Focus::ALL.len() - 1),
            code => match (self.focus, code) {
                (Focus::Scope, KeyCode::Right | KeyCode::Down | KeyCode::Char(' ')) => {
                    self.scope = (self.scope + 1) % SCOPES.len();
                }
                (Focus::Scope, KeyCode::Left | KeyCode::Up) => {
                    self.scope = (self.scope + SCOPES.len() - 1) % SCOPES.len();
                }
                (
                    Focus::Children,
                    KeyCode::Right
                    | KeyCode::Left
                    | KeyCode::Up
                    | KeyCode::Down
                    | KeyCode::Char(' '),
                ) => self.children = !self.children,
                (_, code) => {
                    if let Some(field) = self.typed_into() {
                        match code {
                            KeyCode::Up => raise(field, presets),
                            KeyCode::Down => lower(field, presets),
                            _ => field.key(key),
                        }
                    }
                }
            },
        }
        Pressed::Stay
    }

    fn step(&mut self, by: usize) {
        self.focus = self.focus.step(by);
        // Whom a rule is for, it says itself.
        if self.focus == Focus::Children && self.subject.rule.is_some() {
            self.focus = self.focus.step(by);
        }
    }

    /// Puts pasted text where text goes.
    pub fn paste(&mut self, text: &str) {
        if let Some(field) = self.typed_into() {
            field.insert(text);
        }
    }

    fn typed_into(&mut self) -> Option<&mut Field> {
        match self.focus {
            Focus::Download => Some(&mut self.download),
            Focus::Upload => Some(&mut self.upload),
            Focus::Scope | Focus::Children => None,
        }
    }

    /// The first field that cannot be read.
    fn unreadable(&self) -> Focus {
        match Reading::of(&self.download) {
            Reading::Unreadable(_) => Focus::Download,
            _ => Focus::Upload,
        }
    }

    /// What is typed, where both fields can be read.
    fn limit(&self) -> Option<Limit> {
        Some(Limit {
            down: Reading::of(&self.download).rate()?,
            up: Reading::of(&self.upload).rate()?,
            scope: SCOPES.get(self.scope).map_or(Scope::DEFAULT, |it| it.0),
            ..self.subject.limit.unwrap_or(Limit::NONE)
        })
    }
}

fn is_init(row: &RowKey) -> bool {
    matches!(row, RowKey::Process(key) if key.pid == 1)
}

/// A rate in a form that a field reads back exactly: the largest unit that divides it.
fn typed(rate: Rate) -> String {
    let bytes = rate.bytes_per_second();
    if rate.is_blocked() {
        return BLOCK.to_owned();
    }
    let (unit, name) = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "KB")]
        .into_iter()
        .find(|(unit, _)| bytes.is_multiple_of(*unit))
        .unwrap_or((1, "B"));
    format!("{}{name}", bytes / unit)
}

/// The next faster preset; of nothing, the slowest.
fn raise(field: &mut Field, presets: &[Rate]) {
    let next = match Reading::of(field) {
        Reading::Rate(rate) => presets.iter().find(|preset| **preset > rate),
        Reading::Unlimited | Reading::Unreadable(_) => presets.first(),
    };
    if let Some(rate) = next {
        *field = Field::filled_in(typed(*rate));
    }
}

/// The next slower preset; below the slowest, and of nothing, nothing.
fn lower(field: &mut Field, presets: &[Rate]) {
    if let Reading::Rate(rate) = Reading::of(field) {
        let next = presets.iter().rev().find(|preset| **preset < rate);
        *field = next.map_or_else(Field::default, |rate| Field::filled_in(typed(*rate)));
    }
}

/// A rate one step of 1, 1.5, 2, 3, 5, 7, 10 … faster or slower.
pub fn stepped(rate: Rate, faster: bool) -> Rate {
    const STEPS: [u64; 6] = [10, 15, 20, 30, 50, 70];
    let ladder = || {
        // 1.5 TB/s is beyond every rate.
        let decades = (2..=11).map(|exponent| 10u64.pow(exponent));
        decades.flat_map(|decade| STEPS.map(|step| step * decade))
    };
    let bytes = rate.bytes_per_second();
    if rate.is_blocked() {
        return rate;
    }
    let next = if faster {
        ladder().find(|step| *step > bytes)
    } else {
        ladder().take_while(|step| *step < bytes).last()
    };
    next.map_or(rate, Rate::clamped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_reads_back_what_it_shows() {
        for bytes in [
            1_000,
            1_500,
            1_234_567,
            2_000_000,
            5_000_000_000,
            999_999_999_999,
        ] {
            let rate = Rate::clamped(bytes);
            let field = Field::filled_in(typed(rate));
            assert_eq!(Reading::of(&field), Reading::Rate(rate), "{bytes}");
        }
    }

    #[test]
    fn steps_go_up_and_down_the_ladder_and_stay_within_what_a_limit_can_be() {
        for (from, slower, faster) in [
            (1_000, 1_000, 1_500),
            (1_000_000, 700_000, 1_500_000),
            (1_234_567, 1_000_000, 1_500_000),
            (7_000_000, 5_000_000, 10_000_000),
            (1_000_000_000_000, 700_000_000_000, 1_000_000_000_000),
        ] {
            let rate = Rate::clamped(from);
            assert_eq!(stepped(rate, false).bytes_per_second(), slower, "{from}");
            assert_eq!(stepped(rate, true).bytes_per_second(), faster, "{from}");
        }
    }

    #[test]
    fn presets_are_gone_through_up_and_down() {
        let presets = [100_000, 1_000_000].map(Rate::clamped);
        let mut field = Field::default();
        for (up, text) in [
            (true, "100KB"),
            (true, "1MB"),
            (true, "1MB"),
            (false, "100KB"),
            (false, ""),
            (false, ""),
        ] {
            if up {
                raise(&mut field, &presets);
            } else {
                lower(&mut field, &presets);
            }
            assert_eq!(field.text, text);
        }
        field = Field::filled_in("500KB".to_owned());
        lower(&mut field, &presets);
        assert_eq!(field.text, "100KB");
    }
}
