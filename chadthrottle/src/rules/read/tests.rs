//! What a file may say, and what is said where it may not.

use super::*;
use chadthrottle_common::scope::Scope;

fn file(text: &str) -> Result<File, Vec<Mistake>> {
    let path = Arc::from(Path::new("/etc/chadthrottle/rules.toml"));
    read(text, &path, &mut Accounts::default())
}

#[test]
fn a_file_with_everything_in_it() {
    let text = "\
[policy]
profile = \"hotel\"
units = false
[[rule]]
name = \"backup\"
match = [\"exe:/usr/bin/restic\", \"name:borg*\"]
up = \"2MB/s\"
down = \"5MB/s\"
scope = \"internet\"
share = \"process\"
when = [\"Mon-Fri 08:00-18:00\", \"Sat 22:00-06:00\"]
[[rule]]
name = \"updates\"
match = \"unit:apt-daily*.service\"
block = \"down\"
reject = true
up = \"1MB\"
enabled = false
[profile.hotel]
rules = [\"updates\"]
";
    let file = file(text).unwrap();
    let [backup, updates] = &file.rules[..] else {
        panic!("{file:?}")
    };
    assert_eq!(
        (&*backup.name, backup.line, backup.targets.len()),
        ("backup", 4, 2)
    );
    assert_eq!(backup.limit.down, Some(Rate::clamped(5_000_000)));
    assert_eq!(backup.limit.scope, Scope::INTERNET);
    assert_eq!((backup.share, backup.enabled), (Share::Process, true));
    assert_eq!(backup.when.texts().count(), 2);
    assert_eq!(updates.limit.down, Some(Rate::BLOCKED));
    assert_eq!(updates.limit.up, Some(Rate::clamped(1_000_000)));
    assert!(updates.limit.resets() && !backup.limit.resets());
    assert!(!updates.enabled && updates.when.is_always());
    assert_eq!(file.profiles[0].0, "hotel");
    assert_eq!(file.profiles[0].1[0].name, "updates");
    assert_eq!(file.profile.unwrap().name, "hotel");
    assert!(!file.units);
}

#[test]
fn each_mistake_is_told_with_its_place_and_what_is_allowed() {
    let rule = "[[rule]]\nname = 'a'\nmatch = 'name:x'\ndown = '1MB'\n";
    for (text, line, column, what, allowed) in [
        ("= 1", 1, 1, "", "TOML"),
        ("\n[rules]", 2, 2, "'rules' is not a section", "[[rule]]"),
        ("rule = 1", 1, 1, "[[rule]]", ""),
        (
            &format!("{rule}speed = 1"),
            5,
            1,
            "'speed' is not a key",
            "match",
        ),
        (&format!("{rule}up = '5kbps'"), 5, 6, "ambiguous", ""),
        (&format!("{rule}up = 5"), 5, 6, "not a text", ""),
        (
            &format!("{rule}scope = 'moon'"),
            5,
            9,
            "'moon'",
            "\"internet\"",
        ),
        (
            &format!("{rule}when = ['Mon', 'Moon']"),
            5,
            16,
            "'Moon' is not a time. Write 'Mon-Fri",
            "",
        ),
        (
            &format!("{rule}on = ['interface:a', 'wifi:x']"),
            5,
            22,
            "'wifi:x' is not a network. Write 'interface:GLOB'",
            "",
        ),
        (
            &format!("{rule}enabled = 'no'"),
            5,
            11,
            "truth value",
            "false",
        ),
        (&format!("{rule}block = 'down'"), 5, 1, "not both", ""),
        (
            &format!("{rule}reject = 'no'"),
            5,
            10,
            "truth value",
            "true",
        ),
        (
            &format!("{rule}reject = true"),
            5,
            10,
            "for what is blocked",
            "block = ",
        ),
        (
            &format!("{rule}{rule}"),
            6,
            8,
            "another rule is named 'a'",
            "",
        ),
        (
            "[[rule]]\nmatch = 'name:x'\nup = '1MB'",
            1,
            1,
            "no 'name'",
            "name",
        ),
        (
            "[[rule]]\nname = 'a'\nup = '1MB'",
            1,
            1,
            "no 'match'",
            "match",
        ),
        (
            "[[rule]]\nname = 'a'\nmatch = 'name:x'",
            1,
            1,
            "limits nothing",
            "block",
        ),
        (
            "[[rule]]\nname = '-a'\nmatch = 'name:x'\nup = '1MB'",
            2,
            8,
            "'-a'",
            "64",
        ),
        (
            "[[rule]]\nname = 'a'\nmatch = []\nup = '1MB'",
            3,
            9,
            "1 to 64",
            "unit:",
        ),
        (
            "[[rule]]\nname = 'a'\nmatch = '7'\nup = '1MB'",
            3,
            9,
            "process IDs change",
            "exe:",
        ),
        (
            "[[rule]]\nname = 'a'\nmatch = 'parent:7'\nup = '1MB'",
            3,
            9,
            "process IDs change",
            "",
        ),
        (
            "[[rule]]\nname = 'a'\nmatch = ['name:x', 'wget']\nup = '1MB'",
            3,
            20,
            "name:wget",
            "",
        ),
        (
            "[[rule]]\nname = 'a'\nmatch = 'user:0+user:1'\nup = '1MB'",
            3,
            9,
            "can never match",
            "",
        ),
        (
            "[[rule]]\nname = 'a'\nmatch = 'parent:exe:wget'\nup = '1MB'",
            3,
            9,
            "'parent:exe:wget' can never match: give a whole path",
            "exe:GLOB",
        ),
        (
            "[[rule]]\nname = 'a'\nmatch = '!name:*'\nup = '1MB'",
            3,
            9,
            "it leaves nobody",
            "",
        ),
        ("[profile.off]\nrules = ['a']", 1, 10, "'off'", "another"),
        (
            "[profile.x]\nrule = ['a']",
            2,
            1,
            "'rule' is not a key of a profile",
            "rules",
        ),
        ("[policy]\nunit = 1", 2, 1, "'unit'", "profile"),
    ] {
        let mistakes = file(text).expect_err(text);
        let first = &mistakes[0];
        assert_eq!(
            (first.line, first.column),
            (line, column),
            "{text}: {first}"
        );
        assert!(first.what.contains(what), "{text}: {first}");
        assert!(first.allowed.contains(allowed), "{text}: {first}");
        assert!(
            !first.what.contains("Write") || first.allowed.is_empty(),
            "{text}: {first}"
        );
    }
    // All of them, in the order of lines.
    let both = file("[[rule]]\nname = 1\nup = 2\n[other]").unwrap_err();
    let lines: Vec<usize> = both.iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [2, 3, 4]);
}

#[test]
fn what_is_no_target_is_said_once_and_whole() {
    for (target, what) in [
        ("wget:x", "'wget:x' is not a target"),
        (
            "wget",
            "'wget' is not a target: name:wget is every process of that name",
        ),
    ] {
        let mistakes = file(&format!(
            "[[rule]]\nname = 'a'\nmatch = '{target}'\nup = '1MB'"
        ));
        let mistakes = mistakes.unwrap_err();
        assert_eq!(mistakes[0].what, what);
        assert!(mistakes[0].allowed.contains("name:GLOB"));
    }
}

/// As long as a file may be; nobody waits for what is said of it.
#[test]
fn hostile_files_are_refused_at_once_in_few_words() {
    const LENGTH: usize = 1 << 20;
    let lines = |line: &str| line.repeat(LENGTH / line.len());
    let long = "x".repeat(LENGTH - 100);
    let deep = |open: &str, close: &str| {
        let depth = LENGTH / 8;
        format!("a = {}{}", open.repeat(depth), close.repeat(depth))
    };
    let unknown: String = (0..LENGTH / 16).map(|n| format!("key{n} = 1\n")).collect();
    let unnamed = "[[rule]]\nname = 'a'\nmatch = 'name:x'\ndown = '1MB'\n";
    for text in [
        lines("[[rule]]\n"),
        lines(unnamed),
        lines("[[rule]]\nmtach = 1\n"),
        format!("[[rule]]\n{unknown}"),
        format!("[[rule]]\nname = '{long}'"),
        format!("[[rule]]\n{long} = 1"),
        format!("[[rule]]\nmatch = [{}]", lines("'name:x',")),
        format!("[[rule]]\nwhen = '{long}'\non = '{long}'\n"),
        deep("[", "]"),
        deep("{a=", "}"),
        format!("{}a = 1", lines("a.")),
        format!("[{}a]", lines("a.")),
        format!("[[{}a]]", lines("a.")),
        lines("\u{0}"),
        lines("\r"),
    ] {
        let shown: String = text.chars().take(40).collect();
        let began = std::time::Instant::now();
        let mistakes = file(&text).expect_err(&shown);
        let took = began.elapsed();
        println!("{shown:?}: {} mistakes in {took:?}", mistakes.len());
        // Ten times what it takes without optimization.
        assert!(
            took < std::time::Duration::from_secs(10),
            "{shown}: {took:?}"
        );
        let words: usize = mistakes.iter().map(|it| it.to_string().len()).sum();
        assert!(words < 100_000, "{shown}: {words}");
    }
}

#[test]
fn nonsense_is_refused_and_never_a_panic() {
    for text in [
        "\u{0}",
        "[[rule]]\nname = \"\u{202e}\"",
        "[[",
        "\u{feff}[[rule]]",
        "a.b.c = [{x = 1}]",
    ] {
        let _ = file(text);
    }
}
