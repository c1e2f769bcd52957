//! What a shell may complete a command line with: what is there right now.
//!
//! A shell puts a candidate into the command line as it is. So nothing is offered that a shell would take for more than
//! a word: a process could call itself `x;reboot`.

mod limits;

use std::{
    collections::BTreeSet,
    env,
    ffi::{OsStr, OsString},
    fs,
    path::Path,
    time::{Duration, Instant},
};

use clap::{Arg, Command, CommandFactory};
use clap_complete::{ArgValueCompleter, CompletionCandidate};

use super::Cli;
use crate::{
    config::{ThemeName, theme_files},
    process::{
        LocalAccounts, cgroup_of, container_of, is_kernel_thread, owner_of, pids, proc_file,
        unescape, units_of,
    },
    rules::Places,
};
pub use limits::limits;

/// Who presses Tab waits so long at most; what is not found by then is not offered.
const PATIENCE: Duration = Duration::from_millis(150);

/// Targets of running processes, ids among them.
pub fn targets() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| candidates(Path::new("/proc"), current, true))
}

/// Targets that outlive processes.
pub fn lasting_targets() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| candidates(Path::new("/proc"), current, false))
}

/// Names of rules in files.
pub fn rules() -> Vec<CompletionCandidate> {
    let names = places().load().rules.into_iter();
    words(names.map(|rule| rule.name.to_string()))
}

/// Names of profiles, and what chooses none.
pub fn profiles() -> Vec<CompletionCandidate> {
    let names = places().load().profiles;
    words(names.into_iter().chain(["off".to_owned()]))
}

/// Networks that a rule may be on only in: by the interfaces that there are, and the kinds that NetworkManager tells.
pub fn networks() -> Vec<CompletionCandidate> {
    let interfaces = fs::read_dir("/sys/class/net").into_iter().flatten();
    let names = interfaces.filter_map(|it| it.ok()?.file_name().into_string().ok());
    let by_interface = names.map(|name| format!("interface:{name}"));
    words(by_interface.chain(["metered", "ssid:"].map(str::to_owned)))
}

fn places() -> Places {
    given("--rules-root").map_or_else(Places::system, |root| Places::below(root, 0))
}

/// What the command line that is completed says behind that option.
fn given(option: &str) -> Option<OsString> {
    env::args_os().skip_while(|word| word != option).nth(1)
}

/// Names of themes.
pub fn themes() -> Vec<CompletionCandidate> {
    let without_file = ThemeName::WITHOUT_FILE.map(str::to_owned).into_iter();
    words(without_file.chain(theme_files()))
}

/// The command line as a shell completes it: behind `man` stand the commands, and behind each those below it.
pub fn completed() -> Command {
    let program = Cli::command();
    let pages: Vec<Command> = program.get_subcommands().map(page).collect();
    program.mut_subcommand("man", |man| {
        let options = man.get_arguments().filter(|it| !it.is_positional());
        let options: Vec<Arg> = options.cloned().collect();
        Command::new("man")
            .disable_help_subcommand(true)
            .args(options)
            .subcommands(pages)
    })
}

/// The name of a command and of those below it, as they name a manual page.
fn page(command: &Command) -> Command {
    Command::new(command.get_name().to_owned())
        .about(command.get_about().cloned().unwrap_or_default())
        .disable_help_subcommand(true)
        .subcommands(command.get_subcommands().map(page))
}

/// What a target may begin with.
const KINDS: [&str; 9] = [
    "name:",
    "exe:",
    "command:",
    "user:",
    "group:",
    "cgroup:",
    "unit:",
    "container:",
    "parent:",
];

/// What has a target behind it.
const PARENT: &str = "parent:";

fn candidates(root: &Path, current: &OsStr, with_pids: bool) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else {
        return Vec::new();
    };
    // Of a target that is joined, negated or a parent's, the last part is completed, and what stands before it stays.
    let at = current.rfind(['+', '!']).map_or(0, |at| at + 1);
    let is_of_parent = current[at..].starts_with(PARENT);
    let at = if is_of_parent { at + PARENT.len() } else { at };
    let (before, part) = current.split_at(at);
    let until = Instant::now() + PATIENCE;
    // Those of the kernel have no sockets, and cannot be limited.
    let processes = pids(root).into_iter();
    let processes = processes
        .take_while(|_| Instant::now() < until)
        .filter(|pid| !is_kernel_thread(root, *pid));
    let mut found = Vec::new();
    if let Some((kind, value)) = part.split_once(':') {
        let names = processes.flat_map(|pid| of(root, pid, kind));
        let names: BTreeSet<String> = names.filter(|name| name.starts_with(value)).collect();
        let targets = names.into_iter().map(|name| format!("{kind}:{name}"));
        found.extend(targets.map(CompletionCandidate::new));
    } else {
        let kinds = KINDS.into_iter().filter(|kind| kind.starts_with(part));
        let kinds = kinds.filter(|kind| !is_of_parent || *kind != PARENT);
        found.extend(kinds.map(CompletionCandidate::new));
        if with_pids {
            let pids = processes.filter(|pid| pid.to_string().starts_with(part));
            found.extend(pids.map(|pid| {
                let name = name_of(root, pid).filter(|name| is_word(name));
                CompletionCandidate::new(pid.to_string()).help(name.map(Into::into))
            }));
        }
    }
    let prefixed = found.into_iter();
    prefixed
        .map(|candidate| candidate.add_prefix(before))
        .collect()
}

