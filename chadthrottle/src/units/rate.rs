//! A rate as users write it: a number and a unit.

use std::{fmt, str::FromStr};

use chadthrottle_common::policer::{MAX_RATE, MIN_RATE};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::format::{Style, format_rate};

/// A limit, in bytes a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Rate(u64);

impl Rate {
    /// The slowest limit: 1 KB/s.
    pub const MIN: Self = Self(MIN_RATE);
    /// The fastest limit: 1 TB/s.
    pub const MAX: Self = Self(MAX_RATE);

    /// Nothing may pass: never typed, but what a block is.
    pub const BLOCKED: Self = Self(0);

    /// A rate of that many bytes a second, brought into [`Rate::MIN`]..=[`Rate::MAX`].
    pub fn clamped(bytes_per_second: u64) -> Self {
        Self(bytes_per_second).clamp(Self::MIN, Self::MAX)
    }

    /// Whether nothing may pass.
    pub const fn is_blocked(self) -> bool {
        self.0 == 0
    }

    /// In one word, as tables show it.
    pub fn shown(self, style: Style) -> String {
        match self.is_blocked() {
            true => "blocked".to_owned(),
            false => format_rate(self.0 as f64, style),
        }
    }

    /// Bytes a second.
    pub const fn bytes_per_second(self) -> u64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes_per_second = u64::deserialize(deserializer)?;
        let rate = Self(bytes_per_second);
        if rate.is_blocked() || (Self::MIN..=Self::MAX).contains(&rate) {
            Ok(rate)
        } else {
            let (min, max) = (Self::MIN.0, Self::MAX.0);
            Err(D::Error::custom(format_args!(
                "a rate is {min} to {max} bytes a second, or 0 for a block, and not {bytes_per_second}"
            )))
        }
    }
}

/// Both readings: `1 MB/s (8 Mbit/s)`; or `blocked`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_blocked() {
            return f.write_str("blocked");
        }
        let rate = self.0 as f64;
        let bytes = format_rate(rate, Style::Bytes);
        let bits = format_rate(rate, Style::Bits);
        write!(f, "{bytes} ({bits})")
    }
}

/// Why a rate could not be read. The message says what is accepted instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseRateError {
    /// Not a number followed by a unit.
    #[error("'{0}' is not a rate. {FORMS}")]
    NotARate(String),
    /// A number without a unit.
    #[error("'{0}' has no unit, so it could be bits or bytes. {FORMS}")]
    NoUnit(String),
    /// `kbps` and the like.
    #[error(
        "'{0}' is ambiguous: to some it means bits, to tc it means bytes. \
         Write 'kbit' or 'KB' instead. {FORMS}"
    )]
    Ambiguous(String),
    /// A unit that nobody knows.
    #[error("'{0}' has an unknown unit. {FORMS}")]
    UnknownUnit(String),
    /// Zero.
    #[error(
        "a limit of 0 would be a block, and a limit is at least 1 KB/s. \
         To block a program, use 'chadthrottle block'. {FORMS}"
    )]
    Zero,
    /// Under [`Rate::MIN`].
    #[error("'{0}' is too slow: a limit is at least 1 KB/s. {FORMS}")]
    TooSlow(String),
    /// Over [`Rate::MAX`].
    #[error("'{0}' is too fast: a limit is at most 1 TB/s. {FORMS}")]
    TooFast(String),
}

const FORMS: &str = "A rate is a number and a unit: 1.5MB/s, 500KB, 2MiB (bytes a second), \
                     8Mbit, 300kbit/s (bits a second)";

impl FromStr for Rate {
    type Err = ParseRateError;

    /// Reads `1.5MB/s`, `500K`, `8mbit`; see [`ParseRateError`] for what is refused.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        // What is echoed back must be safe to print, whatever was pasted.
        let shown: String = text.chars().take(40).flat_map(char::escape_debug).collect();
        let digits = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim_start();
        let unit = ["/s", "/S"]
            .iter()
            .find_map(|suffix| unit.strip_suffix(suffix))
            .unwrap_or(unit);

