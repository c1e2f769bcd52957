//! Rates and sizes as users read them: three digits and a unit in thousands.

/// Whether rates are shown in bytes or in bits a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// `1.5 MB/s`
    #[default]
    Bytes,
    /// `12 Mbit/s`
    Bits,
}

/// A rate given in bytes a second, in the style's unit: `1.5 MB/s`, `12 Mbit/s`.
pub fn format_rate(bytes_per_second: f64, style: Style) -> String {
    match style {
        Style::Bytes => scaled(bytes_per_second, &["B/s", "KB/s", "MB/s", "GB/s", "TB/s"]),
        Style::Bits => scaled(
            bytes_per_second * 8.0,
            &["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"],
        ),
    }
}

/// A size in bytes: `1.5 MB`.
pub fn format_bytes(bytes: u64) -> String {
    scaled(bytes as f64, &["B", "KB", "MB", "GB", "TB", "PB", "EB"])
}

/// Three significant digits in the first unit that keeps the number under 1000.
fn scaled(value: f64, units: &[&str]) -> String {
    let mut value = value.max(0.0);
    let mut index = 0;
    // 999.5 is the least that would be shown as 1000.
    while value >= 999.5 && index + 1 < units.len() {
        value /= 1000.0;
        index += 1;
    }
    let decimals = match value {
        _ if index == 0 => 0,
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    let mut number = format!("{value:.decimals$}");
    if number.contains('.') {
        number.truncate(number.trim_end_matches('0').trim_end_matches('.').len());
    }
    let unit = units.get(index).copied().unwrap_or_default();
    format!("{number} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_three_digits_at_most_and_change_unit_where_a_fourth_would_appear() {
        for (bytes, shown) in [
            (0.0, "0 B/s"),
            (999.4, "999 B/s"),
            (999.5, "1 KB/s"),
            (1_500.0, "1.5 KB/s"),
            (99_940.0, "99.9 KB/s"),
            (999_499.0, "999 KB/s"),
            (999_500.0, "1 MB/s"),
            (1e9, "1 GB/s"),
            (5e15, "5000 TB/s"),
            (-3.0, "0 B/s"),
        ] {
            assert_eq!(format_rate(bytes, Style::Bytes), shown, "{bytes}");
        }
        assert_eq!(format_rate(1e6, Style::Bits), "8 Mbit/s");
        assert_eq!(format_rate(1.0, Style::Bits), "8 bit/s");
    }

    #[test]
    fn sizes_go_up_to_the_largest_u64() {
        assert_eq!(format_bytes(1_234_567), "1.23 MB");
        assert_eq!(format_bytes(u64::MAX), "18.4 EB");
    }
}
