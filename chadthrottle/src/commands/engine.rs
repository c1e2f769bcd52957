//! `engine`: the engine by itself, for clients on its socket.

use std::{io, time::Duration};

use tokio::{net::UnixListener, time::sleep};

use crate::{
    cli::{EngineArgs, Global},
    config::Config,
    error::Error,
    logging::Warnings,
    output,
    protocol::Left,
    reversal::StateDir,
    server::Server,
    session::{
        SOCKET, Session,
        report::Report,
        signals::{Ending, Signals},
    },
};

/// How long an engine that ends with its last client waits for the first.
const FIRST_CLIENT: Duration = Duration::from_secs(3);

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
    let mut signals = Signals::catch().map_err(|error| Error::io("catching signals", error))?;
    let session = Session::start(global.settings(Duration::from_secs(1))).await?;
    let said = warnings.clone();
    let others = Config::of_system()?.access.others;
    let server = session.server(args.until_idle, others, move || said.take());
    let socket = Socket::bind(&session)?;
    // Who started it may have been told to end meanwhile.
    let is_wanted = !args.until_idle || Report::Ready.write();
    if !args.until_idle {
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
        if tokio::time::timeout(FIRST_CLIENT, first).await.is_ok() {
            server.idle().await;
        }
    };
    let ending = tokio::select! {
        ending = signals.next() => Some(ending),
        () = idle, if args.until_idle => None,
        never = socket.accept(&server) => match never {},
    };
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

/// What is meant for whoever started us, or for its terminal, is not to reach us; and its directory may be unmounted.
fn leave_starter() -> io::Result<()> {
    nix::unistd::setsid()?;
    // We were started as /proc/self/exe, and would be listed as "exe".
    nix::sys::prctl::set_name(c"chadthrottle")?;
    std::env::set_current_dir("/")
}

/// The socket, which goes when the engine does.
struct Socket {
    listener: UnixListener,
    directory: StateDir,
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
        Ok(Self {
            listener,
            directory,
        })
    }

    async fn accept(&self, server: &Server) -> std::convert::Infallible {
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

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = self.directory.remove(SOCKET) {
            log::warn!("removing the socket: {error}");
        }
    }
}
