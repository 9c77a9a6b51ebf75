//! Rows of ids, read from token files ahead of whoever trains on them.
//!
//! They are read by `read`, not through a map of memory: a file that is cut short or whose disk
//! goes away during training is an error with its name, not a signal that ends the process. A file
//! is open only while rows of it are read, so there may be any number of them.
//!
//! Which rows come next is known, because the order of a run is: what is foreseen is read by
//! threads, one for each batch. That they are not there in a process made by `fork`, or cannot be
//! started, costs time and nothing else: whoever wants rows then reads them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::order::{Order, Row, Samples};
use crate::shard::Dtype;
use crate::{Error, Result, ids::Id};

/// Batches that are read while one is trained on.
const AHEAD: usize = 2;

/// Ids that lie in a row in a file, lowest byte first.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The file.
    pub path: PathBuf,
    /// Its bytes before the first id.
    pub offset: u64,
    /// The type of an id.
    pub dtype: Dtype,
    /// Number of ids.
    pub tokens: u64,
}

impl Piece {
    /// Fills `ids` with those from `at` on, all of which it holds; `bytes` is for use.
    fn read<I: Id>(
        &self,
        file: &mut File,
        at: u64,
        ids: &mut [I],
        bytes: &mut Vec<u8>,
    ) -> Result<()> {
        let width = self.dtype.width();
        bytes.resize(ids.len() * width, 0);
        let place = SeekFrom::Start(self.offset + at * width as u64);
        let read = file.seek(place).and_then(|_| file.read_exact(bytes));
        read.map_err(|source| match source.kind() {
            ErrorKind::UnexpectedEof => {
                let end = at + ids.len() as u64;
                self.misfit(format!("ended behind number {end} or later, and end before it now"))
            }
            _ => Error::io(&self.path, source),
        })?;
        for (id, bytes) in ids.iter_mut().zip(bytes.chunks_exact(width)) {
            *id = match self.dtype {
                Dtype::Uint16 => I::of(<u16 as Id>::from_le(bytes).into()),
                Dtype::Uint32 => I::of(<u32 as Id>::from_le(bytes)),
            };
        }
        Ok(())
    }

    /// Where it ends in its file, if 64 bits can tell.
    fn end(&self) -> Option<u64> {
        self.tokens.checked_mul(self.dtype.width() as u64)?.checked_add(self.offset)
    }

    fn misfit(&self, reason: String) -> Error {
        Error::Shard { path: self.path.clone(), field: "ids".to_owned(), reason }
    }
}

/// The files of some sources, each of which is one file, or several one behind the other.
#[derive(Debug)]
pub struct RowFiles {
    /// The pieces of each source, each with the position of its first id, and the number of its ids.
    sources: Vec<(Vec<(u64, Piece)>, u64)>,
    dtype: Dtype,
}

impl RowFiles {
    /// Takes them without opening one.
    ///
    /// # Errors
    ///
    /// [`Error::Shard`] for ids beyond what 64 bits can count.
    pub fn new(sources: Vec<Vec<Piece>>) -> Result<Self> {
        let is_wide = sources.iter().flatten().any(|piece| piece.dtype == Dtype::Uint32);
        let dtype = if is_wide { Dtype::Uint32 } else { Dtype::Uint16 };
        let mut placed = Vec::new();
        for pieces in sources {
            let (mut tokens, mut own) = (0_u64, Vec::new());
            for piece in pieces {
                let end = piece.end().and_then(|_| tokens.checked_add(piece.tokens));
                let Some(end) = end else {
                    return Err(piece.misfit("are more than 64 bits can count".to_owned()));
                };
                own.push((tokens, piece));
                tokens = end;
            }
            placed.push((own, tokens));
        }
        Ok(Self { sources: placed, dtype })
    }

    /// The type that holds the ids of all of them.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Reads `rows` of `row_tokens` ids each, one behind the other.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if a source has no such row, or memory does not hold them; [`Error::Shard`]
    /// if a file is shorter than it was; [`Error::DtypeTooNarrow`] if `I` is narrower than
    /// [`dtype`](Self::dtype); [`Error::Io`].
    pub fn read<I: Id>(&self, rows: &[Row], row_tokens: usize) -> Result<Vec<I>> {
        if I::DTYPE.width() < self.dtype.width() {
            return Err(Error::DtypeTooNarrow { vocab_size: crate::TokenId::MAX });
        }
        if row_tokens == 0 {
            return Err(Error::Rows { reason: "one of 0 ids, expected 1 or more".to_owned() });
        }
        let (mut ids, mut open, mut bytes) = (Vec::new(), None, Vec::new());
        // Before memory is taken, which may be more than there is.
        let parts: Vec<_> =
            rows.iter().map(|row| self.parts(*row, row_tokens)).collect::<Result<_>>()?;
        let n_ids = rows.len().checked_mul(row_tokens);
        if n_ids.is_none_or(|n_ids| ids.try_reserve_exact(n_ids).is_err()) {
            let reason = format!("memory does not hold {} of {row_tokens} ids", rows.len());
            return Err(Error::Rows { reason });
        }
        for (piece, at, count) in parts.into_iter().flatten() {
            let file = match &mut open {
                Some((path, file)) if *path == &piece.path => file,
                _ => {
                    let file = File::open(&piece.path);
                    let file = file.map_err(|source| Error::io(&piece.path, source))?;
                    &mut open.insert((&piece.path, file)).1
                }
            };
            let filled = ids.len();
            ids.resize(filled + count, I::default());
            piece.read(file, at, &mut ids[filled..], &mut bytes)?;
        }
        Ok(ids)
    }

