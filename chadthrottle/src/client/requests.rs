//! Requests to the engine, one after the other on one connection.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::de::DeserializeOwned;
use tokio::{
    io::AsyncWriteExt,
    net::UnixStream,
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{gone, own::Own};
use crate::{
    model::{Carried, Limit, LimitId, ProcessKey, Snapshot},
    process::{Seen, Targets, key_of},
    protocol::{
        ChangeLimit, EditRules, Edited, Examined, Frames, History, Info, LONGEST_REPLY, Left,
        Limited, Method, Named, OfProcesses, Reloaded, Reply, RequestError, SetChildren, SetLimit,
        TakeRulesBack, Unmatched, frame,
    },
    rules::edit::Edit,
};

/// How long an engine may take to answer. One that is well does within a second: it waits for /proc for a quarter of
/// one.
const PATIENCE: Duration = Duration::from_secs(5);

/// Requests to an engine. Clones share the connection, to which the limits that they set belong.
#[derive(Clone, Debug)]
pub struct Requests {
    shared: Arc<Shared>,
    /// How long an answer is waited for; `None`: for as long as the connection lasts.
    patience: Option<Duration>,
}

#[derive(Debug)]
struct Shared {
    /// To the connection, which is another one when the engine is.
    orders: Mutex<mpsc::UnboundedSender<Order>>,
    own: Mutex<Own>,
}

/// What the connection is wanted for.
#[derive(Debug)]
enum Order {
    Ask(Request),
    /// To be closed; heard of when the engine has.
    End(oneshot::Sender<Left>),
}

/// A call, and where its answer goes.
#[derive(Debug)]
struct Request {
    call: Vec<u8>,
    answer: oneshot::Sender<Result<Reply, RequestError>>,
}

impl Requests {
    /// Asks over that connection, on the runtime that this is called on.
    pub fn over(engine: UnixStream) -> Self {
        let (requests, waiting) = mpsc::unbounded_channel();
        tokio::spawn(carry(engine, waiting));
        let shared = Shared {
            orders: Mutex::new(requests),
            own: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            patience: Some(PATIENCE),
        }
    }

    /// The same for who can wait: an engine that was too slow to answer in time has done what it was asked for all the
    /// same, and who has not heard its answer does not know what.
    pub fn patient(&self) -> Self {
        Self {
            patience: None,
            ..self.clone()
        }
    }

    /// Goes over to the connection of others, and sets our limits again there. Gives their names of before, with those
    /// that they have now; one that cannot be set again, as where its processes have ended, has none. Where it is broken
    /// off, nothing is lost: it may be done again.
    pub async fn move_to(&self, others: &Self) -> Vec<(LimitId, Option<Limited>)> {
        let orders = lock(&others.shared.orders).clone();
        *lock(&self.shared.orders) = orders;
        let before = lock(&self.shared.own).again();
        let mut now = Own::default();
        let mut names = Vec::new();
        for (id, limit) in before {
            let Some(mut limit) = limit else {
                names.push((id, None));
                continue;
            };
            living(&mut limit.targets.processes);
            let method = Method::SetLimit(limit.clone());
            match self.ask::<Limited>(&method).await {
                Ok(set) => {
                    now.add(limit, set);
                    names.push((id, Some(set)));
                }
                Err(error) => {
                    log::info!("a limit that is not set again: {error}");
                    names.push((id, None));
                }
            }
        }
        *lock(&self.shared.own) = now;
        names
    }

    /// Forgets limits that have ended.
    pub(super) fn look(&self, snapshot: &Snapshot) {
        lock(&self.shared.own).look(snapshot);
    }

    /// Who the engine is.
    ///
    /// # Errors
    /// Where it has gone.
    pub async fn info(&self) -> Result<Info, RequestError> {
        self.ask(&Method::GetInfo).await
    }

    /// Sets a limit for the targets, which share it.
    ///
    /// # Errors
    /// Where there is no room for it, or nobody who could be limited.
    pub async fn set_limit(&self, targets: Targets, limit: Limit) -> Result<Limited, RequestError> {
        self.set(SetLimit {
            targets,
            limit,
            for_ns: None,
            detach: false,
        })
        .await
    }

    /// The same for a limit that may end by itself, or go on without us.
    ///
    /// # Errors
    /// As [`Requests::set_limit`].
    pub async fn set(&self, limit: SetLimit) -> Result<Limited, RequestError> {
        let set: Limited = self.ask(&Method::SetLimit(limit.clone())).await?;
        lock(&self.shared.own).add(limit, set);
        Ok(set)
    }

    /// Changes a limit for all its members.
    ///
    /// # Errors
    /// [`RequestError::NoLimit`] where it is not set any more.
    pub async fn change_limit(&self, id: LimitId, limit: Limit) -> Result<(), RequestError> {
        self.tell(&Method::ChangeLimit(ChangeLimit { id, limit }))
            .await?;
        lock(&self.shared.own).change(id, limit);
        Ok(())
    }

    /// Has a limit hold for what its members start too, or no longer. It has another name from now on.
    ///
    /// # Errors
    /// [`RequestError::NoLimit`] where it is not set any more.
    pub async fn set_children(&self, id: LimitId, children: bool) -> Result<Limited, RequestError> {
        let method = Method::SetChildren(SetChildren { id, children });
        let now = self.ask(&method).await?;
        lock(&self.shared.own).set_children(id, children, now);
        Ok(now)
    }

    /// What a limit's members have carried so far.
    ///
    /// # Errors
    /// [`RequestError::NoLimit`] where it is not set any more.
    pub async fn carried(&self, id: LimitId) -> Result<Carried, RequestError> {
        self.ask(&Method::GetCarried(Named { id })).await
    }

    /// What to say of a limit's selectors that match nothing now.
    ///
    /// # Errors
    /// [`RequestError::NoLimit`] where it is not set any more.
    pub async fn unmatched(&self, id: LimitId) -> Result<Vec<String>, RequestError> {
        let Unmatched { words } = self.ask(&Method::GetUnmatched(Named { id })).await?;
        Ok(words)
    }

    /// The connections of these processes.
    ///
    /// # Errors
    /// Where they are not all the client's to look into.
    pub async fn connections(&self, processes: Vec<ProcessKey>) -> Result<Seen, RequestError> {
        self.ask(&Method::GetConnections(OfProcesses { processes }))
            .await
    }

    /// What was carried in the last quarter of an hour.
    ///
    /// # Errors
    /// Where the engine has gone.
    pub async fn history(&self) -> Result<History, RequestError> {
        self.ask(&Method::GetHistory).await
    }

    /// What the machine can do, as the engine sees it.
    ///
    /// # Errors
    /// Where the engine has gone.
    pub async fn examine(&self) -> Result<Examined, RequestError> {
        self.ask(&Method::Doctor).await
    }

    /// Changes the rules, and has them hold. Gives by which number that is taken back, and what is wrong with the files,
    /// where the rules in force stay as they were for that.
    ///
    /// # Errors
    /// Where the change cannot be made.
    pub async fn edit_rules(&self, edit: Edit) -> Result<Edited, RequestError> {
        self.ask(&Method::EditRules(EditRules { edit })).await
    }

    /// Takes a change of the rules back. Gives what is wrong with the files, as [`Requests::edit_rules`] does.
    ///
    /// # Errors
    /// [`RequestError::NoChange`] where it is not known any more, or is another thing by now.
    pub async fn take_rules_back(&self, change: u64) -> Result<Vec<String>, RequestError> {
        let back = Method::TakeRulesBack(TakeRulesBack { change });
        let Reloaded { problems } = self.ask(&back).await?;
        Ok(problems)
    }

    /// Has the engine read the rules anew. Gives what is wrong with the files, as [`Requests::edit_rules`] does.
    ///
    /// # Errors
    /// Where it is not the client's to do.
    pub async fn reload_rules(&self) -> Result<Vec<String>, RequestError> {
        let Reloaded { problems } = self.ask(&Method::ReloadRules).await?;
        Ok(problems)
    }

    /// Removes a limit.
    ///
    /// # Errors
    /// [`RequestError::NoLimit`] where it is not set any more.
    pub async fn remove_limit(&self, id: LimitId) -> Result<(), RequestError> {
        let result = self.tell(&Method::RemoveLimit(Named { id })).await;
        if matches!(result, Ok(()) | Err(RequestError::NoLimit)) {
            lock(&self.shared.own).remove(id);
        }
        result
    }

    /// Closes the connection, and waits until the engine has ended all limits that belong to it, and itself where that
    /// was its last. Gives what there is to say of that.
    pub async fn end(&self) -> Left {
        let (ended, receiver) = oneshot::channel();
        if lock(&self.shared.orders).send(Order::End(ended)).is_err() {
            return Left::default();
        }
        // Where the engine has gone, there is nothing to wait for.
        receiver.await.unwrap_or_default()
    }

    async fn tell(&self, method: &Method) -> Result<(), RequestError> {
        self.ask::<serde_json::Value>(method).await.map(drop)
    }

    async fn ask<T: DeserializeOwned>(&self, method: &Method) -> Result<T, RequestError> {
        let call = method.call().and_then(|call| frame(&call));
        let call = call.map_err(|error| RequestError::NotUnderstood(error.to_string()))?;
        let (answer, receiver) = oneshot::channel();
        let request = Request { call, answer };
        let order = Order::Ask(request);
        let sent = lock(&self.shared.orders).send(order);
        sent.map_err(|_| RequestError::Gone)?;
        let reply = match self.patience {
            None => receiver.await,
            Some(patience) => {
                let reply = timeout(patience, receiver).await;
                reply.map_err(|_| RequestError::Silent)?
            }
        };
        reply.map_err(|_| RequestError::Gone)??.read()
    }
}

/// Leaves processes out that have ended, which would keep the others from the limit. Where all have, what they have
/// started may be left, of which the engine knows.
pub fn living(processes: &mut Vec<ProcessKey>) {
    let lives = |key: &ProcessKey| key_of(Path::new("/proc"), key.pid) == Some(*key);
    if processes.iter().any(lives) {
        processes.retain(lives);
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Carries requests to the engine, and its answers back, until nobody can ask any more. An answer that nobody waits for
/// any more is read all the same: the next one comes behind it.
async fn carry(engine: UnixStream, mut waiting: mpsc::UnboundedReceiver<Order>) {
    let (from, mut to) = engine.into_split();
    let mut replies = Frames::new(from, LONGEST_REPLY);
    while let Some(order) = waiting.recv().await {
        let Request { call, answer } = match order {
            Order::Ask(request) => request,
            Order::End(ended) => {
                let call = Method::Leave.call().and_then(|call| frame(&call));
                let mut left = Left::default();
                if to.write_all(&call.unwrap_or_default()).await.is_ok() {
                    if let Ok(Some(message)) = replies.next().await
                        && let Ok(reply) = serde_json::from_slice::<Reply<Left>>(&message)
                    {
                        left = reply.parameters;
                    }
                    // It closes its end when it has cleared up behind us.
                    while let Ok(Some(_)) = replies.next().await {}
                }
                let _ = ended.send(left);
                return;
            }
        };
        let reply = async {
            to.write_all(&call).await.map_err(|error| gone(&error))?;
            let message = replies.next().await.map_err(|error| gone(&error))?;
            let message = message.ok_or(RequestError::Gone)?;
            serde_json::from_slice(&message)
                .map_err(|error| RequestError::NotUnderstood(format!("us ({error})")))
        };
        let reply = reply.await;
        let is_gone = reply.is_err();
        let _ = answer.send(reply);
        if is_gone {
            return;
        }
    }
}
