//! The log: to a file, to the journal where systemd reads our standard error, or to standard error where no screen is
//! open.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use env_logger::{Builder, Logger, Target};
use log::{LevelFilter, Log, Metadata, Record};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use systemd_journal_logger::{JournalLog, connected_to_journal};

use crate::{
    cli::Global,
    error::Error,
    output::{self, Outlet},
    restraint::Restraint,
    reversal::StateDir,
};

/// Name of the screen's log in the state directory.
const SCREEN_LOG: &str = "screen.log";

/// A screen that is open for months writes no more than that, in bytes.
const MAX_SCREEN_LOG: u64 = 1 << 20;

/// How long the program waits at its end for a file that it logs to: no reader keeps us waiting there, but a busy disk
/// takes its time.
const FOR_A_DISK: Duration = Duration::from_secs(1);

/// The latest warnings, for a screen to show, or for an engine to tell its clients.
#[derive(Clone, Debug, Default)]
pub struct Warnings(Arc<Mutex<VecDeque<String>>>);

impl Warnings {
    /// So many are kept.
    const ROOM: usize = 16;

    /// Those since this was last asked, the newest last.
    pub fn take(&self) -> Vec<String> {
        self.latest().drain(..).collect()
    }

    fn add(&self, warning: String) {
        let mut latest = self.latest();
        if latest.len() == Self::ROOM {
            latest.pop_front();
        }
        latest.push_back(warning);
    }

    fn latest(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts logging. While a screen is open nothing may be printed over it: without a file named,
/// the log goes to one in the state directory, which is made when there is something to write.
/// Gives where the latest warnings will be.
///
/// # Errors
/// Where the named file cannot be written.
pub fn start(global: &Global, screen: bool) -> Result<Warnings, Error> {
    let level = match global.verbose {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        _ => LevelFilter::Trace,
    };
    let mut builder = Builder::new();
    builder.filter_level(level);
    let latest = Warnings::default();
    let no_thread = |error| Error::io("starting a thread that writes the log", error);
    let journal = (global.log_file.is_none() && connected_to_journal())
        .then(|| JournalLog::new().ok())
        .flatten();
    let outlet = match &global.log_file {
        Some(path) => Some(outlet_to(path)?),
        None if screen => {
            let file = LazyFile::new(&global.state_dir);
            Some(Outlet::start("log", || Ok(file)).map_err(no_thread)?)
        }
        None => {
            builder.format_timestamp(None).format_target(false);
            output::stderr().cloned()
        }
    };
    builder.target(match &outlet {
        Some(outlet) => Target::Pipe(Box::new(outlet.clone())),
        None => Target::Stderr,
    });
    let inner = match journal {
        // With its priority, which a line of text has none.
        Some(journal) => Inner::Journal(journal, level),
        None => Inner::Lines(builder.build()),
    };
    log::set_max_level(match &inner {
        Inner::Lines(logger) => logger.filter(),
        Inner::Journal(_, level) => *level,
    });
    let logger = NotingLogger {
        inner,
        latest: latest.clone(),
        restraint: Restraint::default(),
        outlet,
        patience: match &global.log_file {
            Some(path) if path.is_file() => FOR_A_DISK,
            _ => output::LAST_WORDS / 2,
        },
    };
    // Whoever has set one before us, say a test, keeps it.
    let _ = log::set_boxed_logger(Box::new(logger));
    Ok(latest)
}

/// A thread that writes to the end of this file.
fn outlet_to(path: &Path) -> Result<Outlet, Error> {
    let failed = |error| Error::io(path.display().to_string(), error);
    let mut options = File::options();
    options.create(true).append(true);
    // A pipe that nobody has open for reading would have us wait here. Its thread may.
    match options.clone().custom_flags(libc::O_NONBLOCK).open(path) {
        Ok(file) => {
            // Only opening was not to wait: the thread that writes may.
            fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND))
                .map_err(|error| failed(error.into()))?;
            Outlet::start("log", || Ok(file)).map_err(failed)
        }
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
            let path = path.to_owned();
            Outlet::start("log", move || options.open(path)).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Writes the log, and notes the latest warnings.
struct NotingLogger {
    inner: Inner,
    latest: Warnings,
    restraint: Restraint,
    /// Where it is written.
    outlet: Option<Outlet>,
    /// How long the program waits at its end for what is still to be written there.
    patience: Duration,
}

/// What writes it.
enum Inner {
    /// Lines of text.
    Lines(Logger),
    /// The journal, which takes all up to that level.
    Journal(JournalLog, LevelFilter),
}

impl Log for Inner {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        match self {
            Self::Lines(logger) => logger.enabled(metadata),
            Self::Journal(_, level) => metadata.level() <= *level,
        }
    }

    fn log(&self, record: &Record<'_>) {
        match self {
            Self::Lines(logger) => logger.log(record),
            Self::Journal(journal, _) if self.enabled(record.metadata()) => journal.log(record),
            Self::Journal(..) => {}
        }
    }

    fn flush(&self) {
        match self {
            Self::Lines(logger) => logger.flush(),
            Self::Journal(journal, _) => journal.flush(),
        }
    }
}

impl Log for NotingLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.inner.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if record.level() <= log::Level::Warn && self.enabled(record.metadata()) {
            self.latest.add(record.args().to_string());
            let place = (record.file_static(), record.line());
            match self.restraint.admit(place, Instant::now()) {
                None => return,
                Some(0) => {}
                Some(held_back) => self.inner.log(
                    &Record::builder()
                        .level(record.level())
                        .target(record.target())
                        .args(format_args!(
                            "{held_back} more of what comes next were left out"
                        ))
                        .build(),
                ),
            }
        }
        self.inner.log(record);
    }

    fn flush(&self) {
        if let Some(outlet) = &self.outlet {
            outlet.flush(Instant::now() + self.patience);
        }
    }
}

