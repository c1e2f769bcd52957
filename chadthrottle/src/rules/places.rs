//! Where rules files are, which of them count, and in which order.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    fmt,
    fs::{self, File as OpenFile, Metadata},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Mistake, Rule,
    read::{self, File, MOST_RULES, Named},
};
use crate::process::Accounts;

/// A longer file is no rules file, in bytes.
pub const LONGEST: u64 = 1 << 20;

/// The files that have rules. In the order in which they count: the one that commands edit, then those of packages and
/// administrators by name, where one in /etc takes the place of one of the same name in /usr/lib.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    root: PathBuf,
    /// Whose they must be.
    owner: u32,
}

/// What the files say.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// All rules, in the order in which they are tried.
    pub rules: Vec<Rule>,
    /// Names of the profiles that there are.
    pub profiles: Vec<String>,
    /// The one that is chosen.
    pub profile: Option<String>,
    /// Whether units may have rules of their own in their files.
    pub units: bool,
    /// Files that do not count, and why.
    pub problems: Vec<Problem>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            profiles: Vec::new(),
            profile: None,
            units: true,
            problems: Vec::new(),
        }
    }
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which.
    pub file: PathBuf,
    /// What, in one line or several.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display().to_string();
        write!(f, "{}: {}", crate::text::escape(&file), self.what)
    }
}

impl Places {
    /// Those of the system.
    pub fn system() -> Self {
        Self::below("/", 0)
    }

    /// Those below a directory, which must be that user's.
    pub fn below(root: impl Into<PathBuf>, owner: u32) -> Self {
        Self {
            root: root.into(),
            owner,
        }
    }

    /// The directory that they are below.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file that commands edit.
    pub fn main(&self) -> PathBuf {
        self.root.join("etc/chadthrottle/rules.toml")
    }

    /// Reads all files. A file with a mistake counts for nothing, and is named among the problems.
    pub fn load(&self) -> Rules {
        self.load_with(None)
    }

    /// The same as if the file that commands edit had that text.
    pub(super) fn load_with(&self, main: Option<&str>) -> Rules {
        let mut rules = Rules::default();
        let mut in_profiles: HashMap<String, Vec<String>> = HashMap::new();
        let mut named = Vec::new();
        let mut accounts = Accounts::default();
        for path in self.files(&mut rules.problems) {
            let read = match main.filter(|_| path == self.main()) {
                Some(text) => parse(text, &path, &mut accounts).map(Some),
                None => self.read(&path, &mut accounts),
            };
            match read {
                Ok(None) => {}
                Ok(Some((text, file))) => {
                    if let Err(what) = rules.take(&path, &text, file, &mut in_profiles, &mut named)
                    {
                        rules.problems.push(Problem { file: path, what });
                    }
                }
                Err(what) => rules.problems.push(Problem { file: path, what }),
            }
        }
        for rule in &mut rules.rules {
            if let Some(profiles) = in_profiles.remove(&*rule.name) {
                rule.profiles = profiles;
            }
        }
        // Of what is left, there is no such rule.
        for (file, text, profile, Named { name, span }) in named {
            if in_profiles.contains_key(&name) {
                let what = format!("profile '{profile}' names a rule that there is not: '{name}'");
                let what = crate::text::escape(&what);
                let what = Mistake::at(&text, span, &what, "names of rules").to_string();
                rules.problems.push(Problem { file, what });
            }
        }
        if let Some(profile) = &rules.profile
            && !rules.profiles.contains(profile)
        {
            let what = format!("the profile that is chosen is not there: '{profile}'");
            let what = crate::text::escape(&what).into_owned();
            let file = self.main();
            rules.problems.push(Problem { file, what });
        }
        rules
    }

