//! `engine`: the engine by itself, for clients on its socket.

use std::{
    convert::Infallible,
    fs::{self, File},
    io,
    os::{
        fd::AsFd,
        unix::{fs::MetadataExt, net::UnixListener as StdUnixListener},
    },
    time::Duration,
};

use tokio::{
    net::UnixListener,
    task::spawn_blocking,
    time::{sleep, timeout},
};

use crate::{
    cli::{EngineArgs, Global},
    config::Config,
    doctor,
    engine::Commands,
    error::Error,
    logging::Warnings,
    output,
    protocol::{Examined, Left},
    reversal::{LockError, StateDir},
    server::{Doctor, Server},
    service::{Inherited, Manager, Predecessor, Store},
    session::{
        PATIENCE, SOCKET, Session,
        report::Report,
        signals::{Ending, Signals},
    },
};

/// How long an engine that ends with its last client waits for the first.
const FIRST_CLIENT: Duration = Duration::from_secs(3);

/// How long a service manager may take to say why we are to end.
const ANSWERS: Duration = Duration::from_secs(2);

/// Between looks whether another engine has ended.
const ANOTHER_LOOK: Duration = Duration::from_secs(1);

/// How long no client is taken in where there are no descriptors left.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Serves clients until it is told to end, and gives the exit code.
pub async fn run(global: &Global, args: &EngineArgs, warnings: &Warnings) -> Result<u8, Error> {
    let result = serve(global, args, warnings).await;
    if let Err(error) = &result
        && args.until_idle
    {
        let _is_read = Report::of(error).write();
    }
    result
}

async fn serve(global: &Global, args: &EngineArgs, warnings: &Warnings) -> Result<u8, Error> {
    if args.until_idle {
        leave_starter().map_err(|error| Error::io("leaving who started the engine", error))?;
    }
    // An engine that a command starts is that command's, and no service, whatever has started the command.
    let manager = Manager::ours().filter(|_| !args.until_idle);
    let inherited = manager.map(|_| Inherited::take()).transpose();
    let inherited =
        inherited.map_err(|error| Error::io("what the service manager has handed over", error))?;
    let (listener, mut predecessor, store) = match inherited {
        Some(inherited) => (
            inherited.listener,
            inherited.predecessor,
            Some(inherited.store),
        ),
        None => (None, None, None),
    };
    let mut signals = Signals::catch().map_err(|error| Error::io("catching signals", error))?;
    let settings = global.settings(Duration::from_secs(1));
    let mut told = None;
    let session = loop {
        let takes_over = predecessor.is_some();
        let start = Session::start_as_service(settings.clone(), store.clone(), takes_over);
        match (start.await, manager) {
            // A command has started it, and it ends with its last client.
            (Err(Error::Lock(error @ LockError::Held(_))), Some(manager)) => {
                let words = format!("{error}: waiting for its end");
                manager.waiting(&words);
                if told.as_ref() != Some(&words) {
                    output::say(&words);
                    told = Some(words);
                }
                tokio::select! {
                    () = sleep(ANOTHER_LOOK) => {}
                    _ = signals.next() => return Ok(0),
                }
            }
            (started, _) => break started?,
        }
    };
    let said = warnings.clone();
    let others = Config::of_system()?.access.others;
    let seen = settings;
    let doctor = Doctor::new(move || {
        let report = doctor::examine(&seen);
        Examined {
            report: serde_json::to_value(&report).unwrap_or_default(),
            exit_code: report.exit_code,
        }
    });
    let rules = global.places();
    let server = session.server(args.until_idle, others, rules, doctor, move || said.take());
    // Before the engine before gives anybody free.
    server.begin_rules().await;
    let all_known = match predecessor.as_mut().and_then(Predecessor::limits) {
        Some(limits) => restore(limits, &server).await,
        // It had come to no client.
        None => true,
    };
    if let Some(store) = &store {
        match server.keep_limits() {
            Ok(file) => store.keep_limits(file.as_fd()),
            Err(error) => log::warn!("keeping limits for the next engine: {error}"),
        }
        // Before anybody can have a limit.
        let _ = spawn_blocking(Store::settle).await;
    }
    let socket = match listener {
        Some(listener) => Socket::of_manager(listener)?,
        None => Socket::bind(&session)?,
    };
    if let Some(manager) = manager {
        manager.ready();
    }
    // Who started it may have been told to end meanwhile.
    let is_wanted = !args.until_idle || Report::Ready.write();
    if !args.until_idle && manager.is_none() {
        let path = session.directory().path().join(SOCKET);
        output::say(format_args!(
            "the engine is there for commands at {}, until Ctrl-C",
            path.display()
        ));
    }
    let mut connections = server.connections();
    let idle = async {
        if !is_wanted {
            return;
        }
        let first = connections.wait_for(|count| *count > 0);
        if timeout(FIRST_CLIENT, first).await.is_ok() {
            server.idle().await;
        }
    };
    let succeeding = async {
        if let Some(before) = predecessor {
            if all_known {
                server.all_back(PATIENCE).await;
            } else {
                sleep(PATIENCE).await;
            }
            session.succeed(before).await;
        }
        std::future::pending::<Infallible>().await
    };
    let ending = tokio::select! {
        ending = ending(&mut signals, manager, &server) => Some(ending),
        () = idle, if args.until_idle => None,
        never = socket.accept(&server) => match never {},
        never = give_life_signs(manager, session.engine.commands()) => match never {},
        never = succeeding => match never {},
        never = tell_status(manager, &server) => match never {},
        never = server.keep_rules(session.cgroup2()) => match never {},
    };
    if let Some(manager) = manager {
        manager.stopping();
        if is_restart(manager).await {
            server.note_members().await;
            // The kernel goes on holding limits, and the guard waits for the next engine.
            log::info!("the next engine takes over");
            log::logger().flush();
            std::process::exit(0);
        }
    }
    // Whoever comes now starts the next one.
    drop(socket);
    match server.limits() {
        0 => {}
        1 => output::say("one limit ends with the engine"),
        limits => output::say(format_args!("{limits} limits end with the engine")),
    }
    let errors = session.end();
    let words = errors.iter().map(ToString::to_string);
    let left = Left {
        words: warnings.take().into_iter().chain(words).collect(),
        failed: !errors.is_empty(),
    };
    for error in &errors {
        output::say(error);
    }
    server.say_farewell(&left).await;
    let clean = errors.is_empty();
    let code = match ending {
        None | Some(Ending::Interrupt | Ending::Terminate) => 0,
        Some(ending) => ending.exit_code(),
    };
    Ok(if clean { code } else { code.max(1) })
}

