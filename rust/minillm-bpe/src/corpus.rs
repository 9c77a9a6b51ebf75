//! Sources -> blocks: text in pieces of bounded size that can be worked on apart.
//!
//! A block ends where a document ends (behind a special token, or at the end of its source), or,
//! in a document larger than a block, at a cut that no pattern notices
//! ([`PreTokenizer::safe_cut`]). Only a document that offers no such place is held whole: one
//! without white space, or any document when the pattern is the user's own; up to a limit.
//!
//! Files are read with `read()` into buffers that are used again, not mapped: memory stays
//! bounded, and a file that shrinks meanwhile cannot kill the process.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
};

use crate::{Error, Result, pretokenize::PreTokenizer, special::SpecialTokens};

/// Bytes of the longest document that is held whole, where it cannot be cut.
pub const LONGEST_DOCUMENT: usize = 1 << 30;

/// What a block holds in memory for the end of each document. (Tests have small blocks.)
const BYTES_PER_END: usize = if cfg!(test) { 1 } else { 64 };

/// Where text comes from.
pub enum Source {
    /// A file of any bytes.
    File(PathBuf),
    /// Some bytes of a file, up to its end at most.
    FileRange(PathBuf, Range<u64>),
    /// Standard input.
    Stdin,
    /// Any stream, named for messages.
    Reader(String, Box<dyn Read + Send>),
    /// Texts that are each a document, however they end, named for messages.
    Documents(String, Box<dyn Iterator<Item = Result<Vec<u8>>> + Send>),
}

impl Source {
    /// What messages call it.
    pub fn name(&self) -> PathBuf {
        match self {
            Self::File(path) | Self::FileRange(path, _) => path.clone(),
            Self::Stdin => PathBuf::from("standard input"),
            Self::Reader(name, _) | Self::Documents(name, _) => PathBuf::from(name),
        }
    }

    /// Bytes to come; 0 if that is not known before they are read.
    fn len(&self) -> u64 {
        match self {
            Self::File(path) => {
                path.metadata().map_or(0, |m| if m.is_file() { m.len() } else { 0 })
            }
            Self::FileRange(path, range) => {
                let end = path.metadata().map_or(0, |m| m.len()).min(range.end);
                end.saturating_sub(range.start)
            }
            Self::Stdin | Self::Reader(..) | Self::Documents(..) => 0,
        }
    }
}

/// A piece of one source.
#[derive(Debug, Default)]
pub struct Block {
    /// The text.
    pub bytes: Vec<u8>,
    /// Ends of the texts in it, the last at `bytes.len()`: nothing may join across them.
    pub ends: Vec<usize>,
    /// Index of the source.
    pub source: usize,
    /// Running number over all sources, from 0.
    pub index: u64,
    /// Whether its last byte is the last of a document.
    pub ends_document: bool,
    /// Whether its last byte is the last of its source.
    pub ends_source: bool,
}

impl Block {
    /// The texts in it, in order.
    pub fn texts(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }
}

/// Reads sources one after the other, block by block.
pub struct CorpusReader {
    sources: std::vec::IntoIter<Source>,
    open: Option<Open>,
    n_opened: usize,
    n_blocks: u64,
    total_bytes: u64,
    block_bytes: usize,
    most_block_bytes: usize,
    specials: SpecialTokens,
    pretokenizer: PreTokenizer,
    /// Read already, but behind the cut of the last block.
    carry: Vec<u8>,
}

/// The source that is being read.
enum Open {
    Stream { name: PathBuf, stream: Box<dyn Read + Send> },
    Documents(Box<dyn Iterator<Item = Result<Vec<u8>>> + Send>),
}

