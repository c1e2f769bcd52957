//! The configuration file of the screen: how it looks, never what is limited.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, de::DeserializeOwned};
use toml::Spanned;

use crate::{process::home_of_caller, units::Rate};

/// Below the home of who calls it.
const OF_USER: &str = ".config/chadthrottle/config.toml";
/// Where the user has none.
const OF_SYSTEM: &str = "/etc/chadthrottle/config.toml";
/// Themes, below the home of who calls it.
const THEMES_OF_USER: &str = ".config/chadthrottle/themes";
/// Those for all users.
const THEMES_OF_SYSTEM: &str = "/etc/chadthrottle/themes";

/// A longer file is not a configuration.
const MAX_BYTES: u64 = 64 * 1024;

/// The settings, each with its default where the file does not name it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Colours.
    pub theme: ThemeName,
    /// Only characters of ASCII.
    pub ascii: bool,
    /// Whether panels have edges, and titles on them.
    pub panels: bool,
    /// Whether the details of the selected row stand beside the table, where there is room.
    pub split: bool,
    /// Whether the mouse works on the screen, and no longer selects text.
    pub mouse: bool,
    /// Rates in bits a second.
    pub bits: bool,
    /// Whether remote addresses are looked up in the DNS.
    pub resolve: bool,
    /// What is shown first.
    pub view: View,
    /// Rates to choose from in the limit dialog.
    pub presets: Presets,
    /// Keys of commands in place of their usual ones.
    pub keys: Keys,
    /// Who may do what; the engine reads it from the system's file only.
    pub access: Access,
}

/// Who may do what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Users who are neither root nor in the group.
    pub others: Others,
}

/// What users may who are neither root nor in the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Others {
    /// See their own processes, and limit those that nobody else has limited.
    #[default]
    Own,
    /// See their own processes.
    See,
    /// Nothing.
    Nothing,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            theme: ThemeName::default(),
            ascii: false,
            panels: true,
            split: true,
            mouse: true,
            bits: false,
            resolve: false,
            view: View::default(),
            presets: Presets::default(),
            keys: Keys::default(),
            access: Access::default(),
        }
    }
}

/// Names of the themes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum ThemeName {
    /// For dark backgrounds.
    #[default]
    Dark,
    /// For light backgrounds.
    Light,
    /// Dark or light, as the terminal's background is.
    Auto,
    /// Without colours.
    Mono,
    /// The terminal's own 16 colours.
    Terminal,
    /// That of a file.
    Of(String),
}

impl ThemeName {
    /// Those that need no file.
    pub const WITHOUT_FILE: [&str; 9] = [
        "dark",
        "light",
        "auto",
        "mono",
        "terminal",
        "catppuccin",
        "dracula",
        "gruvbox",
        "tokyo-night",
    ];
}

impl FromStr for ThemeName {
    type Err = ThemeNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        const LONGEST: usize = 64;
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        match name {
            "dark" => Ok(Self::Dark),
            "light" => Ok(Self::Light),
            "auto" => Ok(Self::Auto),
            "mono" => Ok(Self::Mono),
            "terminal" => Ok(Self::Terminal),
            // It becomes the name of a file.
            name if name.is_empty() || name.len() > LONGEST || !name.chars().all(is_part) => {
                Err(ThemeNameError)
            }
            name => Ok(Self::Of(name.to_owned())),
        }
    }
}

impl TryFrom<String> for ThemeName {
    type Error = ThemeNameError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

/// What no theme is called.
#[derive(Debug, thiserror::Error)]
#[error("the name of a theme has letters, digits, '-' and '_', up to 64")]
pub struct ThemeNameError;

/// What the screen shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// Every process for itself.
    #[default]
    List,
    /// Below their parents.
    Tree,
    /// All processes of one executable together.
    Programs,
    /// Connections of the whole machine.
    Connections,
    /// Units of systemd, and containers.
    Units,
    /// All processes of a user together.
    Users,
    /// The rules.
    Rules,
}

/// Rates, slowest first.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Presets(pub Vec<Rate>);

impl Default for Presets {
    fn default() -> Self {
        let rates = [100_000, 250_000, 500_000, 1_000_000, 2_000_000, 5_000_000];
        Self(rates.map(Rate::clamped).into())
    }
}

impl TryFrom<Vec<String>> for Presets {
    type Error = crate::units::ParseRateError;