/// What a process has of that kind, as far as it may be offered.
fn of(root: &Path, pid: u32, kind: &str) -> Vec<String> {
    let cgroup = || cgroup_of(root, pid);
    let accounts = || LocalAccounts::of(Path::new("/etc"));
    let found: Vec<String> = match kind {
        "name" => name_of(root, pid).into_iter().collect(),
        "exe" => {
            let exe = fs::read_link(root.join(pid.to_string()).join("exe"));
            exe.ok()
                .and_then(|exe| exe.into_os_string().into_string().ok())
                .into_iter()
                .collect()
        }
        "command" => return commands_of(root, pid),
        "user" => {
            let owner = owner_of(root, pid).ok();
            let name = owner.map(|(user, _)| accounts().user(user));
            name.into_iter().collect()
        }
        "group" => {
            let owner = owner_of(root, pid).ok();
            let name = owner.map(|(_, group)| accounts().group_name(group));
            name.into_iter().collect()
        }
        "cgroup" => cgroup().into_iter().collect(),
        "unit" => cgroup()
            .iter()
            .flat_map(|cgroup| units_of(cgroup).map(unescape))
            .collect(),
        "container" => {
            let cgroup = cgroup();
            let container = cgroup.as_deref().and_then(container_of);
            let id = container.and_then(|container| container.id?.get(..12).map(str::to_owned));
            id.into_iter().collect()
        }
        _ => Vec::new(),
    };
    found.into_iter().filter(|word| is_word(word)).collect()
}

/// Patterns for a command line, which is rarely one word: what it begins with, and the first file in it, as the script of
/// an interpreter is. All shells leave an asterisk alone where there is no file of that name.
fn commands_of(root: &Path, pid: u32) -> Vec<String> {
    let line = proc_file::text(&root.join(pid.to_string()).join("cmdline")).unwrap_or_default();
    let mut words = line.split_terminator('\0');
    let Some(program) = words.next().filter(|word| is_word(word)) else {
        return Vec::new();
    };
    let mut arguments = words.peekable();
    if arguments.peek().is_none() {
        return vec![program.to_owned()];
    }
    let file = arguments.find_map(file_in);
    let file = file.filter(|file| is_word(file));
    let file = file.map(|file| format!("*{file}*"));
    [format!("{program}*")].into_iter().chain(file).collect()
}

/// The name of the file that an argument is for: a path, or a name with an ending.
fn file_in(argument: &str) -> Option<&str> {
    let (directory, file) = argument.rsplit_once('/').unwrap_or(("", argument));
    let ending = Path::new(file).extension().and_then(OsStr::to_str);
    let has_ending = ending.is_some_and(|it| it.chars().all(char::is_alphabetic));
    (!argument.starts_with('-') && (!directory.is_empty() || has_ending)).then_some(file)
}

fn name_of(root: &Path, pid: u32) -> Option<String> {
    let name = fs::read_to_string(root.join(pid.to_string()).join("comm")).ok()?;
    Some(name.trim_end_matches('\n').to_owned())
}

fn words(all: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    all.filter(|word| is_word(word))
        .map(CompletionCandidate::new)
        .collect()
}

