//! `rule` and `profile`: limits that last.

mod change;
mod trial;

use std::{fmt::Write, path::Path};

use jiff::ZonedDateTime;

use super::{rows::aligned, size_of_terminal};
use crate::{
    cli::{Global, Profile, RuleCommand},
    error::Error,
    model::RuleSample,
    output,
    protocol::{Field, RequestError},
    rules::{NetworkManager, Networks, Places, Rule, Rules, Wanted, edit::Edit},
    session::{self, Settings},
    text,
    units::{Rate, Style, format_bytes},
};
use change::{added, edit, enable, reload};
use trial::test;

/// Where there are rules and nobody who keeps them.
const NO_ENGINE: &str = "no engine is running, so no rules are in effect; start one with 'chadthrottle engine' or the \
                         service";

/// Carries out one of them and gives the exit code.
pub async fn run(global: &Global, command: RuleCommand) -> Result<u8, Error> {
    match command {
        RuleCommand::List { json } => list(global, json).await,
        RuleCommand::Show { name } => show(global, &name).await,
        RuleCommand::Add(add) => {
            if !add.limits.is_some() && add.block.is_none() {
                let words =
                    "a rule limits something: give --down RATE, --up RATE or --block DIRECTION";
                return Err(Error::Usage(words.to_owned()));
            }
            edit(global, added(add)).await
        }
        RuleCommand::Remove { name } => edit(global, Edit::Remove { name }).await,
        RuleCommand::Enable { name } => enable(global, name, true).await,
        RuleCommand::Disable { name } => enable(global, name, false).await,
        RuleCommand::Move { name, place } => edit(global, Edit::Move { name, to: place }).await,
        RuleCommand::Reload => reload(global).await,
        RuleCommand::Check { file } => check(global, file.as_deref()).await,
        RuleCommand::Test { target } => test(global, &target).await,
    }
}

/// `profile`
pub async fn profile(global: &Global, args: Profile) -> Result<u8, Error> {
    let rules = global.places().load();
    let Some(name) = args.name else {
        let mut words = String::new();
        for profile in &rules.profiles {
            let mark = if rules.profile.as_ref() == Some(profile) {
                "*"
            } else {
                " "
            };
            let _ = writeln!(words, "{mark} {}", text::escape(profile));
        }
        if rules.profiles.is_empty() {
            words = "There are no profiles: [profile.NAME] in a rules file makes one.\n".to_owned();
        }
        super::print(words.as_bytes())?;
        return Ok(0);
    };
    if name == "off" {
        return edit(global, Edit::Profile { name: None }).await;
    }
    if !rules.profiles.contains(&name) {
        return Err(no_profile(&name, &rules.profiles));
    }
    edit(global, Edit::Profile { name: Some(name) }).await
}

fn no_profile(name: &str, profiles: &[String]) -> Error {
    let others = match profiles.is_empty() {
        true => "there are no profiles: [profile.NAME] in a rules file makes one".to_owned(),
        false => format!("the profiles are: {}", text::escape(&profiles.join(", "))),
    };
    let name = text::escape(name);
    Error::NoTarget(format!("there is no profile '{name}'; {others}"))
}

fn say_problems(rules: &Rules) {
    for problem in &rules.problems {
        output::say(format_args!("{problem}"));
    }
}

/// What the engine says of the rules; `None` where none runs.
async fn asked(global: &Global) -> Result<Option<Vec<RuleSample>>, Error> {
    let settings = Settings {
        fields: Some(vec![Field::Rules]),
        ..global.settings(session::AT_ONCE)
    };
    let Some(mut session) = session::open_running(settings).await? else {
        return Ok(None);
    };
    let snapshot = session.engine.sample().await;
    let _clean = session.close().await;
    Ok(Some(snapshot.ok_or(RequestError::Gone)?.rules.clone()))
}

/// Where the machine is, as far as these rules want to know it.
async fn networks(rules: &[Rule]) -> Networks {
    let said = NetworkManager::default().ask(Wanted::by(rules)).await;
    Networks::look().with(said)
}

/// What the files say, where no engine runs.
fn read(rules: &Rules, networks: &Networks) -> Vec<RuleSample> {
    let now = ZonedDateTime::now();
    let sample = |rule: &Rule| rule.sample(&rule.why(&now, networks, rules.profile.as_deref()));
    rules.rules.iter().map(sample).collect()
}

async fn list(global: &Global, json: bool) -> Result<u8, Error> {
    let rules = global.places().load();
    say_problems(&rules);
    let code = if rules.problems.is_empty() { 0 } else { 2 };
    let asked = asked(global).await?;
    let (samples, is_running) = match asked {
        Some(samples) => (samples, true),
        None => (read(&rules, &networks(&rules.rules).await), false),
    };
    if is_running && let Some(words) = in_force(&rules, &samples) {
        output::say(words);
    }
    // Where a file cannot be read, that says enough.
    if samples.is_empty() && code != 0 && !json {
        return Ok(code);
    }
    if !is_running && !samples.is_empty() {
        output::say(NO_ENGINE);
    }
    let words = if json {
        text::json(&samples).map_err(|error| Error::io("writing the rules", error.into()))?
    } else {
        let width = size_of_terminal().map(|(columns, _)| columns);
        table(&samples, is_running, global.style(), width).into_bytes()
    };
    super::print(&words)?;
    Ok(code)
}

