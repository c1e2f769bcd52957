//! What is written is read the same: rules that edits have made, changed and moved, whatever is in their texts.

use std::{fs, path::Path, sync::Arc};

use glob::Pattern;
use proptest::{
    collection::vec,
    option,
    prelude::{Just, ProptestConfig, Strategy, any, prop_assert_eq, prop_oneof, proptest},
    sample::{Index, select},
    test_runner::TestCaseError,
};

use super::{
    Rule, Share,
    edit::{Edit, NewRule},
    read::{self, File, check_name},
    testing::Tree,
};
use crate::{
    model::scope_of,
    process::{Accounts, Selector},
    units::{Rate, written},
};

/// A rule as it should be in the file.
#[derive(Clone, Debug)]
struct Expected {
    rule: NewRule,
    enabled: bool,
}

/// One step: an edit, of whichever rule there is at that place.
#[derive(Clone, Debug)]
enum Step {
    Add(Box<NewRule>, bool),
    Remove(Index),
    Change(Index, Limits, bool),
    Enable(Index, bool),
    Move(Index, Index),
    Profile(bool),
}

/// Rates for both directions, what is blocked, and the scope.
type Limits = (
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
);

/// Characters of all kinds, those that mean something in files more often.
fn text() -> impl Strategy<Value = String> {
    let special: Vec<char> = "\"'\\#[]{}=.,:+!-*? \t\n\r\0\u{1b}\u{7f}\u{85}\u{202e}\u{feff}"
        .chars()
        .collect();
    let character = prop_oneof![
        3 => select(special),
        3 => proptest::char::range('a', 'z'),
        2 => any::<char>(),
    ];
    vec(character, 1..12).prop_map(String::from_iter)
}

fn name() -> impl Strategy<Value = String> {
    text().prop_filter("a name", |name| check_name(name).is_ok() && name != "off")
}

fn glob() -> impl Strategy<Value = String> {
    text().prop_filter("a pattern", |glob| Pattern::new(glob).is_ok())
}

fn target() -> impl Strategy<Value = String> {
    const BEGINNINGS: [&str; 7] = [
        "name:",
        "exe:/",
        "exe:*",
        "command:",
        "unit:",
        "container:",
        "parent:name:",
    ];
    let glob =
        (select(&BEGINNINGS[..]), glob()).prop_map(|(begins, glob)| format!("{begins}{glob}"));
    let user = any::<u16>().prop_map(|id| format!("user:{id}"));
    let not = (select(&["", "!"][..]), prop_oneof![4 => glob, 1 => user])
        .prop_map(|(not, condition)| format!("{not}{condition}"));
    let all = vec(not, 1..4).prop_map(|terms| terms.join("+"));
    all.prop_filter("a target", |text| text.parse::<Selector>().is_ok())
}

fn rate() -> impl Strategy<Value = String> {
    prop_oneof![
        (Rate::MIN.bytes_per_second()..=Rate::MAX.bytes_per_second())
            .prop_map(|bytes| written(Rate::clamped(bytes))),
        Just("1.5 MB/s".to_owned()),
        Just("8Mbit".to_owned()),
    ]
}

/// Limits of which there is one at least, and for no direction two.
fn limits() -> impl Strategy<Value = Limits> {
    let block = option::of(select(&["down", "up", "both"][..]));
    let scope = option::of(select(&["default", "internet", "local", "all"][..]));
    (option::of(rate()), option::of(rate()), block, scope)
        .prop_map(|(down, up, block, scope)| {
            let is_blocked = |direction| block == Some(direction) || block == Some("both");
            let down = down.filter(|_| !is_blocked("down"));
            let up = up.filter(|_| !is_blocked("up"));
            (down, up, block.map(str::to_owned), scope.map(str::to_owned))
        })
        .prop_filter("a limit", |(down, up, block, _)| {
            down.is_some() || up.is_some() || block.is_some()
        })
}

fn time() -> impl Strategy<Value = String> {
    let days = select(&["", "Mon ", "Sat,Sun ", "Fri-Mon ", "tue,THU-Sat "][..]);
    let clock = |(hour, minute)| format!("{hour:02}:{minute:02}");
    let from = (0..24, 0..60).prop_map(clock);
    let to = prop_oneof![(0..24, 0..60).prop_map(clock), Just("24:00".to_owned())];
    (days, from, to).prop_map(|(days, from, to)| format!("{days}{from}-{to}"))
}

