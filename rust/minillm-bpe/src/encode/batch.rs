//! Encodes many texts, or one long text, on several threads.
//!
//! Long texts are cut where pre-tokens and special tokens end anyway, short ones are handed out
//! by the dozen; the ids are those of encoding one text after the other.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::{AllowedSpecial, Encoder, SpecialMatcher, State};
use crate::shard::check_width;
use crate::special::Segment;
use crate::{Result, TokenId, at_work, huge_pages, ids::Id};

/// What a thread takes at a time: some milliseconds of work. (Tests have short texts.)
const TASK_BYTES: usize = if cfg!(test) { 16 } else { 1 << 18 };

/// Room for as many ids is made at once; more than most text has in English.
const BYTES_PER_ID: usize = 4;

/// A text, or a part of one.
#[derive(Clone, Copy, Debug)]
enum Piece<'t> {
    /// A whole text, special tokens and all.
    Text(&'t [u8]),
    /// A stretch between special tokens.
    Ordinary(&'t [u8]),
    /// A special token.
    Special(TokenId),
}

impl Piece<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Text(text) | Self::Ordinary(text) => text.len(),
            Self::Special(_) => 0,
        }
    }
}

/// A piece, and the index of the text that it is of.
type PieceOf<'t> = (usize, Piece<'t>);

/// Ids of consecutive pieces, and where those of each piece end.
#[derive(Debug)]
struct Output<I> {
    ids: Vec<I>,
    ends: Vec<usize>,
}

impl Encoder {
    /// Encodes `texts` on `threads` threads; the ids of text `i` are `ids[offsets[i]..offsets[i + 1]]`.
    ///
    /// A single long text is shared among the threads too. Ids do not depend on `threads`. They
    /// are held twice for a moment, when those of several threads are joined.
    ///
    /// # Errors
    ///
    /// As [`encode_ordinary`](Self::encode_ordinary), for the first text that fails.
    pub fn encode_batch<I: Id>(
        &self,
        texts: &[&[u8]],
        allowed: &AllowedSpecial,
        threads: usize,
    ) -> Result<(Vec<I>, Vec<u64>)> {
        check_width(I::DTYPE, self.vocab().size())?;
        let specials = self.allow(allowed)?;
        let threads = at_work(threads);
        // One thread needs no pieces and no tasks, and its ids no joining.
        let piece_bytes = if threads == 1 { usize::MAX } else { TASK_BYTES };
        let pieces = self.pieces(texts, piece_bytes, &specials);
        let whole = || std::iter::once(0..pieces.len()).collect();
        let tasks = if threads == 1 { whole() } else { tasks(&pieces) };
        let mut outputs = self.run(&pieces, &tasks, &specials, threads)?;

        let mut ids = match &mut outputs[..] {
            [only] => std::mem::take(&mut only.ids),
            outputs => Vec::with_capacity(outputs.iter().map(|output| output.ids.len()).sum()),
        };
        let is_joined = outputs.len() == 1;
        let mut offsets = vec![0; texts.len() + 1];
        let mut piece_texts = pieces.iter().map(|&(text, _)| text);
        for output in outputs {
            let before = if is_joined { 0 } else { ids.len() };
            for (end, text) in output.ends.iter().zip(&mut piece_texts) {
                offsets[text + 1] = (before + end) as u64;
            }
            ids.extend_from_slice(&output.ids);
        }
        Ok((ids, offsets))
    }

    /// The texts, those of more than `piece_bytes` in parts.
    fn pieces<'t>(
        &self,
        texts: &[&'t [u8]],
        piece_bytes: usize,
        specials: &SpecialMatcher,
    ) -> Vec<PieceOf<'t>> {
        let mut pieces = Vec::with_capacity(texts.len());
        for (index, &text) in texts.iter().enumerate() {
            if text.len() <= piece_bytes {
                pieces.push((index, Piece::Text(text)));
                continue;
            }
            for segment in specials.tokens.split(text) {
                match segment {
                    Segment::Text(text) => {
                        let parts = self.cut(text).into_iter();
                        pieces.extend(parts.map(|part| (index, Piece::Ordinary(part))));
                    }
                    Segment::Special(special) => {
                        pieces.push((index, Piece::Special(specials.ids[special])));
                    }
                }
            }
        }
        pieces
    }

    /// Cuts ordinary text where that changes no pre-token; linear, whether there are such places
    /// or not.
    fn cut<'t>(&self, mut text: &'t [u8]) -> Vec<&'t [u8]> {
        let mut parts = Vec::new();
        let mut upto = TASK_BYTES;
        while upto < text.len() {
            if let Some(cut) = self.pre_tokenizer().safe_cut(text, upto) {
                let (part, rest) = text.split_at(cut);
                parts.push(part);
                text = rest;
                upto = TASK_BYTES;
            } else {
                upto *= 2;
            }
        }
        parts.push(text);
        parts
    }

    fn run<I: Id>(
        &self,
        pieces: &[PieceOf<'_>],
        tasks: &[Range<usize>],
        specials: &SpecialMatcher,
        threads: usize,
    ) -> Result<Vec<Output<I>>> {
        let next = AtomicUsize::new(0);
        let work = |state: &mut State<I>| {
            let mut done = Vec::new();
            while let Some((index, range)) = {
                let index = next.fetch_add(1, Relaxed);
                tasks.get(index).map(|range| (index, range.clone()))
            } {
                let output = self.encode_pieces(state, &pieces[range], specials);
                // Tasks are handed out in order, so each one before a failure is done as well,
                // and the first failure is the same on any number of threads.
                let failed = output.is_err();
                done.push((index, output));
                if failed {
                    break;
                }
            }
            done
        };
        let pool = I::pool(&self.shared.pools);
        let mut done = std::thread::scope(|scope| {
            let others: Vec<_> =
                (1..threads.min(tasks.len())).map(|_| scope.spawn(|| pool.with(work))).collect();
            let mut done = pool.with(work);
            for other in others {
                done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            done
        });
        done.sort_by_key(|&(index, _)| index);
        done.into_iter().map(|(_, output)| output).collect()
    }

    fn encode_pieces<I: Id>(
        &self,
        state: &mut State<I>,
        pieces: &[PieceOf<'_>],
        specials: &SpecialMatcher,
    ) -> Result<Output<I>> {
        let n_bytes: usize = pieces.iter().map(|(_, piece)| piece.len()).sum();
        let ids = huge_pages::vec_with_room(I::default(), 0, n_bytes / BYTES_PER_ID);
        let mut output = Output { ids, ends: Vec::with_capacity(pieces.len()) };
        for (_, piece) in pieces {
            match *piece {
                Piece::Text(text) => self.encode_with(state, specials, text, &mut output.ids)?,
                Piece::Ordinary(text) => self.encode_ordinary_with(state, text, &mut output.ids)?,
                Piece::Special(id) => output.ids.push(I::of(id)),
            }
            output.ends.push(output.ids.len());
        }
        Ok(output)
    }
}

/// Groups consecutive pieces into tasks of about [`TASK_BYTES`].
fn tasks(pieces: &[PieceOf<'_>]) -> Vec<Range<usize>> {
    let mut tasks = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, (_, piece)) in pieces.iter().enumerate() {
        bytes += piece.len();
        // A piece counts something even if empty: a million empty texts are work as well.
        if bytes + 64 * (index - start) >= TASK_BYTES || index + 1 == pieces.len() {
            tasks.push(start..index + 1);
            (start, bytes) = (index + 1, 0);
        }
    }
    tasks
}