/// Whether every shell takes it for one plain word.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-+@/:".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::testing::write_process;
    use chadthrottle_common::kernel::PF_KTHREAD;

    fn tree(processes: &[(u32, &str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (pid, name, cgroup) in processes {
            let directory = root.path().join(pid.to_string());
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join("comm"), format!("{name}\n")).unwrap();
            fs::write(directory.join("cgroup"), format!("0::{cgroup}\n")).unwrap();
        }
        root
    }

    fn completed(root: &Path, current: &str, with_pids: bool) -> Vec<String> {
        let mut found: Vec<String> = candidates(root, OsStr::new(current), with_pids)
            .iter()
            .map(|candidate| candidate.get_value().to_string_lossy().into_owned())
            .collect();
        found.sort();
        found
    }

    #[test]
    fn names_units_and_ids_of_what_runs() {
        let unit = "/system.slice/ollama.service";
        let tree = tree(&[(12, "wget", "/"), (13, "wget", "/"), (712, "ollama", unit)]);
        for (current, found) in [
            ("name:", &["name:ollama", "name:wget"][..]),
            ("name:w", &["name:wget"]),
            ("unit:oll", &["unit:ollama.service"]),
            ("1", &["12", "13"]),
            ("u", &["unit:", "user:"]),
            ("user:x+name:w", &["user:x+name:wget"]),
            ("!name:o", &["!name:ollama"]),
            ("parent:1", &["parent:12", "parent:13"]),
            ("parent:u", &["parent:unit:", "parent:user:"]),
            ("parent:p", &[]),
            ("parent:name:o", &["parent:name:ollama"]),
            ("user:x+!parent:name:o", &["user:x+!parent:name:ollama"]),
        ] {
            assert_eq!(completed(tree.path(), current, true), found, "{current}");
        }
        for current in ["1", "parent:1"] {
            assert!(completed(tree.path(), current, false).is_empty());
        }
    }

    #[test]
    fn users_groups_and_what_command_lines_begin_with() {
        let tree = tree(&[
            (12, "python3", "/"),
            (13, "sh", "/"),
            (14, "odd", "/"),
            (15, "nice", "/"),
        ]);
        let lines = [
            (12, "/usr/bin/python3\0-u\0/home/a/train.py\0--epochs\0x\0"),
            (13, "sh\0"),
            (14, "a b\0x\0"),
            (15, "nice\0-n\0x9\0/d/x.sh\0"),
        ];
        for (pid, line) in lines {
            fs::write(tree.path().join(pid.to_string()).join("cmdline"), line).unwrap();
        }
        let all = [
            "command:*train.py*",
            "command:*x.sh*",
            "command:/usr/bin/python3*",
            "command:nice*",
            "command:sh",
        ];
        assert_eq!(completed(tree.path(), "command:", true), all);
        let (user, group) = owner_of(tree.path(), 12).unwrap();
        let accounts = LocalAccounts::of(Path::new("/etc"));
        let group = format!("group:{}", accounts.group_name(group));
        assert_eq!(completed(tree.path(), "group:", true), [group]);
        let user = format!("user:{}", accounts.user(user));
        assert_eq!(completed(tree.path(), "user:", true), [user]);
    }

    #[test]
    fn kernel_threads_are_not_offered() {
        let tree = tree(&[(12, "kworker", "/"), (13, "wget", "/")]);
        write_process(tree.path(), 12, "kworker", 2, PF_KTHREAD, 1);
        write_process(tree.path(), 13, "wget", 1, 0, 1);
        assert_eq!(completed(tree.path(), "1", true), ["13"]);
        assert_eq!(completed(tree.path(), "name:", true), ["name:wget"]);
    }

    #[test]
    fn themes_are_offered_by_name() {
        let mut all = themes().into_iter();
        assert!(all.any(|candidate| candidate.get_value() == "gruvbox"));
    }

    #[test]
    fn networks_are_those_of_the_machine_and_the_kinds_there_are() {
        let all = networks();
        for network in ["interface:lo", "metered", "ssid:"] {
            assert!(all.iter().any(|it| it.get_value() == network), "{all:?}");
        }
    }

    #[test]
    fn behind_man_the_pages_there_are_are_offered() {
        let offered = |line: &str| -> Vec<String> {
            let words: Vec<_> = line.split(' ').map(Into::into).collect();
            let last = words.len() - 1;
            let found = clap_complete::engine::complete(&mut super::completed(), words, last, None);
            let found = found.unwrap().into_iter();
            let found = found.map(|it| it.get_value().to_string_lossy().into_owned());
            found.filter(|word| !word.starts_with('-')).collect()
        };
        let program = Cli::command();
        let names = |command: &Command| -> Vec<String> {
            let below = command.get_subcommands();
            below.map(|it| it.get_name().to_owned()).collect()
        };
        assert_eq!(offered("chadthrottle man "), names(&program));
        assert_eq!(offered("chadthrottle man li"), ["limit", "limits", "list"]);
        let rule = program.find_subcommand("rule").unwrap();
        assert_eq!(offered("chadthrottle man rule "), names(rule));
        assert_eq!(offered("chadthrottle man rule en"), ["enable"]);
        assert_eq!(offered("chadthrottle man limit "), [""; 0]);
        assert_eq!(offered("chadthrottle man rule add "), [""; 0]);
        assert_eq!(offered("chadthrottle rule en"), ["enable"]);
    }

    #[test]
    fn a_name_that_a_shell_would_obey_is_not_offered() {
        let names = [
            "x;reboot",
            "$(id)",
            "a b",
            "`id`",
            "a\u{1b}[2J",
            "ok",
            "a'b",
            "a>b",
        ];
        let processes: Vec<_> = (1..)
            .zip(names)
            .map(|(pid, name)| (pid, name, "/"))
            .collect();
        let tree = tree(&processes);
        assert_eq!(completed(tree.path(), "name:", true), ["name:ok"]);
        let helps = candidates(tree.path(), OsStr::new(""), true);
        let helps = helps.iter().filter_map(|candidate| candidate.get_help());
        assert_eq!(helps.map(ToString::to_string).collect::<Vec<_>>(), ["ok"]);
    }
}
