//! What is asked of the engine, carried out in one place.

use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use super::{
    changes::Answer,
    effect::{Effect, Former},
    rulebook,
    state::Message,
    update::Action,
};
use crate::{
    client::{Requests, living},
    model::LimitId,
    process::{Selector, Targets},
    protocol::{Edited, Limited, RequestError, SetLimit},
    rules::edit::Edit,
    text::escape,
};

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

/// Has the engine do it, and gives its answer.
async fn answer(engine: &Requests, effect: Effect) -> Answer {
    let words = effect.words();
    let mut answer = Answer::of(Message {
        text: words,
        error: false,
    });
    match apply(engine, effect, &mut answer).await {
        Ok(()) => {}
        Err(error) => {
            answer.is_over = matches!(error, RequestError::NoChange(_));
            answer.message = Message::error(safe(&error.to_string()));
        }
    }
    answer
}

/// Has the engine do it, and puts into the answer what there is to say beside that it is done.
async fn apply(engine: &Requests, effect: Effect, answer: &mut Answer) -> Result<(), RequestError> {
    match effect {
        Effect::SetLimit { targets, limit, .. } => {
            let Limited { id, .. } = engine.set_limit(targets, limit).await?;
            answer.set = Some(id);
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
                answer.renamed.push((id, now.id));
            }
        }
        Effect::RemoveLimits { ids, .. } => remove(engine, &ids).await?,
        Effect::SetAgain { limits, .. } => set_again(engine, limits, answer).await?,
        Effect::EditRules { edit, .. } => edit_rules(engine, edit, answer).await?,
        Effect::TakeRulesBack { change, back } => {
            // The limits first: nobody is to be free in between.
            set_again(engine, back.limits, answer).await?;
            match engine.take_rules_back(change).await {
                Ok(problems) => {
                    answer.is_over = true;
                    say_problems(&problems, answer);
                }
                Err(error) => {
                    // The rule holds on, and stands alone again.
                    let set: Vec<LimitId> = answer.renamed.drain(..).map(|(_, now)| now).collect();
                    remove(engine, &set).await?;
                    return Err(error);
                }
            }
        }
        Effect::ReloadRules => say_problems(&engine.reload_rules().await?, answer),
        Effect::Keep { edit, ids, .. } => {
            edit_rules(engine, edit, answer).await?;
            if !answer.message.error {
                remove(engine, &ids).await?;
            }
        }
        Effect::Say(_) | Effect::Inspect(_) | Effect::AskPast | Effect::Suspend | Effect::Quit => {}
    }
    Ok(())
}

