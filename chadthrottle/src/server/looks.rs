//! Looks that take long, or may hang: a few at a time, each on a thread of its own, and waited for just a while.

use std::{sync::Arc, thread, time::Duration};

use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};

use super::access::Standing;
use crate::protocol::RequestError;

/// So many at a time, of root and its group, and of all others. Those that hang keep their place.
const AT_A_TIME: usize = 4;

/// How long a client waits for its look, and for a place.
const PATIENCE: Duration = Duration::from_secs(2);

/// Places for looks.
#[derive(Debug)]
pub struct Looks {
    of_all: Arc<Semaphore>,
    of_others: Arc<Semaphore>,
}

impl Default for Looks {
    fn default() -> Self {
        let places = || Arc::new(Semaphore::new(AT_A_TIME));
        Self {
            of_all: places(),
            of_others: places(),
        }
    }
}

impl Looks {
    /// Looks for a client of that standing.
    ///
    /// # Errors
    /// Where it takes too long.
    pub async fn look<T: Send + 'static>(
        &self,
        standing: Standing,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, RequestError> {
        self.look_for(PATIENCE, standing, look).await
    }

    async fn look_for<T: Send + 'static>(
        &self,
        patience: Duration,
        standing: Standing,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, RequestError> {
        let places = match standing {
            Standing::All => &self.of_all,
            Standing::Other(_) => &self.of_others,
        };
        let failed = |message: &str| RequestError::Failed {
            message: message.to_owned(),
            exit_code: 1,
        };
        let place = timeout(patience, Arc::clone(places).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            return Err(failed("others look already, and take long"));
        };
        let (seen, answer) = oneshot::channel();
        let started = thread::Builder::new()
            .name("look".to_owned())
            .spawn(move || {
                // Whoever asked may have gone.
                let _ = seen.send(look());
                drop(place);
            });
        started.map_err(|error| failed(&format!("starting a thread: {error}")))?;
        match timeout(patience, answer).await {
            Ok(Ok(seen)) => Ok(seen),
            _ => Err(failed(
                "looking takes too long: some program hangs in the kernel",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Others;
    use std::sync::mpsc;

    #[tokio::test]
    async fn looks_that_hang_keep_only_those_of_the_same_standing_waiting() {
        let looks = Looks::default();
        let mut hanging = Vec::new();
        let others = Standing::Other(Others::Own);
        let soon = Duration::from_millis(20);
        for _ in 0..AT_A_TIME {
            let (end, hang) = mpsc::channel::<()>();
            hanging.push(end);
            let result = looks.look_for(soon, others, move || hang.recv().is_ok());
            let result = result.await;
            assert!(result.unwrap_err().to_string().contains("hangs"));
        }
        let result = looks.look_for(soon, others, || ()).await;
        assert!(result.unwrap_err().to_string().contains("others look"));
        assert_eq!(looks.look(Standing::All, || 7).await, Ok(7));
        hanging.clear();
        assert_eq!(looks.look(others, || 8).await, Ok(8));
    }
}
