//! How many colours the terminal has, and the sequences for them that it knows.

use std::{
    ffi::OsString,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// What a terminal can show, fewest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Colours {
    /// None: bold and reversed are all there is.
    None,
    /// 8 or 16, set with the codes 30 to 37 and 90 to 97.
    Sixteen,
    /// 256.
    Many,
    /// Each as red, green and blue.
    All,
}

impl Colours {
    /// What the environment says: `TERM`, by its entry in terminfo, and `COLORTERM`.
    pub fn of(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name| {
            let value = variable(name).unwrap_or_default();
            value.to_string_lossy().into_owned()
        };
        let term = text("TERM");
        let more = ["truecolor", "24bit"].contains(&text("COLORTERM").as_str());
        let known = directories(&variable)
            .iter()
            .find_map(|directory| entry(directory, &term));
        let colours = match known.as_deref().map(max_colors) {
            Some(number) => Self::of_number(number),
            None => Self::of_name(&term),
        };
        // What has none at all is another terminal than the one that COLORTERM was set for.
        if more && colours > Self::None {
            Self::All
        } else {
            colours
        }
    }

    fn of_number(number: u32) -> Self {
        match number {
            0..8 => Self::None,
            8..256 => Self::Sixteen,
            256.. => Self::Many,
        }
    }

    /// For those that terminfo does not know: too little is better than too much.
    fn of_name(term: &str) -> Self {
        if term.contains("256color") || term.ends_with("-direct") {
            Self::Many
        } else if term.is_empty() || term == "dumb" || term.starts_with("vt") {
            Self::None
        } else {
            Self::Sixteen
        }
    }

    /// What is to be drawn, with sequences that the terminal knows. Those of the library always say
    /// `38;5;N`, which one of 16 colours takes for something else.
    pub fn translate(self, drawn: &[u8]) -> Vec<u8> {
        const START: &[u8] = b"\x1b[";
        let mut out = Vec::with_capacity(drawn.len());
        let mut rest = drawn;
        while let Some(at) = rest.windows(START.len()).position(|two| two == START) {
            let (before, sequence) = rest.split_at(at);
            out.extend_from_slice(before);
            let parameters = &sequence[START.len()..];
            let is_parameter = |byte: &&u8| byte.is_ascii_digit() || **byte == b';';
            let len = parameters.iter().take_while(is_parameter).count();
            let (parameters, after) = parameters.split_at(len);
            match after.split_first() {
                Some((b'm', after)) if !parameters.is_empty() => {
                    out.extend(self.attributes(parameters));
                    rest = after;
                }
                _ => {
                    out.extend_from_slice(&sequence[..START.len() + len]);
                    rest = after;
                }
            }
        }
        out.extend_from_slice(rest);
        out
    }

    /// The sequence that sets what these parameters do; empty where that is nothing.
    fn attributes(self, parameters: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(parameters);
        let mut all = text.split(';');
        let mut kept: Vec<String> = Vec::new();
        while let Some(parameter) = all.next() {
            match parameter {
                "38" | "48" => {
                    let background = if parameter == "48" { 10 } else { 0 };
                    let kind = all.next().unwrap_or_default();
                    // A number of the palette, or three of red, green and blue.
                    let len = if kind == "5" { 1 } else { 3 };
                    let numbers: Vec<&str> = all.by_ref().take(len).collect();
                    match (self, numbers.as_slice()) {
                        (Self::None, _) => {}
                        (_, numbers) => kept.push(match numbers.first().and_then(|n| code_of(n)) {
                            Some(code) if kind == "5" => (code + background).to_string(),
                            _ => format!("{parameter};{kind};{}", numbers.join(";")),
                        }),
                    }
                }
                // The usual colour is the only one.
                "39" | "49" | "59" if self == Self::None => {}
                other => kept.push(other.to_owned()),
            }
        }
        if kept.is_empty() {
            return Vec::new();
        }
        format!("\x1b[{}m", kept.join(";")).into_bytes()
    }
}

/// The code of one of the first 16 colours of the palette.
fn code_of(colour: &str) -> Option<u32> {
    match colour.parse().ok()? {
        colour @ 0..8 => Some(30 + colour),
        colour @ 8..16 => Some(82 + colour),
        _ => None,
    }
}

/// Where entries of terminfo are, first those of the user (terminfo(5)).
fn directories(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = variable("TERMINFO").map(Into::into).into_iter().collect();
    directories.extend(variable("HOME").map(|home| Path::new(&home).join(".terminfo")));
    if let Some(list) = variable("TERMINFO_DIRS") {
        let named = std::env::split_paths(&list);
        directories.extend(named.filter(|path| !path.as_os_str().is_empty()));
    }
    let usual = ["/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo"];
    directories.extend(usual.map(PathBuf::from));
    directories
}

/// A longer file is no entry (term(5)).
const MAX_ENTRY: u64 = 32 * 1024;

