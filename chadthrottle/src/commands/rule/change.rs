//! Changes to rules, and what has come of them.

use super::{NO_ENGINE, asked};
use crate::{
    cli::{BlockArg, Global, RuleAdd},
    error::Error,
    model::{RuleSample, scope_name},
    output,
    protocol::Field,
    rules::edit::{Edit, NewRule},
    session::{self, Settings},
    text,
    units::{Rate, written},
};

pub(super) fn added(add: RuleAdd) -> Edit {
    let limits = add.limits;
    let rate = |rate: Option<Rate>| rate.map(written);
    Edit::Add {
        rule: NewRule {
            name: add.name,
            targets: add.targets,
            down: rate(limits.down),
            up: rate(limits.up),
            block: add.block.map(|block| block.word().to_owned()),
            reject: add.reject,
            scope: limits
                .scope
                .map(|scope| scope_name(scope.scope()).to_owned()),
            share: add.share,
            when: add.when,
            on: add.on,
        },
        first: add.first,
    }
}

pub(super) async fn enable(global: &Global, name: String, enabled: bool) -> Result<u8, Error> {
    edit(global, Edit::Enable { name, enabled }).await
}

/// Makes a change, by the engine where one runs: whoever may use it may change rules.
pub(super) async fn edit(global: &Global, edit: Edit) -> Result<u8, Error> {
    let settings = Settings {
        fields: Some(vec![Field::Rules]),
        ..global.settings(session::AT_ONCE)
    };
    let (done, already) = (done(&edit), already(&edit));
    let words = |is_change| if is_change { done } else { already };
    let (words, problems) = match session::open_running(settings).await? {
        Some(session) => {
            let name = switched_on(&edit);
            let edited = session.engine.requests().edit_rules(edit).await?;
            let mut words = words(edited.change.is_some());
            if edited.problems.is_empty()
                && let Some(now) = asked(global).await?
            {
                words += &effect(&now, name.as_deref());
            }
            let _clean = session.close().await;
            (words, edited.problems)
        }
        None => {
            let change = global.places().edit(&edit)?;
            output::say(NO_ENGINE);
            let problems = global.places().load().problems;
            let problems = problems.iter().map(ToString::to_string).collect();
            (words(change.is_some()), problems)
        }
    };
    if problems.is_empty() {
        output::say(words);
    }
    Ok(told(&problems))
}

/// Has the engine read the files anew.
pub(super) async fn reload(global: &Global) -> Result<u8, Error> {
    let settings = Settings {
        fields: Some(vec![Field::Rules]),
        ..global.settings(session::AT_ONCE)
    };
    let session = session::open_running(settings).await?;
    let Some(session) = session else {
        return Err(Error::NoTarget("no engine is running".to_owned()));
    };
    let problems = session.engine.requests().reload_rules().await?;
    if problems.is_empty() {
        let now = asked(global).await?.unwrap_or_default();
        output::say(format_args!("rules read anew: {}", counted(&now)));
    }
    let _clean = session.close().await;
    Ok(told(&problems))
}

/// How many rules there are, and how many of them are on.
fn counted(rules: &[RuleSample]) -> String {
    let on = rules.iter().filter(|rule| rule.is_on).count();
    let plural = if rules.len() == 1 { "" } else { "s" };
    format!("{} rule{plural}, {on} on", rules.len())
}

/// What to add about the rule of that name, which has been switched on.
fn effect(rules: &[RuleSample], name: Option<&str>) -> String {
    let rule = rules.iter().find(|rule| Some(&*rule.name) == name);
    rule.map_or_else(String::new, |rule| format!("; {}", state(rule)))
}

/// Whether a rule is in effect, and for how many processes.
fn state(rule: &RuleSample) -> String {
    match rule.members {
        _ if !rule.is_on => format!("off now ({})", rule.why),
        0 => format!("{}, and holds no process yet", rule.why),
        1 => format!("{}, and holds 1 process", rule.why),
        members => format!("{}, and holds {members} processes", rule.why),
    }
}

/// Says what is wrong with the files, and gives the exit code.
fn told(problems: &[String]) -> u8 {
    for problem in problems {
        output::say(problem);
    }
    if problems.is_empty() {
        return 0;
    }
    output::say("the rules in force stay as they were until this is mended");
    2
}

