//! What the screen asks of the engine, carried out in one place.

use super::{inspect::Request, state::Message};
use tokio::sync::mpsc;

use crate::{
    client::Requests,
    model::{Limit, LimitId},
    process::Targets,
    protocol::RequestError,
    rules::edit::Edit,
    tui::update::Action,
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
    /// Change the rules.
    EditRules {
        /// How.
        edit: Edit,
        /// What to say when it is done.
        words: String,
    },
    /// Make a rule of limits, which end when it is there.
    Keep {
        /// The rule.
        edit: Edit,
        /// The limits.
        ids: Vec<LimitId>,
        /// What to say when it is done.
        words: String,
    },
    /// Tell the user something.
    Say(Message),
    /// Look at connections; the answer comes as an action.
    Inspect(Request),
    /// Put the screen aside, until the shell has it in the foreground again.
    Suspend,
    /// Close the screen.
    Quit,
}

/// Carries out what is for the engine, one effect after the other, while the screen goes on: the engine may
/// take a while to answer.
#[derive(Debug)]
pub struct Effects {
    asked: mpsc::UnboundedSender<Effect>,
    said: mpsc::UnboundedReceiver<Action>,
}

impl Effects {
    /// For that engine.
    pub fn on(engine: Requests) -> Self {
        let (asked, mut effects) = mpsc::unbounded_channel();
        let (messages, said) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(effect) = effects.recv().await {
                let changed = match effect {
                    Effect::ChangeLimit { id, .. } => Some(id),
                    _ => None,
                };
                let Some(message) = apply(&engine, effect).await else {
                    continue;
                };
                let action = match changed {
                    Some(id) => Action::Changed(id, message),
                    None => Action::Said(message),
                };
                if messages.send(action).is_err() {
                    return;
                }
            }
        });
        Self { asked, said }
    }

    /// Has one carried out.
    pub fn carry_out(&self, effect: Effect) {
        // The task ends when we go, and not before.
        let _ = self.asked.send(effect);
    }

    /// What has come of the next one. Cancel safe.
    pub async fn done(&mut self) -> Action {
        match self.said.recv().await {
            Some(action) => action,
            None => std::future::pending().await,
        }
    }
}

async fn apply(engine: &Requests, effect: Effect) -> Option<Message> {
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
            .map(|()| format!("{who}: limit removed")),
        Effect::EditRules { edit, words } => match edit_rules(engine, edit).await {
            Ok(None) => Ok(words),
            Ok(Some(problem)) => return Some(problem),
            Err(error) => Err(error),
        },
        Effect::Keep { edit, ids, words } => match edit_rules(engine, edit).await {
            Ok(None) => remove(engine, &ids).await.map(|()| words),
            Ok(Some(problem)) => return Some(problem),
            Err(error) => Err(error),
        },
        Effect::Say(message) => return Some(message),
        Effect::Inspect(_) | Effect::Suspend | Effect::Quit => return None,
    };
    Some(match result {
        Ok(text) => Message { text, error: false },
        // Of several lines the first one.
        Err(error) => {
            let words = error.to_string();
            Message::error(words.lines().next().unwrap_or_default())
        }
    })
}

/// Changes the rules, and says what is wrong with their files where they stay as they were for that.
async fn edit_rules(engine: &Requests, edit: Edit) -> Result<Option<Message>, RequestError> {
    let problems = engine.edit_rules(edit).await?;
    let first = problems.first().and_then(|problem| problem.lines().next());
    Ok(first.map(|first| Message::error(format!("{first}: the rules stay as they were"))))
}

async fn change(
    engine: &Requests,
    id: LimitId,
    limit: Limit,
    children: Option<bool>,
) -> Result<(), RequestError> {
    engine.change_limit(id, limit).await?;
    if let Some(children) = children {
        engine.set_children(id, children).await?;
    }
    Ok(())
}

/// Removes them all; one that has ended by itself is no error.
async fn remove(engine: &Requests, ids: &[LimitId]) -> Result<(), RequestError> {
    let mut result = Ok(());
    for id in ids {
        match engine.remove_limit(*id).await {
            Ok(()) | Err(RequestError::NoLimit) => {}
            Err(error) => result = Err(error),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{io::AsyncWriteExt, net::UnixStream};

    use super::*;
    use crate::protocol::{Call, Frames, LONGEST_CALL, Method, Named, Reply, frame};

    #[tokio::test]
    async fn an_engine_that_takes_long_is_waited_for_in_order_and_holds_nobody_up() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (calls, mut replies) = theirs.into_split();
        let mut calls = Frames::new(calls, LONGEST_CALL);
        let mut effects = Effects::on(Requests::over(ours));
        for id in [1, 2] {
            effects.carry_out(Effect::RemoveLimits {
                ids: vec![LimitId(id)],
                who: format!("limit {id}"),
            });
        }
        for number in [1, 2] {
            let call = calls.next().await.unwrap().unwrap();
            let call: Call = serde_json::from_slice(&call).unwrap();
            let id = LimitId(number);
            assert_eq!(Method::of(&call), Ok(Method::RemoveLimit(Named { id })));
            let early = tokio::time::timeout(Duration::from_millis(20), effects.done());
            assert!(early.await.is_err(), "it has been said too early");
            let reply = frame(&Reply::of(serde_json::json!({}))).unwrap();
            replies.write_all(&reply).await.unwrap();
            let Action::Said(message) = effects.done().await else {
                panic!("another action");
            };
            assert_eq!(message.text, format!("limit {number}: limit removed"));
        }
    }
}
