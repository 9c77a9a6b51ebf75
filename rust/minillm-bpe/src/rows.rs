//! Rows of ids, read from token files by a thread that is ahead of whoever wants them.
//!
//! It reads by `read`, not through a map of memory: a file that is cut short or whose disk goes
//! away during training is an error with its name, not a signal that ends the process.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::shard::Dtype;
use crate::{Error, Result, ids::Id};

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

/// Where a row begins: in which source, and at which of its ids.
pub type Start = (usize, u64);

/// A thread that reads rows of equal length, in the order in which they are asked for.
#[derive(Debug)]
pub struct RowReader<I> {
    wanted: Sender<Vec<Start>>,
    read: Receiver<Result<Vec<I>>>,
}

impl<I: Id> RowReader<I> {
    /// Opens all files and starts the thread. A source is one file, or several one behind the other;
    /// a row has `row_tokens` ids.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a file cannot be opened.
    pub fn new(sources: Vec<Vec<Piece>>, row_tokens: usize) -> Result<Self> {
        let open = |pieces: Vec<Piece>| pieces.into_iter().map(OpenPiece::new).collect();
        let mut sources: Vec<Vec<OpenPiece>> =
            sources.into_iter().map(open).collect::<Result<_>>()?;
        let (wanted, wishes) = channel::<Vec<Start>>();
        let (done, read) = channel();
        thread::spawn(move || {
            for starts in wishes {
                let mut rows = vec![I::default(); starts.len() * row_tokens];
                let filled = starts.iter().zip(rows.chunks_exact_mut(row_tokens));
                let filled = filled.map(|(start, row)| read_row(&mut sources, *start, row));
                let filled = filled.collect::<Result<()>>();
                if done.send(filled.map(|()| rows)).is_err() {
                    return; // nobody is there to take them
                }
            }
        });
        Ok(Self { wanted, read })
    }

    /// Asks for rows; [`take`](Self::take) gives them later. False if the thread is gone.
    pub fn want(&self, starts: Vec<Start>) -> bool {
        self.wanted.send(starts).is_ok()
    }

    /// Waits for the rows that were asked for first, and not taken yet. [`None`] if the thread is
    /// gone.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if they could not be read; [`Error::Shard`] if a file is shorter than it was.
    pub fn take(&self) -> Result<Option<Vec<I>>> {
        self.read.recv().ok().transpose()
    }
}

#[derive(Debug)]
struct OpenPiece {
    piece: Piece,
    file: File,
    bytes: Vec<u8>,
}

impl OpenPiece {
    fn new(piece: Piece) -> Result<Self> {
        let file = File::open(&piece.path).map_err(|source| Error::io(&piece.path, source))?;
        Ok(Self { piece, file, bytes: Vec::new() })
    }

    /// Fills `ids` with those from `at` on, all of which this piece holds.
    fn read<I: Id>(&mut self, at: u64, ids: &mut [I]) -> Result<()> {
        let Piece { path, offset, dtype, .. } = &self.piece;
        let width = dtype.width();
        self.bytes.resize(ids.len() * width, 0);
        let place = SeekFrom::Start(offset + at * width as u64);
        let read = self.file.seek(place).and_then(|_| self.file.read_exact(&mut self.bytes));
        read.map_err(|source| {
            if source.kind() != std::io::ErrorKind::UnexpectedEof {
                return Error::io(path, source);
            }
            let reason =
                format!("are {} or more when opened, and fewer now", at + ids.len() as u64);
            Error::Shard { path: path.clone(), field: "ids".to_owned(), reason }
        })?;
        for (id, bytes) in ids.iter_mut().zip(self.bytes.chunks_exact(width)) {
            *id = match dtype {
                Dtype::Uint16 => I::of(<u16 as Id>::from_le(bytes).into()),
                Dtype::Uint32 => I::of(<u32 as Id>::from_le(bytes)),
            };
        }
        Ok(())
    }
}

