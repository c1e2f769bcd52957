//! The limit dialog: two fields that read rates while they are typed.

use chadthrottle_common::scope::Scope;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::{
    engine::{Limit, LimitId, ProcessSample},
    process::ProcessKey,
    units::Rate,
};

/// Longest text a field takes.
const MAX_CHARS: usize = 24;

/// A text that is being typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Field {
    /// The text.
    pub text: String,
    /// Where the cursor is, in characters from the start.
    pub cursor: usize,
}

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

impl Field {
    fn new(rate: Option<Rate>) -> Self {
        let text = rate.map(typed).unwrap_or_default();
        Self {
            cursor: text.chars().count(),
            text,
        }
    }

    /// Reads the text.
    pub fn reading(&self) -> Reading {
        if self.text.trim().is_empty() {
            return Reading::Unlimited;
        }
        match self.text.parse() {
            Ok(rate) => Reading::Rate(rate),
            Err(error) => {
                // Of the message the reason only: the dialog shows the forms anyway.
                let text = error.to_string();
                let reason = text.split(". ").next().unwrap_or(&text);
                Reading::Unreadable(reason.to_owned())
            }
        }
    }

    /// Puts characters in at the cursor; control characters are left out.
    pub fn insert(&mut self, text: &str) {
        for c in text.chars().filter(|c| !c.is_control()) {
            if self.text.chars().count() >= MAX_CHARS {
                return;
            }
            self.text.insert(self.byte(self.cursor), c);
            self.cursor += 1;
        }
    }

    fn key(&mut self, key: KeyEvent) {
        let end = self.text.chars().count();
        match key.code {
            KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                *self = Self::default();
            }
            KeyCode::Char(_) if key.modifiers.intersects(KeyModifiers::CONTROL) => {}
            KeyCode::Char(c) => self.insert(c.encode_utf8(&mut [0; 4])),
            KeyCode::Backspace if self.cursor > 0 => {
                self.cursor -= 1;
                self.text.remove(self.byte(self.cursor));
            }
            KeyCode::Delete if self.cursor < end => {
                self.text.remove(self.byte(self.cursor));
            }
            KeyCode::Left => self.cursor = self.cursor.saturating_sub(1),
            KeyCode::Right => self.cursor = (self.cursor + 1).min(end),
            KeyCode::Home => self.cursor = 0,
            KeyCode::End => self.cursor = end,
            _ => {}
        }
    }

    fn byte(&self, index: usize) -> usize {
        self.text
            .char_indices()
            .nth(index)
            .map_or(self.text.len(), |(byte, _)| byte)
    }
}

/// A rate in a form that the field reads back exactly: the largest unit that divides it.
fn typed(rate: Rate) -> String {
    let bytes = rate.bytes_per_second();
    let (unit, name) = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "KB")]
        .into_iter()
        .find(|(unit, _)| bytes.is_multiple_of(*unit))
        .unwrap_or((1, "B"));
    format!("{}{name}", bytes / unit)
}

/// The dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitDialog {
    /// Whom it is about.
    pub process: ProcessKey,
    /// Its name, not yet escaped.
    pub name: String,
    /// Download and upload.
    pub fields: [Field; 2],
    /// Which field is typed into.
    pub focus: usize,
    /// The limit that the process has.
    pub present: Option<LimitId>,
    scope: Scope,
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
    /// For a process, with the limit that it has filled in.
    pub fn new(process: &ProcessSample) -> Self {
        let limit = process.limit.map_or(Limit::NONE, |(_, limit)| limit);
        Self {
            process: process.key,
            name: process.name.to_string(),
            fields: [Field::new(limit.down), Field::new(limit.up)],
            focus: 0,
            present: process.limit.map(|(id, _)| id),
            scope: limit.scope,
        }
    }

    /// Takes a key.
    pub fn key(&mut self, key: KeyEvent) -> Pressed {
        match key.code {
            KeyCode::Esc => return Pressed::Cancel,
            KeyCode::Enter => return self.limit().map_or(Pressed::Stay, Pressed::Apply),
            KeyCode::Tab | KeyCode::BackTab | KeyCode::Up | KeyCode::Down => self.focus ^= 1,
            _ => self.focused().key(key),
        }
        Pressed::Stay
    }

    /// The field that is typed into.
    pub fn focused(&mut self) -> &mut Field {
        let [down, up] = &mut self.fields;
        if self.focus == 0 { down } else { up }
    }

    /// What is typed, where both fields can be read.
    fn limit(&self) -> Option<Limit> {
        let rate = |field: &Field| match field.reading() {
            Reading::Unlimited => Some(None),
            Reading::Rate(rate) => Some(Some(rate)),
            Reading::Unreadable(_) => None,
        };
        let [down, up] = &self.fields;
        Some(Limit {
            down: rate(down)?,
            up: rate(up)?,
            scope: self.scope,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(field: &mut Field, codes: &[KeyCode]) {
        for code in codes {
            field.key(KeyEvent::new(*code, KeyModifiers::NONE));
        }
    }

    #[test]
    fn editing_in_the_middle_of_wide_characters() {
        let mut field = Field::default();
        field.insert("1日MB\u{1b}\n");
        assert_eq!(field.text, "1日MB");
        press(
            &mut field,
            &[KeyCode::Left, KeyCode::Left, KeyCode::Backspace],
        );
        assert_eq!((field.text.as_str(), field.cursor), ("1MB", 1));
        press(
            &mut field,
            &[KeyCode::Char('.'), KeyCode::Char('5'), KeyCode::Delete],
        );
        assert_eq!(field.text, "1.5B");
        press(
            &mut field,
            &[
                KeyCode::Home,
                KeyCode::Backspace,
                KeyCode::Left,
                KeyCode::Delete,
            ],
        );
        assert_eq!(field.text, ".5B");
        press(&mut field, &[KeyCode::End, KeyCode::Right, KeyCode::Delete]);
        assert_eq!((field.text.as_str(), field.cursor), (".5B", 3));
        field.key(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL));
        assert_eq!(field, Field::default());
    }

    #[test]
    fn a_field_is_bounded_and_reads_back_what_it_shows() {
        let mut field = Field::default();
        field.insert(&"9".repeat(100));
        assert_eq!(field.text.len(), MAX_CHARS);
        for bytes in [
            1_000,
            1_500,
            1_234_567,
            2_000_000,
            5_000_000_000,
            999_999_999_999,
        ] {
            let rate = Rate::clamped(bytes);
            assert_eq!(
                Field::new(Some(rate)).reading(),
                Reading::Rate(rate),
                "{bytes}"
            );
        }
    }
}
