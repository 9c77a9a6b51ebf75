//! Files of tokenizers are loaded or refused: no panic, and no more memory than their bytes can
//! fill. What is loaded and can be saved loads again and is equal, and decoding inverts encoding.
//!
//! The first byte says what the others are: a `tokenizer.json`, ranks, or a `vocab.json` and a
//! `merges.txt` with a 0 between them.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use minillm_bpe::{
    Decoder, Encoder, Error, Result, TokenId, Vocab,
    format::{gpt2_files, tiktoken, tokenizer_json},
    pretokenize::{NamedPattern, Pattern},
};
use minillm_fuzz::Bounded;

/// Caches and tables have their size whatever the file.
#[global_allocator]
static ALLOCATOR: Bounded<{ 1 << 26 }> = Bounded;

/// More takes long where a regex of the file goes back and forth.
const MOST_TEXT: usize = 48;

const PATTERN: Pattern = Pattern::Named(NamedPattern::Gpt2);

fn load(kind: u8, text: &str) -> Result<Vocab> {
    let end_of_text = || "<|endoftext|>".to_owned();
    match kind % 3 {
        0 => tokenizer_json::from_json(text),
        1 => tiktoken::read(text, vec![(end_of_text(), 1000)], PATTERN),
        _ => {
            let (vocab, merges) = text.split_once('\0').unwrap_or((text, ""));
            gpt2_files::read(vocab, merges, vec![(end_of_text(), None)], PATTERN)
        }
    }
}

/// The file of the kind; not every vocabulary can be said in each.
fn save(kind: u8, vocab: &Vocab) -> Result<String> {
    match kind % 3 {
        0 => tokenizer_json::to_json(vocab),
        1 => tiktoken::write(vocab),
        _ => Ok([gpt2_files::vocab_json(vocab)?, gpt2_files::merges_txt(vocab)].join("\0")),
    }
}

/// All that encodes comes back; what does not lacks a byte, or a regex that ends.
fn check_encoding(vocab: Arc<Vocab>, text: &[u8]) {
    let decoder = Decoder::new(&vocab);
    let Ok(encoder) = Encoder::new(vocab) else { return };
    let mut ids: Vec<TokenId> = Vec::new();
    match encoder.encode_ordinary(text, &mut ids) {
        Ok(()) => {
            let mut bytes = Vec::new();
            decoder.decode(&ids, &mut bytes).unwrap();
            assert_eq!(bytes, text);
        }
        Err(Error::MissingByte { .. } | Error::Pattern { .. }) => (),
        Err(error) => panic!("{error}"),
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&kind, bytes)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(vocab) = load(kind, text) else { return };
    if let Ok(saved) = save(kind, &vocab) {
        assert_eq!(load(kind, &saved).as_ref().map_err(ToString::to_string), Ok(&vocab));
    }
    check_encoding(Arc::new(vocab), &bytes[..bytes.len().min(MOST_TEXT)]);
});