impl CorpusReader {
    /// Prepares to read; no file is opened yet. Blocks hold about `block_bytes` bytes.
    pub fn new(
        sources: Vec<Source>,
        block_bytes: usize,
        specials: SpecialTokens,
        pretokenizer: PreTokenizer,
    ) -> Self {
        // One unknown length makes the sum unknown.
        let lens: Vec<u64> = sources.iter().map(Source::len).collect();
        let total_bytes = if lens.contains(&0) { 0 } else { lens.iter().sum() };
        Self {
            sources: sources.into_iter(),
            open: None,
            n_opened: 0,
            n_blocks: 0,
            total_bytes,
            block_bytes: block_bytes.max(1),
            most_block_bytes: LONGEST_DOCUMENT,
            specials,
            pretokenizer,
            carry: Vec::new(),
        }
    }

    /// Refuses to read a stream's document of more than `most_block_bytes` that cannot be cut; at
    /// most [`LONGEST_DOCUMENT`].
    #[must_use]
    pub fn limited(self, most_block_bytes: usize) -> Self {
        Self { most_block_bytes: most_block_bytes.min(LONGEST_DOCUMENT), ..self }
    }

    /// Bytes of all sources; 0 if that is not known.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// The next block; [`None`] when all sources are at their end. Never an empty block.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a source cannot be opened or read.
    pub fn next_block(&mut self) -> Result<Option<Block>> {
        let mut block = Block::default();
        Ok(self.next_block_into(&mut block)?.then_some(block))
    }

    /// [`next_block`](Self::next_block) into a block whose memory is used again. False at the end.
    ///
    /// # Errors
    ///
    /// As [`next_block`](Self::next_block); after one, there are no more blocks.
    pub fn next_block_into(&mut self, block: &mut Block) -> Result<bool> {
        let result = self.read_block(block);
        if result.is_err() {
            (self.sources, self.open) = (Vec::new().into_iter(), None);
        }
        result
    }

    fn read_block(&mut self, block: &mut Block) -> Result<bool> {
        loop {
            let Some(mut open) = self.open.take() else {
                match self.sources.next() {
                    None => return Ok(false),
                    Some(source) => self.open = Some(open_source(source)?),
                }
                self.n_opened += 1;
                continue;
            };
            block.bytes.clear();
            block.ends.clear();
            let is_list = matches!(open, Open::Documents(_));
            match &mut open {
                Open::Stream { name, stream } => self.fill_from_stream(block, name, stream)?,
                Open::Documents(documents) => self.fill_from_documents(block, documents)?,
            }
            if !block.ends_source {
                self.open = Some(open);
            }
            // Documents without text are documents all the same: whoever skips them counts them.
            if !block.bytes.is_empty() || (is_list && !block.ends.is_empty()) {
                block.source = self.n_opened - 1;
                block.index = self.n_blocks;
                self.n_blocks += 1;
                return Ok(true);
            }
        }
    }

    fn fill_from_documents(
        &self,
        block: &mut Block,
        documents: &mut dyn Iterator<Item = Result<Vec<u8>>>,
    ) -> Result<()> {
        (block.ends_document, block.ends_source) = (true, false);
        // A document without text takes memory, too: it is counted with what remembers its end.
        while block.bytes.len() + BYTES_PER_END * block.ends.len() < self.block_bytes {
            let Some(document) = documents.next() else {
                block.ends_source = true;
                break;
            };
            // However long: whoever made it holds it already.
            let document = document?;
            block.bytes.extend_from_slice(&document);
            block.ends.push(block.bytes.len());
        }
        Ok(())
    }

    fn fill_from_stream(
        &mut self,
        block: &mut Block,
        name: &Path,
        stream: &mut dyn Read,
    ) -> Result<()> {
        std::mem::swap(&mut block.bytes, &mut self.carry);
        self.carry.clear();
        let mut wanted = self.block_bytes;
        (block.ends_document, block.ends_source) = (true, true);
        loop {
            let missing = wanted.saturating_sub(block.bytes.len());
            let n_read = read_up_to(stream, missing, &mut block.bytes)
                .map_err(|source| Error::io(name, source))?;
            if n_read < missing {
                break;
            }
            if let Some((cut, ends_document)) = self.find_cut(&block.bytes) {
                self.carry.extend_from_slice(&block.bytes[cut..]);
                block.bytes.truncate(cut);
                (block.ends_document, block.ends_source) = (ends_document, false);
                break;
            }
            // Nowhere to cut: double, so that the searches cost no more than reading.
            self.check_length(name, wanted + 1)?;
            wanted = wanted.saturating_mul(2).min(self.most_block_bytes);
        }
        block.ends.push(block.bytes.len());
        Ok(())
    }

