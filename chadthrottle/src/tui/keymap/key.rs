//! A key as it is pressed, written and shown.

use std::{fmt, str::FromStr};

use crossterm::event::{
    KeyCode::{self, Char, F},
    KeyEvent, KeyModifiers,
};

/// A key, alone or with Ctrl; of letters, upper and lower case differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    code: KeyCode,
    control: bool,
}

/// Keys that have a name, as they are shown.
const NAMED: [(KeyCode, &str); 16] = [
    (Char(' '), "Space"),
    (KeyCode::Enter, "Enter"),
    (KeyCode::Esc, "Esc"),
    (KeyCode::Tab, "Tab"),
    (KeyCode::BackTab, "Shift-Tab"),
    (KeyCode::Up, "Up"),
    (KeyCode::Down, "Down"),
    (KeyCode::Left, "Left"),
    (KeyCode::Right, "Right"),
    (KeyCode::Home, "Home"),
    (KeyCode::End, "End"),
    (KeyCode::PageUp, "PgUp"),
    (KeyCode::PageDown, "PgDn"),
    (KeyCode::Insert, "Insert"),
    (KeyCode::Delete, "Delete"),
    (KeyCode::Backspace, "Backspace"),
];

impl Key {
    /// Ctrl-C, which quits from everywhere.
    pub const INTERRUPT: Self = Self::control('c');
    /// Ctrl-Z, which works everywhere too.
    pub const SUSPEND: Self = Self::control('z');

    /// A key alone.
    pub const fn plain(code: KeyCode) -> Self {
        Self {
            code,
            control: false,
        }
    }

    /// A letter, in lower case, with Ctrl.
    pub const fn control(letter: char) -> Self {
        Self {
            code: Char(letter),
            control: true,
        }
    }

    /// The key of an event; with Alt it is none that does anything.
    pub fn of(event: KeyEvent) -> Option<Self> {
        if event.modifiers.contains(KeyModifiers::ALT) {
            return None;
        }
        let control = event.modifiers.contains(KeyModifiers::CONTROL);
        Some(Self {
            code: match event.code {
                Char(letter) if control => Char(letter.to_ascii_lowercase()),
                code => code,
            },
            control,
        })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = NAMED.iter().find(|(code, _)| *code == self.code);
        match (self.code, named) {
            (_, Some((_, name))) => f.write_str(name),
            (Char(letter), _) if self.control => write!(f, "Ctrl-{}", letter.to_ascii_uppercase()),
            (Char(letter), _) => write!(f, "{letter}"),
            (F(number), _) => write!(f, "F{number}"),
            (other, _) => write!(f, "{other:?}"),
        }
    }
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = |(_, name): &&(KeyCode, &str)| name.eq_ignore_ascii_case(text);
        if let Some((code, _)) = NAMED.iter().find(named) {
            return Ok(Self::plain(*code));
        }
        let mut letters = text.chars();
        if let (Some(letter), None) = (letters.next(), letters.next())
            && !letter.is_control()
        {
            return Ok(Self::plain(Char(letter)));
        }
        let number = text.strip_prefix(['F', 'f']).and_then(|it| it.parse().ok());
        if let Some(number @ 1..=12) = number {
            return Ok(Self::plain(F(number)));
        }
        let lower = text.to_ascii_lowercase();
        let control = lower.strip_prefix("ctrl-").unwrap_or_default();
        if let &[letter @ b'a'..=b'z'] = control.as_bytes() {
            let key = Self::control(letter.into());
            return match key {
                Self::INTERRUPT | Self::SUSPEND => {
                    Err(format!("{key} always does what it does now"))
                }
                // What terminals send for Tab and Enter.
                _ if matches!(letter, b'i' | b'j' | b'm') => {
                    Err(format!("terminals send another key for {key}"))
                }
                _ => Ok(key),
            };
        }
        let shown = crate::text::escape(text);
        Err(format!(
            "'{shown}' is not a key: give one character, F1 to F12, Ctrl-A to Ctrl-Z, or {}",
            NAMED.map(|(_, name)| name).join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_shown() {
        let mut keys: Vec<Key> = NAMED.iter().map(|(code, _)| Key::plain(*code)).collect();
        keys.extend(['q', 'Q', ':', '?', 'ä', '-'].map(|c| Key::plain(Char(c))));
        keys.extend([F(1), F(12)].map(Key::plain));
        keys.push(Key::control('p'));
        for key in keys {
            assert_eq!(key.to_string().parse(), Ok(key), "{key}");
        }
        assert_eq!("space".parse(), Ok(Key::plain(Char(' '))));
        for text in [
            "", "F13", "Ctrl-C", "ctrl-z", "Ctrl-I", "Alt-x", "qq", "\u{1b}",
        ] {
            let error = text.parse::<Key>().unwrap_err();
            assert!(!error.contains(char::is_control), "{error:?}");
        }
    }

    #[test]
    fn with_alt_it_is_no_key_and_with_control_case_does_not_matter() {
        let event = |code, modifiers| Key::of(KeyEvent::new(code, modifiers));
        assert_eq!(event(Char('x'), KeyModifiers::ALT), None);
        let control = event(Char('P'), KeyModifiers::CONTROL);
        assert_eq!(control, Some(Key::control('p')));
        assert_eq!(
            event(Char('P'), KeyModifiers::SHIFT),
            Some(Key::plain(Char('P')))
        );
    }
}
