//! What the screen asks of the engine, carried out in one place.

use super::state::Message;
use crate::{
    commands::describe,
    engine::{Handle, Limit, LimitId, Targets},
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
        /// Whom it is about.
        who: String,
    },
    /// Remove a limit.
    RemoveLimit {
        /// Which.
        id: LimitId,
        /// Whom it was about.
        who: String,
    },
    /// Close the screen.
    Quit,
}

/// Carries an effect out, and gives what to tell the user.
pub async fn apply(engine: &Handle, effect: Effect) -> Message {
    let (result, done) = match effect {
        Effect::SetLimit {
            targets,
            limit,
            who,
        } => {
            let result = engine.set_limit(targets, limit).await.map(drop);
            (result, format!("{who}: {}", describe(limit)))
        }
        Effect::ChangeLimit { id, limit, who } => {
            let result = engine.change_limit(id, limit).await;
            (result, format!("{who}: {}", describe(limit)))
        }
        Effect::RemoveLimit { id, who } => (
            engine.remove_limit(id).await,
            format!("{who}: no limit any more"),
        ),
        Effect::Quit => (Ok(()), String::new()),
    };
    match result {
        Ok(()) => Message {
            text: done,
            error: false,
        },
        Err(error) => Message {
            text: error.to_string(),
            error: true,
        },
    }
}
