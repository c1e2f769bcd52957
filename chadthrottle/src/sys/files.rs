//! The limits of open files, which any call may reach.

use std::{error::Error, io, iter::successors};

use aya::maps::MapError;

/// What to say and do where an error is that a limit of open files is reached; `None` where it is another one.
pub fn limit_reached(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let causes = successors(Some(error), |cause: &&(dyn Error + 'static)| {
        (*cause).source()
    });
    let mut errors = causes.filter_map(errno);
    errors.find_map(|errno| match errno {
        libc::EMFILE => Some(
            "the limit of open files is reached. Raise it, with 'ulimit -n 1024' in the shell or LimitNOFILE= in the \
             unit",
        ),
        libc::ENFILE => Some(
            "the limit of open files of the whole system is reached. Raise it, with 'sysctl fs.file-max=NUMBER', or \
             end who has many open",
        ),
        _ => None,
    })
}

fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    // Which shows it as its own, and not as its source.
    if let Some(MapError::IoError(error)) = error.downcast_ref() {
        return error.raw_os_error();
    }
    error.downcast_ref::<io::Error>()?.raw_os_error()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outside")]
    struct Outside(#[source] Box<dyn Error>);

    #[test]
    fn the_two_limits_are_told_apart_from_each_other_and_from_other_errors_however_deep() {
        for (errno, words) in [
            (libc::EMFILE, Some("ulimit -n")),
            (libc::ENFILE, Some("fs.file-max")),
            (libc::EACCES, None),
        ] {
            let error = Outside(Box::new(Outside(Box::new(io::Error::from_raw_os_error(
                errno,
            )))));
            let of_map = MapError::IoError(io::Error::from_raw_os_error(errno));
            let said = limit_reached(&error);
            assert_eq!(limit_reached(&of_map), said);
            assert_eq!(said.is_some(), words.is_some(), "{errno}");
            assert!(said.is_none_or(|said| said.contains(words.unwrap())));
        }
        assert_eq!(limit_reached(&io::Error::other("another")), None);
    }
}
