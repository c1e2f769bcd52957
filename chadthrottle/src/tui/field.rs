//! A line of text that is being typed.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Longest text, in characters.
const MAX_CHARS: usize = 64;

/// A line of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Field {
    /// The text.
    pub text: String,
    /// Where the cursor is, in characters from the start.
    pub cursor: usize,
    /// Whether all of it is selected: what is typed takes its place.
    pub is_selected: bool,
}

impl Field {
    /// With that text filled in, which gives way to what is typed, and may be edited.
    pub fn filled_in(text: String) -> Self {
        Self {
            cursor: text.chars().count(),
            is_selected: !text.is_empty(),
            text,
        }
    }

    /// Puts characters in at the cursor, or in the place of what is selected; control characters are left out.
    pub fn insert(&mut self, text: &str) {
        if self.is_selected {
            *self = Self::default();
        }
        for c in text.chars().filter(|c| !c.is_control()) {
            if self.text.chars().count() >= MAX_CHARS {
                return;
            }
            self.text.insert(self.byte(self.cursor), c);
            self.cursor += 1;
        }
    }

    /// Takes a key of a line editor.
    pub fn key(&mut self, key: KeyEvent) {
        let end = self.text.chars().count();
        let with = key.modifiers & (KeyModifiers::CONTROL | KeyModifiers::ALT);
        match key.code {
            KeyCode::Char(c) if with.is_empty() => {
                return self.insert(c.encode_utf8(&mut [0; 4]));
            }
            KeyCode::Delete if self.is_selected => return *self = Self::default(),
            _ => self.is_selected = false,
        }
        match key.code {
            KeyCode::Char('u') if with == KeyModifiers::CONTROL => *self = Self::default(),
            KeyCode::Char('a') if with == KeyModifiers::CONTROL => self.cursor = 0,
            KeyCode::Char('e') if with == KeyModifiers::CONTROL => self.cursor = end,
            KeyCode::Char('w') if with == KeyModifiers::CONTROL => {
                let head = self.text.get(..self.byte(self.cursor)).unwrap_or_default();
                let kept = head.trim_end().rfind(' ').map_or(0, |space| space + 1);
                let tail = self.text.split_off(self.byte(self.cursor));
                self.text.truncate(kept);
                self.cursor = self.text.chars().count();
                self.text.push_str(&tail);
            }
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

    /// The text before the cursor.
    pub fn head(&self) -> &str {
        self.text.get(..self.byte(self.cursor)).unwrap_or_default()
    }

    fn byte(&self, index: usize) -> usize {
        self.text
            .char_indices()
            .nth(index)
            .map_or(self.text.len(), |(byte, _)| byte)
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
    fn a_word_is_taken_away_before_the_cursor_only_and_chords_type_nothing() {
        let mut field = Field::filled_in("fire fox  日本".to_owned());
        press(&mut field, &[KeyCode::Left]);
        let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
        field.key(control('w'));
        assert_eq!((field.text.as_str(), field.cursor), ("fire fox  本", 10));
        field.key(control('w'));
        assert_eq!((field.text.as_str(), field.cursor), ("fire 本", 5));
        for c in ['x', 'b', 'q'] {
            field.key(control(c));
            field.key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::ALT));
        }
        assert_eq!(field.text, "fire 本");
        assert_eq!(field.head(), "fire ");
        field.insert(&"9".repeat(100));
        assert_eq!(field.text.chars().count(), MAX_CHARS);
    }
}
