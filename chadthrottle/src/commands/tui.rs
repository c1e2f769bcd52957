//! The screen: what `chadthrottle` without a command opens.

use std::{
    io::{self, IsTerminal},
    os::fd::AsFd,
    time::Duration,
};

use crate::{
    cli::{Global, Screen},
    config::{Config, ThemeName},
    error::Error,
    logging::Warnings,
    session::{
        self, privilege,
        signals::{Ending, Signals},
    },
    tui::{self, Keymap, Outcome, Scheme},
};

/// Opens the screen and gives the exit code.
pub async fn run(global: &Global, screen: &Screen, warnings: &Warnings) -> Result<u8, Error> {
    let config = configure(global, screen)?;
    let keymap = Keymap::configured(&config.keys)?;
    let scheme = Scheme::load(&config.theme)?;
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        // What keeps everything from working is to be mended first.
        privilege::check()?;
        return Err(Error::Usage(
            "the screen needs a terminal; for scripts there is 'chadthrottle list --json'".into(),
        ));
    }
    let mut signals = Signals::catch().map_err(|error| Error::io("catching signals", error))?;
    let opened =
        session::open_unless_ended(global.settings(Duration::from_secs(1)), &mut signals).await?;
    let mut session = match opened {
        Ok(session) => session,
        Err(ending) => return Ok(ending.exit_code()),
    };
    session.protect_terminal(io::stdout().as_fd())?;
    let failed = |error| Error::io("setting up the terminal", error);
    let mut terminal = tui::open(&config).map_err(failed)?;
    let outcome = tui::run(
        &mut session,
        &mut signals,
        &config,
        keymap,
        &scheme,
        warnings,
        &mut terminal,
    );
    let outcome = outcome.await;
    // The terminal last: it may take no more, or be slow. What is to be said goes below the screen.
    let clean = session.close().await;
    drop(terminal);
    let outcome = outcome.map_err(failed)?;
    let code = match outcome {
        Outcome::Quit => 0,
        Outcome::Signal(ending) => ending.exit_code(),
        // As if the kernel had told us with SIGHUP, which it does not always do.
        Outcome::TerminalGone(error) => {
            log::warn!("the terminal has gone: {error}");
            Ending::HangUp.exit_code()
        }
    };
    Ok(if clean { code } else { code.max(1) })
}

/// The configuration file, and over it the command line.
fn configure(global: &Global, screen: &Screen) -> Result<Config, Error> {
    let mut config = Config::load(screen.config.as_deref())?;
    config.theme = match &screen.theme {
        _ if global.no_color => ThemeName::Mono,
        // What is asked for by name goes over what the environment says of all programs.
        Some(theme) => theme.clone(),
        None if global.monochrome() => ThemeName::Mono,
        None => config.theme,
    };
    config.ascii |= screen.ascii || tui::only_ascii(|name| std::env::var_os(name));
    config.panels &= !screen.plain;
    config.mouse &= !screen.no_mouse;
    config.resolve |= screen.resolve;
    config.bits = (config.bits || global.bits) && !global.bytes;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;

    #[test]
    fn the_command_line_goes_over_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        std::fs::write(&path, "theme = 'light'\nbits = true\nascii = true\n").unwrap();
        let path = path.display();
        let of = |options: &str| {
            let line = format!("chadthrottle --config {path} {options}");
            let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
            configure(&cli.global, &cli.screen).unwrap()
        };
        let config = of("--theme terminal --no-mouse --bytes --plain");
        assert_eq!(config.theme, ThemeName::Terminal);
        assert!(!config.panels && of("").panels);
        assert!(config.ascii && !config.mouse && !config.bits);
        assert!(of("--resolve").resolve && of("").bits);
        assert_eq!(of("--theme dark --no-color").theme, ThemeName::Mono);
    }
}
