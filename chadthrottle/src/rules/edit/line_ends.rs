//! How the lines of a file end, which a change leaves as it is.

use std::{borrow::Cow, collections::HashMap};

const BYTE_ORDER_MARK: char = '\u{feff}';

/// How lines ended before a change.
#[derive(Debug)]
pub(super) struct LineEnds<'a> {
    has_mark: bool,
    /// Of lines with that text, whether each ended with a carriage return; `None`: none in the file did.
    returns: Option<HashMap<&'a str, Vec<bool>>>,
    /// Whether most did.
    mostly: bool,
}

impl<'a> LineEnds<'a> {
    /// Those of a text, and the text with plain ones.
    pub(super) fn of(text: &'a str) -> (Self, Cow<'a, str>) {
        let (has_mark, text) = match text.strip_prefix(BYTE_ORDER_MARK) {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if !text.contains("\r\n") {
            let plain = Self {
                has_mark,
                returns: None,
                mostly: false,
            };
            return (plain, Cow::Borrowed(text));
        }
        let mut returns: HashMap<&str, Vec<bool>> = HashMap::new();
        let (mut with, mut without) = (0, 0);
        // From the last to the first: they are taken from behind.
        for line in text.split_inclusive('\n').rev() {
            let Some(line) = line.strip_suffix('\n') else {
                continue;
            };
            let (line, has_return) = match line.strip_suffix('\r') {
                Some(line) => (line, true),
                None => (line, false),
            };
            *(if has_return { &mut with } else { &mut without }) += 1;
            returns.entry(line).or_default().push(has_return);
        }
        let ends = Self {
            has_mark,
            returns: Some(returns),
            mostly: with > without,
        };
        (ends, Cow::Owned(text.replace("\r\n", "\n")))
    }

    /// The text after the change: lines that it had before end as they did, and new ones as most do.
    pub(super) fn put_back(mut self, text: &str) -> String {
        let mut whole = String::with_capacity(text.len());
        whole.extend(self.has_mark.then_some(BYTE_ORDER_MARK));
        let Some(returns) = &mut self.returns else {
            return whole + text;
        };
        for line in text.split_inclusive('\n') {
            let Some(line) = line.strip_suffix('\n') else {
                whole.push_str(line);
                continue;
            };
            let before = returns.get_mut(line).and_then(Vec::pop);
            whole.push_str(line);
            whole.push_str(match before.unwrap_or(self.mostly) {
                true => "\r\n",
                false => "\n",
            });
        }
        whole
    }
}
