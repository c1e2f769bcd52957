//! The palette: every command of the keymap, found by typing.

use crossterm::event::{KeyCode, KeyEvent};

use super::{
    field::Field,
    keymap::{Binding, Command, Keymap},
};

/// What is typed, and which of the commands that fit is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Palette {
    /// Words that a command must have.
    pub field: Field,
    /// Place among those that have them.
    pub cursor: usize,
}

/// What a key did to the palette.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// It stays open.
    Stay,
    /// Nothing is to be done.
    Cancel,
    /// This is.
    Run(Command),
}

impl Palette {
    /// The commands with all that is typed in their name or description; those whose name begins with it first.
    pub fn found<'a>(&self, keymap: &'a Keymap) -> Vec<&'a Binding> {
        let typed = self.field.text.trim().to_lowercase();
        let has_all = |binding: &&Binding| {
            let description = binding.description.to_lowercase();
            let mut words = typed.split_whitespace();
            words.all(|word| binding.name.contains(word) || description.contains(word))
        };
        let mut found: Vec<&Binding> = keymap.bindings().iter().filter(has_all).collect();
        found.sort_by_key(|binding| !binding.name.starts_with(&typed));
        found
    }

    /// Takes a key: up and down choose, all else is typed.
    pub fn key(&mut self, key: KeyEvent, keymap: &Keymap) -> Chosen {
        let found = self.found(keymap);
        let last = found.len().saturating_sub(1);
        match key.code {
            KeyCode::Esc => return Chosen::Cancel,
            KeyCode::Enter => {
                let chosen = found.get(self.cursor);
                return chosen.map_or(Chosen::Stay, |binding| Chosen::Run(binding.command));
            }
            KeyCode::Up => self.cursor = self.cursor.saturating_sub(1),
            KeyCode::Down => self.cursor = (self.cursor + 1).min(last),
            KeyCode::PageUp => self.cursor = self.cursor.saturating_sub(10),
            KeyCode::PageDown => self.cursor = (self.cursor + 10).min(last),
            _ => {
                let before = self.field.text.clone();
                self.field.key(key);
                if self.field.text != before {
                    self.cursor = 0;
                }
            }
        }
        Chosen::Stay
    }
}

#[cfg(test)]
#[path = "command_palette_tests.rs"]
mod tests;
