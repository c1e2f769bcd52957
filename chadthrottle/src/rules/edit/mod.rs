//! Changes to the rules file, which leave comments, order and all else in it as they are.

mod back;
mod document;
mod line_ends;
mod order;
mod profiles;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use toml_edit::{DocumentMut, Item, value};

pub use back::Change;
use document::{add, choose, put, remove, rule_mut, set};
use line_ends::LineEnds;
use order::reorder;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Edit {
    /// Another rule, the last one or, with `first`, the first.
    Add {
        /// What it is.
        rule: NewRule,
        /// Whether it comes before all others.
        #[serde(default)]
        first: bool,
    },
    /// One rule less.
    Remove {
        /// Which.
        name: String,
    },
    /// Other limits for a rule, whatever else it says.
    Change {
        /// Which.
        name: String,
        /// Download, as a rate is written; `None`: not limited.
        down: Option<String>,
        /// Upload.
        up: Option<String>,
        /// What is blocked: `down`, `up` or `both`.
        block: Option<String>,
        /// Whether what is blocked is refused.
        #[serde(default)]
        reject: bool,
        /// The scope's word; `None`: the usual one.
        scope: Option<String>,
    },
    /// A rule that may be on, or may not.
    Enable {
        /// Which.
        name: String,
        /// Whether it may.
        enabled: bool,
    },
    /// A rule in another place.
    Move {
        /// Which.
        name: String,
        /// Which place among the rules of its file, counted from 1.
        to: usize,
    },
    /// Another profile, or none.
    Profile {
        /// Which.
        name: Option<String>,
    },
}

/// A rule to be written, in the words of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewRule {
    /// Its name.
    pub name: String,
    /// For whom.
    pub targets: Vec<String>,
    /// Download rate.
    pub down: Option<String>,
    /// Upload rate.
    pub up: Option<String>,
    /// `down`, `up` or `both`.
    pub block: Option<String>,
    /// Whether what is blocked is refused rather than kept waiting.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reject: bool,
    /// Scope.
    pub scope: Option<String>,
    /// Who shares it.
    pub share: Option<String>,
    /// When it is on.
    pub when: Vec<String>,
    /// On which networks.
    pub on: Vec<String>,
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// It is not there to be changed.
    #[error("there is no rule '{0}' in this file")]
    NoRule(String),
    /// Its name is taken.
    #[error("there is a rule '{0}' already: remove it first, or choose another name")]
    Exists(String),
    /// There is no such place.
    #[error("give a place from 1 to {0}, which is how many rules this file has")]
    NoPlace(usize),
    /// Not a name.
    #[error("{0}")]
    Name(String),
    /// The file as it is cannot be read.
    #[error("the file has a mistake, and is left as it is: {0}")]
    Broken(String),
    /// What is to be taken back is not as it was left.
    #[error("{0} has been changed since: nothing taken back")]
    Since(String),
}

fn parsed(text: &str) -> Result<DocumentMut, EditError> {
    let broken = |error: toml_edit::TomlError| EditError::Broken(error.message().to_owned());
    text.parse().map_err(broken)
}

impl Edit {
    /// The name of the rule that it is about; `None`: about none.
    pub fn rule(&self) -> Option<&str> {
        match self {
            Self::Add { rule, .. } => Some(&rule.name),
            Self::Remove { name }
            | Self::Change { name, .. }
            | Self::Enable { name, .. }
            | Self::Move { name, .. } => Some(name),
            Self::Profile { .. } => None,
        }
    }

    /// The text of a file with the change in it.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn apply(&self, text: &str) -> Result<String, EditError> {
        let (line_ends, text) = LineEnds::of(text);
        let mut document = parsed(&text)?;
        match self {
            Self::Add { rule, first } => add(&mut document, rule, *first)?,
            Self::Remove { name } => remove(&mut document, name)?,
            Self::Change {
                name,
                down,
                up,
                block,
                reject,
                scope,
            } => {
                let table = rule_mut(&mut document, name)?;
                let texts = [
                    ("down", down),
                    ("up", up),
                    ("block", block),
                    ("scope", scope),
                ];
                for (key, to) in texts {
                    set(table, key, to.as_deref());
                }
                // It says nothing without a block.
                match *reject && block.is_some() {
                    true => put(table, "reject", value(true)),
                    false => _ = table.remove("reject"),
                }
            }
            Self::Enable { name, enabled } => {
                let table = rule_mut(&mut document, name)?;
                let has_comment = table
                    .get("enabled")
                    .and_then(Item::as_value)
                    .is_some_and(|it| {
                        let suffix = it.decor().suffix().and_then(|suffix| suffix.as_str());
                        suffix.is_some_and(|suffix| suffix.contains('#'))
                    });
                if *enabled && has_comment {
                    put(table, "enabled", value(true));
                } else if *enabled {
                    table.remove("enabled");
                } else {
                    put(table, "enabled", value(false));
                }
            }
            Self::Move { name, to } => reorder(&mut document, name, *to)?,
            Self::Profile { name } => choose(&mut document, name.as_deref())?,
        }
        Ok(line_ends.put_back(&document.to_string()))
    }
}
