//! The `chadthrottle` program.

use std::process::ExitCode;

use chadthrottle::{
    cli::{Cli, Command},
    commands,
    error::Error,
    logging,
};
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = logging::start(&cli.global, cli.command.is_none()).and_then(|()| run(cli));
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("chadthrottle: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<u8, Error> {
    let Cli { command, global } = cli;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("starting the runtime", error))?;
    match command {
        None => runtime.block_on(commands::tui::run(&global)),
        Some(Command::Run(args)) => runtime.block_on(commands::run::run(&global, args)),
        Some(Command::Limit(args)) => runtime.block_on(commands::limit::run(&global, args)),
        Some(Command::List(args)) => runtime.block_on(commands::list::run(&global, args)),
        Some(Command::Cleanup(args)) => commands::cleanup::run(&args),
        Some(Command::Completions { shell }) => Ok(commands::completions::completions(shell)),
        Some(Command::Man) => commands::completions::man(),
    }
}