fn network() -> impl Strategy<Value = String> {
    let shown = || glob().prop_filter("what can be shown", |it| !it.contains(char::is_control));
    prop_oneof![
        Just("metered".to_owned()),
        shown().prop_map(|glob| format!("interface:{glob}")),
        shown().prop_map(|glob| format!("ssid:{glob}")),
    ]
}

fn new_rule() -> impl Strategy<Value = NewRule> {
    let share = option::of(select(&["all", "process", "program", "user", "unit"][..]));
    let lists = (vec(target(), 1..4), vec(time(), 0..3), vec(network(), 0..3));
    (name(), limits(), any::<bool>(), share, lists).prop_map(
        |(name, (down, up, block, scope), reject, share, (targets, when, on))| NewRule {
            name,
            targets,
            down,
            up,
            reject: reject && block.is_some(),
            block,
            scope,
            share: share.map(str::to_owned),
            when,
            on,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    prop_oneof![
        4 => (new_rule(), any::<bool>())
            .prop_map(|(rule, first)| Step::Add(Box::new(rule), first)),
        1 => index().prop_map(Step::Remove),
        2 => (index(), limits(), any::<bool>())
            .prop_map(|(at, limits, reject)| Step::Change(at, limits, reject)),
        2 => (index(), any::<bool>()).prop_map(|(at, enabled)| Step::Enable(at, enabled)),
        2 => (index(), index()).prop_map(|(at, to)| Step::Move(at, to)),
        1 => any::<bool>().prop_map(Step::Profile),
    ]
}

/// What a file should say.
#[derive(Debug)]
struct Model {
    rules: Vec<Expected>,
    profile: String,
    is_chosen: bool,
    /// The rules that the profile names.
    named: Vec<String>,
}

impl Model {
    /// The edit that a step is now, which the model has made; `None` where nothing is there to be edited.
    fn step(&mut self, step: Step) -> Option<Edit> {
        let count = self.rules.len();
        let taken = |model: &Self, name: &str| model.rules.iter().any(|it| it.rule.name == name);
        Some(match step {
            Step::Add(rule, first) if !taken(self, &rule.name) => {
                let place = if first { 0 } else { count };
                let (rule, enabled) = (*rule, true);
                let expected = Expected {
                    rule: rule.clone(),
                    enabled,
                };
                self.rules.insert(place, expected);
                Edit::Add { rule, first }
            }
            Step::Profile(is_chosen) => {
                self.is_chosen = is_chosen;
                let name = is_chosen.then(|| self.profile.clone());
                Edit::Profile { name }
            }
            Step::Add(..) => return None,
            _ if count == 0 => return None,
            Step::Remove(at) => {
                let name = self.rules.remove(at.index(count)).rule.name;
                self.named.retain(|named| *named != name);
                Edit::Remove { name }
            }
            Step::Change(at, (down, up, block, scope), reject) => {
                let rule = &mut self.rules[at.index(count)].rule;
                rule.down.clone_from(&down);
                rule.up.clone_from(&up);
                rule.block.clone_from(&block);
                rule.reject = reject && block.is_some();
                rule.scope.clone_from(&scope);
                let name = rule.name.clone();
                Edit::Change {
                    name,
                    down,
                    up,
                    block,
                    reject,
                    scope,
                }
            }
            Step::Enable(at, enabled) => {
                let expected = &mut self.rules[at.index(count)];
                expected.enabled = enabled;
                let name = expected.rule.name.clone();
                Edit::Enable { name, enabled }
            }
            Step::Move(at, to) => {
                let (at, to) = (at.index(count), to.index(count));
                let expected = self.rules.remove(at);
                let name = expected.rule.name.clone();
                self.rules.insert(to, expected);
                Edit::Move { name, to: to + 1 }
            }
        })
    }

    /// Whether a file says that.
    fn is(&self, file: &File) -> Result<(), TestCaseError> {
        prop_assert_eq!(file.rules.len(), self.rules.len());
        for (rule, expected) in file.rules.iter().zip(&self.rules) {
            expected.is(rule)?;
        }
        let chosen = file.profile.as_ref().map(|named| &named.name);
        prop_assert_eq!(chosen, self.is_chosen.then_some(&self.profile));
        let (profile, named) = &file.profiles[0];
        prop_assert_eq!(profile, &self.profile);
        let named: Vec<&String> = named.iter().map(|named| &named.name).collect();
        prop_assert_eq!(named, Vec::from_iter(&self.named));
        Ok(())
    }
}

impl Expected {
    fn is(&self, rule: &Rule) -> Result<(), TestCaseError> {
        let Self {
            rule: expected,
            enabled,
        } = self;
        prop_assert_eq!(&*rule.name, expected.name.as_str());
        prop_assert_eq!(rule.texts(), expected.targets.clone());
        let block = expected.block.as_deref().unwrap_or_default();
        for (read, rate, direction) in [
            (rule.limit.down, &expected.down, "down"),
            (rule.limit.up, &expected.up, "up"),
        ] {
            let rate = rate.as_ref().map(|rate| rate.parse().unwrap());
            let is_blocked = [direction, "both"].contains(&block);
            prop_assert_eq!(read, rate.or(is_blocked.then_some(Rate::BLOCKED)));
        }
        prop_assert_eq!(rule.limit.reject, expected.reject);
        let scope = expected.scope.as_deref().unwrap_or("default");
        prop_assert_eq!(Some(rule.limit.scope), scope_of(scope));
        let share = expected.share.as_deref().unwrap_or("all");
        prop_assert_eq!(rule.share.word(), share);
        prop_assert_eq!(rule.share == Share::All, share == "all");
        prop_assert_eq!(Vec::from_iter(rule.when.texts()), expected.when.clone());
        prop_assert_eq!(Vec::from_iter(rule.on.texts()), expected.on.clone());
        prop_assert_eq!(rule.enabled, *enabled);
        Ok(())
    }
}

fn file(text: &str) -> Result<File, TestCaseError> {
    let path = Arc::from(Path::new("/etc/chadthrottle/rules.toml"));
    let file = read::read(text, &path, &mut Accounts::default());
    file.map_err(|mistakes| TestCaseError::fail(format!("{mistakes:?} in\n{text}")))
}

/// A file with comments and a profile, and what it should say.
fn beginning(profile: String, named: Vec<String>) -> (String, Model) {
    let mut document = toml_edit::DocumentMut::new();
    let rules: toml_edit::Array = named.iter().collect();
    document["profile"][&profile]["rules"] = toml_edit::value(rules);
    let model = Model {
        rules: Vec::new(),
        profile,
        is_chosen: false,
        named,
    };
    (format!("# Ours.\n\n{document}# The end.\n"), model)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_edits_have_written_is_read_the_same(
        profile in name(),
        steps in vec(step(), 1..10),
    ) {
        // Some of the rules that will come, and one that will not.
        let added = steps.iter().filter_map(|step| match step {
            Step::Add(rule, true) => Some(rule.name.clone()),
            _ => None,
        });
        let mut named: Vec<String> = added.chain(["none".to_owned()]).collect();
        named.sort();
        named.dedup();
        let (mut text, mut model) = beginning(profile, named);
        for step in steps {
            if let Some(edit) = model.step(step) {
                text = edit.apply(&text).unwrap();
                model.is(&file(&text)?)?;
            }
        }
        for comment in ["# Ours.", "# The end."] {
            prop_assert_eq!(text.matches(comment).count(), 1, "{}", text);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn a_file_is_replaced_by_what_was_written(profile in name(), steps in vec(step(), 1..6)) {
        let tree = Tree::new();
        let (text, mut model) = beginning(profile, Vec::new());
        tree.write("etc/chadthrottle/rules.toml", &text);
        for step in steps {
            if let Some(edit) = model.step(step) {
                tree.places.edit(&edit).unwrap();
            }
        }
        let text = fs::read_to_string(tree.places.main()).unwrap();
        model.is(&file(&text)?)?;
        let rules = tree.places.load();
        prop_assert_eq!(rules.problems, []);
        prop_assert_eq!(rules.rules.len(), model.rules.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_text_is_a_file_or_a_mistake(text in text(), key in select(&["name", "match", "on"][..])) {
        let _ = file(&text);
        let _ = file(&format!("[[rule]]\n{key} = {}", toml_edit::value(text)));
    }

    #[test]
    fn times_and_networks_read_back_as_they_are_shown(time in time(), network in network()) {
        let mut when = super::Calendar::default();
        when.add(&time).unwrap();
        let mut again = super::Calendar::default();
        again.add(&when.to_string()).unwrap();
        prop_assert_eq!(&again, &when);
        let mut on = super::OnNetworks::default();
        on.add(&network).unwrap();
        let mut again = super::OnNetworks::default();
        again.add(&on.to_string()).unwrap();
        prop_assert_eq!(again, on);
    }
}