fn entry(directory: &Path, term: &str) -> Option<Vec<u8>> {
    let first = term.chars().next()?;
    if term.contains('/') || first == '.' {
        return None;
    }
    let names = [first.to_string(), format!("{:x}", u32::from(first))];
    names.into_iter().find_map(|name| {
        let path = directory.join(name).join(term);
        // Before it is opened: a pipe would have us wait for its writer.
        if !std::fs::metadata(&path).ok()?.is_file() {
            return None;
        }
        let mut bytes = Vec::new();
        let file = File::open(path).ok()?;
        file.take(MAX_ENTRY).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    })
}

/// `max_colors` of a compiled entry (term(5)); 0 where it has none.
fn max_colors(entry: &[u8]) -> u32 {
    const SHORT: u16 = 0o432;
    const LONG: u16 = 0o1036;
    const MAX_COLORS: usize = 13;
    let word = |at: usize| {
        let bytes = entry.get(at..at + 2)?;
        Some(u16::from_le_bytes(bytes.try_into().ok()?))
    };
    let number = || {
        let [magic, names, flags, numbers] = [0, 2, 4, 6].map(word);
        if usize::from(numbers?) <= MAX_COLORS {
            return None;
        }
        let start = 12 + usize::from(names?) + usize::from(flags?);
        let start = start.next_multiple_of(2);
        match magic? {
            // Negative: it has none.
            SHORT => word(start + 2 * MAX_COLORS)
                .filter(|number| *number <= 0x7fff)
                .map(u32::from),
            LONG => {
                let at = start + 4 * MAX_COLORS;
                let bytes = entry.get(at..at + 4)?;
                u32::try_from(i32::from_le_bytes(bytes.try_into().ok()?)).ok()
            }
            _ => None,
        }
    };
    number().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A compiled entry with a name of that length, two flags, and that many colours.
    fn compiled(name: &str, magic: u16, colours: i32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let names = name.len() as u16 + 1;
        for word in [magic, names, 2, 14, 0, 0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(name.as_bytes());
        bytes.extend([0, 1, 0]);
        if bytes.len() % 2 == 1 {
            bytes.push(0);
        }
        for number in std::iter::repeat_n(-1, 13).chain([colours]) {
            match magic {
                0o432 => bytes.extend((number as i16).to_le_bytes()),
                _ => bytes.extend(number.to_le_bytes()),
            }
        }
        bytes
    }

    #[test]
    fn terminfo_says_how_many_and_its_absence_the_name() {
        let directory = tempfile::tempdir().unwrap();
        for (term, magic, colours) in [
            ("odd", 0o432, 8),
            ("even", 0o432, -1),
            ("rich", 0o1036, 0x0100_0000),
            ("xterm-256color", 0o432, 16),
            ("broken", 0o7777, 256),
        ] {
            let parent = directory.path().join(&term[..1]);
            std::fs::create_dir_all(&parent).unwrap();
            std::fs::write(parent.join(term), compiled(term, magic, colours)).unwrap();
        }
        let of = |term: &str, colorterm: &str| {
            Colours::of(|name| match name {
                "TERM" => Some(term.into()),
                "COLORTERM" => Some(colorterm.into()),
                "TERMINFO" => Some(directory.path().into()),
                _ => None,
            })
        };
        assert_eq!(of("odd", ""), Colours::Sixteen);
        assert_eq!(of("odd", "truecolor"), Colours::All);
        assert_eq!(of("even", ""), Colours::None);
        assert_eq!(of("even", "truecolor"), Colours::None);
        assert_eq!(of("rich", ""), Colours::Many);
        assert_eq!(of("xterm-256color", ""), Colours::Sixteen);
        assert_eq!(of("broken", ""), Colours::None);
        assert_eq!(of("no-such-256color", ""), Colours::Many);
        assert_eq!(of("no-such", ""), Colours::Sixteen);
        for none in ["", "vt9999", "../odd", "."] {
            assert!(of(none, "") < Colours::Many, "{none}");
        }
    }

    #[test]
    fn sequences_are_those_that_the_terminal_knows() {
        let drawn = "\x1b[?1049h\x1b[2;3H\x1b[38;5;2;49mä\x1b[1m\x1b[38;5;8;48;5;11mb\x1b[38;5;114mc\
                     \x1b[38;2;1;2;3m\x1b[39m\x1b[49m\x1b[59m\x1b[0m\x1b[m\x1b";
        let of = |colours: Colours| String::from_utf8(colours.translate(drawn.as_bytes())).unwrap();
        let expected = "\x1b[?1049h\x1b[2;3H\x1b[32;49mä\x1b[1m\x1b[90;103mb\x1b[38;5;114mc\
                        \x1b[38;2;1;2;3m\x1b[39m\x1b[49m\x1b[59m\x1b[0m\x1b[m\x1b";
        assert_eq!(of(Colours::Sixteen), expected);
        assert_eq!(of(Colours::Many), expected);
        let plain = "\x1b[?1049h\x1b[2;3Hä\x1b[1mbc\x1b[0m\x1b[m\x1b";
        assert_eq!(of(Colours::None), plain);
    }
}
