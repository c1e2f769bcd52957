//! Samples on their way to clients: put into words once, however many watch.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{access::Standing, origins::Peer};
use crate::{
    config::Others,
    model::Snapshot,
    protocol::{Reply, Watch, frame},
};

/// The newest sample, and whoever waits for the next.
#[derive(Clone, Debug)]
pub struct Samples {
    newest: watch::Receiver<Option<Arc<Taken>>>,
    /// Who watches, and what it asks for.
    of: Option<(u32, Standing, Watch)>,
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
            return Some(match &self.of {
                Some((uid, standing, asked)) if *asked != Watch::default() => {
                    words(&part(&taken.snapshot, *uid, *standing, asked))
                }
                Some((uid, standing, _)) if *standing != Standing::All => {
                    taken.reply_for(*uid, *standing)
                }
                _ => Arc::clone(taken.reply.get_or_init(|| words(&taken.snapshot))),
            });
        }
    }

    /// Waits until clients are given a sample later than the one of that number, or the engine has ended.
    pub async fn later_than(&self, sequence: u64) {
        let mut newest = self.newest.clone();
        let is_later = |taken: &Option<Arc<Taken>>| {
            let taken = taken.as_ref();
            taken.is_some_and(|taken| taken.snapshot.sequence > sequence)
        };
        let _ended = newest.wait_for(is_later).await;
    }

    /// The same for a client that has not been given any yet: the newest there is comes at once, unless it is older than
    /// that.
    pub fn with_newest(&self, peer: &Peer, asked: &Watch, oldest: Duration) -> Self {
        let mut newest = self.newest.clone();
        let at = newest.borrow_and_update().as_ref().map(|taken| taken.at);
        // Timers are late by milliseconds.
        if at.is_some_and(|at| at.elapsed() * 9 <= oldest * 10) {
            newest.mark_changed();
        }
        Self {
            newest,
            of: Some((
                peer.uid,
                peer.standing,
                Watch {
                    interval_ns: None,
                    ..asked.clone()
                },
            )),
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

/// What a client wants of a sample that it may see.
fn part(snapshot: &Snapshot, uid: u32, standing: Standing, asked: &Watch) -> Snapshot {
    let standing = match asked.own {
        Some(true) => Standing::Other(Others::Own),
        _ => standing,
    };
    let mut part = standing
        .sees(uid, snapshot)
        .unwrap_or_else(|| snapshot.clone());
    asked.cut(&mut part);
    part
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{ProcessSample, testing},
        protocol::Field,
    };

    #[test]
    fn a_client_gets_the_part_of_a_sample_that_it_asks_for() {
        let process = |pid, uid| ProcessSample {
            uid,
            ..testing::process(pid)
        };
        let snapshot = Snapshot {
            sequence: 4,
            processes: vec![process(7, 0), process(8, 1000)],
            limits: vec![testing::limit(1)],
            origins: vec![testing::origin(1)],
            ..Snapshot::default()
        };
        let of = |own, fields| {
            let asked = Watch {
                own,
                fields,
                ..Watch::default()
            };
            let part = part(&snapshot, 0, Standing::All, &asked);
            let pids: Vec<u32> = part.processes.iter().map(|it| it.key.pid).collect();
            (part.sequence, pids, part.limits.len(), part.origins.len())
        };
        assert_eq!(of(None, None), (4, vec![7, 8], 1, 1));
        assert_eq!(of(Some(true), None), (4, vec![7], 1, 1));
        let limits = Some(vec![Field::Limits]);
        assert_eq!(of(None, limits), (4, vec![], 1, 0));
        let processes = Some(vec![Field::Processes]);
        assert_eq!(of(Some(true), processes), (4, vec![7], 0, 0));
    }
}
