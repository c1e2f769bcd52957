//! What the section says.

use std::path::{Path, PathBuf};

use crate::{
    model::{Both, Limit, scope_of},
    text::brief,
    units::Rate,
};

pub(super) const SECTION: &str = "X-ChadThrottle";

/// Of what is wrong, so many characters are told: a line may be a megabyte.
const LONGEST: usize = 200;

const KEYS: &str = "Down, Up, Scope, Block, Reject";

/// What the section says, and where it was said last.
#[derive(Debug, Default)]
pub(super) struct Section {
    pub(super) limit: Option<Limit>,
    /// What stands above the rates, wherever it is said.
    pub(super) block: Both<bool>,
    pub(super) place: Option<(PathBuf, usize)>,
}

impl Section {
    /// Takes in what a file says on top of those before.
    pub(super) fn take(&mut self, text: &str, file: &Path) -> Result<(), (usize, String)> {
        let mut is_ours = false;
        for (number, line) in joined(text) {
            let line = line.trim();
            if let Some(name) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
                is_ours = name == SECTION;
                continue;
            }
            if !is_ours {
                continue;
            }
            let wrong = |what: String| (number, brief(&what, LONGEST).into_owned());
            let (key, value) = line
                .split_once('=')
                .ok_or_else(|| wrong(format!("'{line}' is not an assignment")))?;
            let limit = self.limit.get_or_insert(Limit::NONE);
            set(limit, &mut self.block, key.trim(), value.trim()).map_err(wrong)?;
            self.place = Some((file.to_owned(), number));
        }
        Ok(())
    }
}

/// The lines of a file that say something, each with the number of its first: one that ends with a backslash goes on in
/// the next that is no comment (systemd.syntax(7)).
fn joined(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (at, line) in text.lines().enumerate() {
        let begins = line.trim_start();
        if begins.starts_with(['#', ';']) || (begins.is_empty() && !goes_on) {
            continue;
        }
        let (line, continues) = match line.strip_suffix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        match lines.last_mut() {
            Some((_, whole)) if goes_on => {
                whole.push(' ');
                whole.push_str(line);
            }
            _ => lines.push((at + 1, line.to_owned())),
        }
        goes_on = continues;
    }
    lines
}

/// Sets what a key says; as everywhere in systemd's files, an empty value takes back what was said before.
fn set(limit: &mut Limit, block: &mut Both<bool>, key: &str, value: &str) -> Result<(), String> {
    let rate = || -> Result<Option<Rate>, String> {
        if value.is_empty() {
            return Ok(None);
        }
        value.parse().map(Some).map_err(|error| format!("{error}"))
    };
    match key {
        "Down" => limit.down = rate()?,
        "Up" => limit.up = rate()?,
        "Scope" if value.is_empty() => limit.scope = Limit::NONE.scope,
        "Scope" => {
            let words = "Scope is default, internet, local or all";
            limit.scope = scope_of(value).ok_or_else(|| format!("'{value}': {words}"))?;
        }
        "Block" => {
            let (down, up) = match value {
                "both" => (true, true),
                "down" => (true, false),
                "up" => (false, true),
                _ => {
                    let is = truth(value);
                    let is =
                        is.ok_or_else(|| format!("'{value}': Block is yes, no, down or up"))?;
                    (is, is)
                }
            };
            *block = Both { down, up };
        }
        "Reject" => {
            let is = truth(value);
            limit.reject = is.ok_or_else(|| format!("'{value}': Reject is yes or no"))?;
        }
        _ => return Err(format!("'{key}' is not known here; allowed: {KEYS}")),
    }
    Ok(())
}

/// A truth value in systemd's words; nothing takes back what was said before.
fn truth(value: &str) -> Option<bool> {
    match value {
        "yes" | "true" | "on" | "1" => Some(true),
        "" | "no" | "false" | "off" | "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_on_behind_a_backslash() {
        let text = "a=1 \\\n\nb=2\nc=\\\n d\\";
        let lines = joined(text);
        let lines: Vec<_> = lines.iter().map(|(at, it)| (*at, it.as_str())).collect();
        assert_eq!(lines, [(1, "a=1  "), (3, "b=2"), (4, "c=  d")]);
    }
}
