//! Examples below the long help of commands. Each is parsed by a test.

/// The line that each begins with.
pub const HEAD: &str = "Examples:";

/// Of the program.
pub const ALL: &str = "\
Examples:
  sudo chadthrottle                                            # the screen
  sudo chadthrottle run --down 1MB/s --up 500KB/s -- wget URL  # a program under a limit
  sudo chadthrottle limit 'name:firefox*' --children --up 1MB  # what runs, and what it starts
  sudo chadthrottle doctor                                     # will it work here, and how";

/// Of `run`.
pub const RUN: &str = "\
Examples:
  sudo chadthrottle run --down 1MB/s -- wget URL
  sudo chadthrottle run --up 8Mbit --scope internet -- rsync -a photos/ backup:photos/
  sudo chadthrottle run --down 2MB --no-wait -- ./start-daemon";

/// Of `limit`.
pub const LIMIT: &str = "\
Examples:
  sudo chadthrottle limit 1234 --down 8Mbit --for 30m
  sudo chadthrottle limit 'name:firefox*' --children --up 1MB
  sudo chadthrottle limit unit:ollama.service --down 5MB --detach
  sudo chadthrottle limit 'user:root+!name:ssh' --down 2MB --up 500KB";

/// Of `limits`.
pub const LIMITS: &str = "\
Examples:
  sudo chadthrottle limits
  sudo chadthrottle limits --json";

/// Of `unlimit`.
pub const UNLIMIT: &str = "\
Examples:
  sudo chadthrottle unlimit 'name:firefox*'
  sudo chadthrottle unlimit 3
  sudo chadthrottle unlimit --all";

/// Of `block`.
pub const BLOCK: &str = "\
Examples:
  sudo chadthrottle block name:updater --for 1h
  sudo chadthrottle block unit:apt-daily.service --direction down --detach";

/// Of `rule`.
pub const RULE: &str = "\
Examples:
  sudo chadthrottle rule add backup name:restic --up 2MB/s --when 'Mon-Fri 08:00-18:00'
  sudo chadthrottle rule list
  sudo chadthrottle rule test name:restic
  sudo chadthrottle rule disable backup";

/// Of `rule add`.
pub const RULE_ADD: &str = "\
Examples:
  sudo chadthrottle rule add backup name:restic 'name:borg*' --up 2MB/s
  sudo chadthrottle rule add updates unit:apt-daily.service --block down --when 08:00-18:00
  sudo chadthrottle rule add each user:root --down 2MB --share process --first";

/// Of `rule list`.
pub const RULE_LIST: &str = "\
Examples:
  sudo chadthrottle rule list
  sudo chadthrottle rule list --json";

/// Of `rule show`.
pub const RULE_SHOW: &str = "\
Examples:
  sudo chadthrottle rule show backup";

/// Of `rule remove`.
pub const RULE_REMOVE: &str = "\
Examples:
  sudo chadthrottle rule remove backup";

/// Of `rule enable`.
pub const RULE_ENABLE: &str = "\
Examples:
  sudo chadthrottle rule enable backup";

/// Of `rule disable`.
pub const RULE_DISABLE: &str = "\
Examples:
  sudo chadthrottle rule disable backup";

/// Of `rule move`.
pub const RULE_MOVE: &str = "\
Examples:
  sudo chadthrottle rule move backup 1   # before all others of its file";

/// Of `rule reload`.
pub const RULE_RELOAD: &str = "\
Examples:
  sudo chadthrottle rule reload";

/// Of `rule check`.
pub const RULE_CHECK: &str = "\
Examples:
  sudo chadthrottle rule check           # all files
  chadthrottle rule check rules.toml     # one, wherever it is";

/// Of `rule test`.
pub const RULE_TEST: &str = "\
Examples:
  sudo chadthrottle rule test 1234
  sudo chadthrottle rule test name:restic";

/// Of `profile`.
pub const PROFILE: &str = "\
Examples:
  sudo chadthrottle profile
  sudo chadthrottle profile hotel
  sudo chadthrottle profile off";

/// Of `list`.
pub const LIST: &str = "\
Examples:
  sudo chadthrottle list --watch
  sudo chadthrottle list --count 1 --sort up
  sudo chadthrottle list --json --count 5 --interval 2s";

/// Of `engine`.
pub const ENGINE: &str = "\
Examples:
  sudo chadthrottle engine
  sudo chadthrottle engine --verbose --log-file engine.log";

/// Of `cleanup`.
pub const CLEANUP: &str = "\
Examples:
  sudo chadthrottle cleanup --dry-run
  sudo chadthrottle cleanup";

/// Of `doctor`.
pub const DOCTOR: &str = "\
Examples:
  sudo chadthrottle doctor
  sudo chadthrottle doctor --json > report.json";

/// Of `completions`.
pub const COMPLETIONS: &str = "\
Examples:
  chadthrottle completions bash > ~/.local/share/bash-completion/completions/chadthrottle
  chadthrottle completions zsh > ~/.zfunc/_chadthrottle
  chadthrottle completions fish > ~/.config/fish/completions/chadthrottle.fish";

/// Of `man`.
pub const MAN: &str = "\
Examples:
  chadthrottle man
  chadthrottle man rule add
  chadthrottle man --directory /usr/local/share/man/man1";

#[cfg(test)]
mod tests {
    use super::HEAD;
    use crate::cli::Cli;
    use clap::{Command, CommandFactory, Parser};

    /// The words of a line, as a shell parts them: the examples quote with '…' only.
    fn words(line: &str) -> Vec<String> {
        let mut words = Vec::new();
        for (at, part) in line.split('\'').enumerate() {
            if at % 2 == 1 {
                words.push(part.to_owned());
            } else {
                words.extend(part.split_whitespace().map(str::to_owned));
            }
        }
        words
    }

    fn each(command: &Command, path: &str, tried: &mut usize) {
        let name = command.get_name();
        let path = if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path} {name}")
        };
        let examples = command.get_after_long_help().map(ToString::to_string);
        for line in examples.unwrap_or_default().lines() {
            let Some(line) = line
                .trim()
                .strip_prefix("sudo ")
                .or(line.strip_prefix("  "))
            else {
                continue;
            };
            let line = line.split(['#', '>']).next().unwrap();
            assert!(line.starts_with(&path), "{line}: an example of '{path}'");
            if let Err(error) = Cli::try_parse_from(words(line)) {
                panic!("{line}: {error}");
            }
            *tried += 1;
        }
        for command in command.get_subcommands() {
            each(command, &path, tried);
        }
    }

    #[test]
    fn every_example_is_understood() {
        let mut tried = 0;
        each(&Cli::command(), "", &mut tried);
        assert!(tried > 30, "only {tried}");
    }

    #[test]
    fn every_command_has_examples() {
        let program = Cli::command();
        let below = program.get_subcommands().flat_map(Command::get_subcommands);
        for command in program.get_subcommands().chain(below) {
            let name = command.get_name();
            let examples = command.get_after_long_help().map(ToString::to_string);
            assert!(examples.is_some_and(|all| all.starts_with(HEAD)), "{name}");
        }
    }
}
