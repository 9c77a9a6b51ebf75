//! Cuts blocks into documents, and puts documents together across blocks.

use std::ops::Range;

use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use super::Eot;
use super::held::HeldIds;
use super::writer::ShardWriter;
use crate::corpus::Block;
use crate::encode::State;
use crate::special::{Segment, SpecialTokens};
use crate::{Encoder, Result, TokenId, ids::Id};

/// Seed of the hash that decides which documents are for validation. Frozen: another would move
/// documents from one part to the other.
const SPLIT_SEED: u64 = 0x6D69_6E69_6C6C_6D31;

/// Where documents end, and which special tokens are recognized inside them.
#[derive(Debug)]
pub(super) struct Cutter {
    /// The separator, and then the special tokens that are allowed.
    pub(super) tokens: SpecialTokens,
    /// Ids of the allowed ones: token `i + 1` has `ids[i]`.
    pub(super) ids: Vec<TokenId>,
}

/// A block on its way from the reader through an encoder to the writer, and back to be used again.
#[derive(Debug)]
pub(super) struct Job<I> {
    pub(super) block: Block,
    ids: Vec<I>,
    parts: Vec<Part>,
}

impl<I> Job<I> {
    /// Whether it has so much memory that it should not be kept for the next block.
    pub(super) fn is_large(&self, block_bytes: usize) -> bool {
        let rest = self.block.ends.capacity().max(self.parts.capacity());
        self.block.bytes.capacity().max(self.ids.capacity()).max(64 * rest) > 4 * block_bytes
    }
}

impl<I> Default for Job<I> {
    fn default() -> Self {
        Self { block: Block::default(), ids: Vec::new(), parts: Vec::new() }
    }
}

/// A document, or what one block holds of it.
#[derive(Debug)]
struct Part {
    ids: Range<usize>,
    bytes: Range<usize>,
    end: End,
    /// Separators that follow at once: documents of no bytes.
    n_empty: u64,
}

/// What is behind a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The rest of the document.
    Rest,
    /// A separator.
    Separator,
    /// Nothing: the source ends.
    Source,
}

impl Cutter {
    /// Fills in ids and parts of the block. `is_list`: each of its texts is a whole document.
    pub(super) fn encode<I: Id>(
        &self,
        encoder: &Encoder,
        state: &mut State<I>,
        is_list: bool,
        job: &mut Job<I>,
    ) -> Result<()> {
        let Job { block, ids, parts } = job;
        ids.clear();
        parts.clear();
        let mut at = 0;
        for text in block.texts() {
            let begin = |ids: &Vec<I>, at| Part {
                ids: ids.len()..ids.len(),
                bytes: at..at,
                end: End::Rest,
                n_empty: 0,
            };
            let mut part = begin(ids, at);
            for segment in self.tokens.split(text) {
                match segment {
                    Segment::Text(text) => {
                        encoder.encode_ordinary_with(state, text, ids)?;
                        at += text.len();
                    }
                    Segment::Special(0) => {
                        at += self.tokens.tokens()[0].len();
                        match parts.last_mut() {
                            Some(last) if part.bytes.is_empty() && last.end == End::Separator => {
                                last.n_empty += 1;
                            }
                            _ => parts.push(Part { end: End::Separator, ..part }),
                        }
                        part = begin(ids, at);
                        continue;
                    }
                    Segment::Special(index) => {
                        ids.push(I::of(self.ids[index - 1]));
                        at += self.tokens.tokens()[index].len();
                    }
                }
                (part.ids.end, part.bytes.end) = (ids.len(), at);
            }
            if is_list || block.ends_source {
                part.end = End::Source;
            }
            parts.push(part);
        }
        Ok(())
    }
}

/// Where documents go. Of any length: nothing of it is held in memory but a few megabytes.
pub(super) struct DocumentSink<I> {
    pub(super) train: ShardWriter,
    /// The writer for validation, and its fraction of the documents.
    pub(super) val: Option<(ShardWriter, f64)>,
    /// The id at the end of each document, or at its start.
    eot: (Eot, Option<TokenId>),
    /// Pieces between separators that hold nothing but ASCII white space.
    pub(super) n_blank: u64,
    open: Document,
    /// What of the open document is not written.
    held: HeldIds<I>,
}

