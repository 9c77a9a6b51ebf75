//! Text that Python hands to a worker: files by name, a stream, or texts one by one.
//!
//! The worker reads files itself. What a Python object yields is fetched by the calling thread,
//! in which the user expects his code to run and Ctrl-C to arrive, and goes to the worker through
//! a channel that holds little more than a megabyte.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;
use std::vec;

use minillm_bpe::corpus::Source;
use minillm_bpe::input::{self, Field, STDIN, files_of, source};
use minillm_bpe::{Error, Result};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyIterator;

use crate::text::Text;
use crate::work::released;

/// Bytes handed over at once: few enough to hold, enough to be worth it.
const BATCH_BYTES: usize = 1 << 18;

/// Batches that may wait for the worker.
const WAITING: usize = 4;

/// How long to wait before looking again whether the worker takes a batch.
const PAUSE: Duration = Duration::from_millis(1);

/// What a caller gives to be read.
#[derive(FromPyObject)]
pub enum Corpus<'py> {
    /// Files, in their order, as the Python class `Files` holds them.
    Files {
        /// `-` is standard input, once at most.
        paths: Vec<PathBuf>,
        /// The field of jsonl files.
        field: String,
        /// A binary file object.
        stdin: Option<Bound<'py, PyAny>>,
    },
    /// An iterator of texts, each a document.
    Texts(Bound<'py, PyIterator>),
}

/// The files that each of `names` stands for: a file, a folder, a pattern or `-`.
#[pyfunction]
pub fn expand_files(py: Python<'_>, names: Vec<PathBuf>) -> PyResult<Vec<Vec<OsString>>> {
    released(py, || {
        let files = |name: &PathBuf| Ok(files_of(name)?.into_iter().map(PathBuf::into).collect());
        names.iter().map(files).collect()
    })
}

/// Whether one of the files at `paths` is jsonl by its suffix.
#[pyfunction]
pub fn holds_json_lines(paths: Vec<PathBuf>) -> bool {
    input::holds_json_lines(&paths)
}

/// Never empty, but for the last. A channel that closes without that was given up.
type Batch = Vec<Vec<u8>>;

/// The calling thread's end of the channel.
pub struct Feeder<'py> {
    corpus: Corpus<'py>,
    batches: SyncSender<Batch>,
}

/// The worker's end of the channel.
struct Received {
    batches: Receiver<Batch>,
    batch: vec::IntoIter<Vec<u8>>,
    piece: io::Cursor<Vec<u8>>,
    has_ended: bool,
}

impl<'py> Corpus<'py> {
    /// The crate's sources, and what fills them while they are read.
    pub fn into_sources(self) -> (Vec<Source>, Feeder<'py>) {
        let (batches, received) = sync_channel(WAITING);
        let received = Received {
            batches: received,
            batch: Vec::new().into_iter(),
            piece: io::Cursor::default(),
            has_ended: false,
        };
        let sources = match &self {
            Self::Files { paths, field, .. } => {
                let field = Field::new(field);
                let mut received = Some(received);
                let source = |path: &PathBuf| match received.take_if(|_| path == Path::new(STDIN)) {
                    Some(received) => {
                        Source::Reader("standard input".to_owned(), Box::new(received))
                    }
                    None => source(path.clone(), &field),
                };
                paths.iter().map(source).collect()
            }
            Self::Texts(_) => vec![Source::Documents("texts".to_owned(), Box::new(received))],
        };
        (sources, Feeder { corpus: self, batches })
    }
}

impl Feeder<'_> {
    /// Hands over all there is; returns early, without an error, if the worker has stopped.
    ///
    /// If fetching raises, the worker is told: it must not take what it has for the whole corpus.
    pub fn run(self, py: Python<'_>) -> PyResult<()> {
        loop {
            let batch = self.next_batch()?;
            let is_last = batch.is_empty();
            if !self.send(py, batch)? || is_last {
                return Ok(());
            }
        }
    }

    /// False if the worker takes no more. It may read files first, for hours: Ctrl-C is heard.
    fn send(&self, py: Python<'_>, mut batch: Batch) -> PyResult<bool> {
        loop {
            py.check_signals()?;
            match self.batches.try_send(batch) {
                Ok(()) => return Ok(true),
                Err(TrySendError::Disconnected(_)) => return Ok(false),
                Err(TrySendError::Full(refused)) => batch = refused,
            }
            py.detach(|| thread::sleep(PAUSE));
        }
    }

    fn next_batch(&self) -> PyResult<Batch> {
        match &self.corpus {
            Corpus::Files { stdin: None, .. } => Ok(Batch::new()),
            Corpus::Files { stdin: Some(stdin), .. } => {
                let piece: PyBackedBytes =
                    stdin.call_method1("read1", (BATCH_BYTES,))?.extract()?;
                Ok(Some(piece.to_vec()).filter(|piece| !piece.is_empty()).into_iter().collect())
            }
            Corpus::Texts(texts) => {
                let mut texts = texts.clone();
                let (mut batch, mut bytes) = (Batch::new(), 0);
                while bytes < BATCH_BYTES
                    && let Some(text) = texts.next()
                {
                    let text = Text::new(&text?)?;
                    // An empty text costs memory too.
                    bytes += text.as_bytes().len() + size_of::<Vec<u8>>();
                    batch.push(text.as_bytes().to_vec());
                }
                Ok(batch)
            }
        }
    }
}

impl Iterator for Received {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.has_ended {
            if let Some(text) = self.batch.next() {
                return Some(Ok(text));
            }
            let Ok(batch) = self.batches.recv() else {
                return Some(Err(Error::Interrupted));
            };
            self.has_ended = batch.is_empty();
            self.batch = batch.into_iter();
        }
        None
    }
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let n_read = self.piece.read(buffer)?;
            if n_read > 0 || buffer.is_empty() {
                return Ok(n_read);
            }
            match self.next() {
                Some(piece) => self.piece = io::Cursor::new(piece.map_err(io::Error::other)?),
                None => return Ok(0),
            }
        }
    }
}