/// A file that is made at the first write, and does not grow without end.
#[derive(Debug)]
struct LazyFile {
    directory: PathBuf,
    file: Option<File>,
    room: u64,
}

impl LazyFile {
    fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            file: None,
            room: MAX_SCREEN_LOG,
        }
    }
}

impl Write for LazyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len() as u64;
        if len > self.room {
            // Said and done with: the footer still shows the latest warning.
            return Ok(bytes.len());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let directory = StateDir::make(&self.directory).map_err(io::Error::other)?;
                none.insert(directory.append(SCREEN_LOG, true)?)
            }
        };
        file.write_all(bytes)?;
        self.room -= len;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screens_log_is_made_when_there_is_something_to_write_and_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(SCREEN_LOG);
        let mut file = LazyFile::new(directory.path());
        file.flush().unwrap();
        assert!(!path.exists());
        let line = [b'x'; 1_000];
        for _ in 0..2_000 {
            file.write_all(&line).unwrap();
        }
        let len = std::fs::metadata(&path).unwrap().len();
        assert!((1_000_000..=MAX_SCREEN_LOG).contains(&len), "{len}");
    }

    #[test]
    fn the_latest_warnings_are_told_once() {
        let latest = Warnings::default();
        let logger = NotingLogger {
            inner: Inner::Lines(
                Builder::new()
                    .filter_level(LevelFilter::Warn)
                    .target(Target::Pipe(Box::new(io::sink())))
                    .build(),
            ),
            latest: latest.clone(),
            restraint: Restraint::default(),
            outlet: None,
            patience: Duration::ZERO,
        };
        for (level, text) in [
            (log::Level::Warn, "first"),
            (log::Level::Error, "second"),
            (log::Level::Info, "third"),
        ] {
            let arguments = format_args!("{text}");
            logger.log(&Record::builder().level(level).args(arguments).build());
        }
        assert_eq!(latest.take(), ["first", "second"]);
        assert!(latest.take().is_empty());
    }
}
