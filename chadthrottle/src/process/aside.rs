//! Questions that may never be answered, asked on threads of their own: a process that hangs in the
//! kernel keeps its command line to itself, and a directory service may keep silent.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    hash::Hash,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

/// A question that takes longer is passed over: the next ones go to another thread.
const PATIENCE: Duration = Duration::from_millis(50);

/// All questions together are waited for no longer.
const LONGEST_WAIT: Duration = Duration::from_millis(150);

/// Where so many hang, later questions wait until one comes back.
const MOST_THREADS: usize = 64;

/// Stack of a thread, in bytes: name services are other people's libraries.
const STACK: usize = 512 * 1024;

type Work<Q, A> = dyn Fn(&Q) -> A + Send + Sync;

/// Threads that answer questions, as many as it takes to pass over those that hang.
pub struct Aside<Q, A> {
    name: &'static str,
    work: Arc<Work<Q, A>>,
    queue: Arc<Queue<Q>>,
    results: Sender<(Q, A)>,
    answers: Receiver<(Q, A)>,
    threads: usize,
    /// Asked and not answered.
    open: HashSet<Q>,
    /// Of those, the ones that were waited for in vain.
    hung: HashSet<Q>,
}

struct Queue<Q> {
    waiting: Mutex<Waiting<Q>>,
    changed: Condvar,
}

struct Waiting<Q> {
    questions: VecDeque<Q>,
    /// Nobody wants answers any more.
    closed: bool,
}

impl<Q, A> Aside<Q, A>
where
    Q: Clone + Eq + Hash + Send + 'static,
    A: Send + 'static,
{
    /// Answers questions by `work`; its threads have that name.
    pub fn new(name: &'static str, work: impl Fn(&Q) -> A + Send + Sync + 'static) -> Self {
        let (results, answers) = channel();
        Self {
            name,
            work: Arc::new(work),
            queue: Arc::new(Queue {
                waiting: Mutex::new(Waiting {
                    questions: VecDeque::new(),
                    closed: false,
                }),
                changed: Condvar::new(),
            }),
            results,
            answers,
            threads: 0,
            open: HashSet::new(),
            hung: HashSet::new(),
        }
    }

    /// Asks, unless it has been asked and not answered.
    pub fn ask(&mut self, question: Q) {
        if !self.open.insert(question.clone()) {
            return;
        }
        self.queue.lock().questions.push_back(question);
        self.queue.changed.notify_one();
        if self.threads == 0 {
            self.add_thread();
        }
    }

    /// The answers that have come, also to earlier questions. Waits for a moment for those that were
    /// asked since the last call.
    pub fn answers(&mut self) -> Vec<(Q, A)> {
        let deadline = Instant::now() + LONGEST_WAIT;
        let mut answers = Vec::new();
        loop {
            let wait = if self.open.len() > self.hung.len() {
                PATIENCE.min(deadline.saturating_duration_since(Instant::now()))
            } else {
                Duration::ZERO
            };
            match self.answers.recv_timeout(wait) {
                Ok((question, answer)) => {
                    self.open.remove(&question);
                    self.hung.remove(&question);
                    answers.push((question, answer));
                }
                Err(RecvTimeoutError::Disconnected) => return answers,
                Err(RecvTimeoutError::Timeout) => {
                    let waiting = self.queue.lock().questions.len();
                    if waiting > 0 {
                        self.add_thread();
                    }
                    if waiting == 0 || Instant::now() >= deadline {
                        self.hung.clone_from(&self.open);
                        return answers;
                    }
                }
            }
        }
    }

    fn add_thread(&mut self) {
        if self.threads >= MOST_THREADS {
            return;
        }
        let (queue, work) = (Arc::clone(&self.queue), Arc::clone(&self.work));
        let results = self.results.clone();
        let spawned = std::thread::Builder::new()
            .name(self.name.to_owned())
            .stack_size(STACK)
            .spawn(move || {
                while let Some(question) = queue.next() {
                    let answer = work(&question);
                    if results.send((question, answer)).is_err() {
                        return;
                    }
                }
            });
        match spawned {
            Ok(_) => self.threads += 1,
            Err(error) => log::warn!("starting a thread ({}): {error}", self.name),
        }
    }
}

impl<Q> Queue<Q> {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting<Q>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next question, waited for; `None` where none will come.
    fn next(&self) -> Option<Q> {
        let mut waiting = self.lock();
        loop {
            if waiting.closed {
                return None;
            }
            if let Some(question) = waiting.questions.pop_front() {
                return Some(question);
            }
            waiting = self
                .changed
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<Q, A> Drop for Aside<Q, A> {
    /// Its threads end, those that hang when they come back.
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_all();
    }
}

impl<Q, A> fmt::Debug for Aside<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aside").field("name", &self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_passed_over_and_its_answer_is_taken_when_it_comes() {
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock().unwrap();
        let inside = Arc::clone(&gate);
        let mut aside = Aside::new("test", move |question: &u32| {
            if *question < 2 {
                drop(inside.lock());
            }
            question * 10
        });
        for question in 0..100 {
            aside.ask(question);
        }
        let mut answered = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(20);
        while answered.len() < 98 {
            assert!(Instant::now() < deadline, "{} answers", answered.len());
            answered.extend(aside.answers());
        }
        assert!(
            answered
                .iter()
                .all(|(question, answer)| answer / 10 == *question)
        );
        // Nobody waits for those again, nor are they asked twice.
        aside.answers();
        aside.ask(0);
        let asked = Instant::now();
        assert_eq!(aside.answers(), []);
        assert!(asked.elapsed() < PATIENCE, "{:?}", asked.elapsed());
        drop(closed);
        while answered.len() < 100 {
            assert!(Instant::now() < deadline);
            answered.extend(aside.answers());
        }
    }
}