    /// The pieces that hold a row: where in each, and how many ids of it.
    fn parts(&self, row: Row, row_tokens: usize) -> Result<Vec<(&Piece, u64, usize)>> {
        let Some((pieces, tokens)) = self.sources.get(row.source) else {
            let reason = format!("one of source {} of {}", row.source, self.sources.len());
            return Err(Error::Rows { reason });
        };
        let end = row.start.checked_add(row_tokens as u64).filter(|end| end <= tokens);
        let Some(end) = end else {
            let reason = format!("one of {row_tokens} ids from {} on, of {tokens}", row.start);
            return Err(Error::Rows { reason });
        };
        let first = pieces.partition_point(|(first, _)| *first <= row.start).saturating_sub(1);
        let overlaps = pieces[first..].iter().take_while(|(first, _)| *first < end);
        let parts = overlaps.map(|(first, piece)| {
            let at = row.start.max(*first);
            let count = end.min(first + piece.tokens).saturating_sub(at);
            (piece, at - first, usize::try_from(count).unwrap_or(0))
        });
        Ok(parts.filter(|&(_, _, count)| count > 0).collect())
    }
}

/// Reads the samples of an order, and meanwhile those that are likely to be wanted next.
#[derive(Debug)]
pub struct RowReader<I> {
    files: Arc<RowFiles>,
    order: Arc<Order>,
    row_tokens: usize,
    /// The process that the threads are in.
    process: u32,
    ahead: Mutex<VecDeque<Foreseen<I>>>,
}

/// Rows that a thread reads.
#[derive(Debug)]
struct Foreseen<I> {
    samples: Samples,
    rows: Receiver<Result<Vec<I>>>,
}

impl<I: Id> RowReader<I> {
    /// Rows of `row_tokens` ids of `files`, whose sources are those of `order`.
    pub fn new(files: RowFiles, order: Arc<Order>, row_tokens: usize) -> Self {
        let (files, process) = (Arc::new(files), std::process::id());
        Self { files, order, row_tokens, process, ahead: Mutex::default() }
    }

    /// The rows of `samples`, one behind the other; [`None`] if they are not there after
    /// `patience`, and still on their way: ask again.
    ///
    /// Those that follow are read meanwhile, as if they were wanted next. Whoever wants others gets
    /// them, and waits for them.
    ///
    /// # Errors
    ///
    /// Those of [`Order::rows`] and of [`RowFiles::read`]. It reads again when asked again.
    pub fn read(&self, samples: Samples, patience: Duration) -> Result<Option<Vec<I>>> {
        if self.process != std::process::id() {
            // Not even the lock: whoever held it when the process was made is not there.
            return self.read_now(samples).map(Some);
        }
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if ahead.front().is_some_and(|next| next.samples != samples) {
            ahead.clear();
        }
        let mut wanted = ahead.back().map_or(Some(samples), |last| last.samples.next());
        while let Some(samples) = wanted.filter(|_| ahead.len() <= AHEAD)
            && let Some(foreseen) = self.foresee(samples)
        {
            ahead.push_back(foreseen);
            wanted = samples.next();
        }
        let Some(next) = ahead.front() else { return self.read_now(samples).map(Some) };
        let rows = match next.rows.recv_timeout(patience) {
            Ok(rows) => rows,
            Err(RecvTimeoutError::Timeout) => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => self.read_now(samples),
        };
        ahead.pop_front();
        rows.map(Some)
    }

    fn read_now(&self, samples: Samples) -> Result<Vec<I>> {
        self.files.read(&self.order.rows(samples)?, self.row_tokens)
    }

    /// A thread that reads `samples`, if one can be started.
    fn foresee(&self, samples: Samples) -> Option<Foreseen<I>> {
        let (files, order, row_tokens) = (self.files.clone(), self.order.clone(), self.row_tokens);
        let (done, rows) = sync_channel(1);
        let work = move || {
            let rows = order.rows(samples).and_then(|rows| files.read(&rows, row_tokens));
            let _ = done.send(rows); // nobody may be there to take them any more
        };
        thread::Builder::new().spawn(work).ok().map(|_| Foreseen { samples, rows })
    }
}

#[cfg(test)]
mod tests;