        let well_formed = number.starts_with(|c: char| c.is_ascii_digit())
            && number.ends_with(|c: char| c.is_ascii_digit())
            && number.matches('.').count() <= 1;
        if !well_formed {
            return Err(ParseRateError::NotARate(shown));
        }
        let Ok(value) = number.parse::<f64>() else {
            return Err(ParseRateError::NotARate(shown));
        };
        if unit.is_empty() {
            return Err(match value {
                0.0 => ParseRateError::Zero,
                _ => ParseRateError::NoUnit(shown),
            });
        }
        if !unit.chars().all(|c| c.is_ascii_alphabetic()) {
            return Err(ParseRateError::NotARate(shown));
        }
        if unit.to_ascii_lowercase().ends_with("ps") {
            return Err(ParseRateError::Ambiguous(shown));
        }
        let Some(factor) = bytes_per_unit(unit) else {
            return Err(ParseRateError::UnknownUnit(shown));
        };
        let bytes = (value * factor).round();
        if value == 0.0 {
            Err(ParseRateError::Zero)
        } else if bytes < MIN_RATE as f64 {
            Err(ParseRateError::TooSlow(shown))
        } else if bytes > MAX_RATE as f64 {
            Err(ParseRateError::TooFast(shown))
        } else {
            Ok(Self(bytes as u64))
        }
    }
}

/// A rate as it is written in a file, where it reads back exactly.
pub fn written(rate: Rate) -> String {
    let bytes = rate.bytes_per_second();
    let (unit, name) = [
        (1_000_000_000, "GB/s"),
        (1_000_000, "MB/s"),
        (1_000, "KB/s"),
    ]
    .into_iter()
    .find(|(unit, _)| bytes.is_multiple_of(*unit))
    .unwrap_or((1, "B/s"));
    format!("{}{name}", bytes / unit)
}

