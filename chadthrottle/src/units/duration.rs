//! A duration as users write it: `500ms`, `30s`, `5m`, `2h`.

use std::time::Duration;

/// Why a duration could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a duration. Write a number and a unit: 500ms, 30s, 5m, 2h")]
pub struct ParseDurationError(String);

/// Reads `500ms`, `30s`, `5m` or `2h`; decimals as in `1.5s` are read too. Zero is refused.
///
/// # Errors
/// [`ParseDurationError`] for anything else, and for more than a year.
pub fn parse_duration(text: &str) -> Result<Duration, ParseDurationError> {
    const YEAR_S: f64 = 366.0 * 86_400.0;
    let error = || ParseDurationError(text.chars().take(40).flat_map(char::escape_debug).collect());
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or_else(error)?;
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(error()),
    };
    let value: f64 = number.parse().map_err(|_| error())?;
    let total = value * seconds;
    if !number.starts_with('.') && (0.001..=YEAR_S).contains(&total) {
        Ok(Duration::from_secs_f64(total))
    } else {
        Err(error())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn whole_numbers_of_each_unit_are_read_exactly(number in 1..8_000_u32) {
            for (unit, milliseconds) in [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)] {
                let duration = Duration::from_millis(u64::from(number) * milliseconds);
                prop_assert_eq!(parse_duration(&format!("{number}{unit}")), Ok(duration));
            }
        }
    }

    #[test]
    fn the_four_units_and_decimals_are_read() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("1.5s", 1_500),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "-5s",
            "5 s",
            "5d",
            "0s",
            "1e3s",
            ".5s",
            "1..2s",
            "99999999h",
            "٣s",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
