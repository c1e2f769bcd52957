//! What the screen asks for: of the engine, and of the program around it.

use super::{inspect::Request, rules_back::RulesBack, state::Message};
use crate::{
    model::{Limit, LimitId, ProcessKey},
    process::Targets,
    rules::edit::Edit,
};

/// Something to be done. `who` is whom it is about, safe to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Set a limit.
    SetLimit {
        /// For whom.
        targets: Targets,
        /// How much.
        limit: Limit,
        /// The same in words.
        who: String,
    },
    /// Change a limit.
    ChangeLimit {
        /// Which.
        id: LimitId,
        /// How much from now on.
        limit: Limit,
        /// Whether it is to hold for what its members start, where that changes.
        children: Option<bool>,
        /// Whom it is about.
        who: String,
    },
    /// Remove limits.
    RemoveLimits {
        /// Which.
        ids: Vec<LimitId>,
        /// Whom they were about.
        who: String,
        /// Whether they let nothing through.
        are_blocks: bool,
    },
    /// Set limits again that were removed or replaced.
    SetAgain {
        /// As they were.
        limits: Vec<Former>,
        /// Whom they are about.
        who: String,
    },
    /// Change the rules.
    EditRules {
        /// How.
        edit: Edit,
        /// What to say when it is done.
        words: String,
    },
    /// Have the rules be as they were before a change, and the limits that it has ended.
    TakeRulesBack {
        /// The engine's number for the change.
        change: u64,
        /// What it was.
        back: RulesBack,
    },
    /// Read the files of rules anew.
    ReloadRules,
    /// Make a rule of limits, which end when it is there.
    Keep {
        /// The rule.
        edit: Edit,
        /// The limits.
        ids: Vec<LimitId>,
        /// Whom they are about.
        who: String,
        /// What to say when it is done.
        words: String,
    },
    /// Tell the user something.
    Say(Message),
    /// Look at connections; the answer comes as an action.
    Inspect(Request),
    /// Ask for what was carried before the screen opened; the answer comes as an action.
    AskPast,
    /// Put the screen aside, until the shell has it in the foreground again.
    Suspend,
    /// Close the screen.
    Quit,
}

/// A limit as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Former {
    /// Its name.
    pub id: LimitId,
    /// How much.
    pub limit: Limit,
    /// Those that it held.
    pub processes: Vec<ProcessKey>,
    /// Whom it was for, as targets are typed.
    pub targets: Vec<String>,
    /// And what these start.
    pub children: bool,
    /// Whether it went on without who has set it.
    pub detached: bool,
    /// When it would have ended by itself, in nanoseconds since 1970.
    pub until_ns: Option<u64>,
}

impl Effect {
    /// Whether the engine is asked for it, and answers.
    pub fn is_for_engine(&self) -> bool {
        match self {
            Self::SetLimit { .. }
            | Self::ChangeLimit { .. }
            | Self::RemoveLimits { .. }
            | Self::SetAgain { .. }
            | Self::EditRules { .. }
            | Self::TakeRulesBack { .. }
            | Self::ReloadRules
            | Self::Keep { .. } => true,
            Self::Say(_) | Self::Inspect(_) | Self::AskPast | Self::Suspend | Self::Quit => false,
        }
    }

    /// Whom it is about, where that is said.
    pub fn who(&self) -> &str {
        match self {
            Self::SetLimit { who, .. }
            | Self::ChangeLimit { who, .. }
            | Self::RemoveLimits { who, .. }
            | Self::SetAgain { who, .. }
            | Self::Keep { who, .. } => who,
            Self::TakeRulesBack { back, .. } => &back.who,
            Self::EditRules { .. }
            | Self::ReloadRules
            | Self::Say(_)
            | Self::Inspect(_)
            | Self::AskPast
            | Self::Suspend
            | Self::Quit => "",
        }
    }

    /// What is said when it is done.
    pub fn words(&self) -> String {
        match self {
            Self::SetLimit { limit, who, .. } | Self::ChangeLimit { limit, who, .. } => {
                format!("{who}: {limit}")
            }
            Self::RemoveLimits {
                who, are_blocks, ..
            } => match are_blocks {
                true => format!("{who}: block ended"),
                false => format!("{who}: limit removed"),
            },
            Self::SetAgain { limits, who } => are_back(limits, who),
            Self::TakeRulesBack { back, .. } => back.words.clone(),
            Self::EditRules { words, .. } | Self::Keep { words, .. } => words.clone(),
            Self::ReloadRules => "rules read anew".to_owned(),
            Self::Say(message) => message.text.clone(),
            Self::Inspect(_) | Self::AskPast | Self::Suspend | Self::Quit => String::new(),
        }
    }
}

/// That limits are back.
pub fn are_back(limits: &[Former], who: &str) -> String {
    match limits {
        [one] => format!("{who}: limit is back: {}", one.limit),
        several => format!("{who}: {} limits are back", several.len()),
    }
}
