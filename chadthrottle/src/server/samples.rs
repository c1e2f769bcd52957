//! Samples on their way to clients: put into words once, however many watch.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use crate::{
    model::Snapshot,
    protocol::{Reply, frame},
};

/// The newest sample, and whoever waits for the next.
#[derive(Clone, Debug)]
pub struct Samples(watch::Receiver<Option<Arc<Taken>>>);

/// A sample, and the reply with it, once somebody wants it.
#[derive(Debug)]
struct Taken {
    snapshot: Arc<Snapshot>,
    reply: OnceLock<Arc<[u8]>>,
}

/// Where samples come from.
#[derive(Debug)]
pub struct Newest(watch::Sender<Option<Arc<Taken>>>);

impl Newest {
    /// Gives everybody the newest one.
    pub fn send(&self, snapshot: Arc<Snapshot>) {
        self.0.send_replace(Some(Arc::new(Taken {
            snapshot,
            reply: OnceLock::new(),
        })));
    }
}

impl Samples {
    /// Samples, and where they come from.
    pub fn channel() -> (Newest, Self) {
        let (newest, samples) = watch::channel(None);
        (Newest(newest), Self(samples))
    }

    /// The reply with the newest sample that was not given yet; `None` where the engine has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Arc<[u8]>> {
        loop {
            self.0.changed().await.ok()?;
            let taken = self.0.borrow_and_update().clone();
            if let Some(taken) = taken {
                return Some(Arc::clone(taken.reply.get_or_init(|| taken.words())));
            }
        }
    }

    /// The number of the newest sample; 0 where there is none.
    pub fn sequence(&self) -> u64 {
        let taken = self.0.borrow();
        taken.as_ref().map_or(0, |taken| taken.snapshot.sequence)
    }

    /// The same for who has not been given any yet: the newest there is comes at once.
    pub fn with_newest(&self) -> Self {
        let mut samples = self.0.clone();
        samples.mark_changed();
        Self(samples)
    }
}

impl Taken {
    fn words(&self) -> Arc<[u8]> {
        #[derive(serde::Serialize)]
        struct Sample<'a> {
            sample: &'a Snapshot,
        }
        let reply = Reply {
            error: None,
            parameters: Sample {
                sample: &self.snapshot,
            },
            continues: true,
        };
        // Numbers and strings are always JSON.
        frame(&reply).unwrap_or_default().into()
    }
}