fn read_row<I: Id>(
    sources: &mut [Vec<OpenPiece>],
    (source, start): Start,
    mut row: &mut [I],
) -> Result<()> {
    let n_sources = sources.len();
    let Some(pieces) = sources.get_mut(source) else {
        return Err(Error::BadRow { reason: format!("source {source} of {n_sources}") });
    };
    let tokens: u64 = pieces.iter().map(|piece| piece.piece.tokens).sum();
    if start.saturating_add(row.len() as u64) > tokens {
        let reason = format!("{} ids from {start} on, of {tokens}", row.len());
        return Err(Error::BadRow { reason });
    }
    let mut at = start;
    for piece in pieces {
        let here = piece.piece.tokens.saturating_sub(at).min(row.len() as u64);
        let (ids, rest) = row.split_at_mut(usize::try_from(here).unwrap_or(0));
        if !ids.is_empty() {
            piece.read(at, ids)?;
        }
        at = at.saturating_sub(piece.piece.tokens);
        row = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece(folder: &std::path::Path, name: &str, ids: &[u32], dtype: Dtype) -> Piece {
        let path = folder.join(name);
        let mut bytes = vec![7; 5];
        for id in ids {
            bytes.extend(&id.to_le_bytes()[..dtype.width()]);
        }
        std::fs::write(&path, bytes).unwrap();
        Piece { path, offset: 5, dtype, tokens: ids.len() as u64 }
    }

    #[test]
    fn a_file_that_shrinks_is_an_error_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let piece = piece(folder.path(), "a.bin", &[1, 2, 3, 4], Dtype::Uint16);
        let path = piece.path.clone();
        let reader = RowReader::<u16>::new(vec![vec![piece]], 3).unwrap();
        assert!(reader.want(vec![(0, 1)]));
        assert_eq!(reader.take().unwrap().unwrap(), [2, 3, 4]);
        File::options().write(true).open(&path).unwrap().set_len(9).unwrap();
        for (start, message) in [
            ((0, 1), "a.bin: `ids` are 4 or more when opened, and fewer now"),
            ((0, 2), "row of ids: 3 ids from 2 on, of 4"),
            ((1, 0), "row of ids: source 1 of 1"),
        ] {
            assert!(reader.want(vec![start]));
            assert!(reader.take().unwrap_err().to_string().ends_with(message), "{message}");
        }
        assert!(reader.want(vec![(0, 0)]), "an error is no end");
        assert!(reader.take().is_err());
        let gone =
            Piece { path: folder.path().join("b.bin"), offset: 0, dtype: Dtype::Uint16, tokens: 1 };
        assert!(matches!(RowReader::<u16>::new(vec![vec![gone]], 1), Err(Error::Io { .. })));
    }

    proptest! {
        #[test]
        fn prop_rows_are_those_of_the_files_one_behind_the_other(
            pieces in prop::collection::vec(prop::collection::vec(any::<u16>(), 0..9), 1..4),
            wide in prop::collection::vec(any::<bool>(), 4),
            row_tokens in 1_usize..6,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let ids: Vec<u32> = pieces.concat().into_iter().map(u32::from).collect();
            prop_assume!(ids.len() >= row_tokens);
            let open = pieces.iter().zip(&wide).enumerate().map(|(i, (ids, &wide))| {
                let ids: Vec<u32> = ids.iter().copied().map(u32::from).collect();
                let dtype = if wide { Dtype::Uint32 } else { Dtype::Uint16 };
                piece(folder.path(), &i.to_string(), &ids, dtype)
            });
            let reader = RowReader::<u32>::new(vec![vec![], open.collect()], row_tokens).unwrap();
            let starts = 0..=ids.len() - row_tokens;
            reader.want(starts.clone().map(|start| (1, start as u64)).collect());
            let expected: Vec<u32> =
                starts.flat_map(|start| ids[start..start + row_tokens].to_vec()).collect();
            prop_assert_eq!(reader.take().unwrap().unwrap(), expected);
        }
    }
}
