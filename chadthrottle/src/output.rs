//! Standard output, standard error and the log, each written by a thread of its own.
//!
//! A write blocks for as long as it likes: into a pipe that nobody reads, to a terminal that was
//! stopped with Ctrl-S. Whoever keeps a limit, or has to let it go in time, must not wait for that.

use std::{
    fmt,
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

/// What waits to be written is never more than that, in bytes; what comes on top is left out.
const MAX_BACKLOG: usize = 256 * 1024;

/// How long the program waits at its end for what is still to be written.
pub const LAST_WORDS: Duration = Duration::from_millis(300);

/// A file, pipe or terminal with a thread that writes to it. Clones write to the same one.
#[derive(Clone)]
pub struct Outlet {
    jobs: mpsc::Sender<Job>,
    backlog: Arc<Backlog>,
}

struct Job {
    bytes: Vec<u8>,
    done: Option<Done>,
}

type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

#[derive(Default)]
struct Backlog {
    bytes: AtomicUsize,
    /// How often there was no room.
    lost: AtomicU64,
}

/// Something that is being written.
#[derive(Debug)]
pub struct Writing(oneshot::Receiver<io::Result<()>>);

impl Writing {
    /// Waits until it is written. Cancel safe.
    ///
    /// # Errors
    /// Where it cannot be.
    pub async fn done(&mut self) -> io::Result<()> {
        let gone = |_| Err(io::Error::other("the thread that writes has ended"));
        (&mut self.0).await.unwrap_or_else(gone)
    }
}

/// Waits until what is being written is written, and so is nothing any more; for ever where nothing is. Cancel
/// safe.
///
/// # Errors
/// As [`Writing::done`].
pub async fn written(writing: &mut Option<Writing>) -> io::Result<()> {
    match writing {
        Some(being_written) => {
            let result = being_written.done().await;
            *writing = None;
            result
        }
        None => std::future::pending().await,
    }
}

impl Outlet {
    /// Starts the thread, which opens the sink first.
    ///
    /// # Errors
    /// Where there can be no thread.
    pub fn start<W: Write>(
        name: &str,
        open: impl FnOnce() -> io::Result<W> + Send + 'static,
    ) -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel();
        let backlog = Arc::new(Backlog::default());
        let outlet = Self {
            jobs,
            backlog: Arc::clone(&backlog),
        };
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || match open() {
                Ok(sink) => write_all(sink, &waiting, &backlog),
                Err(error) => say(format_args!("opening what to write to: {error}")),
            })?;
        Ok(outlet)
    }

    /// Has it written, and never waits: without room it is left out, which is said when there is.
    ///
    /// Gives whether there is a thread that will.
    pub fn put(&self, bytes: &[u8]) -> bool {
        if self.backlog.bytes.load(Relaxed) + bytes.len() > MAX_BACKLOG {
            self.backlog.lost.fetch_add(1, Relaxed);
            return true;
        }
        self.send(bytes.to_vec(), None)
    }

    /// Has it written, however long it is.
    pub fn write(&self, bytes: Vec<u8>) -> Writing {
        let (written, receiver) = oneshot::channel();
        let done = move |result| {
            // Nobody may be waiting any more.
            let _ = written.send(result);
        };
        self.send(bytes, Some(Box::new(done)));
        Writing(receiver)
    }

    /// Whether all is written.
    pub fn is_idle(&self) -> bool {
        self.backlog.bytes.load(Relaxed) == 0
    }

    /// Waits until all is written, but not beyond `deadline`. Gives whether it is.
    pub fn flush(&self, deadline: Instant) -> bool {
        let (written, all) = mpsc::channel();
        let done = move |_| {
            let _ = written.send(());
        };
        self.send(Vec::new(), Some(Box::new(done)));
        all.recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .is_ok()
    }

    fn send(&self, bytes: Vec<u8>, done: Option<Done>) -> bool {
        let len = bytes.len();
        self.backlog.bytes.fetch_add(len, Relaxed);
        let sent = self.jobs.send(Job { bytes, done }).is_ok();
        if !sent {
            self.backlog.bytes.fetch_sub(len, Relaxed);
        }
        sent
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread.
fn write_all(mut sink: impl Write, waiting: &mpsc::Receiver<Job>, backlog: &Backlog) {
    for Job { bytes, done } in waiting {
        let lost = backlog.lost.swap(0, Relaxed);
        if lost > 0 {
            // As with all that is said: it may be that nobody hears it.
            let _ = writeln!(
                sink,
                "chadthrottle: left out {lost} times what there was no room for"
            );
        }
        let result = sink.write_all(&bytes).and_then(|()| sink.flush());
        backlog.bytes.fetch_sub(bytes.len(), Relaxed);
        if let Some(done) = done {
            done(result);
        }
    }
}

static STDOUT: OnceLock<Option<Outlet>> = OnceLock::new();
static STDERR: OnceLock<Option<Outlet>> = OnceLock::new();

/// Standard output; `None` where there can be no thread to write it.
pub fn stdout() -> Option<&'static Outlet> {
    STDOUT
        .get_or_init(|| outlet("stdout", io::stdout()))
        .as_ref()
}