/// The rule that may be in effect from now on.
fn switched_on(edit: &Edit) -> Option<String> {
    match edit {
        Edit::Add { rule, .. } => Some(rule.name.clone()),
        Edit::Enable {
            name,
            enabled: true,
        } => Some(name.clone()),
        _ => None,
    }
}

/// What an edit has done, in words.
fn done(edit: &Edit) -> String {
    let named = |name: &str| format!("rule '{}'", text::escape(name));
    match edit {
        Edit::Add { rule, .. } => {
            let rate = |text: &Option<String>, is_blocked: bool| match text {
                _ if is_blocked => "blocked".to_owned(),
                Some(text) => text
                    .parse::<Rate>()
                    .map_or_else(|_| text.clone(), |rate| rate.to_string()),
                None => "unlimited".to_owned(),
            };
            let block = rule.block.as_deref();
            let down = rate(&rule.down, matches!(block, Some("down" | "both")));
            let up = rate(&rule.up, matches!(block, Some("up" | "both")));
            let reset = if rule.reject {
                ", connections are reset"
            } else {
                ""
            };
            format!(
                "{} is added: down {down}, up {up}{reset}",
                named(&rule.name)
            )
        }
        Edit::Remove { name } => format!("{} is removed", named(name)),
        Edit::Change { name, .. } => format!("{} is changed", named(name)),
        Edit::Enable {
            name,
            enabled: true,
        } => format!("{} is enabled", named(name)),
        Edit::Enable { name, .. } => format!("{} is disabled", named(name)),
        Edit::Move { name, to } => format!("{} is in place {to}", named(name)),
        Edit::Profile { name: Some(name) } => format!("profile {}", text::escape(name)),
        Edit::Profile { name: None } => "no profile".to_owned(),
    }
}

/// That the file has said so already, in words.
fn already(edit: &Edit) -> String {
    match edit {
        Edit::Profile { name: Some(name) } => {
            format!("profile {} is on already", text::escape(name))
        }
        Edit::Profile { name: None } => "no profile is on".to_owned(),
        _ => format!("{} already", done(edit)),
    }
}

impl BlockArg {
    fn word(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up",
            Self::Both => "both",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::rule, *};

    fn sample(name: &str, is_on: bool, members: usize) -> RuleSample {
        let why = if is_on { "on" } else { "only 22:00-06:00" };
        RuleSample {
            is_on,
            members,
            ..rule(name, why)
        }
    }

    #[test]
    fn a_rule_says_whether_it_is_in_effect_and_all_how_many_are() {
        for (rule, words) in [
            (sample("a", true, 0), "on, and holds no process yet"),
            (sample("a", true, 1), "on, and holds 1 process"),
            (sample("a", true, 4), "on, and holds 4 processes"),
            (sample("a", false, 0), "off now (only 22:00-06:00)"),
        ] {
            assert_eq!(state(&rule), words);
        }
        let all = [sample("a", true, 1), sample("b", false, 0)];
        assert_eq!(counted(&all), "2 rules, 1 on");
        assert_eq!(counted(&all[..1]), "1 rule, 1 on");
    }

    #[test]
    fn what_is_so_already_is_said_to_be() {
        let profile = |name: Option<&str>| Edit::Profile {
            name: name.map(str::to_owned),
        };
        let enable = |enabled| Edit::Enable {
            name: "a".to_owned(),
            enabled,
        };
        for (edit, words) in [
            (enable(true), "rule 'a' is enabled already"),
            (enable(false), "rule 'a' is disabled already"),
            (profile(Some("day")), "profile day is on already"),
            (profile(None), "no profile is on"),
        ] {
            assert_eq!(already(&edit), words);
        }
    }

    #[test]
    fn an_added_rule_says_what_it_does() {
        let added = |block: Option<&str>, reject| {
            let rule = NewRule {
                name: "a".to_owned(),
                down: Some("1MB".to_owned()),
                block: block.map(str::to_owned),
                reject,
                ..NewRule::default()
            };
            done(&Edit::Add { rule, first: false })
        };
        for (words, expected) in [
            (added(None, false), "down 1 MB/s (8 Mbit/s), up unlimited"),
            (
                added(Some("up"), false),
                "down 1 MB/s (8 Mbit/s), up blocked",
            ),
            (
                added(Some("both"), true),
                "down blocked, up blocked, connections are reset",
            ),
        ] {
            assert_eq!(words, format!("rule 'a' is added: {expected}"));
        }
    }
}