    fn try_from(texts: Vec<String>) -> Result<Self, Self::Error> {
        let mut rates = texts
            .iter()
            .map(|text| text.parse())
            .collect::<Result<Vec<Rate>, _>>()?;
        rates.sort_unstable();
        rates.dedup();
        Ok(Self(rates))
    }
}

/// Keys of commands, as the file has them: the screen knows what they may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "BTreeMap<String, Spanned<OneOrSeveral>>")]
pub struct Keys {
    /// Each command's.
    pub of: Vec<KeysOf>,
    /// The file.
    pub file: PathBuf,
}

/// Keys of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysOf {
    /// Which, as it is written.
    pub command: String,
    /// Its keys, likewise.
    pub keys: Vec<String>,
    /// Where that stands: until the file has been read, the byte; then the line.
    pub line: usize,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrSeveral {
    One(String),
    Several(Vec<String>),
}

impl From<BTreeMap<String, Spanned<OneOrSeveral>>> for Keys {
    fn from(table: BTreeMap<String, Spanned<OneOrSeveral>>) -> Self {
        let of = table.into_iter().map(|(command, keys)| KeysOf {
            command,
            line: keys.span().start,
            keys: match keys.into_inner() {
                OneOrSeveral::One(key) => vec![key],
                OneOrSeveral::Several(keys) => keys,
            },
        });
        Self {
            of: of.collect(),
            file: PathBuf::new(),
        }
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("configuration {path}: {source}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
    /// It is too long, or not a file.
    #[error("configuration {0}: not a text file of at most 64 KB")]
    NotAFile(PathBuf),
    /// There is no such theme.
    #[error(
        "theme {0}: there is no {THEMES_OF_USER}/{0}.toml in your home, and none of that name comes with ChadThrottle: \
         take dark, light, auto, mono, terminal, catppuccin, dracula, gruvbox or tokyo-night"
    )]
    NoTheme(String),
    /// It says something that we do not understand.
    #[error("configuration {path}: {reason}")]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
}

impl Config {
    /// Reads that file or, without one, that of the user who called us (behind sudo: who called
    /// sudo), or that of the system, or takes the defaults.
    ///
    /// # Errors
    /// Where a file is there and cannot be used, or the named one is not there.
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        if let Some(path) = named {
            return Self::read(path);
        }
        let candidates = home_of_caller()
            .map(|home| home.join(OF_USER))
            .into_iter()
            .chain([PathBuf::from(OF_SYSTEM)]);
        for path in candidates {
            match Self::read(&path) {
                Err(ConfigError::Unreadable { source, .. })
                    if source.kind() == io::ErrorKind::NotFound => {}
                result => return result,
            }
        }
        Ok(Self::default())
    }

    /// Reads that of the system, or takes the defaults.
    ///
    /// # Errors
    /// Where it is there and cannot be used.
    pub fn of_system() -> Result<Self, ConfigError> {
        match Self::read(Path::new(OF_SYSTEM)) {
            Err(ConfigError::Unreadable { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(Self::default())
            }
            result => result,
        }
    }

    fn read(path: &Path) -> Result<Self, ConfigError> {
        let (mut config, text): (Self, String) = parsed(path)?;
        if !config.keys.of.is_empty() {
            config.keys.file = path.to_owned();
        }
        for keys in &mut config.keys.of {
            keys.line = line_at(&text, keys.line);
        }
        Ok(config)
    }
}

/// The theme of that name in a file of the user who called us, or of the system; `None`: there is none.
///
/// # Errors
/// Where a file is there and cannot be used.
pub fn theme_file<T: DeserializeOwned>(name: &str) -> Result<Option<T>, ConfigError> {
    let of_user = home_of_caller().map(|home| home.join(THEMES_OF_USER));
    let directories = of_user.into_iter().chain([THEMES_OF_SYSTEM.into()]);
    theme_in(directories, name)
}

/// Names of the themes in files of the user who called us, and of the system.
pub fn theme_files() -> Vec<String> {
    let of_user = home_of_caller().map(|home| home.join(THEMES_OF_USER));
    let directories = of_user.into_iter().chain([THEMES_OF_SYSTEM.into()]);
    themes_in(directories)
}

fn themes_in(directories: impl Iterator<Item = PathBuf>) -> Vec<String> {
    let entries = directories.filter_map(|directory| std::fs::read_dir(directory).ok());
    let files = entries.flatten().flatten();
    files
        .filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".toml")?.to_owned()))
        .collect()
}

