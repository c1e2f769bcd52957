//! What keeps limits in files: `rule` and `profile`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;

use super::{BlockArg, Limits, candidates, examples};
use crate::process::Target;

/// `rule`
#[derive(Debug, Subcommand)]
pub enum RuleCommand {
    /// List all rules, in the order in which they are tried: the first that matches a process and is on holds it
    #[command(after_long_help = examples::RULE_LIST)]
    List {
        /// One JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show one rule, and the file and line where it stands
    #[command(after_long_help = examples::RULE_SHOW)]
    Show {
        /// Its name
        #[arg(add = ArgValueCandidates::new(candidates::rules))]
        name: String,
    },
    /// Add a rule to /etc/chadthrottle/rules.toml
    #[command(after_long_help = examples::RULE_ADD)]
    Add(RuleAdd),
    /// Remove a rule
    #[command(after_long_help = examples::RULE_REMOVE)]
    Remove {
        /// Its name
        #[arg(add = ArgValueCandidates::new(candidates::rules))]
        name: String,
    },
    /// Switch a rule on again
    #[command(after_long_help = examples::RULE_ENABLE)]
    Enable {
        /// Its name
        #[arg(add = ArgValueCandidates::new(candidates::rules))]
        name: String,
    },
    /// Switch a rule off, and keep it
    #[command(after_long_help = examples::RULE_DISABLE)]
    Disable {
        /// Its name
        #[arg(add = ArgValueCandidates::new(candidates::rules))]
        name: String,
    },
    /// Move a rule to another place among those of its file
    #[command(after_long_help = examples::RULE_MOVE)]
    Move {
        /// Its name
        #[arg(add = ArgValueCandidates::new(candidates::rules))]
        name: String,
        /// The place among the rules of its file, a number from 1
        #[arg(value_parser = place)]
        place: usize,
    },
    /// Have the engine read the files anew; where one has a mistake, all rules stay as they were
    #[command(after_long_help = examples::RULE_RELOAD)]
    Reload,
    /// Say what is wrong in a file, or in all that there are
    #[command(after_long_help = examples::RULE_CHECK)]
    Check {
        /// A file, which need not be where rules are
        file: Option<PathBuf>,
    },
    /// Say which rule would hold a process now, and why
    #[command(after_long_help = examples::RULE_TEST)]
    Test {
        /// As with 'limit'
        #[arg(add = candidates::targets())]
        target: Target,
    },
}

/// A place in a list, counted from 1.
fn place(text: &str) -> Result<usize, String> {
    let place = text.parse().ok().filter(|place| *place > 0);
    place.ok_or_else(|| "a place is a number, and 1 is the first".to_owned())
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
    /// Reset blocked TCP connections
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
    /// 'interface:GLOB', of the interface that leads to the Internet, or else for processes with a connection by it;
    /// 'metered' and 'ssid:GLOB', as NetworkManager says
    #[arg(long, value_name = "NETWORK", add = ArgValueCandidates::new(candidates::networks))]
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
