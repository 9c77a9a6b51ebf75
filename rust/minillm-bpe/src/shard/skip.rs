//! Passes over what an earlier run has read.
//!
//! A file is sought. A stream, or texts one by one, must be read again; their checksum tells
//! whether they are the same as then. (Of a file, its size and time tell.)

use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::hex;
use crate::corpus::{Block, Source};
use crate::progress::Progress;
use crate::{Error, Result};

/// How far the sources have been read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Number of the source.
    source: usize,
    /// How much of it: bytes, or documents of those that come one by one.
    done: u64,
    /// Checksum of what was read of it, if it is no file.
    xxh3: Option<String>,
}

/// Follows the blocks as they are written.
pub(super) struct Tracker {
    position: Position,
    /// Of what was read of the source, if it is no file.
    hash: Xxh3,
}

/// How a source can be taken up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Stream,
    Documents,
}

impl Kind {
    pub(super) fn of(source: &Source) -> Self {
        match source {
            Source::File(_) | Source::FileRange(..) => Self::File,
            Source::Stdin | Source::Reader(..) => Self::Stream,
            Source::Documents(..) => Self::Documents,
        }
    }
}

impl Tracker {
    pub(super) fn new() -> Self {
        Self { position: Position::default(), hash: Xxh3::new() }
    }

    /// Takes `sources`, each with its number, up at `position`.
    ///
    /// # Errors
    ///
    /// [`Error::CannotResume`] if a stream is not the one of then; [`Error::Io`];
    /// [`Error::Interrupted`].
    pub(super) fn resume(
        position: Position,
        sources: Vec<(usize, Source)>,
        out: &Path,
        progress: &Progress,
    ) -> Result<(Self, Vec<(usize, Source)>)> {
        let mut tracker = Self { position, hash: Xxh3::new() };
        let Position { source: number, done, .. } = tracker.position;
        let mut left = Vec::new();
        for (index, mut source) in sources.into_iter().filter(|(index, _)| *index >= number) {
            if index == number && done > 0 {
                let name = source.name();
                source = tracker.pass_over(source, done, progress)?;
                let found = tracker.position();
                if found != tracker.position {
                    let name = name.display();
                    let reason = format!("what was read of `{name}` is not there any more");
                    return Err(Error::CannotResume { path: out.to_owned(), reason });
                }
            }
            left.push((index, source));
        }
        Ok((tracker, left))
    }

    fn pass_over(&mut self, source: Source, done: u64, progress: &Progress) -> Result<Source> {
        let name = source.name();
        match source {
            Source::File(path) => Ok(Source::FileRange(path, done..u64::MAX)),
            Source::FileRange(path, range) => {
                Ok(Source::FileRange(path, range.start.saturating_add(done)..range.end))
            }
            Source::Stdin => {
                self.discard(&mut io::stdin(), &name, done, progress)?;
                Ok(Source::Stdin)
            }
            Source::Reader(text, mut stream) => {
                self.discard(&mut stream, &name, done, progress)?;
                Ok(Source::Reader(text, stream))
            }
            Source::Documents(text, mut documents) => {
                for _ in 0..done {
                    let Some(document) = documents.next() else { break };
                    self.hash.update(&document?);
                    progress.advance(0)?;
                }
                Ok(Source::Documents(text, documents))
            }
        }
    }

    fn discard(
        &mut self,
        stream: &mut dyn Read,
        name: &Path,
        mut left: u64,
        progress: &Progress,
    ) -> Result<()> {
        let mut buffer = vec![0; 1 << 16];
        while left > 0 {
            let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            let n_read = match stream.read(&mut buffer[..most]) {
                Ok(0) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                n_read => n_read.map_err(|source| Error::io(name, source))?,
            };
            self.hash.update(&buffer[..n_read]);
            left -= n_read as u64;
            progress.advance(0)?;
        }
        Ok(())
    }

    /// Takes the next block, which is of the source of number `source`.
    pub(super) fn advance(&mut self, source: usize, kind: Kind, block: &Block) {
        if source != self.position.source {
            self.begin(source);
        }
        self.position.done += match kind {
            Kind::Documents => block.ends.len() as u64,
            Kind::File | Kind::Stream => block.bytes.len() as u64,
        };
        if kind != Kind::File {
            self.hash.update(&block.bytes);
            // Its value is taken when it is asked for.
            self.position.xxh3 = Some(String::new());
        }
        if block.ends_source {
            self.begin(source + 1);
        }
    }

    fn begin(&mut self, source: usize) {
        self.position = Position { source, ..Position::default() };
        self.hash.reset();
    }

    /// How far the sources have been read.
    pub(super) fn position(&self) -> Position {
        let xxh3 = self.position.xxh3.as_ref().map(|_| hex(self.hash.digest()));
        Position { xxh3, ..self.position.clone() }
    }
}