fn theme_in<T: DeserializeOwned>(
    mut directories: impl Iterator<Item = PathBuf>,
    name: &str,
) -> Result<Option<T>, ConfigError> {
    let found =
        directories.find_map(
            |directory| match parsed(&directory.join(format!("{name}.toml"))) {
                Err(ConfigError::Unreadable { source, .. })
                    if source.kind() == io::ErrorKind::NotFound =>
                {
                    None
                }
                result => Some(result.map(|(theme, _)| theme)),
            },
        );
    found.transpose()
}

/// What the file says, and its text.
fn parsed<T: DeserializeOwned>(path: &Path) -> Result<(T, String), ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    // Before it is opened: a pipe would have us wait for its writer.
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return Err(ConfigError::NotAFile(path.to_owned()));
    }
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text))
        .map_err(unreadable)?;
    let said = toml::from_str(&text).map_err(|error| ConfigError::Invalid {
        path: path.to_owned(),
        reason: reason(&error, &text),
    })?;
    Ok((said, text))
}

/// The line and what is wrong with it; not the line itself, which may hold anything.
fn reason(error: &toml::de::Error, text: &str) -> String {
    let line = error.span().map_or(1, |span| line_at(text, span.start));
    let message = error.message();
    format!("line {line}: {}", crate::text::escape(message))
}

/// The line that a byte of the text is in, from 1 on.
fn line_at(text: &str, byte: usize) -> usize {
    let before = text.get(..byte).unwrap_or_default();
    before.matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(Some(&path))
    }

    #[test]
    fn what_is_not_named_has_its_default() {
        let config = load("theme = 'light'\npresets = ['1MB', '8Mbit', '100KB']\n").unwrap();
        let presets = [100_000, 1_000_000].map(Rate::clamped);
        assert_eq!(
            config,
            Config {
                theme: ThemeName::Light,
                presets: Presets(presets.into()),
                ..Config::default()
            }
        );
        assert!(!load("mouse = false").unwrap().mouse);
        let keys = load("\n[keys]\nquit = 'Q'\nlimit = [\n 'l', 'Enter']\n")
            .unwrap()
            .keys;
        let lines: Vec<(&str, &[String], usize)> = keys
            .of
            .iter()
            .map(|it| (&*it.command, &*it.keys, it.line))
            .collect();
        let [limit, quit] = [&["l".to_owned(), "Enter".to_owned()][..], &["Q".to_owned()]];
        assert_eq!(lines, [("limit", limit, 4), ("quit", quit, 3)]);
        let others = load("[access]\nothers = 'see'").unwrap().access.others;
        assert_eq!(others, Others::See);
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, line, word) in [
            ("\ntheme = '../pink'", 2, "letters"),
            ("ascii = 1", 1, "boolean"),
            ("colour = 'red'", 1, "colour"),
            ("\n\npresets = ['5kbps']", 3, "ambiguous"),
            ("[access]\nothers = 'all'", 2, "all"),
            ("= =", 1, ""),
            ("theme = '\u{7}'", 1, ""),
        ] {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains(&format!("line {line}")), "{error}");
            assert!(error.contains(word), "{error}");
            assert!(!error.contains(char::is_control), "{error:?}");
        }
    }

    #[test]
    fn a_theme_is_looked_for_in_each_directory_and_its_mistakes_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (directory.path().join("none"), directory.path().to_owned());
        let of = |name: &str| {
            let directories = [first.clone(), second.clone()].into_iter();
            theme_in::<toml::Table>(directories, name)
        };
        std::fs::write(second.join("mine.toml"), "text = '#123456'").unwrap();
        std::fs::write(second.join("odd.toml"), "\ntext = ").unwrap();
        assert!(of("mine").unwrap().is_some());
        assert!(of("yours").unwrap().is_none());
        assert!(of("odd").unwrap_err().to_string().contains("line 2"));
    }

    #[test]
    fn what_is_no_file_is_refused_and_one_that_is_named_must_be_there() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(
            Config::load(Some(directory.path())),
            Err(ConfigError::NotAFile(_))
        ));
        assert!(matches!(
            Config::load(Some(Path::new("/dev/zero"))),
            Err(ConfigError::NotAFile(_))
        ));
        let missing = directory.path().join("missing");
        assert!(matches!(
            Config::load(Some(&missing)),
            Err(ConfigError::Unreadable { .. })
        ));
        assert!(load(&"#".repeat(70_000)).is_err());
    }
}
