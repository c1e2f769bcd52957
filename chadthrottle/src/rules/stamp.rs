//! Whether the files of rules may say other things by now, without reading them.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::PathBuf,
};

use super::Places;

/// What tells the files of one moment from those of another: each with what the file system says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp(Vec<(PathBuf, Option<OfFile>)>);

/// Device, file, length, and when it was changed last: mode and owner count too.
type OfFile = (u64, u64, u64, i64, i64);

impl Places {
    /// Of the files as they are now.
    pub fn stamp(&self) -> Stamp {
        let of = |it: Metadata| (it.dev(), it.ino(), it.len(), it.ctime(), it.ctime_nsec());
        let files = self.files(&mut Vec::new()).into_iter();
        let stamps = files.map(|path| {
            let stamp = fs::metadata(&path).ok().map(of);
            (path, stamp)
        });
        Stamp(stamps.collect())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::rules::testing::Tree;

    #[test]
    fn files_that_come_go_or_change_have_another_stamp() {
        let tree = Tree::new();
        let mut before = tree.places.stamp();
        assert_eq!(tree.places.stamp(), before);
        let mut is_another = |what| {
            let now = tree.places.stamp();
            assert_ne!(now, before, "{what}");
            assert_eq!(tree.places.stamp(), now, "{what}");
            before = now;
        };
        let main = tree.write("etc/chadthrottle/rules.toml", "");
        is_another("a file");
        fs::write(&main, "# longer").unwrap();
        is_another("its text");
        fs::set_permissions(&main, fs::Permissions::from_mode(0o600)).unwrap();
        is_another("its mode");
        let other = tree.write("etc/chadthrottle/rules.d/1.toml", "");
        is_another("a second one");
        fs::remove_file(other).unwrap();
        is_another("its end");
    }
}