    fn check_length(&self, name: &Path, n_bytes: usize) -> Result<()> {
        if n_bytes <= self.most_block_bytes {
            return Ok(());
        }
        Err(Error::NoPlaceToCut { path: name.to_owned(), bytes: self.most_block_bytes })
    }

    /// Where a block of `text`, which goes on, may end, and whether a document ends there.
    fn find_cut(&self, text: &[u8]) -> Option<(usize, bool)> {
        // A special token that begins at `certain` or behind may turn out to be a longer one. Those
        // before it end before `text` does: something is left for the next block, which can so tell
        // that it is the last.
        let certain = text.len().checked_sub(self.specials.max_len())?;
        let (mut document_end, mut from) = (0, 0);
        while let Some((range, _)) = self.specials.find(text, from) {
            if range.start >= certain {
                break;
            }
            (document_end, from) = (range.end, range.end);
        }
        if document_end > 0 {
            return Some((document_end, true));
        }
        // No special token begins before `certain`, so none reaches across a cut up to there.
        Some((self.pretokenizer.safe_cut(text, certain)?, false))
    }
}

fn open_source(source: Source) -> Result<Open> {
    let name = source.name();
    Ok(match source {
        Source::File(path) => {
            let file = File::open(&path).map_err(|source| Error::io(&path, source))?;
            Open::Stream { name, stream: Box::new(file) }
        }
        Source::FileRange(path, range) => {
            let file = File::open(&path).and_then(|mut file| {
                file.seek(SeekFrom::Start(range.start))?;
                Ok(file.take(range.end.saturating_sub(range.start)))
            });
            let stream = Box::new(file.map_err(|source| Error::io(&path, source))?);
            Open::Stream { name, stream }
        }
        Source::Stdin => Open::Stream { name, stream: Box::new(io::stdin()) },
        Source::Reader(_, stream) => Open::Stream { name, stream },
        Source::Documents(_, documents) => Open::Documents(documents),
    })
}

