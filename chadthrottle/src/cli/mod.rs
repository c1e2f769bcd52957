//! The command line. It is a contract: names, units and exit codes stay.
//!
//! `-h` shows what one command takes, in 24 lines where it can; `--help` shows everything, with examples.

mod candidates;
pub mod examples;
mod limit;
pub mod meant;
mod rule;
#[cfg(test)]
mod tests;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::ArgValueCandidates;

use crate::{
    backends::throttle::AttachMode,
    config::ThemeName,
    rules::Places,
    session::Settings,
    units::{Style, parse_duration},
};
pub use candidates::completed;
pub use limit::{BlockArg, BlockArgs, Extent, LimitArgs, Limits, Run, ScopeArg};
pub use rule::{Profile, RuleAdd, RuleCommand};

/// Hold a process, and only it, to a download and an upload limit.
///
/// Without a command it opens a screen that lists all processes with their live rates.
#[derive(Debug, Parser)]
#[command(
    version,
    disable_version_flag = true,
    max_term_width = 100,
    args_conflicts_with_subcommands = false,
    after_long_help = examples::ALL
)]
pub struct Cli {
    /// Print version; with --verbose commit and hashes too
    #[arg(short = 'V', long)]
    pub version: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of the screen
    #[command(flatten)]
    pub screen: Screen,
    /// Options of every command
    #[command(flatten)]
    pub global: Global,
}

/// Options of the screen, over those of the configuration file.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of the screen")]
pub struct Screen {
    /// Read this configuration, not ~/.config/chadthrottle/config.toml
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub config: Option<PathBuf>,
    /// Colours: dark, light, auto, mono, terminal, catppuccin, dracula, gruvbox, tokyo-night, or a theme in
    /// ~/.config/chadthrottle/themes
    #[arg(
        long,
        value_name = "NAME",
        hide_short_help = true,
        add = ArgValueCandidates::new(candidates::themes)
    )]
    pub theme: Option<ThemeName>,
    /// Draw with characters of ASCII only
    #[arg(long, hide_short_help = true)]
    pub ascii: bool,
    /// Draw no edges around panels
    #[arg(long, hide_short_help = true)]
    pub plain: bool,
    /// Leave the mouse to the terminal
    #[arg(long, hide_short_help = true)]
    pub no_mouse: bool,
    /// Look up the names of remote addresses
    #[arg(long, hide_short_help = true)]
    pub resolve: bool,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// How to attach: a link, the legacy way, or the first that works
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "METHOD",
        value_enum,
        default_value_t
    )]
    pub attach: AttachMode,
    /// Attach to this cgroup instead of the root of cgroup2; only processes below it are seen
    #[arg(long, global = true, value_name = "PATH", hide_short_help = true)]
    pub cgroup: Option<PathBuf>,
    /// Directory for the lock, the journal and the socket
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "DIR",
        default_value = "/run/chadthrottle"
    )]
    pub state_dir: PathBuf,
    /// Look for rules below this directory instead of /
    #[arg(long, global = true, value_name = "DIR", hide = true)]
    pub rules_root: Option<PathBuf>,
    /// Show rates in bits a second
    #[arg(long, global = true, conflicts_with = "bytes", hide_short_help = true)]
    pub bits: bool,
    /// Show rates in bytes a second (the default)
    #[arg(long, global = true, hide_short_help = true)]
    pub bytes: bool,
    /// No colours (as with NO_COLOR in the environment)
    #[arg(long, global = true, hide_short_help = true)]
    pub no_color: bool,
    /// Write the log to this file
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub log_file: Option<PathBuf>,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, hide_short_help = true)]
    pub verbose: u8,
}

impl Cli {
    /// The command line of this process; where that is none, it says why and ends the process.
    pub fn read() -> Self {
        let line: Vec<OsString> = std::env::args_os().collect();
        Self::try_parse_from(&line).unwrap_or_else(|error| meant::explained(error, line).exit())
    }
}

impl Global {
    /// How rates are shown.
    pub fn style(&self) -> Style {
        if self.bits { Style::Bits } else { Style::Bytes }
    }

    /// Whether to leave colours out.
    pub fn monochrome(&self) -> bool {
        self.no_color || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
    }

    /// Where rules are.
    pub fn places(&self) -> Places {
        match &self.rules_root {
            Some(root) => Places::below(root, 0),
            None => Places::system(),
        }
    }