/// What to say of the rules that an engine goes by, where those of the files are others.
fn in_force(rules: &Rules, samples: &[RuleSample]) -> Option<&'static str> {
    let has_mistake = !rules.problems.is_empty();
    Some(match (has_mistake, differ(rules, samples)) {
        (false, false) => return None,
        (false, true) => {
            "the files have changed since they were read: 'chadthrottle rule reload' reads them anew"
        }
        (true, _) if samples.is_empty() => {
            "no rules are in force; when the mistake is mended, 'chadthrottle rule reload' has them hold"
        }
        // It may have been there when the engine started.
        (true, false) => {
            "these rules are in force, those of other files; when the mistake is mended, 'chadthrottle rule reload' \
             has all hold"
        }
        (true, true) => {
            "these rules are in force, from before the mistake; when it is mended, 'chadthrottle rule reload' reads \
             the files anew"
        }
    })
}

/// Whether the files without mistakes say other things than what the engine has read.
fn differ(rules: &Rules, samples: &[RuleSample]) -> bool {
    let of_files = samples.iter().filter(|rule| !is_of_unit(rule));
    let known = |rule: &RuleSample| {
        (
            rule.name.clone(),
            rule.targets.clone(),
            rule.limit,
            rule.enabled,
            rule.when.clone(),
        )
    };
    let now = read(rules, &Networks::default());
    !now.iter().map(known).eq(of_files.map(known))
}

/// Whether it stands in the files of a unit, none of which ends as those of rules do.
fn is_of_unit(rule: &RuleSample) -> bool {
    !rule.file.ends_with(".toml")
}

fn table(rules: &[RuleSample], is_running: bool, style: Style, width: Option<usize>) -> String {
    if rules.is_empty() {
        return "There are no rules. 'chadthrottle rule add' makes one.\n".to_owned();
    }
    let mut rows = vec![
        [
            "",
            "RULE",
            "DOWN",
            "UP",
            "PROCESSES",
            "TODAY",
            "STATE",
            "MATCH",
        ]
        .map(str::to_owned),
    ];
    for (at, rule) in rules.iter().enumerate() {
        let rate = |rate: Option<Rate>| rate.map_or("-".to_owned(), |rate| rate.shown(style));
        let carried = rule.carried_today.down + rule.carried_today.up;
        rows.push([
            (at + 1).to_string(),
            text::escape(&rule.name).into_owned(),
            rate(rule.limit.down),
            rate(rule.limit.up),
            match is_running {
                true => rule.members.to_string(),
                false => "-".to_owned(),
            },
            match is_running {
                true => format_bytes(carried),
                false => "-".to_owned(),
            },
            text::escape(&rule.why).into_owned(),
            text::escape(&rule.targets.join(" ")).into_owned(),
        ]);
    }
    // Figures to the right.
    aligned(&rows, &[0, 2, 3, 4, 5], width)
}

async fn show(global: &Global, name: &str) -> Result<u8, Error> {
    let rules = global.places().load();
    say_problems(&rules);
    let asked = asked(global).await?;
    let samples = match asked {
        Some(samples) => samples,
        None => read(&rules, &networks(&rules.rules).await),
    };
    let rule = samples.iter().find(|rule| *rule.name == *name);
    let rule = rule.ok_or_else(|| no_rule(name, &samples))?;
    let mut words = String::new();
    let mut line = |label: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(words, "{label:>9}  {}", text::escape(value));
        }
    };
    line("rule", &rule.name);
    line("match", &rule.targets.join(" "));
    line("limit", &rule.limit.to_string());
    line("share", &rule.share);
    line("when", &rule.when.join(", "));
    line("on", &rule.on.join(", "));
    line("profiles", &rule.profiles.join(", "));
    line("state", &rule.why);
    line("processes", &rule.members.to_string());
    line("file", &format!("{}:{}", rule.file, rule.line));
    super::print(words.as_bytes())?;
    Ok(0)
}

fn no_rule(name: &str, rules: &[RuleSample]) -> Error {
    let names: Vec<&str> = rules.iter().map(|rule| &*rule.name).collect();
    let others = match names.is_empty() {
        true => "there are no rules".to_owned(),
        false => format!("the rules are: {}", text::escape(&names.join(", "))),
    };
    let name = text::escape(name);
    Error::NoTarget(format!("there is no rule '{name}'; {others}"))
}

