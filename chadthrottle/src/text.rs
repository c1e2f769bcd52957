//! Text from elsewhere, made safe to show.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// Shows control characters, and characters that turn the direction of text, as escapes.
///
/// Names and command lines come from other people's programs: an escape sequence in one must
/// never reach the terminal, nor a direction mark reorder what we print.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unsafe(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// A process's name, safe to show. One that is empty, as a process may call itself, shows nothing: instead of it stands the
/// file's name in brackets, as ps(1) puts what is not said by the process itself.
pub fn name_of_process<'a>(name: &'a str, exe: &str) -> Cow<'a, str> {
    if !name.trim().is_empty() {
        return escape(name);
    }
    let file = exe.rsplit('/').next().filter(|file| !file.is_empty());
    Cow::Owned(format!("[{}]", escape(file.unwrap_or("?"))))
}

/// The same as [`escape`], of a longer text than so many characters only the beginning.
pub fn brief(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        Some((end, _)) => Cow::Owned(format!("{}…", escape(&text[..end]))),
        None => escape(text),
    }
}

/// The value as one line of JSON, in which what [`escape`] finds unsafe is written `\uXXXX`: a
/// terminal may be all that reads it.
///
/// # Errors
/// Where the value has no form in JSON.
pub fn json(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut line, SafeJson))?;
    line.push(b'\n');
    Ok(line)
}

struct SafeJson;

impl Formatter for SafeJson {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: Write + ?Sized,
    {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_unsafe(*c)) {
            let (safe, from) = rest.split_at(at);
            CompactFormatter.write_string_fragment(writer, safe)?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &from[c.len_utf8()..];
        }
        CompactFormatter.write_string_fragment(writer, rest)
    }
}

/// Whether a terminal would obey a character, or show what follows in another place.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}'                  // Arabic letter mark
            | '\u{200b}'..='\u{200f}'   // zero widths, left-to-right and right-to-left marks
            | '\u{2028}'..='\u{202e}'   // separators, embeddings, overrides
            | '\u{2060}'..='\u{206f}'   // word joiner, isolates, deprecated format characters
            | '\u{feff}'                // byte order mark
            | '\u{fff9}'..='\u{fffb}'   // interlinear annotation
            | '\u{e0000}'..='\u{e007f}' // tags
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_text_is_not_copied() {
        assert!(matches!(
            escape("Web Content (3) – naïve 日本"),
            Cow::Borrowed(_)
        ));
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(escape("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(escape("a\nb\tc\r"), "a\\nb\\tc\\r");
        assert_eq!(escape("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(escape("exe\u{202e}gpj"), "exe\\u{202e}gpj");
        assert_eq!(escape("\u{200f}x\u{2066}"), "\\u{200f}x\\u{2066}");
    }

    #[test]
    fn a_process_without_a_name_is_shown_by_its_file() {
        for (name, exe, shown) in [
            ("wget", "/usr/bin/wget", "wget"),
            ("", "/usr/bin/wget", "[wget]"),
            (" ", "/tmp/a\n", "[a\\n]"),
            ("", "", "[?]"),
        ] {
            assert_eq!(name_of_process(name, exe), shown);
        }
    }

    #[test]
    fn of_a_long_text_the_beginning_is_shown() {
        assert_eq!(brief("日本\n", 3), "日本\\n");
        assert_eq!(brief("日本\n\n", 3), "日本\\n…");
        assert_eq!(brief("", 0), "");
    }

    #[test]
    fn json_holds_nothing_that_a_terminal_would_obey_and_is_read_as_it_was() {
        let name = "a\u{9b}31m\u{202e}\u{7f}\"\u{1b}\u{e0041}\u{feff}日本";
        let line = String::from_utf8(json(&[name]).unwrap()).unwrap();
        assert_eq!(
            line,
            "[\"a\\u009b31m\\u202e\\u007f\\\"\\u001b\\udb40\\udc41\\ufeff日本\"]\n"
        );
        let read: [String; 1] = serde_json::from_str(&line).unwrap();
        assert_eq!(read, [name]);
    }
}
