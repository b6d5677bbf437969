//! How many files the process may have open: every connection is one, and the shell's default of
//! 1,024 would end a node at some hundred participants. Called once, before anything listens.

use crate::limits::OPEN_FILES_WANTED;

/// Raises the soft limit to the hard one; says so where that is little.
pub(super) fn raise_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(open_files) if open_files < OPEN_FILES_WANTED => tracing::warn!(
            open_files,
            wanted = OPEN_FILES_WANTED,
            "every connection is an open file: raise LimitNOFILE or ulimit -Hn"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rlimit::Resource;

    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        raise_limit();
        let (soft, hard) = Resource::NOFILE.get().unwrap();
        assert_eq!(soft, hard);
    }
}
