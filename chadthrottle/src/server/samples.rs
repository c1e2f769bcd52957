//! Samples on their way to clients: put into words once, however many watch.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{access::Standing, origins::Peer};
use crate::{
    model::Snapshot,
    protocol::{Reply, frame},
};

/// The newest sample, and whoever waits for the next.
#[derive(Clone, Debug)]
pub struct Samples {
    newest: watch::Receiver<Option<Arc<Taken>>>,
    /// Who watches, where it does not see everything.
    of: Option<(u32, Standing)>,
}

/// A sample, and the reply with it, once somebody wants it.
#[derive(Debug)]
struct Taken {
    snapshot: Arc<Snapshot>,
    at: Instant,
    reply: OnceLock<Arc<[u8]>>,
    /// The same for each user who does not see everything.
    replies: Mutex<HashMap<u32, Arc<[u8]>>>,
}

/// Where samples come from.
#[derive(Debug)]
pub struct Newest(watch::Sender<Option<Arc<Taken>>>);

impl Newest {
    /// Gives everybody the newest one.
    pub fn send(&self, snapshot: Arc<Snapshot>) {
        self.0.send_replace(Some(Arc::new(Taken {
            snapshot,
            at: Instant::now(),
            reply: OnceLock::new(),
            replies: Mutex::default(),
        })));
    }
}

impl Samples {
    /// Samples, and where they come from.
    pub fn channel() -> (Newest, Self) {
        let (newest, samples) = watch::channel(None);
        let samples = Self {
            newest: samples,
            of: None,
        };
        (Newest(newest), samples)
    }

    /// The reply with the newest sample that was not given yet; `None` where the engine has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Arc<[u8]>> {
        loop {
            self.newest.changed().await.ok()?;
            let taken = self.newest.borrow_and_update().clone();
            let Some(taken) = taken else { continue };
            return Some(match self.of {
                Some((uid, standing)) if standing != Standing::All => {
                    taken.reply_for(uid, standing)
                }
                _ => Arc::clone(taken.reply.get_or_init(|| words(&taken.snapshot))),
            });
        }
    }

    /// The same for a client that has not been given any yet: the newest there is comes at once, unless it is older than
    /// that.
    pub fn with_newest(&self, peer: &Peer, oldest: Duration) -> Self {
        let mut newest = self.newest.clone();
        let at = newest.borrow_and_update().as_ref().map(|taken| taken.at);
        // Timers are late by milliseconds.
        if at.is_some_and(|at| at.elapsed() * 9 <= oldest * 10) {
            newest.mark_changed();
        }
        Self {
            newest,
            of: Some((peer.uid, peer.standing)),
        }
    }
}

impl Taken {
    fn reply_for(&self, uid: u32, standing: Standing) -> Arc<[u8]> {
        let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        let own = || words(&standing.sees(uid, &self.snapshot).unwrap_or_default());
        Arc::clone(replies.entry(uid).or_insert_with(own))
    }
}

fn words(snapshot: &Snapshot) -> Arc<[u8]> {
    #[derive(serde::Serialize)]
    struct Sample<'a> {
        sample: &'a Snapshot,
    }
    let reply = Reply {
        error: None,
        parameters: Sample { sample: snapshot },
        continues: true,
    };
    // Numbers and strings are always JSON.
    frame(&reply).unwrap_or_default().into()
}
