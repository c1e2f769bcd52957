//! Files of /proc. Names of programs, cgroups and mount points are any bytes, and whoever chose odd ones must not be
//! unreadable for that.

use std::{fs, io, path::Path};

use procfs::{
    FromBufRead, ProcError,
    process::{MountInfo, MountInfos},
};

/// The text of a file; bytes that are none have U+FFFD in their place.
///
/// # Errors
/// Where it cannot be read.
pub fn text(path: &Path) -> io::Result<String> {
    let bytes = fs::read(path)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// The same, as procfs understands it.
///
/// # Errors
/// Where it cannot be read, or is something else.
pub fn parsed<T: FromBufRead>(path: &Path) -> Result<T, ProcError> {
    let text = text(path).map_err(|error| ProcError::Io(error, Some(path.to_owned())))?;
    T::from_buf_read(text.as_bytes())
}

/// All that is mounted where we see it.
///
/// # Errors
/// Where the list cannot be read.
pub fn mounts() -> Result<Vec<MountInfo>, ProcError> {
    parsed("/proc/self/mountinfo".as_ref()).map(|MountInfos(mounts)| mounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_of_any_bytes_hides_no_other() {
        let line = |point: &[u8]| [b"36 35 98:0 / ", point, b" rw - cgroup2 none rw\n"].concat();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), [line(b"/\xff"), line(b"/x")].concat()).unwrap();
        let MountInfos(found) = parsed(file.path()).unwrap();
        let points: Vec<_> = found
            .iter()
            .map(|mount| mount.mount_point.clone())
            .collect();
        assert_eq!(points, ["/\u{fffd}", "/x"].map(std::path::PathBuf::from));
        assert!(mounts().is_ok_and(|mounts| !mounts.is_empty()));
    }
}