    /// What the engine needs to know.
    pub fn settings(&self, interval: Duration) -> Settings {
        Settings {
            program: "/proc/self/exe".into(),
            attach: self.attach,
            cgroup: self.cgroup.clone(),
            state_dir: self.state_dir.clone(),
            rules_root: self.rules_root.clone(),
            interval,
            fields: None,
            verbose: self.verbose,
            log_file: self.log_file.clone(),
            engine_speaks: self.verbose > 0 && self.log_file.is_none(),
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a program under a limit, and exit with its status
    ///
    /// The limit is for all that the program starts, too.
    #[command(after_long_help = examples::RUN)]
    Run(Run),
    /// Limit running processes until Ctrl-C, for a while, or detached
    #[command(after_long_help = examples::LIMIT)]
    Limit(LimitArgs),
    /// List what is limited, by whom, and what it carries
    #[command(after_long_help = examples::LIMITS)]
    Limits(LimitsArgs),
    /// End limits, whoever has set them
    #[command(after_long_help = examples::UNLIMIT)]
    Unlimit(Unlimit),
    /// Block running processes until Ctrl-C, for a while, or detached
    ///
    /// Nothing passes to or from them. Connections that are open hang, and go on when the block ends.
    #[command(after_long_help = examples::BLOCK)]
    Block(BlockArgs),
    /// Keep limits in files, which hold whenever an engine runs
    #[command(subcommand, after_long_help = examples::RULE)]
    Rule(RuleCommand),
    /// Choose the profile of rules, or list profiles
    #[command(after_long_help = examples::PROFILE)]
    Profile(Profile),
    /// List processes with their rates, a sample a second
    #[command(after_long_help = examples::LIST)]
    List(List),
    /// Keep an engine running for all other commands
    ///
    /// It runs until Ctrl-C or, as a service, until it is stopped. Without it the first command starts an engine, which
    /// ends with the last.
    #[command(after_long_help = examples::ENGINE)]
    Engine(EngineArgs),
    /// Detach what earlier runs left
    #[command(after_long_help = examples::CLEANUP)]
    Cleanup(Cleanup),
    /// Say whether limits work on this machine, and how
    ///
    /// It attaches the kernel programs for a moment, sends packets to itself, and says whether they were seen.
    #[command(after_long_help = examples::DOCTOR)]
    Doctor(Doctor),
    /// Print completions for a shell
    ///
    /// The shell asks chadthrottle for what it completes: processes, units, rules and profiles are those of the moment.
    #[command(after_long_help = examples::COMPLETIONS)]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print a manual page
    #[command(after_long_help = examples::MAN)]
    Man(Man),
}

/// `limits`
#[derive(Debug, Args)]
pub struct LimitsArgs {
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// `unlimit`
#[derive(Debug, Args)]
pub struct Unlimit {
    /// A limit's ID, or a TARGET that it was set for, or a process that it holds
    #[arg(value_name = "ID|TARGET", required_unless_present = "all", add = candidates::limits())]
    pub which: Vec<String>,
    /// All limits, whoever has set them
    #[arg(long, conflicts_with = "which")]
    pub all: bool,
}

/// `list`
#[derive(Debug, Args)]
pub struct List {
    /// One JSON object a sample, a line each
    #[arg(long)]
    pub json: bool,
    /// Time between samples
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1s")]
    pub interval: Duration,
    /// End after that many samples
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub count: Option<u64>,
    /// Order of the processes
    #[arg(long, value_enum, default_value_t)]
    pub sort: Sort,
    /// Processes without sockets and traffic too
    #[arg(long)]
    pub all: bool,
    /// Draw each sample over the one before, as much as the terminal has room for
    #[arg(long, conflicts_with = "json")]
    pub watch: bool,
}

fn at_least_one(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("not a number of samples: {error}")),
    }
}

/// Values of `--sort`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// Download rate, the highest first
    Down,
    /// Upload rate, the highest first
    Up,
    /// Both rates together, the highest first
    #[default]
    Total,
    /// Process id
    Pid,
    /// Name
    Name,
}

/// `engine`
#[derive(Debug, Args)]
pub struct EngineArgs {
    /// Exit after the last client, or if none connects within three seconds
    #[arg(long)]
    pub until_idle: bool,
}

/// `cleanup`
#[derive(Debug, Args)]
pub struct Cleanup {
    /// Only say what would be detached
    #[arg(long)]
    pub dry_run: bool,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// `doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// `man`
#[derive(Debug, Args)]
pub struct Man {
    /// Of which command, such as 'limit' or 'rule add'; of the program without one
    #[arg(value_name = "COMMAND", conflicts_with = "directory")]
    pub command: Vec<String>,
    /// Write the pages of all commands to this directory instead
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

/// A shell that completes command lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "names of shells")]
pub enum Shell {
    Bash,
    Elvish,
    Fish,
    #[value(name = "powershell")]
    PowerShell,
    Zsh,
}