async fn set_again(
    engine: &Requests,
    limits: Vec<Former>,
    answer: &mut Answer,
) -> Result<(), RequestError> {
    for former in limits {
        let id = former.id;
        let Limited { id: now, .. } = engine.set(former.again()).await?;
        answer.renamed.push((id, now));
    }
    Ok(())
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

/// Changes the rules, and says so where nothing was to be changed.
async fn edit_rules(
    engine: &Requests,
    edit: Edit,
    answer: &mut Answer,
) -> Result<(), RequestError> {
    let already = match &edit {
        Edit::Profile { name } => Some(rulebook::profile_already(name.as_deref())),
        _ => None,
    };
    let Edited { problems, change } = engine.edit_rules(edit).await?;
    answer.change = change;
    if let (None, Some(already)) = (change, already) {
        answer.message.text = already;
    }
    say_problems(&problems, answer);
    Ok(())
}

/// Says what is wrong with the files of rules, where these stay as they were for that.
fn say_problems(problems: &[String], answer: &mut Answer) {
    let Some(first) = problems.first().and_then(|problem| problem.lines().next()) else {
        return;
    };
    let others = match problems.len() {
        1 => String::new(),
        several => format!(", and {} more problems", several - 1),
    };
    answer.message = Message::error(safe(&format!(
        "{first}{others}: the rules stay as they were"
    )));
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
    use crate::{
        model::Limit,
        protocol::{Call, Frames, LONGEST_CALL, Method, Named, Reply, TakeRulesBack, frame},
        tui::rules_back::RulesBack,
    };

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

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_is_set_late_can_be_taken_back_all_the_same() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (calls, mut replies) = theirs.into_split();
        let mut calls = Frames::new(calls, LONGEST_CALL);
        let mut effects = Effects::on(Requests::over(ours).patient());
        effects.carry_out(Effect::SetLimit {
            targets: Targets::default(),
            limit: Limit::NONE,
            who: "curl".to_owned(),
        });
        calls.next().await.unwrap().unwrap();
        let minute = tokio::time::timeout(Duration::from_secs(60), effects.done());
        assert!(minute.await.is_err(), "nothing has been answered");
        let set = serde_json::json!({"id": 7, "sequence": 1});
        replies
            .write_all(&frame(&Reply::of(set)).unwrap())
            .await
            .unwrap();
        let Action::Answered(answer) = effects.done().await else {
            panic!("another action");
        };
        assert_eq!(answer.set, Some(LimitId(7)), "{answer:?}");
    }

    /// Answers the calls of one effect, and gives them and what it comes to.
    async fn exchange(effect: Effect, replies: Vec<Reply>) -> (Vec<Method>, Answer) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (calls, mut to) = theirs.into_split();
        let mut calls = Frames::new(calls, LONGEST_CALL);
        let mut effects = Effects::on(Requests::over(ours));
        effects.carry_out(effect);
        let mut methods = Vec::new();
        for reply in replies {
            let call = calls.next().await.unwrap().unwrap();
            let call: Call = serde_json::from_slice(&call).unwrap();
            methods.push(Method::of(&call).unwrap());
            to.write_all(&frame(&reply).unwrap()).await.unwrap();
        }
        match effects.done().await {
            Action::Answered(answer) => (methods, answer),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn of_a_kept_limit_that_is_not_to_be_taken_back_the_rule_stands_alone_again() {
        let back = RulesBack {
            rule: Some("a".to_owned()),
            limits: vec![Former {
                id: LimitId(1),
                limit: Limit::NONE,
                processes: Vec::new(),
                targets: Vec::new(),
                children: true,
                detached: false,
                until_ns: None,
            }],
            who: "a".to_owned(),
            words: "a is back".to_owned(),
        };
        let is_set = Reply::of(serde_json::json!({ "id": 2, "sequence": 1 }));
        let done = Reply::of(serde_json::json!({ "problems": [] }));
        let change = 7;
        let effect = Effect::TakeRulesBack {
            change,
            back: back.clone(),
        };
        let (_, answer) = exchange(effect, vec![is_set.clone(), done]).await;
        assert_eq!(answer.message.text, "a is back");
        assert_eq!(answer.renamed, [(LimitId(1), LimitId(2))]);
        let refused = Reply::refusal(&RequestError::NoChange("it is another".to_owned()));
        let gone = Reply::of(serde_json::json!({}));
        let effect = Effect::TakeRulesBack { change, back };
        let (calls, answer) = exchange(effect, vec![is_set, refused, gone]).await;
        let id = LimitId(2);
        assert_eq!(
            &calls[1..],
            [
                Method::TakeRulesBack(TakeRulesBack { change }),
                Method::RemoveLimit(Named { id })
            ]
        );
        assert!(answer.message.error && answer.is_over, "{answer:?}");
        assert_eq!(answer.renamed, []);
    }

    #[tokio::test]
    async fn a_profile_that_is_on_already_is_no_change() {
        for (name, words) in [
            (Some("hotel"), "profile hotel is on already"),
            (None, "no profile is on"),
        ] {
            let effect = rulebook::switch_to(name.map(str::to_owned));
            let unchanged = Reply::of(serde_json::json!({ "problems": [] }));
            let (_, answer) = exchange(effect, vec![unchanged]).await;
            assert_eq!(answer.message.text, words);
            assert_eq!((answer.message.error, answer.change), (false, None));
        }
    }
}
