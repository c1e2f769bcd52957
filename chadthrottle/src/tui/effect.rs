//! What the screen asks of the engine, carried out in one place.

use super::{inspect::Request, state::Message};
use crate::{
    engine::{EngineError, Handle, Targets},
    model::{Limit, LimitId},
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
    },
    /// Look at connections; the answer comes as an action.
    Inspect(Request),
    /// Put the screen aside, until the shell has it in the foreground again.
    Suspend,
    /// Close the screen.
    Quit,
}

/// Carries out what is for the engine, and gives what to tell the user.
pub async fn apply(engine: &Handle, effect: Effect) -> Option<Message> {
    let result = match effect {
        Effect::SetLimit {
            targets,
            limit,
            who,
        } => {
            let result = engine.set_limit(targets, limit).await;
            result.map(|_| format!("{who}: {limit}"))
        }
        Effect::ChangeLimit {
            id,
            limit,
            children,
            who,
        } => change(engine, id, limit, children)
            .await
            .map(|()| format!("{who}: {limit}")),
        Effect::RemoveLimits { ids, who } => remove(engine, &ids)
            .await
            .map(|()| format!("{who}: no limit any more")),
        Effect::Inspect(_) | Effect::Suspend | Effect::Quit => return None,
    };
    Some(match result {
        Ok(text) => Message { text, error: false },
        Err(error) => Message::error(error.to_string()),
    })
}

async fn change(
    engine: &Handle,
    id: LimitId,
    limit: Limit,
    children: Option<bool>,
) -> Result<(), EngineError> {
    engine.change_limit(id, limit).await?;
    if let Some(children) = children {
        engine.set_children(id, children).await?;
    }
    Ok(())
}

/// Removes them all; one that has ended by itself is no error.
async fn remove(engine: &Handle, ids: &[LimitId]) -> Result<(), EngineError> {
    let mut result = Ok(());
    for id in ids {
        match engine.remove_limit(*id).await {
            Ok(()) | Err(EngineError::NoLimit) => {}
            Err(error) => result = Err(error),
        }
    }
    result
}
