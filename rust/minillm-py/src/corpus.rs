//! Text that Python hands to a worker: files by name, a stream, or texts one by one.
//!
//! The worker reads files itself. What a Python object yields is fetched by the calling thread,
//! in which the user expects his code to run and Ctrl-C to arrive, and goes to the worker through
//! a channel that holds little more than a megabyte.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::vec;

use minillm_bpe::corpus::Source;
use minillm_bpe::{Error, Result};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyIterator;

use crate::text::Text;

/// Bytes handed over at once: few enough to hold, enough to be worth it.
const BATCH_BYTES: usize = 1 << 18;

/// Batches that may wait for the worker.
const WAITING: usize = 4;

/// What a caller gives to be read.
#[derive(FromPyObject)]
pub enum Corpus<'py> {
    /// A list of files.
    Files(Vec<PathBuf>),
    /// A binary file object.
    Stream {
        /// Its method that returns what is there, and nothing at the end.
        read1: Bound<'py, PyAny>,
    },
    /// An iterator of texts, each a document.
    Texts(Bound<'py, PyIterator>),
}

type Batch = Vec<Vec<u8>>;

/// The calling thread's end of the channel.
pub struct Feeder<'py> {
    corpus: Corpus<'py>,
    batches: SyncSender<Result<Batch>>,
}

/// The worker's end of the channel.
struct Received {
    batches: Receiver<Result<Batch>>,
    batch: vec::IntoIter<Vec<u8>>,
    piece: io::Cursor<Vec<u8>>,
}

impl<'py> Corpus<'py> {
    /// The crate's sources, and what fills them while they are read.
    pub fn into_sources(self) -> (Vec<Source>, Feeder<'py>) {
        let (batches, received) = sync_channel(WAITING);
        let received = Received {
            batches: received,
            batch: Vec::new().into_iter(),
            piece: io::Cursor::default(),
        };
        let sources = match &self {
            Self::Files(files) => files.iter().cloned().map(Source::File).collect(),
            Self::Stream { .. } => {
                vec![Source::Reader("standard input".to_owned(), Box::new(received))]
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
            let batch = self.next_batch().and_then(|batch| py.check_signals().map(|()| batch));
            let (message, result) = match batch {
                Ok(batch) if batch.is_empty() => return Ok(()),
                Ok(batch) => (Ok(batch), Ok(())),
                Err(raised) => (Err(Error::Interrupted), Err(raised)),
            };
            let is_gone = py.detach(|| self.batches.send(message)).is_err();
            if is_gone || result.is_err() {
                return result;
            }
        }
    }

    fn next_batch(&self) -> PyResult<Batch> {
        match &self.corpus {
            Corpus::Files(_) => Ok(Batch::new()),
            Corpus::Stream { read1 } => {
                let piece: PyBackedBytes = read1.call1((BATCH_BYTES,))?.extract()?;
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
        loop {
            if let Some(text) = self.batch.next() {
                return Some(Ok(text));
            }
            match self.batches.recv().ok()? {
                Ok(batch) => self.batch = batch.into_iter(),
                Err(err) => return Some(Err(err)),
            }
        }
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
