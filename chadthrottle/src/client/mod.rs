//! The client's side of the socket: what every command and the screen ask the engine through.

mod own;
mod pace;
mod requests;

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::AsyncWriteExt,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::{
    model::{EngineInfo, LimitId, Snapshot},
    protocol::{
        Field, Frames, Info, LONGEST_REPLY, Left, Limited, Method, Reply, RequestError, Sample,
        Watch, frame,
    },
};
use pace::Pace;
pub use requests::{Requests, living};

/// An engine, as its client has it: one connection for requests, to which limits belong, and one for samples.
#[derive(Debug)]
pub struct Client {
    info: Info,
    requests: Requests,
    samples: Frames<OwnedReadHalf>,
    pace: Pace,
    /// The engine takes its end for ours.
    watching: OwnedWriteHalf,
}

impl Client {
    /// Introduces itself over two connections to the same engine, and asks for these lists of its samples; for all where
    /// none are given.
    ///
    /// # Errors
    /// Where the engine has gone, or is of another version.
    pub async fn over(
        requests: UnixStream,
        samples: UnixStream,
        interval: Duration,
        fields: Option<Vec<Field>>,
    ) -> Result<Self, RequestError> {
        let requests = Requests::over(requests);
        let info = requests.info().await?;
        let (from, mut to) = samples.into_split();
        let interval_ns = u64::try_from(interval.as_nanos()).ok();
        let watch = Watch {
            interval_ns,
            own: None,
            fields,
        };
        let watch = Method::Watch(watch).call();
        let call = watch.and_then(|call| frame(&call)).unwrap_or_default();
        to.write_all(&call).await.map_err(|error| gone(&error))?;
        Ok(Self {
            info,
            requests,
            samples: Frames::new(from, LONGEST_REPLY),
            pace: Pace::of(interval),
            watching: to,
        })
    }

    /// Goes over to another engine, and sets our limits again there. Gives their names of before, with those that they
    /// have now, if they could be set.
    pub async fn move_to(&mut self, next: Self) -> Vec<(LimitId, Option<Limited>)> {
        let Self {
            info,
            requests,
            samples,
            pace,
            watching,
        } = next;
        let names = self.requests.move_to(&requests).await;
        *self = Self {
            info,
            requests: self.requests.clone(),
            samples,
            pace,
            watching,
        };
        names
    }

    /// Whether the engine ends with its last client.
    pub fn is_until_idle(&self) -> bool {
        self.info.until_idle
    }

    /// What the engine found out about the machine.
    pub fn info(&self) -> &EngineInfo {
        &self.info.engine
    }

    /// What to ask it through, for as long as it runs.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// The next sample; `None` when the engine has ended. Cancel safe.
    pub async fn next_snapshot(&mut self) -> Option<Arc<Snapshot>> {
        loop {
            let snapshot = self.next_of_engine().await?;
            self.requests.look(&snapshot);
            if let Some(snapshot) = self.pace.next(snapshot) {
                return Some(Arc::new(snapshot));
            }
        }
    }

    /// Leaves the engine, and waits until it has ended all that belongs to us; where it ends with its last client, and
    /// that is us, until it has.
    ///
    /// Gives what there is to say of that.
    pub async fn close(self) -> Left {
        let Self {
            requests,
            mut samples,
            mut watching,
            ..
        } = self;
        // First: so the other one is the last.
        if watching.shutdown().await.is_ok() {
            while let Ok(Some(_)) = samples.next().await {}
        }
        requests.end().await
    }

    /// A sample that was begun after this was called, with rates over our interval; `None` when the engine has ended.
    pub async fn sample(&mut self) -> Option<Arc<Snapshot>> {
        // The first comes at once, and was taken up to an interval ago.
        self.next_snapshot().await?;
        self.next_snapshot().await
    }

    /// The next one that the engine takes, which may be for somebody else.
    async fn next_of_engine(&mut self) -> Option<Snapshot> {
        let message = match self.samples.next().await {
            Ok(message) => message?,
            Err(error) => {
                log::warn!("reading samples: {error}");
                return None;
            }
        };
        match serde_json::from_slice::<Reply<Sample>>(&message) {
            Ok(reply) => Some(reply.parameters.sample),
            Err(error) => {
                log::warn!("a sample that is not understood: {error}");
                None
            }
        }
    }
}

/// Whatever fails between us and an engine, it is not there any more.
fn gone(error: &io::Error) -> RequestError {
    log::debug!("the engine's socket: {error}");
    RequestError::Gone
}