/// Sets the limits of the engine before again that are its own, and gives whether it is known whom else it had.
async fn restore(limits: File, server: &Server) -> bool {
    let result = server.restore(limits).await;
    if let Err(error) = &result {
        log::warn!("the limits of the engine before cannot be read: {error}");
    }
    result.is_ok()
}

/// Waits for a signal to end. With a service manager, SIGHUP has the configuration read anew.
async fn ending(signals: &mut Signals, manager: Option<Manager>, server: &Server) -> Ending {
    loop {
        match (signals.next().await, manager) {
            (Ending::HangUp, Some(manager)) => {
                manager.reloading();
                reload(server).await;
                manager.ready();
            }
            (ending, _) => return ending,
        }
    }
}

/// Reads rules and configuration anew; those that cannot be used leave everything as it is.
async fn reload(server: &Server) {
    // What is wrong with them is in the log.
    let _problems = server.reload_rules().await;
    match Config::of_system() {
        Ok(config) => server.set_others(config.access.others),
        Err(error) => log::error!("the configuration stays as it was: {error}"),
    }
}

/// Tells a service manager that wants to know that the engine does its work.
async fn give_life_signs(manager: Option<Manager>, engine: &Commands) -> Infallible {
    if let Some(manager) = manager
        && let Some(within) = manager.wants_life_sign()
    {
        while engine.ping().await.is_ok() {
            manager.alive();
            sleep(within / 3).await;
        }
    }
    std::future::pending().await
}

/// Has the state of the service say how many limits there are.
async fn tell_status(manager: Option<Manager>, server: &Server) -> Infallible {
    if let Some(manager) = manager {
        let mut changes = server.changes();
        let mut told = None;
        // The server has its end of it.
        while changes.changed().await.is_ok() {
            let limits = server.limits();
            if told.replace(limits) != Some(limits) {
                manager.status(&match limits {
                    0 => "nothing is limited".to_owned(),
                    1 => "one limit is set".to_owned(),
                    limits => format!("{limits} limits are set"),
                });
            }
        }
    }
    std::future::pending().await
}

/// Whether another engine comes in our place.
async fn is_restart(manager: Manager) -> bool {
    let asking = spawn_blocking(move || manager.restarts_us());
    matches!(timeout(ANSWERS, asking).await, Ok(Ok(true)))
}

/// What is meant for whoever started us, or for its terminal, is not to reach us; and its directory may be unmounted.
fn leave_starter() -> io::Result<()> {
    nix::unistd::setsid()?;
    // We were started as /proc/self/exe, and would be listed as "exe".
    nix::sys::prctl::set_name(c"chadthrottle")?;
    std::env::set_current_dir("/")
}

/// The socket. One of our own goes when the engine does.
struct Socket {
    listener: UnixListener,
    _own: Option<Own>,
}

/// Where a socket is that we have made.
struct Own {
    directory: StateDir,
    inode: u64,
}

impl Socket {
    /// Binds it. Who holds the lock may remove what an earlier engine left.
    fn bind(session: &Session) -> Result<Self, Error> {
        let directory = session.directory().clone();
        let failed = |error| {
            let path = directory.path().join(SOCKET);
            Error::io(format!("making the socket {}", path.display()), error)
        };
        directory.remove(SOCKET).map_err(failed)?;
        let listener = UnixListener::bind(directory.anchor().join(SOCKET)).map_err(failed)?;
        directory.open_to_all(SOCKET).map_err(failed)?;
        let inode = inode(&directory).map_err(failed)?;
        Ok(Self {
            listener,
            _own: Some(Own { directory, inode }),
        })
    }

    /// The one that a service manager listens on for us, and keeps.
    fn of_manager(listener: StdUnixListener) -> Result<Self, Error> {
        let listener = UnixListener::from_std(listener);
        let failed = |error| Error::io("the socket of the service manager", error);
        Ok(Self {
            listener: listener.map_err(failed)?,
            _own: None,
        })
    }

    async fn accept(&self, server: &Server) -> Infallible {
        loop {
            match self.listener.accept().await {
                Ok((client, _)) => {
                    let server = server.clone();
                    tokio::spawn(async move { server.serve(client).await });
                }
                Err(error) => {
                    log::warn!("taking a client in: {error}");
                    sleep(EXHAUSTED).await;
                }
            }
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // A service manager may have put its own in its place.
        if inode(&self.directory).is_ok_and(|now| now != self.inode) {
            return;
        }
        if let Err(error) = self.directory.remove(SOCKET) {
            log::warn!("removing the socket: {error}");
        }
    }
}

fn inode(directory: &StateDir) -> io::Result<u64> {
    Ok(fs::symlink_metadata(directory.anchor().join(SOCKET))?.ino())
}
