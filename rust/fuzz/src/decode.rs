//! Any ids decode as the textbook says or are refused with its words: from every type of array, at
//! once and in pieces.
//!
//! The first bytes say where the ids are cut, and each further two make one: among those that are
//! there, and now and then one that may not be.

#![no_main]

use std::{
    mem::MaybeUninit,
    sync::{Arc, LazyLock, atomic::AtomicU16},
};

use libfuzzer_sys::fuzz_target;
use minillm_bpe::{
    Decoder, Result, StreamDecoder, TokenId, Vocab,
    decode::{InvalidUtf8, RawId},
    pretokenize::Pattern,
    reference::decode::decode,
};
use minillm_fuzz::{next, pieces};

/// Parts of characters, tokens of every length around those of slots and of tables, gaps, and ids
/// far above all others.
static VOCAB: LazyLock<Vocab> = LazyLock::new(|| {
    let bytes = (0..=u8::MAX).map(|byte| vec![byte]);
    let lens = (2..40).chain([126, 127, 128, 129, 254, 255, 256, 257, 300, 5000]);
    let longer = lens.map(|len| (b'a'..=b'z').cycle().take(len).collect());
    let ids = (0..).map(|id| id + 10 * (id / 64));
    let tokens = ids.zip(bytes.chain(longer)).collect();
    let far = |id| (format!("<|{id}|>"), Some(id));
    let specials = [600, 65_535, 65_536, 70_000, 4_000_000_000].map(far).to_vec();
    Vocab::new(tokens, vec![], specials, Pattern::None).unwrap()
});

static DECODER: LazyLock<Arc<Decoder>> = LazyLock::new(|| Arc::new(Decoder::new(&VOCAB)));

fn ids_of(data: &[u8]) -> Vec<TokenId> {
    let known: Vec<TokenId> = VOCAB.tokens().map(|(id, _)| id).collect();
    let id = |[low, high]: [u8; 2]| match high {
        254 => 65_500 + TokenId::from(low),
        255 => TokenId::MAX - TokenId::from(low),
        252..254 => TokenId::from(low) << (high & 1),
        _ => known[usize::from(u16::from_le_bytes([low, high])) % known.len()],
    };
    data.as_chunks().0.iter().copied().map(id).collect()
}

/// By the two steps, into memory of exactly the size.
fn in_two_steps<I: RawId>(ids: &[I]) -> Result<Vec<u8>> {
    let decoding = DECODER.measure(ids, 2)?;
    let mut bytes = vec![MaybeUninit::uninit(); decoding.n_bytes()];
    Ok(decoding.write_to(&mut bytes)?.to_vec())
}

/// Behind what is there already.
fn appended<I: RawId>(ids: &[I]) -> Result<Vec<u8>> {
    let mut bytes = b"before".to_vec();
    DECODER.decode(ids, &mut bytes)?;
    Ok(bytes.split_off(6))
}

fn streamed(ids: &[TokenId], cuts: &[u8]) -> Result<String> {
    let mut stream = StreamDecoder::new(Arc::clone(&DECODER));
    let mut text = String::new();
    for piece in pieces(ids, cuts) {
        stream.push(piece, &mut text)?;
    }
    stream.finish(&mut text);
    Ok(text)
}

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let cuts = [next(&mut data), next(&mut data), next(&mut data), next(&mut data)];
    let ids = ids_of(data);
    let expected = decode(&VOCAB, &ids).map_err(|error| error.to_string());
    let check = |found: Result<Vec<u8>>| {
        assert_eq!(found.map_err(|error| error.to_string()), expected);
    };
    check(appended(&ids));
    check(in_two_steps(&ids));
    check(in_two_steps(&ids.iter().map(|&id| i64::from(id)).collect::<Vec<_>>()));
    if let Ok(narrow) = ids.iter().map(|&id| u16::try_from(id)).collect::<Result<Vec<_>, _>>() {
        check(appended(&narrow));
        check(in_two_steps(&narrow.into_iter().map(AtomicU16::new).collect::<Vec<_>>()));
    }
    match (streamed(&ids, &cuts), expected) {
        (Ok(text), Ok(bytes)) => {
            assert_eq!(text, String::from_utf8_lossy(&bytes));
            assert_eq!(text, DECODER.decode_text(&ids, InvalidUtf8::Replace).unwrap());
        }
        (streamed, expected) => assert!(streamed.is_err() && expected.is_err()),
    }
});
