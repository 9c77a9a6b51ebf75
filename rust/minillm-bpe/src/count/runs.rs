//! Sorted runs: where counts go when memory is bounded.
//!
//! A run is a list of ascending entries (`entries.rs`) in a temporary file. The files have no name:
//! whatever ends the process, the system gives their space back. Each thread appends its runs to
//! one file, so that their number costs no file handles.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Counts,
    entries::{Entries, NUMBERS_BYTES, fold, put_entry},
};
use crate::{
    Error, Result,
    progress::{Phase, Progress},
};

/// What a file of runs collects before it writes.
pub(super) const WRITE_BYTES: usize = 1 << 16;

/// What is read of a run at a time, if there is room for it.
const READ_BYTES: usize = 1 << 16;

/// A sorted list of entries on disk.
#[derive(Clone, Debug)]
pub(super) struct Run {
    file: Arc<Nameless>,
    start: u64,
    n_bytes: u64,
    n_entries: u64,
    /// Bytes of all texts.
    text_bytes: u64,
    /// Bytes of the longest.
    longest: usize,
}

/// A temporary file and, for messages, where it lies.
#[derive(Debug)]
struct Nameless {
    folder: PathBuf,
    file: File,
}

impl Run {
    fn new(file: Arc<Nameless>, start: u64) -> Self {
        Self { file, start, n_bytes: 0, n_entries: 0, text_bytes: 0, longest: 0 }
    }

    /// Its bytes on disk.
    pub(super) fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Number of distinct pre-tokens in it.
    pub(super) fn n_entries(&self) -> u64 {
        self.n_entries
    }

    /// Bytes of their texts.
    pub(super) fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    /// Where it lies, for messages.
    pub(super) fn folder(&self) -> &Path {
        &self.file.folder
    }

    /// Its bytes, from the first on.
    pub(super) fn stream(&self) -> impl Read + use<> {
        Region { file: Arc::clone(&self.file), at: self.start }.take(self.n_bytes)
    }

    fn entries(&self, buffer_bytes: usize) -> Entries<impl Read + use<>> {
        Entries::new(&self.file.folder, self.stream(), self.n_bytes, buffer_bytes, 1)
    }

    /// Reads it into memory, into arrays of just the size.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; [`Error::Interrupted`].
    pub(super) fn into_counts(self, corpus_bytes: u64, progress: &Progress) -> Result<Counts> {
        let mut counts = Counts::with_capacity(
            usize::try_from(self.n_entries).unwrap_or(usize::MAX),
            usize::try_from(self.text_bytes).unwrap_or(usize::MAX),
        );
        counts.corpus_bytes = corpus_bytes;
        progress.begin(Phase::Fold, self.n_entries);
        fold(&mut [self.entries(READ_BYTES)], progress, |text, count| {
            counts.push(text, count);
            Ok(())
        })?;
        Ok(counts)
    }
}

/// A part of a file that others read at the same time, elsewhere.
struct Region {
    file: Arc<Nameless>,
    at: u64,
}

impl Read for Region {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut file = &self.file.file;
        file.seek(SeekFrom::Start(self.at))?;
        let n_read = file.read(buffer)?;
        self.at += n_read as u64;
        Ok(n_read)
    }
}

/// A temporary file to which runs are appended.
#[derive(Debug)]
pub(super) struct RunFile {
    file: Arc<Nameless>,
    done: Vec<Run>,
    /// The run that is being written.
    open: Run,
    /// What of it is not in the file yet.
    buffer: Vec<u8>,
}

impl RunFile {
    /// Opens a nameless file in `folder`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] that names the folder.
    pub(super) fn create(folder: &Path) -> Result<Self> {
        // A folder that is not there is told in the system's own words, without a made-up name.
        let file = fs::metadata(folder).and_then(|_| tempfile::tempfile_in(folder));
        let file = file.map_err(|source| Error::io(folder, source))?;
        let file = Arc::new(Nameless { folder: folder.to_owned(), file });
        let open = Run::new(Arc::clone(&file), 0);
        Ok(Self { file, done: Vec::new(), open, buffer: Vec::new() })
    }

    /// Appends an entry to the open run; entries must ascend.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] that names the folder, as when the disk is full.
    pub(super) fn put(&mut self, text: &[u8], count: u64) -> Result<()> {
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(WRITE_BYTES);
        }
        if self.buffer.len() + NUMBERS_BYTES + text.len() > WRITE_BYTES {
            self.write()?;
        }
        put_entry(&mut self.buffer, text, count);
        self.open.n_entries += 1;
        self.open.text_bytes += text.len() as u64;
        self.open.longest = self.open.longest.max(text.len());
        Ok(())
    }

    /// Ends the open run and begins another.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub(super) fn finish_run(&mut self) -> Result<()> {
        self.write()?;
        let end = self.open.start + self.open.n_bytes;
        let next = Run::new(Arc::clone(&self.file), end);
        self.done.push(std::mem::replace(&mut self.open, next));
        Ok(())
    }

    /// The runs that are finished.
    pub(super) fn into_runs(self) -> Vec<Run> {
        self.done
    }

    fn write(&mut self) -> Result<()> {
        let mut file = &self.file.file;
        let end = self.open.start + self.open.n_bytes;
        let written = file.seek(SeekFrom::Start(end)).and_then(|_| file.write_all(&self.buffer));
        written.map_err(|source| Error::io(&self.file.folder, source))?;
        self.open.n_bytes += self.buffer.len() as u64;
        self.buffer.clear();
        // A text longer than the buffer has made it grow.
        self.buffer.shrink_to(WRITE_BYTES);
        Ok(())
    }
}

/// Makes one run of many, within `memory` bytes of buffers: in several passes if they are too many
/// to be read at once.
///
/// # Errors
///
/// [`Error::Io`] that names `folder`; [`Error::Interrupted`].
pub(super) fn fold_runs(
    mut runs: Vec<Run>,
    memory: usize,
    folder: &Path,
    progress: &Progress,
) -> Result<Run> {
    loop {
        if let [run] = runs.as_slice() {
            return Ok(run.clone());
        }
        progress.begin(Phase::Fold, runs.iter().map(|run| run.n_entries).sum());
        let longest = runs.iter().map(|run| run.longest).max().unwrap_or(0);
        let buffer_bytes = (memory / (2 * runs.len() + 2)).clamp(READ_BYTES / 16, READ_BYTES);
        // A reader holds an entry and the text before it, whatever their length.
        let at_once = (memory / (2 * buffer_bytes.max(longest))).max(2);
        let n_groups = runs.len().div_ceil(at_once).max(1);
        let mut file = RunFile::create(folder)?;
        for group in runs.chunks(runs.len().div_ceil(n_groups).max(1)) {
            let mut lists: Vec<_> = group.iter().map(|run| run.entries(buffer_bytes)).collect();
            fold(&mut lists, progress, |text, count| file.put(text, count))?;
            file.finish_run()?;
        }
        if runs.is_empty() {
            file.finish_run()?;
        }
        // The files of the runs before vanish here.
        runs = file.into_runs();
    }
}
