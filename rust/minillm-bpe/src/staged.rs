//! Files that are never seen half-made.

use std::fs::File;
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};

use crate::{Error, Result};

/// Whether to wait for the disk. Not in tests: they kill no power, and write thousands of files.
const SYNC: bool = !cfg!(test);

/// A file that has its name only once it is complete; dropped before, it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Staged {
    /// The name that it will have.
    pub(crate) path: PathBuf,
    file: NamedTempFile,
}

impl Staged {
    /// Opens a file beside `path`.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let folder = folder_of(path);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Opened as any file is: tempfile's own way would make it private, and wrap errors so that
        // their number is lost.
        let open = |path: &Path| File::options().write(true).create_new(true).open(path);
        let file = tempfile::Builder::new()
            .prefix(&format!(".{name}."))
            .suffix(".tmp")
            .make_in(folder, open)
            .map_err(|source| Error::io(path, source))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Opens an empty file beside `path` whose name another process can tell. Who calls this has
    /// made sure that nobody else does.
    pub(crate) fn unfinished(path: &Path) -> Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true);
        Self::open(path, &options)
    }

    /// Opens what an earlier process left of [`unfinished`](Self::unfinished).
    pub(crate) fn reopen(path: &Path) -> Result<Self> {
        let mut staged = Self::open(path, File::options().read(true).write(true))?;
        staged.keep(true);
        Ok(staged)
    }

    fn open(path: &Path, options: &std::fs::OpenOptions) -> Result<Self> {
        let unfinished = unfinished_path(path);
        let open = || {
            let file = options.open(&unfinished)?;
            Ok(NamedTempFile::from_parts(file, TempPath::try_from_path(&unfinished)?))
        };
        let file = open().map_err(|source| Error::io(path, source))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Whether dropping leaves the file for [`reopen`](Self::reopen).
    pub(crate) fn keep(&mut self, keep: bool) {
        self.file.disable_cleanup(keep);
    }

    /// Appends `bytes`.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.as_file_mut().write_all(bytes).map_err(|source| Error::io(&self.path, source))
    }

    /// The file, and its length.
    pub(crate) fn contents(&self) -> Result<(&File, u64)> {
        let file = self.file.as_file();
        let metadata = file.metadata().map_err(|source| Error::io(&self.path, source))?;
        Ok((file, metadata.len()))
    }

    /// Cuts the file to its first `len` bytes and goes on behind them.
    pub(crate) fn truncate(&mut self, len: u64) -> Result<()> {
        let file = self.file.as_file_mut();
        let done = file.set_len(len).and_then(|()| file.seek(SeekFrom::Start(len)));
        done.map(|_| ()).map_err(|source| Error::io(&self.path, source))
    }

    /// Waits until the bytes are on the disk.
    pub(crate) fn sync(&self) -> Result<()> {
        if !SYNC {
            return Ok(());
        }
        self.file.as_file().sync_data().map_err(|source| Error::io(&self.path, source))
    }

    /// Gives the file its name, over whatever had it; the name outlasts a loss of power.
    pub(crate) fn publish(self) -> Result<()> {
        sync_folder(&self.publish_unsynced()?)
    }

    /// Gives the file its name, which a loss of power may undo or leave to nothing but zeros: for
    /// files with a checksum that can be missed. Returns the name.
    pub(crate) fn publish_unsynced(self) -> Result<PathBuf> {
        let Self { path, file } = self;
        file.persist(&path).map_err(|failed| Error::io(&path, failed.error))?;
        Ok(path)
    }
}

/// Where [`Staged::unfinished`] puts what will be `path`.
pub(crate) fn unfinished_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{}.unfinished", name.trim_start_matches('.')))
}

/// Removes `path` if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(Error::io(path, source)),
        _ => Ok(()),
    }
}

/// Where the file of this name lies.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes renames in the folder of `path` last through a loss of power. Not every system can; then
/// there is nothing to do.
pub(crate) fn sync_folder(path: &Path) -> Result<()> {
    let folder = folder_of(path);
    if cfg!(unix) && SYNC {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|source| Error::io(folder, source))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn full_disk_names_the_file() {
        let mut staged = Staged::create(&std::env::temp_dir().join("train.bin")).unwrap();
        *staged.file.as_file_mut() = File::options().write(true).open("/dev/full").unwrap();
        let error = staged.write(&[0; 10]).unwrap_err();
        assert!(error.to_string().contains("train.bin: No space left on device"), "{error}");
        assert!(matches!(error, Error::Io { source, .. } if source.raw_os_error() == Some(28)));
    }

    #[test]
    fn only_what_is_kept_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.bin");
        drop(Staged::unfinished(&path).unwrap());
        assert!(Staged::reopen(&path).unwrap_err().to_string().contains("train.bin: No such file"));
        let mut staged = Staged::unfinished(&path).unwrap();
        staged.write(b"abc").unwrap();
        staged.keep(true);
        drop(staged);
        let mut staged = Staged::reopen(&path).unwrap();
        staged.truncate(2).unwrap();
        staged.write(b"d").unwrap();
        staged.publish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"abd");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
