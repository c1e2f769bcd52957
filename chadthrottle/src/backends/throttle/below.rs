//! Whether a process is in the cgroup that programs are attached to, or below it: of others they
//! see nothing.

use std::path::Path;

use super::cgroup::AttachPoint;
use crate::process::proc_file;

/// A cgroup as this process sees it: its cgroup namespace may begin further down, and what is above
/// or beside that is shown as `/../other`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupPath {
    /// How many times `..` it begins with.
    above: usize,
    /// The rest, without a slash at its end.
    rest: String,
}

impl CgroupPath {
    /// From the form of /proc/PID/cgroup and /proc/PID/mountinfo.
    pub fn of(path: &str) -> Self {
        let mut rest = path.trim_end_matches('/');
        let mut above = 0;
        while let Some(further) = rest.strip_prefix("/..")
            && (further.is_empty() || further.starts_with('/'))
        {
            rest = further;
            above += 1;
        }
        Self {
            above,
            rest: rest.to_owned(),
        }
    }

    /// That of the directory; `None` where no mount shows it.
    pub fn of_point(point: &AttachPoint) -> Option<Self> {
        let path = point.path().canonicalize().ok()?;
        let mounts = proc_file::mounts().ok()?;
        let inside = mounts
            .into_iter()
            .filter(|mount| mount.fs_type == "cgroup2")
            .filter_map(|mount| {
                let rest = path.strip_prefix(&mount.mount_point).ok()?;
                Some(Path::new(&mount.root).join(rest))
            })
            .next()?;
        Some(Self::of(inside.to_str()?))
    }

    /// Whether a cgroup namespace keeps `other` from what is attached here.
    pub fn is_cut_off(&self, other: &Self) -> bool {
        other.above > self.above
    }

    /// Whether `other` is this one, or below it.
    pub fn holds(&self, other: &Self) -> bool {
        if self.rest.is_empty() {
            // All that is shown with as many steps up, or fewer.
            return other.above <= self.above;
        }
        let below = other.rest.strip_prefix(self.rest.as_str());
        other.above == self.above
            && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_and_what_is_not() {
        for (point, process, below) in [
            ("/", "/", true),
            ("/", "/user.slice/app", true),
            ("/", "/..", false),
            ("/", "/../other", false),
            ("/", "/..other", true),
            ("/a", "/a", true),
            ("/a/", "/a/b", true),
            ("/a", "/ab", false),
            ("/a", "/", false),
            ("/a", "/../a", false),
            ("/..", "/x", true),
            ("/..", "/../x", true),
            ("/..", "/../../x", false),
            ("/../x", "/../x/y", true),
            ("/../x", "/y", false),
        ] {
            let holds = CgroupPath::of(point).holds(&CgroupPath::of(process));
            assert_eq!(holds, below, "{process} below {point}");
        }
        let root = CgroupPath::of("/");
        assert!(root.is_cut_off(&CgroupPath::of("/../x")));
        assert!(!root.is_cut_off(&CgroupPath::of("/x")));
    }
}
