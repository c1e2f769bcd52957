//! The command line. It is a contract: names, units and exit codes stay.
//!
//! `-h` shows what one command takes, in 24 lines where it can; `--help` shows everything, with examples.

mod candidates;
mod examples;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use chadthrottle_common::scope::Scope;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::ArgValueCandidates;

use crate::{
    backends::throttle::AttachMode,
    config::ThemeName,
    model::Limit,
    process::Target,
    rules::Places,
    session::Settings,
    units::{Rate, Style, parse_duration},
};

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
    #[arg(long, value_name = "NAME", hide_short_help = true)]
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
    /// Where the lock and the journal are
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
    #[command(after_long_help = examples::COMPLETIONS)]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print a manual page
    #[command(after_long_help = examples::MAN)]
    Man(Man),
}

/// LIMITS of the contract.
#[derive(Clone, Copy, Debug, Args)]
pub struct Limits {
    /// Download limit, such as 1.5MB/s or 8Mbit
    #[arg(long, value_name = "RATE", allow_hyphen_values = true)]
    pub down: Option<Rate>,
    /// Upload limit, such as 500KB/s or 300kbit
    #[arg(long, value_name = "RATE", allow_hyphen_values = true)]
    pub up: Option<Rate>,
    /// Which remote addresses the limit covers; everything but loopback unless given
    #[arg(long, value_enum)]
    pub scope: Option<ScopeArg>,
    /// Whether what is blocked is refused
    #[arg(skip)]
    pub reject: bool,
}

impl Limits {
    /// The limit meant.
    pub fn limit(self) -> Limit {
        let scope = self.scope.map_or(Scope::DEFAULT, ScopeArg::scope);
        Limit {
            down: self.down,
            up: self.up,
            scope,
            reject: self.reject,
        }
    }

    /// Whether there is any.
    pub fn is_some(self) -> bool {
        self.down.is_some() || self.up.is_some()
    }
}

/// Values of `--scope`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScopeArg {
    /// Only addresses out in the world
    Internet,
    /// Only addresses of the own network
    Local,
    /// Everything, loopback too
    All,
}

impl ScopeArg {
    /// The scope meant.
    pub fn scope(self) -> Scope {
        match self {
            Self::Internet => Scope::INTERNET,
            Self::Local => Scope::LOCAL,
            Self::All => Scope::ALL,
        }
    }
}

/// `run`
#[derive(Debug, Args)]
pub struct Run {
    /// How much
    #[command(flatten)]
    pub limits: Limits,
    /// Run it as root, not as the user who called sudo, doas or pkexec
    #[arg(long)]
    pub root: bool,
    /// End when CMD does, though processes that it started live on: without a limit from then on
    #[arg(long)]
    pub no_wait: bool,
    /// The program and its arguments
    #[arg(
        value_name = "CMD",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub command: Vec<OsString>,
}

/// `limit`
#[derive(Debug, Args)]
pub struct LimitArgs {
    /// PID, name:GLOB, exe:GLOB, unit:GLOB and others: see --help
    ///
    /// PID, name:GLOB, exe:GLOB, command:GLOB, user:NAME, group:NAME, cgroup:PATH, unit:GLOB, container:NAME or
    /// parent:TARGET; ! before one is for all others, + joins several that must all hold. Several TARGETs share the
    /// limit. A process that another limit holds leaves that one
    #[arg(value_name = "TARGET", required = true, add = candidates::targets())]
    pub targets: Vec<Target>,
    /// How much
    #[command(flatten)]
    pub limits: Limits,
    /// For whom else, and how long
    #[command(flatten)]
    pub extent: Extent,
}

/// Whom a limit or a block is for beside its targets, and how long it lasts.
#[derive(Clone, Copy, Debug, Args)]
pub struct Extent {
    /// For the processes that they started, and will start, too
    #[arg(long)]
    pub children: bool,
    /// How long: 500ms, 30s, 5m, 2h
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Return at once, and have it go on
    ///
    /// It goes on until 'chadthrottle unlimit', as long as --for says, or until all that it is for have ended. It ends
    /// with the engine, but goes on where the service is restarted
    #[arg(long)]
    pub detach: bool,
}

/// `block`
#[derive(Debug, Args)]
pub struct BlockArgs {
    /// As with 'limit'
    #[arg(value_name = "TARGET", required = true, add = candidates::targets())]
    pub targets: Vec<Target>,
    /// Which direction; both unless given
    #[arg(long, value_enum, default_value_t = BlockArg::Both)]
    pub direction: BlockArg,
    /// Reset TCP connections, and have new ones fail, rather than keep them waiting
    #[arg(long)]
    pub reject: bool,
    /// Which remote addresses are blocked; everything but loopback unless given
    #[arg(long, value_enum)]
    pub scope: Option<ScopeArg>,
    /// For whom else, and how long
    #[command(flatten)]
    pub extent: Extent,
}