/// Bytes in one of the unit; `None` for a unit that nobody knows.
///
/// Case does not matter but for the B of bytes and the b of bits.
fn bytes_per_unit(unit: &str) -> Option<f64> {
    let (prefix, bits) = if let Some(prefix) = unit.strip_suffix('B') {
        (prefix, false)
    } else if let Some(prefix) = unit.strip_suffix('b') {
        (prefix, true)
    } else {
        let lower = unit.to_ascii_lowercase();
        let cut = ["bits", "bit"]
            .iter()
            .find(|word| lower.ends_with(**word))
            .map_or(0, |word| word.len());
        (&unit[..unit.len() - cut], cut > 0)
    };
    let factor = match prefix.to_ascii_lowercase().as_str() {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        "t" => 1e12,
        "ki" if !bits => 1024.0,
        "mi" if !bits => 1024.0 * 1024.0,
        "gi" if !bits => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some(if bits { factor / 8.0 } else { factor })
}

#[cfg(test)]
mod tests {
    use proptest::{
        prelude::{Strategy, prop_assert, prop_assert_eq, proptest},
        string::string_regex,
    };

    use super::*;

    /// Of all sizes that there are.
    fn rates() -> impl Strategy<Value = Rate> {
        let parts = (3..12, 1.0..10.0_f64);
        parts.prop_map(|(exponent, digits)| Rate::clamped((digits * 10_f64.powi(exponent)) as u64))
    }

    proptest! {
        #[test]
        fn a_rate_reads_back_exactly_as_written_and_to_three_digits_as_shown(rate in rates()) {
            prop_assert_eq!(written(rate).parse(), Ok(rate));
            for style in [Style::Bytes, Style::Bits] {
                let shown: Rate = rate.shown(style).parse().unwrap();
                let off = shown.0.abs_diff(rate.0);
                prop_assert!(off <= rate.0 / 200 + 1, "{} for {}", rate.shown(style), rate.0);
            }
        }

        #[test]
        fn what_looks_like_a_rate_is_one_or_is_refused(
            text in string_regex("[0-9.]{0,8} ?[kKmMgGtTiB/bits]{0,6}").unwrap(),
        ) {
            if let Ok(rate) = text.parse::<Rate>() {
                prop_assert!((Rate::MIN..=Rate::MAX).contains(&rate), "{text}");
            }
        }
    }

    #[track_caller]
    fn check(text: &str, bytes: u64) {
        assert_eq!(
            text.parse::<Rate>().map(Rate::bytes_per_second),
            Ok(bytes),
            "{text}"
        );
    }

    #[test]
    fn every_form_of_the_contract_is_read() {
        check("1.5MB/s", 1_500_000);
        check("1000B", 1_000);
        check("500KB", 500_000);
        check("500kB/s", 500_000);
        check("500k", 500_000);
        check("2M", 2_000_000);
        check("1G/s", 1_000_000_000);
        check("1 MB/s", 1_000_000);
        check("  1MB ", 1_000_000);
        check("1KiB", 1_024);
        check("1MiB/s", 1_048_576);
        check("1giB", 1_073_741_824);
        check("8000bit", 1_000);
        check("8kbit", 1_000);
        check("8Mbit/s", 1_000_000);
        check("8MBIT/S", 1_000_000);
        check("1gbit", 125_000_000);
        check("8Mb/s", 1_000_000);
        check("1000000MB", 1_000_000_000_000);
        check("1TB/s", 1_000_000_000_000);
        check("8Tbit/s", 1_000_000_000_000);
    }

    #[test]
    fn what_is_refused_says_why_and_what_is_accepted() {
        type E = ParseRateError;
        type Make = fn(String) -> E;
        let cases: [(&str, Make); 19] = [
            ("12", E::NoUnit),
            ("5kbps", E::Ambiguous),
            ("5Mbps", E::Ambiguous),
            ("5mbps/s", E::Ambiguous),
            ("-1", E::NotARate),
            ("-1MB", E::NotARate),
            ("+1MB", E::NotARate),
            ("1e400MB", E::NotARate),
            ("١MB", E::NotARate),
            ("", E::NotARate),
            ("MB", E::NotARate),
            (".5MB", E::NotARate),
            ("1.MB", E::NotARate),
            ("1.2.3MB", E::NotARate),
            ("1MB/h", E::NotARate),
            ("5furlongs", E::UnknownUnit),
            ("1Kibit", E::UnknownUnit),
            ("999B", E::TooSlow),
            ("1000001MB", E::TooFast),
        ];
        for (text, error) in cases {
            let got = text.parse::<Rate>();
            assert_eq!(got, Err(error(text.to_owned())), "{text}");
            assert!(
                got.unwrap_err()
                    .to_string()
                    .contains("A rate is a number and a unit")
            );
        }
        for zero in ["0", "0MB", "0.0kbit"] {
            assert_eq!(zero.parse::<Rate>(), Err(ParseRateError::Zero), "{zero}");
        }
    }

    #[test]
    fn a_number_beyond_any_float_is_too_fast_and_not_infinite() {
        let text = format!("{}MB", "9".repeat(400));
        assert!(matches!(
            text.parse::<Rate>(),
            Err(ParseRateError::TooFast(_))
        ));
    }

    #[test]
    fn escape_sequences_in_a_rate_are_not_echoed_raw() {
        let error = "1\u{1b}[31mMB".parse::<Rate>().unwrap_err();
        assert!(!error.to_string().contains('\u{1b}'));
    }

    #[test]
    fn a_rate_is_echoed_both_ways() {
        assert_eq!(Rate::clamped(1_000_000).to_string(), "1 MB/s (8 Mbit/s)");
        assert_eq!(Rate::clamped(1_536).to_string(), "1.54 KB/s (12.3 kbit/s)");
    }
}
