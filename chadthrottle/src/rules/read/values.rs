//! Reads what stands behind a key.

use std::fmt::Display;

use toml_edit::Item;

use super::{Named, Reader};
use crate::{
    process::{Condition, MOST_SELECTORS, Selector},
    rules::{Calendar, OnNetworks},
    text::escape,
};

/// So many targets has a rule at most.
const MOST_TARGETS: usize = MOST_SELECTORS;

/// And so many times.
const MOST_TIMES: usize = 64;

const TARGETS: &str = "name:GLOB, exe:GLOB, command:GLOB, user:NAME, group:NAME, cgroup:PATH, unit:GLOB, container:NAME, \
     parent:TARGET, with ! and +";

const TIMES: &str = "\"Mon-Fri 08:00-18:00\", \"Sat,Sun\", \"22:00-06:00\"";

const NETWORKS: &str = "interface:GLOB, metered, ssid:GLOB";

impl Reader<'_> {
    pub(super) fn targets(&mut self, item: &Item) -> Vec<Selector> {
        let texts = self.texts_of(item);
        if texts.is_empty() || texts.len() > MOST_TARGETS {
            let what = format!("a rule has 1 to {MOST_TARGETS} targets");
            self.mistake(item.span(), &what, TARGETS);
        }
        let mut targets = Vec::new();
        for Named { name, span } in texts {
            match Selector::read(&name, self.accounts) {
                Ok(selector) if names_an_id(&selector) => {
                    let what = "process IDs change with each start; use name: or exe:";
                    self.mistake(span, what, TARGETS);
                }
                Ok(selector) => {
                    if selector.is_impossible() {
                        let what = format!(
                            "'{}' can never match: give a whole path, or a pattern such as exe:*/wget",
                            escape(&name)
                        );
                        self.mistake(span, &what, TARGETS);
                    }
                    targets.push(selector);
                }
                Err(_) if name.parse::<u32>().is_ok() => {
                    let what = "process IDs change with each start; use name: or exe:";
                    self.mistake(span, what, TARGETS);
                }
                Err(error) => self.mistake(span, &error.in_short(), TARGETS),
            }
        }
        targets
    }

    pub(super) fn calendar(&mut self, item: &Item) -> Calendar {
        let mut calendar = Calendar::default();
        self.each_of(item, "times", TIMES, |text| calendar.add(text));
        calendar
    }

    pub(super) fn networks(&mut self, item: &Item) -> OnNetworks {
        let mut networks = OnNetworks::default();
        self.each_of(item, "networks", NETWORKS, |text| networks.add(text));
        networks
    }

    /// Adds each of the texts, which are called so, and says which cannot be.
    fn each_of<E: Display>(
        &mut self,
        item: &Item,
        called: &str,
        allowed: &str,
        mut add: impl FnMut(&str) -> Result<(), E>,
    ) {
        let texts = self.texts_of(item);
        if texts.len() > MOST_TIMES {
            let what = format!("a rule has at most {MOST_TIMES} {called}");
            self.mistake(item.span(), &what, allowed);
        }
        for Named { name, span } in texts {
            if let Err(error) = add(&name) {
                // The error itself says what to write.
                self.mistake(span, &error.to_string(), "");
            }
        }
    }

    pub(super) fn text_of(&mut self, item: &Item) -> Option<String> {
        let text = item.as_str().map(str::to_owned);
        if text.is_none() {
            self.mistake(item.span(), "this is not a text", "\"...\"");
        }
        text
    }

    /// One text, or several.
    pub(super) fn texts_of(&mut self, item: &Item) -> Vec<Named> {
        let named = |text: &str, span| Named {
            name: text.to_owned(),
            span,
        };
        if let Some(text) = item.as_str() {
            return vec![named(text, item.span())];
        }
        let Some(array) = item.as_array() else {
            self.mistake(
                item.span(),
                "this is not a list of texts",
                "[\"...\", \"...\"]",
            );
            return Vec::new();
        };
        let mut texts = Vec::new();
        for value in array {
            match value.as_str() {
                Some(text) => texts.push(named(text, value.span())),
                None => self.mistake(value.span(), "this is not a text", "\"...\""),
            }
        }
        texts
    }

    pub(super) fn parsed<T: std::str::FromStr<Err: Display>>(&mut self, item: &Item) -> Option<T> {
        match self.text_of(item)?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.mistake(item.span(), &error.to_string(), "");
                None
            }
        }
    }

    pub(super) fn word<T: Copy>(&mut self, item: &Item, words: &[(&str, T)]) -> Option<T> {
        let text = self.text_of(item)?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let allowed: Vec<String> = words
                .iter()
                .map(|(word, _)| format!("\"{word}\""))
                .collect();
            let what = format!("'{text}' is not known here");
            self.mistake(item.span(), &what, &allowed.join(", "));
        }
        found.map(|(_, value)| *value)
    }
}

/// Whether a selector is about a process id, which a file cannot know.
fn names_an_id(selector: &Selector) -> bool {
    let mut terms = selector.terms().iter();
    terms.any(|term| match &term.condition {
        Condition::Pid(_) => true,
        Condition::Parent(condition) => matches!(**condition, Condition::Pid(_)),
        _ => false,
    })
}
