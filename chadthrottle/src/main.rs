// SPDX-License-Identifier: MIT

//! The `chadthrottle` program.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    process::ExitCode,
};

use chadthrottle::{
    cli::{Cli, Command},
    commands,
    error::Error,
    logging::{self, Warnings},
    output,
    reversal::guarding,
};

fn main() -> ExitCode {
    // Before anything else: the guard is to stay small, and is no command of the contract.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|command| command == guarding::COMMAND)
    {
        return guarding::run().map_or(ExitCode::FAILURE, ExitCode::from);
    }
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        match backtrace.status() {
            BacktraceStatus::Captured => output::say(format_args!("{panic}\n{backtrace}")),
            _ => output::say(panic),
        }
        output::finish(output::LAST_WORDS);
    }));
    match commands::completions::answer() {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        // A shell that completes shows nothing of what is said.
        Err(error) => return ExitCode::from(error.exit_code()),
    }
    let cli = Cli::read();
    if cli.version {
        return match commands::version::run(cli.global.verbose > 0) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                output::say(&error);
                ExitCode::from(error.exit_code())
            }
        };
    }
    let result = logging::start(&cli.global, cli.command.is_none()).and_then(|log| run(cli, &log));
    let code = result.unwrap_or_else(|error| {
        output::say(&error);
        error.exit_code()
    });
    output::finish(output::LAST_WORDS);
    ExitCode::from(code)
}

fn run(cli: Cli, warnings: &Warnings) -> Result<u8, Error> {
    let Cli {
        command,
        screen,
        global,
        version: _,
    } = cli;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("starting the runtime", error))?;
    let result = match command {
        None => runtime.block_on(commands::tui::run(&global, &screen, warnings)),
        Some(Command::Run(args)) => runtime.block_on(commands::run::run(&global, args)),
        Some(Command::Limit(args)) => runtime.block_on(commands::limit::run(&global, args)),
        Some(Command::Limits(args)) => runtime.block_on(commands::limits::run(&global, &args)),
        Some(Command::Block(args)) => runtime.block_on(commands::limit::run(&global, args.limit())),
        Some(Command::Rule(command)) => runtime.block_on(commands::rule::run(&global, command)),
        Some(Command::Profile(args)) => runtime.block_on(commands::rule::profile(&global, args)),
        Some(Command::Unlimit(args)) => runtime.block_on(commands::unlimit::run(&global, &args)),
        Some(Command::List(args)) => runtime.block_on(commands::list::run(&global, args)),
        Some(Command::Engine(args)) => {
            runtime.block_on(commands::engine::run(&global, &args, warnings))
        }
        Some(Command::Cleanup(args)) => commands::cleanup::run(&global, &args),
        Some(Command::Doctor(args)) => runtime.block_on(commands::doctor::run(&global, &args)),
        Some(Command::Completions { shell }) => commands::completions::completions(shell),
        Some(Command::Man(args)) => commands::man::run(&args),
    };
    // A look-up of a name may take seconds more, and nobody waits for it.
    runtime.shutdown_background();
    result
}