/// Appends up to `n` bytes of `stream` to `buffer`; fewer only at its end.
fn read_up_to(stream: &mut dyn Read, n: usize, buffer: &mut Vec<u8>) -> io::Result<usize> {
    // Else the buffer might grow to twice of what is needed.
    buffer.reserve_exact(n);
    stream.take(n as u64).read_to_end(buffer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        pretokenize::{NamedPattern, Pattern},
        special::Segment,
    };

    const EOT: &str = "<|endoftext|>";

    fn reader(texts: &[&[u8]], block_bytes: usize, specials: &[&str]) -> CorpusReader {
        let sources = texts.iter().enumerate().map(|(i, text)| {
            Source::Reader(format!("text {i}"), Box::new(io::Cursor::new(text.to_vec())))
        });
        let specials: Vec<String> = specials.iter().map(|&s| s.to_owned()).collect();
        CorpusReader::new(
            sources.collect(),
            block_bytes,
            SpecialTokens::new(&specials).unwrap(),
            PreTokenizer::new(&Pattern::Named(NamedPattern::Gpt2)).unwrap(),
        )
    }

    fn blocks(mut reader: CorpusReader) -> Vec<Block> {
        std::iter::from_fn(|| reader.next_block().unwrap()).collect()
    }

    /// Pre-tokens and special tokens of a text, as if it were never cut.
    fn pieces(text: &[u8], reader: &CorpusReader) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        for segment in reader.specials.split(text) {
            match segment {
                Segment::Special(i) => out.push(reader.specials.tokens()[i].clone().into_bytes()),
                Segment::Text(text) => {
                    reader.pretokenizer.for_each(text, |t| out.push(t.to_vec())).unwrap();
                }
            }
        }
        out
    }

    #[test]
    fn blocks_end_at_document_ends() {
        let found = blocks(reader(&[b"aa<|endoftext|>bb<|endoftext|>cc"], 20, &[EOT]));
        let texts: Vec<_> = found.iter().map(|b| b.bytes.as_slice()).collect();
        assert_eq!(texts, [&b"aa<|endoftext|>"[..], b"bb<|endoftext|>cc"]);
        assert!(found.iter().all(|b| b.ends_document));
        assert!(found[1].ends_source && !found[0].ends_source);
    }

    #[test]
    fn the_last_block_of_a_source_says_so() {
        let long = "<|longer than the other|>";
        for n_letters in 0..20 {
            let text = format!("{}{long}", "a".repeat(n_letters));
            let found = blocks(reader(&[text.as_bytes()], text.len(), &[EOT, long]));
            assert!(found.last().unwrap().ends_source, "{text}");
        }
    }

    #[test]
    fn empty_sources_yield_no_block() {
        assert_eq!(blocks(reader(&[b"", b"x", b""], 10, &[])).len(), 1);
    }

    #[test]
    fn a_document_without_a_cut_is_held_whole() {
        let text = "x".repeat(1000);
        let found = blocks(reader(&[text.as_bytes()], 16, &[EOT]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].bytes.len(), 1000);
    }

    #[test]
    fn documents_of_an_iterator_stay_apart() {
        let documents = ["a", "b", "", "c"].map(|d| Ok(d.as_bytes().to_vec()));
        let source = Source::Documents("list".to_owned(), Box::new(documents.into_iter()));
        let mut reader = reader(&[], 4, &[]);
        reader.sources = vec![source].into_iter();
        let found: Vec<Vec<Vec<u8>>> = blocks(reader)
            .iter()
            .map(|block| block.texts().map(<[u8]>::to_vec).collect())
            .collect();
        assert_eq!(found, [vec![b"a".to_vec(), b"b".to_vec()], vec![b"".to_vec(), b"c".to_vec()]]);
    }

    #[test]
    fn documents_without_text_fill_blocks_too() {
        let documents = (0..25).map(|_| Ok(vec![]));
        let source = Source::Documents("list".to_owned(), Box::new(documents));
        let mut reader = reader(&[], 10, &[]);
        reader.sources = vec![source].into_iter();
        let counts: Vec<usize> = blocks(reader).iter().map(|block| block.ends.len()).collect();
        assert_eq!(counts, [10, 10, 5]);
    }

    #[test]
    fn a_long_document_of_an_iterator_is_taken_whole() {
        let documents = std::iter::once(Ok(vec![b'x'; 1000]));
        let source = Source::Documents("list".to_owned(), Box::new(documents));
        let mut reader = reader(&[], 2, &[]).limited(4);
        reader.sources = vec![source].into_iter();
        assert_eq!(blocks(reader)[0].bytes.len(), 1000);
    }

    #[test]
    fn a_missing_file_is_named() {
        let mut reader = reader(&[], 2, &[]);
        reader.sources = vec![Source::File("no/such/file.txt".into())].into_iter();
        assert!(reader.next_block().unwrap_err().to_string().starts_with("no/such/file.txt: "));
    }

    proptest! {
        #[test]
        fn prop_blocks_change_no_pre_token(
            text in "(ab? |[\\n ]{1,3}|<\\|x y\\|>|<\\|x|y\\|>|<\\|endoftext\\|>|'s|\u{e9}\u{3000}|1){0,40}",
            block_bytes in 1_usize..64,
        ) {
            let specials = [EOT, "<|x y|>", "<|x", "|> "];
            let whole = reader(&[], block_bytes, &specials);
            let found = blocks(reader(&[text.as_bytes()], block_bytes, &specials));
            let joined: Vec<u8> = found.iter().flat_map(|b| b.bytes.clone()).collect();
            prop_assert_eq!(joined, text.as_bytes());
            let parts: Vec<_> = found.iter().flat_map(|b| pieces(&b.bytes, &whole)).collect();
            prop_assert_eq!(parts, pieces(text.as_bytes(), &whole));
        }
    }
}