impl BlockArgs {
    /// The limit that it is.
    pub fn limit(self) -> LimitArgs {
        let blocked = |is: bool| is.then_some(Rate::BLOCKED);
        LimitArgs {
            targets: self.targets,
            limits: Limits {
                down: blocked(self.direction != BlockArg::Up),
                up: blocked(self.direction != BlockArg::Down),
                scope: self.scope,
                reject: self.reject,
            },
            extent: self.extent,
        }
    }
}

/// What is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BlockArg {
    /// What arrives
    Down,
    /// What is sent
    Up,
    /// Both
    Both,
}

/// `rule`
#[derive(Debug, Subcommand)]
pub enum RuleCommand {
    /// List all rules, in the order in which they are tried: the first that matches a process and is on holds it
    List {
        /// One JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show one rule
    Show {
        /// Its name
        #[arg(add = ArgValueCandidates::new(candidates::rules))]
        name: String,
    },
    /// Add a rule to /etc/chadthrottle/rules.toml
    #[command(after_long_help = examples::RULE_ADD)]
    Add(RuleAdd),
    /// Remove a rule
    Remove {
        /// Its name
        #[arg(add = ArgValueCandidates::new(candidates::rules))]
        name: String,
    },
    /// Have a rule hold again
    Enable {
        /// Its name
        #[arg(add = ArgValueCandidates::new(candidates::rules))]
        name: String,
    },
    /// Have a rule not hold, and keep it
    Disable {
        /// Its name
        #[arg(add = ArgValueCandidates::new(candidates::rules))]
        name: String,
    },
    /// Move a rule to another place among those of its file
    Move {
        /// Its name
        #[arg(add = ArgValueCandidates::new(candidates::rules))]
        name: String,
        /// The place among the rules of its file, a number from 1
        place: usize,
    },
    /// Have the engine read the files anew; where one has a mistake, all rules stay as they were
    Reload,
    /// Say what is wrong in a file, or in all that there are
    Check {
        /// A file, which need not be where rules are
        file: Option<PathBuf>,
    },
    /// Say which rule would hold a process now, and why
    Test {
        /// As with 'limit'
        #[arg(add = candidates::targets())]
        target: Target,
    },
}

/// `rule add`
#[derive(Debug, Args)]
pub struct RuleAdd {
    /// Its name
    pub name: String,
    /// For whom, as with 'limit', but no process ids
    #[arg(value_name = "TARGET", required = true, add = candidates::lasting_targets())]
    pub targets: Vec<String>,
    /// How much
    #[command(flatten)]
    pub limits: Limits,
    /// Let nothing through
    #[arg(long, value_enum, value_name = "DIRECTION")]
    pub block: Option<BlockArg>,
    /// Reset what is blocked of TCP
    ///
    /// Connections are reset and new ones fail; without it they are kept waiting
    #[arg(long, requires = "block")]
    pub reject: bool,
    /// Who shares it, or has one of its own
    ///
    /// All that match share the limit, or each process, program, user or unit has its own
    #[arg(long, value_parser = ["all", "process", "program", "user", "unit"])]
    pub share: Option<String>,
    /// When it is on: 'Mon-Fri 08:00-18:00'; several times
    ///
    /// In local time: 'Mon-Fri 08:00-18:00', 'Sat,Sun', '22:00-06:00'
    #[arg(long, value_name = "TIME")]
    pub when: Vec<String>,
    /// Networks, such as 'interface:GLOB'; several times
    ///
    /// 'interface:GLOB', of the interface that leads to the Internet; 'metered' and 'ssid:GLOB', as NetworkManager says
    #[arg(long, value_name = "NETWORK")]
    pub on: Vec<String>,
    /// Before all others of the file
    #[arg(long)]
    pub first: bool,
}

/// `profile`
#[derive(Debug, Args)]
pub struct Profile {
    /// Which one from now on, or 'off'; without a name they are listed
    #[arg(add = ArgValueCandidates::new(candidates::profiles))]
    pub name: Option<String>,
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
    #[arg(value_name = "ID|TARGET", required_unless_present = "all", add = candidates::targets())]
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
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
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
    /// End with the last client, and where nobody comes within three seconds of the start
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, error::ErrorKind};

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn everything_behind_the_program_belongs_to_it() {
        let cli = parse("chadthrottle run --down 1MB/s wget -q --down x").unwrap();
        let Some(Command::Run(run)) = cli.command else {
            panic!()
        };
        assert_eq!(run.command, ["wget", "-q", "--down", "x"]);
        let cli = parse("chadthrottle run --up 8Mbit -- -odd").unwrap();
        let Some(Command::Run(run)) = cli.command else {
            panic!()
        };
        assert_eq!(run.command, ["-odd"]);
        assert_eq!(
            run.limits.limit().up.map(Rate::bytes_per_second),
            Some(1_000_000)
        );
    }