/// Standard error; `None` where there can be no thread to write it.
pub fn stderr() -> Option<&'static Outlet> {
    STDERR
        .get_or_init(|| outlet("stderr", io::stderr()))
        .as_ref()
}

/// A thread for a standard stream. It has a descriptor of its own: those of the library have locks,
/// which a write that blocks would hold.
fn outlet(name: &str, stream: impl AsFd) -> Option<Outlet> {
    let fd = stream.as_fd().try_clone_to_owned().ok()?;
    Outlet::start(name, move || Ok(File::from(fd))).ok()
}

/// Waits a moment for what is still to be written, and no longer.
pub fn finish(patience: Duration) {
    let deadline = Instant::now() + patience;
    log::logger().flush();
    for stream in [&STDERR, &STDOUT] {
        if let Some(Some(outlet)) = stream.get() {
            outlet.flush(deadline);
        }
    }
}

/// Writes what a command without an engine has to say to standard output. That its reader has seen
/// enough and gone, as `head` does, is no error.
///
/// # Errors
/// Where it cannot be written.
pub fn print(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Says something to the user on standard error, after our name.
///
/// Standard error may be a full disk, or a pipe that nobody reads: a limit must neither end nor be
/// late because nobody hears of it. So this never fails, and never waits.
pub fn say(words: impl fmt::Display) {
    let line = format!("chadthrottle: {words}\n");
    if !stderr().is_some_and(|stderr| stderr.put(line.as_bytes())) {
        // No room for a thread is what it may be about.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_sink_that_blocks_delays_nobody_and_what_is_left_out_is_said() {
        let (mut reader, writer) = io::pipe().unwrap();
        let outlet = Outlet::start("test", move || Ok(writer)).unwrap();
        let line = [b'x'; 1_000];
        let started = Instant::now();
        for _ in 0..1_000 {
            assert!(outlet.put(&line));
        }
        assert!(!outlet.flush(Instant::now() + Duration::from_millis(50)));
        assert!(started.elapsed() < Duration::from_secs(1));
        assert!(outlet.backlog.bytes.load(Relaxed) <= MAX_BACKLOG);

        let reading = thread::spawn(move || {
            let mut text = Vec::new();
            reader.read_to_end(&mut text).map(|_| text)
        });
        assert!(outlet.flush(Instant::now() + Duration::from_secs(5)));
        assert!(outlet.is_idle());
        drop(outlet);
        let text = String::from_utf8(reading.join().unwrap().unwrap()).unwrap();
        assert!(text.contains("left out"), "{} bytes", text.len());
        let written = text.matches('x').count();
        assert!((MAX_BACKLOG - 2_000..MAX_BACKLOG + 70_000).contains(&written));
    }

    #[test]
    fn that_a_reader_has_gone_is_told_to_who_asks() {
        let (reader, writer) = io::pipe().unwrap();
        let outlet = Outlet::start("test", move || Ok(writer)).unwrap();
        drop(reader);
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let error = runtime
            .unwrap()
            .block_on(outlet.write(b"x".to_vec()).done())
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
