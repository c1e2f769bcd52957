//! Colours as numbers.

/// Red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rgb(pub [u8; 3]);

impl Rgb {
    /// The colour of that number among the 256 of xterm, from 16 on; those before it are the terminal's own.
    fn of_index(index: u8) -> Self {
        const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
        let step = |part: u8| {
            STEPS
                .get(usize::from(part % 6))
                .copied()
                .unwrap_or_default()
        };
        match index.saturating_sub(16) {
            grey @ 216.. => Self([8 + 10 * (grey - 216); 3]),
            cube => Self([step(cube / 36), step(cube / 6), step(cube)]),
        }
    }

    /// A colour of a theme with 256 colours or all.
    pub fn of(colour: ratatui::style::Color) -> Option<Self> {
        match colour {
            ratatui::style::Color::Rgb(red, green, blue) => Some(Self([red, green, blue])),
            ratatui::style::Color::Indexed(index @ 16..) => Some(Self::of_index(index)),
            _ => None,
        }
    }

    /// The nearest of the 256 colours of xterm that every terminal has alike.
    pub fn nearest(self) -> u8 {
        let distance = |index: &u8| -> u32 {
            let other = Self::of_index(*index);
            let parts = self.0.into_iter().zip(other.0);
            parts.map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum()
        };
        (16..=255).min_by_key(distance).unwrap_or(16)
    }

    /// How bright it is, from 0 to 1: the relative luminance of WCAG 2.
    pub fn luminance(self) -> f64 {
        let [red, green, blue] = self.0.map(|part| {
            let part = f64::from(part) / 255.0;
            if part <= 0.03928 {
                part / 12.92
            } else {
                ((part + 0.055) / 1.055).powf(2.4)
            }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    /// Whether text on it is to be dark: it is nearer to white than to black.
    pub fn is_light(self) -> bool {
        /// As bright as black is from it and white.
        const MIDDLE: f64 = 0.18;
        self.luminance() > MIDDLE
    }

    /// What a terminal answers when it is asked for its background: `ESC ] 11 ; rgb:1e1e/1e1e/1e1e`, with one to four
    /// digits for each part.
    pub fn of_answer(answer: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(answer);
        let (_, text) = text.split_once("]11;rgb:")?;
        let mut parts = text.splitn(3, '/').map(|part| {
            let end = part.find(|c: char| !c.is_ascii_hexdigit());
            let digits = part.get(..end.unwrap_or(part.len()))?;
            let most = 16u32.checked_pow(u32::try_from(digits.len()).ok()?)? - 1;
            let value = u32::from_str_radix(digits, 16).ok()?;
            u8::try_from(value * 255 / most.max(1)).ok()
        });
        Some(Self([parts.next()??, parts.next()??, parts.next()??]))
    }
}

#[cfg(test)]
impl Rgb {
    /// The contrast of two colours, from 1 to 21, as WCAG 2 has it.
    pub fn contrast(self, other: Self) -> f64 {
        let (a, b) = (self.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_the_256_colours_is_the_nearest_to_itself() {
        for index in 16..=255 {
            let colour = Rgb::of_index(index);
            assert_eq!(Rgb::of_index(colour.nearest()), colour, "{index}");
        }
        assert_eq!(Rgb::of_index(214), Rgb([255, 175, 0]));
        assert_eq!(Rgb::of_index(244), Rgb([128, 128, 128]));
        assert_eq!(Rgb([1, 1, 1]).nearest(), 16);
    }

    #[test]
    fn contrasts_are_those_of_the_standard() {
        let (black, white) = (Rgb([0; 3]), Rgb([255; 3]));
        assert!((black.contrast(white) - 21.0).abs() < 0.01);
        assert!((white.contrast(Rgb([0x76; 3])) - 4.54).abs() < 0.01);
    }

    #[test]
    fn answers_of_terminals_are_understood_and_others_are_none() {
        let of = |text: &str| Rgb::of_answer(text.as_bytes());
        assert_eq!(
            of("\x1b]11;rgb:1e1e/0000/ffff\x1b\\\x1b[?62c"),
            Some(Rgb([30, 0, 255]))
        );
        assert_eq!(of("q\x1b]11;rgb:ff/80/0\x07"), Some(Rgb([255, 128, 0])));
        for odd in [
            "",
            "\x1b[?62c",
            "\x1b]11;rgb:",
            "\x1b]11;rgb:1/2",
            "\x1b]11;rgb://",
            "\x1b]11;rgb:123456789/1/1",
            "\x1b]11;rgb:fffffffff/1/1",
        ] {
            assert_eq!(of(odd), None, "{odd:?}");
        }
    }
}