    #[test]
    fn global_options_stand_before_or_behind_the_command() {
        for line in [
            "chadthrottle --attach legacy --state-dir /x limit 7 --down 1MB",
            "chadthrottle limit 7 --down 1MB --attach legacy --state-dir /x",
        ] {
            let cli = parse(line).unwrap();
            assert_eq!(cli.global.attach, AttachMode::Legacy, "{line}");
            assert_eq!(cli.global.state_dir, PathBuf::from("/x"), "{line}");
        }
    }

    #[test]
    fn the_help_of_a_command_knows_its_options_from_those_of_all() {
        let mut cli = Cli::command();
        cli.build();
        for command in ["limit", "run", "list", "cleanup", "doctor"] {
            let help = cli.find_subcommand_mut(command).unwrap().render_long_help();
            let help = help.to_string();
            assert!(!help.contains("Options of the screen"), "{help}");
            let (own, of_all) = help.split_once("Options of every command:").unwrap();
            assert!(of_all.contains("--state-dir") && !own.contains("--state-dir"));
        }
        let help = cli.render_long_help().to_string();
        let (_, of_screen) = help.split_once("Options of the screen:").unwrap();
        let (of_screen, _) = of_screen.split_once("Options of every command:").unwrap();
        assert!(of_screen.contains("--theme"), "{help}");
    }

    /// The terminal that a help is shown on, in columns and lines.
    const TERMINAL: (usize, usize) = (80, 24);

    #[test]
    fn the_short_help_of_every_command_fits_a_terminal() {
        fn each(command: &mut clap::Command) {
            let help = command
                .clone()
                .term_width(TERMINAL.0)
                .render_help()
                .to_string();
            let lines = help.lines().count();
            assert!(lines < TERMINAL.1, "{lines} lines:\n{help}");
            command.get_subcommands_mut().for_each(each);
        }
        let mut cli = Cli::command();
        cli.build();
        each(&mut cli);
    }

    #[test]
    fn a_wrong_command_or_option_is_answered_with_the_right_one() {
        for (line, meant) in [
            ("chadthrottle lmit 7 --down 1MB", "'limit'"),
            ("chadthrottle unlimt 7", "'unlimit'"),
            ("chadthrottle rules", "'rule'"),
            ("chadthrottle rule lst", "'list'"),
            ("chadthrottle docter", "'doctor'"),
            ("chadthrottle limit 7 --dwon 1MB", "'--down'"),
        ] {
            let said = parse(line).unwrap_err().to_string();
            assert!(said.contains(meant), "{line}: {said}");
        }
    }

    #[test]
    fn rates_that_are_refused_end_with_the_accepted_forms() {
        for rate in ["0", "-1", "12", "5kbps", "1e400MB", "١MB"] {
            let error = parse(&format!("chadthrottle run --down {rate} -- true")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ValueValidation, "{rate}");
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("1.5MB/s"), "{error}");
        }
    }

    #[test]
    fn what_is_blocked_is_refused_where_that_is_said() {
        let resets = |line: &str| match parse(line).unwrap().command {
            Some(Command::Block(block)) => block.limit().limits.limit().resets(),
            other => panic!("{other:?}"),
        };
        assert!(resets("chadthrottle block --reject 7"));
        assert!(resets("chadthrottle block --reject --direction up 7"));
        assert!(!resets("chadthrottle block 7"));
        let add = |more: &str| parse(&format!("chadthrottle rule add x name:x {more} --reject"));
        assert!(add("--block both").is_ok());
        let error = add("--down 1MB").unwrap_err();
        assert!(error.to_string().contains("--block"), "{error}");
    }

    #[test]
    fn scopes_and_their_default() {
        let scope = |line: &str| match parse(line).unwrap().command {
            Some(Command::Limit(limit)) => limit.limits.limit().scope,
            other => panic!("{other:?}"),
        };
        assert_eq!(scope("chadthrottle limit 7 --down 1MB"), Scope::DEFAULT);
        assert_eq!(
            scope("chadthrottle limit 7 --down 1MB --scope internet"),
            Scope::INTERNET
        );
        assert_eq!(
            scope("chadthrottle limit 7 --down 1MB --scope all"),
            Scope::ALL
        );
    }
}
