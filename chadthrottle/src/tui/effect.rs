//! What the screen asks of the engine, carried out in one place.

use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use super::{changes::Answer, inspect::Request, state::Message};
use crate::{
    client::{Requests, living},
    model::{Limit, LimitId, ProcessKey},
    process::{Selector, Targets},
    protocol::{Limited, RequestError, SetLimit},
    rules::edit::Edit,
    text::escape,
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
    /// Have the rules be as they were: each change only where the one before was made.
    RestoreRules {
        /// How.
        edits: Vec<Edit>,
        /// What to say when it is done.
        words: String,
    },
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
            | Self::RestoreRules { .. }
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
            Self::EditRules { .. }
            | Self::RestoreRules { .. }
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
            Self::SetAgain { limits, who } => match limits.as_slice() {
                [one] => format!("{who}: limit is back: {}", one.limit),
                several => format!("{who}: {} limits are back", several.len()),
            },
            Self::EditRules { words, .. }
            | Self::RestoreRules { words, .. }
            | Self::Keep { words, .. } => words.clone(),
            Self::Say(message) => message.text.clone(),
            Self::Inspect(_) | Self::AskPast | Self::Suspend | Self::Quit => String::new(),
        }
    }
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
                let action = match effect {
                    Effect::Say(message) => Action::Said(message),
                    Effect::AskPast => {
                        let past = engine.history().await;
                        let said = |error: &_| log::info!("asking for the past: {error}");
                        Action::Past(past.inspect_err(said).unwrap_or_default())
                    }
                    effect if effect.is_for_engine() => {
                        Action::Answered(answer(&engine, effect).await)
                    }
                    _ => continue,
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

/// Limits that an effect has set or renamed.
#[derive(Default)]
struct Names {
    set: Option<LimitId>,
    renamed: Vec<(LimitId, LimitId)>,
}

/// Has the engine do it, and gives its answer.
async fn answer(engine: &Requests, effect: Effect) -> Answer {
    let words = effect.words();
    let mut names = Names::default();
    let message = match apply(engine, effect, &mut names).await {
        Ok(None) => Message {
            text: words,
            error: false,
        },
        Ok(Some(problem)) => problem,
        Err(error) => Message::error(safe(&error.to_string())),
    };
    Answer {
        message,
        set: names.set,
        renamed: names.renamed,
    }
}

async fn apply(
    engine: &Requests,
    effect: Effect,
    names: &mut Names,
) -> Result<Option<Message>, RequestError> {
    match effect {
        Effect::SetLimit { targets, limit, .. } => {
            let Limited { id, .. } = engine.set_limit(targets, limit).await?;
            names.set = Some(id);
        }
        Effect::ChangeLimit {
            id,
            limit,
            children,
            ..
        } => {
            engine.change_limit(id, limit).await?;
            if let Some(children) = children {
                let now = engine.set_children(id, children).await?;
                names.renamed.push((id, now.id));
            }
        }
        Effect::RemoveLimits { ids, .. } => remove(engine, &ids).await?,
        Effect::SetAgain { limits, .. } => {
            for former in limits {
                let id = former.id;
                let Limited { id: now, .. } = engine.set(former.again()).await?;
                names.renamed.push((id, now));
            }
        }
        Effect::EditRules { edit, .. } => return edit_rules(engine, edit).await,
        Effect::RestoreRules { edits, .. } => {
            for edit in edits {
                if let Some(problem) = edit_rules(engine, edit).await? {
                    return Ok(Some(problem));
                }
            }
        }
        Effect::Keep { edit, ids, .. } => {
            if let Some(problem) = edit_rules(engine, edit).await? {
                return Ok(Some(problem));
            }
            remove(engine, &ids).await?;
        }
        Effect::Say(_) | Effect::Inspect(_) | Effect::AskPast | Effect::Suspend | Effect::Quit => {}
    }
    Ok(None)
}

impl Former {
    /// What sets it again: for those that it held and live, and for all that its selectors match; for as long as it
    /// had left.
    fn again(mut self) -> SetLimit {
        living(&mut self.processes);
        // Ids of processes are in the samples, with what tells them from those that had the same id.
        let is_id = |target: &&String| target.parse::<u32>().is_ok();
        let selectors = self.targets.iter().filter(|target| !is_id(target));
        let selectors = selectors.filter_map(|target| Selector::unasked(target).ok());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let left = |until| Duration::from_nanos(until).saturating_sub(now.unwrap_or_default());
        SetLimit {
            targets: Targets {
                processes: self.processes,
                selectors: selectors.collect(),
                children: self.children,
                ..Targets::default()
            },
            limit: self.limit,
            for_ns: self.until_ns.map(|until| {
                u64::try_from(left(until).as_nanos())
                    .unwrap_or(u64::MAX)
                    .max(1)
            }),
            detach: self.detached,
        }
    }
}

/// Changes the rules, and says what is wrong with their files where they stay as they were for that.
async fn edit_rules(engine: &Requests, edit: Edit) -> Result<Option<Message>, RequestError> {
    let problems = engine.edit_rules(edit).await?;
    let first = problems.first().and_then(|problem| problem.lines().next());
    Ok(first.map(|first| {
        let others = match problems.len() {
            1 => String::new(),
            several => format!(", and {} more problems", several - 1),
        };
        Message::error(safe(&format!(
            "{first}{others}: the rules stay as they were"
        )))
    }))
}

/// A text from the engine, which may quote anything, in its lines.
fn safe(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(escape).collect();
    lines.join("\n")
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
                are_blocks: false,
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
            let Action::Answered(answer) = effects.done().await else {
                panic!("another action");
            };
            assert_eq!(
                answer.message.text,
                format!("limit {number}: limit removed")
            );
        }
    }

    #[tokio::test]
    async fn a_rule_that_does_not_come_back_is_not_moved() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (calls, mut replies) = theirs.into_split();
        let mut calls = Frames::new(calls, LONGEST_CALL);
        let mut effects = Effects::on(Requests::over(ours));
        let [remove, move_it] = [
            Edit::Remove {
                name: "a".to_owned(),
            },
            Edit::Move {
                name: "a".to_owned(),
                to: 1,
            },
        ];
        effects.carry_out(Effect::RestoreRules {
            edits: vec![remove, move_it],
            words: String::new(),
        });
        effects.carry_out(Effect::RemoveLimits {
            ids: vec![LimitId(1)],
            who: "next".to_owned(),
            are_blocks: false,
        });
        calls.next().await.unwrap().unwrap();
        let problems = serde_json::json!({ "problems": ["rules.toml: it is so"] });
        let reply = frame(&Reply::of(problems)).unwrap();
        replies.write_all(&reply).await.unwrap();
        let Action::Answered(answer) = effects.done().await else {
            panic!("another action");
        };
        assert!(answer.message.error, "{answer:?}");
        let call = calls.next().await.unwrap().unwrap();
        let call: Call = serde_json::from_slice(&call).unwrap();
        let id = LimitId(1);
        assert_eq!(Method::of(&call), Ok(Method::RemoveLimit(Named { id })));
    }
}
