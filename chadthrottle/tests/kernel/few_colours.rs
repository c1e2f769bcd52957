//! What is sent to terminals that can do less.

use crate::{audit::assert_nothing_left, program::Chadthrottle, pty::Screen};

/// The parameters of each sequence that sets attributes, and all else that is drawn.
fn drawn(variables: &[(&str, &str)], arguments: &str) -> (Vec<String>, String) {
    let program = Chadthrottle::new();
    let mut screen = Screen::open_on(&program, arguments, variables);
    screen.shows("the table", |text| text.contains("processes by"));
    screen.press("?");
    screen.shows("the help", |text| text.contains("remove all limits"));
    screen.press("\x1b");
    screen.shows("no help", |text| !text.contains("remove all limits"));
    screen.press("q");
    screen.ends();
    let text = String::from_utf8(screen.bytes()).expect("UTF-8");
    assert_nothing_left();
    let (mut attributes, mut rest) = (Vec::new(), String::new());
    for (number, part) in text.split("\x1b[").enumerate() {
        let end = part.find(|c: char| !(c.is_ascii_digit() || c == ';'));
        match end.map(|end| part.split_at(end)) {
            Some((parameters, after)) if number > 0 && after.starts_with('m') => {
                attributes.push(parameters.to_owned());
                rest += &after[1..];
            }
            _ => rest += part,
        }
    }
    (attributes, rest)
}

/// Whether these parameters set a colour, and one beyond the terminal's own 16 at that.
fn colours(parameters: &str) -> (bool, bool) {
    let is_colour = |number: &str| {
        matches!(
            number.parse(),
            Ok(30..=39u32 | 40..=49 | 58 | 59 | 90..=97 | 100..=107)
        )
    };
    let any = parameters.split(';').any(is_colour);
    (
        any,
        ["38;5", "48;5", "38;2", "48;2"]
            .iter()
            .any(|beyond| parameters.contains(beyond)),
    )
}

#[test]
fn a_terminal_without_colours_gets_none_and_one_of_few_its_own() {
    let (many, _) = drawn(&[("TERM", "xterm-256color")], "");
    assert!(many.iter().any(|parameters| colours(parameters).1));
    for term in ["vt100", "dumb"] {
        let (none, _) = drawn(
            &[("TERM", term), ("COLORTERM", "truecolor")],
            "--theme dark",
        );
        assert!(
            !none.iter().any(|parameters| colours(parameters).0),
            "{term}: {none:?}"
        );
    }
    for (term, arguments) in [
        ("linux", ""),
        ("xterm", "--theme light"),
        ("no-such-terminal", ""),
        ("xterm-256color", "--theme terminal"),
    ] {
        let (few, _) = drawn(&[("TERM", term)], arguments);
        let all: Vec<_> = few.iter().map(|parameters| colours(parameters)).collect();
        assert!(all.iter().any(|(any, _)| *any), "{term}: {few:?}");
        assert!(!all.iter().any(|(_, beyond)| *beyond), "{term}: {few:?}");
    }
    let (many, _) = drawn(&[("TERM", "xterm"), ("COLORTERM", "truecolor")], "");
    assert!(many.iter().any(|parameters| colours(parameters).1));
}

#[test]
fn a_locale_without_unicode_gets_ascii() {
    let term = ("TERM", "xterm-256color");
    for locale in [
        ("LANG", "C"),
        ("LC_ALL", "POSIX"),
        ("LC_CTYPE", "de_DE.ISO-8859-1"),
    ] {
        let (_, text) = drawn(&[term, locale], "");
        assert!(text.is_ascii(), "{locale:?}");
    }
    let (_, text) = drawn(&[term, ("LANG", "C.UTF-8")], "");
    assert!(text.contains('↓'));
}