/// Reads a file, or all of them, and says what is wrong.
async fn check(global: &Global, file: Option<&Path>) -> Result<u8, Error> {
    let (rules, problems) = match file {
        Some(path) => match Places::check(path) {
            Ok(rules) => (rules, Vec::new()),
            Err(mistakes) => {
                let file = path.display().to_string();
                let named = |what: String| format!("{}: {what}", text::escape(&file));
                (Vec::new(), mistakes.into_iter().map(named).collect())
            }
        },
        None => {
            let rules = global.places().load();
            let problems: Vec<String> = rules.problems.iter().map(ToString::to_string).collect();
            (rules.rules, problems)
        }
    };
    say_silence(&rules).await;
    if problems.is_empty() {
        let words = match rules.len() {
            1 => "one rule, no mistakes\n".to_owned(),
            count => format!("{count} rules, no mistakes\n"),
        };
        super::print(words.as_bytes())?;
        return Ok(0);
    }
    for problem in &problems {
        output::say(problem);
    }
    Ok(2)
}

/// Says of which rules nobody knows whether they are on. They are not.
async fn say_silence(rules: &[Rule]) {
    let networks = networks(rules).await;
    for rule in rules {
        if let Some(silence) = rule.silence(&networks) {
            let words = format!(
                "rule '{}' is only on {}, which cannot be checked now: {silence}",
                rule.name, rule.on
            );
            output::say(text::escape(&words));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Limit, rules::Why};

    #[test]
    fn who_asks_for_what_is_not_there_learns_what_is() {
        let said = |error: Error| error.to_string();
        let none = "there is no rule 'x\\u{1b}'; there are no rules";
        assert_eq!(said(no_rule("x\u{1b}", &[])), none);
        let some = said(no_rule("x", &[rule("a", "on"), rule("b", "on")]));
        assert_eq!(some, "there is no rule 'x'; the rules are: a, b");
        let none = said(no_profile("travelling", &[]));
        assert!(
            none.starts_with("there is no profile 'travelling'; there are no profiles"),
            "{none}"
        );
    }

    #[test]
    fn of_rules_in_force_it_is_said_whether_the_files_say_the_same() {
        let mut rules = Rules::default();
        let said = |rules: &Rules, names: &[&str]| {
            let samples: Vec<_> = names.iter().map(|name| rule(name, "on")).collect();
            in_force(rules, &samples).unwrap_or_default()
        };
        assert_eq!(said(&rules, &[]), "");
        rules.rules = vec![in_file("a")];
        assert_eq!(said(&rules, &["a"]), "");
        // What units have of their own is in no file of rules; whatever one there is called, it is.
        let of_unit = of_unit("cgroup:/x.service");
        assert_eq!(in_force(&rules, &[rule("a", "on"), of_unit]), None);
        rules.rules = vec![in_file("a"), in_file("unit:x")];
        assert_eq!(said(&rules, &["a", "unit:x"]), "");
        rules.rules.pop();
        let changed = said(&rules, &["a", "b"]);
        assert!(changed.starts_with("the files have changed"), "{changed}");
        // Of a file that cannot be read there is nothing to compare.
        rules.problems = vec![crate::rules::Problem {
            file: "/rules".into(),
            what: "no".to_owned(),
        }];
        for (names, expected) in [
            (
                &["a", "b"][..],
                "these rules are in force, from before the mistake;",
            ),
            (&["a"], "these rules are in force, those of other files;"),
            (&[], "no rules are in force;"),
        ] {
            let words = said(&rules, names);
            assert!(words.starts_with(expected), "{names:?}: {words}");
            assert!(words.contains("'chadthrottle rule reload'"), "{words}");
        }
    }

    pub(in crate::commands::rule) fn in_file(name: &str) -> Rule {
        let targets = vec!["name:x".parse().unwrap()];
        Rule {
            name: name.into(),
            targets,
            limit: Limit::NONE,
            share: Default::default(),
            when: Default::default(),
            on: Default::default(),
            enabled: true,
            profiles: Vec::new(),
            file: Path::new("/rules.toml").into(),
            line: 1,
        }
    }

    pub(in crate::commands::rule) fn of_unit(target: &str) -> RuleSample {
        RuleSample {
            targets: vec![target.to_owned()],
            file: "/x.service".to_owned(),
            ..rule("unit:x", "on")
        }
    }

    pub(in crate::commands::rule) fn rule(name: &str, why: &str) -> RuleSample {
        RuleSample {
            why: why.to_owned(),
            ..in_file(name).sample(&Why::On)
        }
    }

    #[test]
    fn a_long_reason_moves_no_other_line_and_nothing_reaches_the_terminal_as_it_is() {
        let long = format!(
            "not here (NetworkManager cannot be asked: \u{1b}[2J{})",
            "x".repeat(300)
        );
        let rules = [rule("a", "on"), rule("b", &long)];
        let table = table(&rules, true, Style::default(), None);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[1].len() < 80, "{table}");
        assert!(lines[2].ends_with("xxx)  name:x"), "{table}");
        assert!(
            table.contains("\\u{1b}[2J") && !table.contains('\u{1b}'),
            "{table}"
        );
    }
}