    /// Reads one file as if it were among the others, and gives its rules.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn check(path: &Path) -> Result<Vec<Rule>, Vec<String>> {
        let (file, _) = open(path).map_err(|error| vec![error.to_string()])?;
        let text = text_of(file).map_err(|what| vec![what])?;
        let path = Arc::from(path);
        read::read(&text, &path, &mut Accounts::default())
            .map(|file| file.rules)
            .map_err(|mistakes| mistakes.iter().map(Mistake::to_string).collect())
    }

    /// The files that count, those that commands do not edit in the order of their names.
    pub(super) fn files(&self, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
        let mut by_name: BTreeMap<OsString, PathBuf> = BTreeMap::new();
        for directory in ["usr/lib/chadthrottle/rules.d", "etc/chadthrottle/rules.d"] {
            let directory = self.root.join(directory);
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    problems.push(Problem {
                        file: directory,
                        what: error.to_string(),
                    });
                    continue;
                }
            };
            for entry in entries.flatten() {
                let path = entry.path();
                // Editors leave others behind.
                let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
                if path.extension().is_some_and(|kind| kind == "toml") && !is_hidden {
                    by_name.insert(entry.file_name(), path);
                }
            }
        }
        let mut files = vec![self.main()];
        files.extend(by_name.into_values());
        files
    }

    /// Reads a file; `None` where it is not there, or masks another by being /dev/null.
    fn read(&self, path: &Path, accounts: &mut Accounts) -> Result<Option<(String, File)>, String> {
        let text = match self.text(path) {
            Ok(text) => text,
            Err(Unread::Missing | Unread::Masked) => return Ok(None),
            Err(Unread::Refused(what)) => return Err(what),
        };
        parse(&text, path, accounts).map(Some)
    }

    /// The text of a file that nobody but its owner may write.
    pub(super) fn text(&self, path: &Path) -> Result<String, Unread> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Unread::Missing,
            _ => Unread::Refused(error.to_string()),
        };
        let is_null = fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null"));
        if is_null {
            return Err(Unread::Masked);
        }
        let (file, metadata) = open(path).map_err(failed)?;
        self.trusts(&metadata, "it")?;
        // Of a link, whoever may write where it leads may put another file there.
        let real = fs::canonicalize(path).map_err(failed)?;
        for (path, is_behind_link) in [(path, false), (&real, real != path)] {
            let directory = path.parent().unwrap_or(Path::new("/"));
            let metadata = fs::metadata(directory).map_err(failed)?;
            // In a sticky one nobody else can (unlink(2)), and files beside it are not read: /nix/store is one.
            let keeps_files = metadata.uid() == self.owner && metadata.mode() & libc::S_ISVTX != 0;
            if !(is_behind_link && keeps_files) {
                self.trusts(&metadata, "its directory")?;
            }
        }
        text_of(file).map_err(Unread::Refused)
    }

    /// Whether others than its owner may write it.
    fn trusts(&self, metadata: &Metadata, what: &str) -> Result<(), Unread> {
        const OTHERS_MAY_WRITE: u32 = 0o022;
        if metadata.uid() != self.owner {
            return Err(Unread::Refused(format!(
                "{what} belongs to user {}, and others than root must not write rules: chown root",
                metadata.uid()
            )));
        }
        if metadata.mode() & OTHERS_MAY_WRITE != 0 {
            return Err(Unread::Refused(format!(
                "others than root may write {what} (mode {:o}): chmod go-w",
                metadata.mode() & 0o7777
            )));
        }
        Ok(())
    }
}

/// What a text says, or all that is wrong with it.
fn parse(text: &str, path: &Path, accounts: &mut Accounts) -> Result<(String, File), String> {
    match read::read(text, &Arc::from(path), accounts) {
        Ok(file) => Ok((text.to_owned(), file)),
        Err(mistakes) => {
            let words: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
            Err(words.join("\n"))
        }
    }
}

/// Opens a file that may be read without waiting, and is not longer than a rules file may be.
fn open(path: &Path) -> io::Result<(OpenFile, Metadata)> {
    // A pipe would have us wait for who writes.
    let file = OpenFile::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > LONGEST {
        let what = format!("this is not a text file of at most {} KB", LONGEST / 1024);
        return Err(io::Error::other(what));
    }
    Ok((file, metadata))
}

