//! One writer for a token file at a time.
//!
//! The lock is the kernel's, on a file of its own beside the token file: it ends with the process,
//! however that ends, and so is never stale. A file of its own, as those that are written are
//! renamed meanwhile.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::hidden;
use crate::{Error, Result};

/// Held as long as a token file is written; dropped, it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock of the token file `out`.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] at once if another process has it, [`Error::Io`] if the folder is missing
    /// or read-only.
    pub(super) fn acquire(out: &Path) -> Result<Self> {
        Self::of_file(out, hidden(out, "lock"))
    }

    /// Takes that of a file which stands alone, and of which others of its stem are independent.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    pub(crate) fn beside(out: &Path) -> Result<Self> {
        let name = out.file_name().unwrap_or_default().to_string_lossy();
        Self::of_file(out, out.with_file_name(format!(".{name}.lock")))
    }

    fn of_file(out: &Path, path: PathBuf) -> Result<Self> {
        loop {
            let options = File::options().write(true).create(true).truncate(false).open(&path);
            let file = options.map_err(|source| Error::io(out, source))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::Locked { path: out.to_owned() });
                }
                // A file system without locks: nobody can hold one.
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
                Err(TryLockError::Error(source)) => return Err(Error::io(out, source)),
            }
            // Between opening and locking, the one who had it may have removed the file.
            if is_at(&file, &path).map_err(|source| Error::io(out, source))? {
                return Ok(Self { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Before the lock ends, so that nobody else has it yet. Left behind, it locks nothing.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether `path` is still the name of `file`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;

    let named = match path.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        named => named?,
    };
    let held = file.metadata()?;
    Ok((held.dev(), held.ino()) == (named.dev(), named.ino()))
}

/// Whether `path` is still there: elsewhere, nobody can remove a file that is open.
#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_until_the_first_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("train.bin");
        let first = Lock::acquire(&out).unwrap();
        let message = Lock::acquire(&out).unwrap_err().to_string();
        assert!(message.contains("train.bin: another process is writing it"), "{message}");
        assert!(Lock::acquire(&folder.path().join("val.bin")).is_ok());
        drop(first);
        drop(Lock::acquire(&out).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn of_many_only_one_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("train.bin");
        let holders = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        if let Ok(_lock) = Lock::acquire(&out) {
                            let others = holders.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                            assert_eq!(others, 0);
                            holders.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        }
                    }
                });
            }
        });
    }
}
