//! Files that are never seen half-made.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::{Error, Result};

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

    /// Appends `bytes`.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.as_file_mut().write_all(bytes).map_err(|source| Error::io(&self.path, source))
    }

    /// Waits until the bytes are on the disk.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.as_file().sync_all().map_err(|source| Error::io(&self.path, source))
    }

    /// Gives the file its name, over whatever had it; the name outlasts a loss of power.
    pub(crate) fn publish(self) -> Result<()> {
        let Self { path, file } = self;
        file.persist(&path).map_err(|failed| Error::io(&path, failed.error))?;
        sync_folder(folder_of(&path))
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes renames last through a loss of power. Not every system can; then there is nothing to do.
fn sync_folder(folder: &Path) -> Result<()> {
    if cfg!(unix) {
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
}