/// What a file says, whoever may write it; `None` where it is none.
pub(super) fn glance(path: &Path) -> Option<String> {
    let (file, _) = open(path).ok()?;
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Why a file could not be read.
#[derive(Debug)]
pub(super) enum Unread {
    /// It is not there.
    Missing,
    /// It is a link to /dev/null, which masks others.
    Masked,
    /// Why it is not read.
    Refused(String),
}

/// A rule that a profile names, behind its file, what that says, and the profile.
type NamedInProfile = (PathBuf, Arc<str>, String, Named);

impl Rules {
    /// Adds what a file has, all of it or nothing.
    fn take(
        &mut self,
        path: &Path,
        text: &str,
        file: File,
        in_profiles: &mut HashMap<String, Vec<String>>,
        named: &mut Vec<NamedInProfile>,
    ) -> Result<(), String> {
        for rule in &file.rules {
            if let Some(other) = self.rules.iter().find(|other| other.name == rule.name) {
                let line = text.lines().take(rule.line - 1).map(|line| line.len() + 1);
                let start: usize = line.sum();
                let what = format!(
                    "another rule is named '{}', at {}:{}",
                    rule.name,
                    other.file.display(),
                    other.line
                );
                let allowed = "a name of its own for each rule";
                return Err(Mistake::at(text, Some(start..start), &what, allowed).to_string());
            }
        }
        if self.rules.len() + file.rules.len() > MOST_RULES {
            return Err(format!(
                "there are more than {MOST_RULES} rules with those of this file"
            ));
        }
        let text: Arc<str> = Arc::from(text);
        for (profile, rules) in file.profiles {
            for rule in rules {
                let text = Arc::clone(&text);
                named.push((path.to_owned(), text, profile.clone(), rule.clone()));
                in_profiles
                    .entry(rule.name)
                    .or_default()
                    .push(profile.clone());
            }
            if !self.profiles.contains(&profile) {
                self.profiles.push(profile);
            }
        }
        self.units &= file.units;
        if self.profile.is_none() {
            self.profile = file.profile.map(|named| named.name);
        }
        self.rules.extend(file.rules);
        Ok(())
    }
}

/// What a file says; what is wrong with it, where that is no text.
fn text_of(file: fs::File) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = file.take(LONGEST).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes());
        Mistake::at(&text, Some(at..at + 1), "this is no text", "UTF-8").to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::Tree;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn rule(name: &str) -> String {
        format!("[[rule]]\nname = '{name}'\nmatch = 'name:{name}'\ndown = '1MB'\n")
    }

    fn names(rules: &Rules) -> Vec<&str> {
        rules.rules.iter().map(|rule| &*rule.name).collect()
    }

    #[test]
    fn files_count_in_their_order_and_one_in_etc_masks_one_of_a_package() {
        let tree = Tree::new();
        assert_eq!(tree.places.load(), Rules::default());
        tree.write("usr/lib/chadthrottle/rules.d/10-a.toml", &rule("package-a"));
        tree.write("usr/lib/chadthrottle/rules.d/30-c.toml", &rule("package-c"));
        tree.write("etc/chadthrottle/rules.d/20-b.toml", &rule("own-b"));
        tree.write("etc/chadthrottle/rules.d/30-c.toml", &rule("own-c"));
        tree.write("etc/chadthrottle/rules.d/40.toml~", "nonsense");
        tree.write("etc/chadthrottle/rules.d/.50.toml", "nonsense");
        tree.write("etc/chadthrottle/rules.toml", &rule("main"));
        let rules = tree.places.load();
        assert_eq!(rules.problems, []);
        assert_eq!(names(&rules), ["main", "package-a", "own-b", "own-c"]);
        symlink("/dev/null", tree.path("etc/chadthrottle/rules.d/10-a.toml")).unwrap();
        assert_eq!(names(&tree.places.load()), ["main", "own-b", "own-c"]);
    }

    #[test]
    fn of_a_file_that_is_no_text_the_place_is_told() {
        let tree = Tree::new();
        let file = tree.write("etc/chadthrottle/rules.toml", "");
        fs::write(&file, [rule("a").as_bytes(), b"# \xff\n"].concat()).unwrap();
        let rules = tree.places.load();
        let words = rules.problems[0].to_string();
        for expected in ["rules.toml: line 5, column 3: this is no text", "UTF-8"] {
            assert!(words.contains(expected), "{words}");
        }
        assert_eq!(Places::check(&file).unwrap_err().len(), 1);
    }

    #[test]
    fn a_link_into_a_sticky_directory_counts_and_one_into_another_that_others_may_write_does_not() {
        let tree = Tree::new();
        let store = tree.path("store");
        let file = tree.write("store/rules.toml", &rule("linked"));
        tree.write("etc/chadthrottle/rules.toml", "");
        symlink(file, {
            fs::create_dir_all(tree.path("etc/chadthrottle/rules.d")).unwrap();
            tree.path("etc/chadthrottle/rules.d/1.toml")
        })
        .unwrap();
        for (mode, expected) in [
            (0o1775, &["linked"][..]),
            (0o775, &[]),
            (0o755, &["linked"]),
        ] {
            fs::set_permissions(&store, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(names(&tree.places.load()), expected, "{mode:o}");
        }
        // Where files are looked for, anybody could add one.
        let directory = tree.path("etc/chadthrottle/rules.d");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o1775)).unwrap();
        assert_eq!(names(&tree.places.load()), [""; 0]);
    }

    #[test]
    fn a_file_with_a_mistake_counts_for_nothing_and_the_others_count() {
        let tree = Tree::new();
        tree.write("etc/chadthrottle/rules.toml", &rule("main"));
        let bad = tree.write(
            "etc/chadthrottle/rules.d/1.toml",
            &format!("{}[[rule]]\nnmae = 1", rule("x")),
        );
        tree.write("etc/chadthrottle/rules.d/2.toml", &rule("two"));
        let again = tree.write(
            "etc/chadthrottle/rules.d/3.toml",
            &format!("{}{}", rule("three"), rule("main")),
        );
        let rules = tree.places.load();
        assert_eq!(names(&rules), ["main", "two"]);
        let [first, second] = &rules.problems[..] else {
            panic!("{:?}", rules.problems)
        };
        assert_eq!((&first.file, &second.file), (&bad, &again));
        let words = first.to_string();
        assert!(
            words.contains("1.toml: line 6") && words.contains("nmae"),
            "{words}"
        );
        let words = second.to_string();
        assert!(
            words.contains("line 5") && words.contains("rules.toml:1"),
            "{words}"
        );
    }

    #[test]
    fn what_others_may_write_is_refused() {
        let tree = Tree::new();
        let main = tree.write("etc/chadthrottle/rules.toml", &rule("main"));
        fs::set_permissions(&main, fs::Permissions::from_mode(0o664)).unwrap();
        let problems = tree.places.load().problems;
        assert!(problems[0].what.contains("mode 664"), "{problems:?}");
        fs::set_permissions(&main, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(tree.places.load().problems, []);
        let directory = main.parent().unwrap();
        fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).unwrap();
        let problems = tree.places.load().problems;
        assert!(problems[0].what.contains("its directory"), "{problems:?}");
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        let others = Places::below(tree.directory.path(), 4_000_000);
        assert!(others.load().problems[0].what.contains("chown root"));
        // What is no file does not keep us waiting.
        fs::remove_file(&main).unwrap();
        nix::unistd::mkfifo(&main, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(
            tree.places.load().problems[0]
                .what
                .contains("not a text file")
        );
        fs::remove_file(&main).unwrap();
        fs::write(&main, [0xff, 0xfe]).unwrap();
        assert_eq!(tree.places.load().problems.len(), 1);
    }

    #[test]
    fn profiles_are_gathered_from_all_files_and_what_they_name_must_be_there() {
        let tree = Tree::new();
        let main = format!(
            "[policy]\nprofile = 'hotel'\n{}[profile.hotel]\nrules = ['main', 'other', 'none']\n",
            rule("main")
        );
        tree.write("etc/chadthrottle/rules.toml", &main);
        let more = format!(
            "{}{}[profile.train]\nrules = 'other'\n",
            rule("other"),
            rule("always")
        );
        tree.write("etc/chadthrottle/rules.d/1.toml", &more);
        let rules = tree.places.load();
        let profiles: Vec<_> = rules
            .rules
            .iter()
            .map(|rule| rule.profiles.join(" "))
            .collect();
        assert_eq!(profiles, ["hotel", "hotel train", ""]);
        assert_eq!(rules.profiles, ["hotel", "train"]);
        assert_eq!(rules.profile.as_deref(), Some("hotel"));
        assert_eq!(rules.problems.len(), 1);
        assert!(
            (rules.problems[0].what).starts_with("line 8, column 27: profile 'hotel' names"),
            "{:?}",
            rules.problems
        );
        tree.write("etc/chadthrottle/rules.toml", "[policy]\nprofile = 'sea'");
        assert!(tree.places.load().problems[0].what.contains("'sea'"));
    }
}