/// The document that has begun and not ended.
struct Document {
    bytes: u64,
    is_blank: bool,
    /// Whether some of it is written.
    is_begun: bool,
    hash: Xxh3,
}

impl Document {
    /// One of which so many bytes are written.
    fn begun(bytes: u64) -> Self {
        let is_begun = bytes > 0;
        let hash = Xxh3::with_seed(SPLIT_SEED);
        Self { bytes, is_blank: !is_begun, is_begun, hash }
    }

    /// Writes what is there of it, and before the first of it the id that begins it, if any.
    fn write<I: Id>(
        &mut self,
        held: &mut HeldIds<I>,
        writer: &mut ShardWriter,
        eot: (Eot, Option<TokenId>),
    ) -> Result<()> {
        if let (Eot::Prepend, Some(id), false) = (eot.0, eot.1, self.is_begun) {
            writer.push(&[id])?;
        }
        self.is_begun = true;
        held.drain(|ids| writer.push(ids))
    }
}

impl<I: Id> DocumentSink<I> {
    /// Begins, or goes on behind `written_bytes` bytes of a document.
    pub(super) fn new(
        train: ShardWriter,
        val: Option<(ShardWriter, f64)>,
        eot: (Eot, Option<TokenId>),
        n_blank: u64,
        written_bytes: u64,
    ) -> Self {
        let held = HeldIds::new(train.folder());
        Self { train, val, eot, n_blank, open: Document::begun(written_bytes), held }
    }

    /// The writers, that for training first.
    pub(super) fn writers(&mut self) -> impl Iterator<Item = &mut ShardWriter> {
        std::iter::once(&mut self.train).chain(self.val.as_mut().map(|(writer, _)| writer))
    }

    /// Bytes that have been written, or soon will be.
    pub(super) fn written(&self) -> u64 {
        self.train.written() + self.val.as_ref().map_or(0, |(writer, _)| writer.written())
    }

    /// Bytes of the document that has begun, if all of it that came is written, and nothing else
    /// is to be remembered of it; 0 between documents.
    pub(super) fn written_bytes(&self) -> Option<u64> {
        let is_written = self.open.is_begun && self.val.is_none();
        (is_written || self.open.bytes == 0).then_some(self.open.bytes)
    }

    /// Takes the parts of the next block.
    pub(super) fn commit(&mut self, job: &Job<I>) -> Result<()> {
        for part in &job.parts {
            let bytes = &job.block.bytes[part.bytes.clone()];
            self.open.bytes += bytes.len() as u64;
            self.open.is_blank &= bytes.iter().all(u8::is_ascii_whitespace);
            let ids = &job.ids[part.ids.clone()];
            if self.val.is_none() && !self.open.is_blank {
                // Nothing is left to decide: the document passes through.
                self.open.write(&mut self.held, &mut self.train, self.eot)?;
                self.train.push(ids)?;
            } else {
                self.open.hash.update(bytes);
                self.held.push(ids)?;
            }
            match part.end {
                End::Rest => {}
                End::Separator => self.end_document(true)?,
                End::Source => self.end_document(false)?,
            }
            self.n_blank += part.n_empty;
        }
        Ok(())
    }

    fn end_document(&mut self, by_separator: bool) -> Result<()> {
        let mut document = std::mem::replace(&mut self.open, Document::begun(0));
        if document.is_blank {
            self.held.clear();
            // Nothing between two separators counts; nothing behind the last one does not.
            self.n_blank += u64::from(by_separator || document.bytes > 0);
            return Ok(());
        }
        let writer = match &mut self.val {
            Some((val, fraction)) if is_below(document.hash.digest(), *fraction) => val,
            _ => &mut self.train,
        };
        document.write(&mut self.held, writer, self.eot)?;
        if let (Eot::Append, Some(id)) = self.eot {
            writer.push(&[id])?;
        }
        writer.end_document(document.bytes)
    }
}

/// Whether a document of this text is among the `fraction` for validation.
pub(crate) fn is_for_val(text: &[u8], fraction: f64) -> bool {
    is_below(xxh3_64_with_seed(text, SPLIT_SEED), fraction)
}

/// Whether `hash` is among the lowest `fraction` of all hashes.
fn is_below(hash: u64, fraction: f64) -> bool {
    (hash as f64) < fraction * 2_f64.powi(64)
}
