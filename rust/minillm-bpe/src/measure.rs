//! Text -> how many tokens a tokenizer takes for it: its report on text that it was not trained on.
//!
//! The text is encoded and the ids are dropped, block by block, so any amount of it takes the
//! memory of one block a thread. Special tokens count as nothing: they are the same for every
//! tokenizer, and neither their bytes nor their ids say how well one compresses.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use crate::{
    Encoder, Result, TokenId, at_work,
    corpus::{Block, CorpusReader, Source},
    progress::{Phase, Progress},
    special::{Segment, SpecialTokens},
};

/// Bytes of text that a thread takes at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// An amount of text in two units, special tokens left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Bytes of the text.
    pub bytes: u64,
    /// Tokens of the text.
    pub tokens: u64,
}

/// Encodes all of `sources` and counts.
///
/// # Errors
///
/// [`Error::Io`](crate::Error::Io) for a source that cannot be read, those of
/// [`Encoder::encode_ordinary`], and [`Error::Interrupted`](crate::Error::Interrupted) if
/// `progress` is cancelled.
pub fn measure(
    sources: Vec<Source>,
    encoder: &Encoder,
    threads: usize,
    progress: &Progress,
) -> Result<Measured> {
    let names: Vec<String> =
        encoder.vocab().specials().iter().map(|(text, _)| text.clone()).collect();
    let specials = SpecialTokens::new(&names)?;
    let pre_tokenizer = encoder.pre_tokenizer().clone();
    let reader = CorpusReader::new(sources, BLOCK_BYTES, specials.clone(), pre_tokenizer);
    progress.begin(Phase::Encode, reader.total_bytes());
    let reader = Mutex::new(reader);
    let stop = AtomicBool::new(false);
    let measure_blocks = || -> Result<Measured> {
        let (mut measured, mut block, mut ids) =
            (Measured::default(), Block::default(), Vec::<TokenId>::new());
        while !stop.load(Relaxed)
            && reader.lock().unwrap_or_else(PoisonError::into_inner).next_block_into(&mut block)?
        {
            for segment in block.texts().flat_map(|text| specials.split(text)) {
                let Segment::Text(text) = segment else { continue };
                ids.clear();
                encoder.encode_ordinary(text, &mut ids)?;
                measured.bytes += text.len() as u64;
                measured.tokens += ids.len() as u64;
            }
            progress.advance(block.bytes.len() as u64)?;
        }
        Ok(measured)
    };
    // The first error ends them all.
    let work = || {
        let result = measure_blocks();
        stop.fetch_or(result.is_err(), Relaxed);
        result
    };
    let parts: Vec<Result<Measured>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..at_work(threads)).map(|_| scope.spawn(work)).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().map(join).collect()
    });
    let mut total = Measured::default();
    for part in parts {
        let part = part?;
        total.bytes += part.bytes;
        total.tokens += part.tokens;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::sync::Arc;

    use super::*;
    use crate::{AllowedSpecial, Error, Vocab, pretokenize::Pattern};

    fn encoder() -> Encoder {
        let bytes = (0..=u8::MAX).map(|byte| (u32::from(byte), vec![byte]));
        let tokens = bytes.chain([(256, b"ab".to_vec())]).collect();
        let merges = vec![(b"a".to_vec(), b"b".to_vec())];
        let specials = vec![("<|endoftext|>".to_owned(), None)];
        let pattern = Pattern::parse("gpt2").unwrap();
        Encoder::new(Arc::new(Vocab::new(tokens, merges, specials, pattern).unwrap())).unwrap()
    }

    fn source(text: &str) -> Vec<Source> {
        let stream = Box::new(Cursor::new(text.as_bytes().to_vec()));
        vec![Source::Reader("text".to_owned(), stream)]
    }

    #[test]
    fn text_counts_and_special_tokens_do_not() {
        let text = "abab c<|endoftext|>ab".repeat(100_000);
        let mut ids: Vec<TokenId> = Vec::new();
        encoder().encode(text.as_bytes(), &AllowedSpecial::All, &mut ids).unwrap();
        ids.retain(|&id| id != 257);
        for threads in [1, 3] {
            let found = measure(source(&text), &encoder(), threads, &Progress::default()).unwrap();
            assert_eq!(found, Measured { bytes: 800_000, tokens: ids.len() as u64 });
        }
        let nothing = measure(source(""), &encoder(), 2, &Progress::default()).unwrap();
        assert_eq!(nothing, Measured::default());
    }

    #[test]
    fn a_cancelled_measurement_stops() {
        let progress = Progress::default();
        progress.cancel();
        let error = measure(source("ab"), &encoder(), 1, &progress).unwrap_err();
        assert!(matches!(error, Error::Interrupted), "{error}");
    }
}
