use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU16, AtomicU32, Ordering};

use proptest::prelude::*;

use super::*;
use crate::pretokenize::Pattern;
use crate::reference;

fn vocab(tokens: &[(TokenId, &[u8])]) -> Vocab {
    let tokens = tokens.iter().map(|&(id, token)| (id, token.to_vec())).collect();
    Vocab::new(tokens, vec![], vec![], Pattern::None).unwrap()
}

fn decoder(tokens: &[(TokenId, &[u8])]) -> Decoder {
    Decoder::new(&vocab(tokens))
}

/// By the two steps, into memory of exactly the size.
fn in_two_steps<I: RawId>(decoder: &Decoder, ids: &[I], threads: usize) -> Result<Vec<u8>> {
    let decoding = decoder.measure(ids, threads)?;
    let mut bytes = vec![MaybeUninit::uninit(); decoding.n_bytes()];
    Ok(decoding.write_to(&mut bytes)?.to_vec())
}

#[test]
fn unknown_id_is_named_with_its_position() {
    let decoder = decoder(&[(1, b"a"), (3, b"b"), (4_000_000_000, b"c")]);
    let mut out = Vec::new();
    decoder.decode(&[1_u32, 3, 4_000_000_000], &mut out).unwrap();
    assert_eq!(out, b"abc");
    for unknown in [0, 2, 4, 70_000, 3_999_999_999, TokenId::MAX] {
        let error = decoder.decode(&[1, unknown], &mut out).unwrap_err();
        let expected = format!("id {unknown} at position 1 is not in the vocabulary");
        assert_eq!(error.to_string(), expected);
        assert_eq!(out, b"abc");
    }
}

#[test]
fn number_that_cannot_be_an_id_is_named_with_its_position() {
    let decoder = decoder(&[(1, b"a")]);
    for wrong in [-1, 1 << 32, i64::MIN, i64::MAX] {
        let error = decoder.decode(&[1, 1, wrong], &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), format!("id {wrong} at position 2 is not in 0..2^32"));
    }
}

#[test]
fn invalid_utf8_is_replaced_or_refused() {
    let decoder = decoder(&[(0, b"ok"), (1, b"\xe2\x82"), (2, b"\xff")]);
    let replaced = decoder.decode_text(&[0_u16, 1, 2], InvalidUtf8::Replace).unwrap();
    assert_eq!(replaced, "ok\u{fffd}\u{fffd}");
    let error = decoder.decode_text(&[0_u16, 1, 2], InvalidUtf8::Strict).unwrap_err();
    assert_eq!(error.to_string(), "the ids are no UTF-8 text: byte 2 is invalid");
}

#[test]
fn tokens_of_every_length_are_decoded() {
    let tokens: Vec<Vec<u8>> =
        (1..300).map(|len| vec![u8::try_from(len % 251).unwrap(); len]).collect();
    let tokens: Vec<(TokenId, &[u8])> = (0..).zip(tokens.iter().map(Vec::as_slice)).collect();
    let decoder = decoder(&tokens);
    for first in [0, 10, 14, 15, 100, 126, 127, 250] {
        let ids: Vec<u16> = (first..299).chain(0..first).collect();
        let expected: Vec<u8> =
            ids.iter().flat_map(|&id| tokens[usize::from(id)].1).copied().collect();
        let mut out = Vec::new();
        decoder.decode(&ids, &mut out).unwrap();
        assert!(out == expected, "from {first} on");
    }
}

#[test]
fn threads_change_neither_bytes_nor_errors() {
    let decoder = decoder(&[(0, b"a"), (1, b"bc"), (2, &[b'd'; 20])]);
    let mut ids: Vec<u32> = (0..5_000_000_u32).map(|i| i % 7 * (i % 11) % 3).collect();
    let expected = in_two_steps(&decoder, &ids, 1).unwrap();
    for threads in [2, 5] {
        assert!(in_two_steps(&decoder, &ids, threads).unwrap() == expected);
    }
    for wrong in [4_000_000, 3_000_001, 2_999_999, 5] {
        ids[wrong] = 9;
        for threads in [1, 4] {
            let error = decoder.measure(&ids, threads).unwrap_err().to_string();
            assert_eq!(error, format!("id 9 at position {wrong} is not in the vocabulary"));
        }
    }
}

#[test]
fn ids_that_change_are_decoded_or_refused() {
    let decoder = decoder(&[(0, b"a"), (1, b"bcd"), (2, &[b'e'; 20])]);
    let ids: Vec<AtomicU32> = (0..1000).map(|_| AtomicU32::new(1)).collect();
    let decoding = decoder.measure(&ids, 1).unwrap();
    let mut out = vec![MaybeUninit::uninit(); decoding.n_bytes()];
    for (id, expected) in [(0, "changed"), (2, "changed"), (7, "id 7 at position 500")] {
        ids[500].store(id, Ordering::Relaxed);
        let message = decoding.write_to(&mut out).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let writing = AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0.. {
                ids[round % 1000].store(u32::try_from(round % 4).unwrap(), Ordering::Relaxed);
                if !writing.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        for _ in 0..200 {
            let decoded = in_two_steps(&decoder, &ids, 1);
            assert!(decoded.is_err() || decoded.is_ok_and(|bytes| bytes.is_ascii()));
        }
        writing.store(false, Ordering::Relaxed);
    });
}

#[test]
fn memory_of_another_size_is_refused() {
    let decoder = decoder(&[(0, b"abc")]);
    let decoding = decoder.measure(&[0_u16, 0], 1).unwrap();
    for len in [0, 5, 7] {
        let mut out = vec![MaybeUninit::uninit(); len];
        assert!(matches!(decoding.write_to(&mut out), Err(Error::IdsChanged)));
    }
}

#[test]
fn half_a_character_waits_for_its_rest() {
    let tokens: &[(TokenId, &[u8])] =
        &[(0, b"a\xf0\x9f"), (1, b"\x99"), (2, b"\x82b"), (3, b"\xff")];
    let mut stream = StreamDecoder::new(Arc::new(decoder(tokens)));
    let mut text = String::new();
    for (id, expected) in [(0_u16, "a"), (1, "a"), (2, "a\u{1f642}b"), (0, "a\u{1f642}ba")] {
        stream.push(&[id], &mut text).unwrap();
        assert_eq!(text, expected);
    }
    let message = stream.push(&[2_u16, 9], &mut text).unwrap_err().to_string();
    assert_eq!(message, "id 9 at position 1 is not in the vocabulary");
    stream.push(&[3_u16], &mut text).unwrap();
    assert_eq!(text, "a\u{1f642}ba\u{fffd}\u{fffd}");
    stream.push(&[0_u16], &mut text).unwrap();
    for expected in ["\u{fffd}", ""] {
        text.clear();
        stream.finish(&mut text);
        assert_eq!(text, expected);
    }
    stream.push(&[0_u16, 1, 2], &mut text).unwrap();
    assert_eq!(text, "a\u{1f642}b");
}

/// Ids with gaps, some far above the others, of tokens with parts of characters in them.
fn any_vocab() -> impl Strategy<Value = Vocab> {
    let bytes = prop::sample::select(&b"a \xc3\xa9\xe2\x82\xac\xf0\x9f\x99"[..]);
    let token = prop_oneof![
        8 => prop::collection::vec(bytes.clone(), 1..6),
        1 => prop::collection::vec(bytes.clone(), 12..20),
        1 => prop::collection::vec(bytes, 120..300),
    ];
    let id = prop_oneof![9 => 0_u32..300, 1 => 0..200_000_u32, 1 => any::<u32>()];
    prop::collection::btree_map(id, token, 1..50).prop_map(|mut tokens| {
        let mut known = std::collections::HashSet::new();
        tokens.retain(|_, token| known.insert(token.clone()));
        Vocab::new(tokens.into_iter().collect(), vec![], vec![], Pattern::None).unwrap()
    })
}

fn any_ids() -> impl Strategy<Value = (Vocab, Vec<TokenId>)> {
    let picks = prop::collection::vec(any::<prop::sample::Index>(), 0..200);
    (any_vocab(), picks, prop::option::weighted(0.2, 0_u32..400)).prop_map(
        |(vocab, picks, other)| {
            let known: Vec<TokenId> = vocab.tokens().map(|(id, _)| id).collect();
            let mut ids: Vec<TokenId> = picks.iter().map(|pick| *pick.get(&known)).collect();
            ids.extend(other);
            (vocab, ids)
        },
    )
}

proptest! {
    #[test]
    fn prop_decode_matches_reference((vocab, ids) in any_ids()) {
        let expected = reference::decode::decode(&vocab, &ids).map_err(|error| error.to_string());
        let decoder = Decoder::new(&vocab);
        let check = |found: Result<Vec<u8>>| {
            assert_eq!(found.map_err(|error| error.to_string()), expected);
        };
        let mut out = b"before".to_vec();
        check(decoder.decode(&ids, &mut out).map(|()| out.split_off(6)));
        check(in_two_steps(&decoder, &ids, 1));
        let signed: Vec<i64> = ids.iter().map(|&id| id.into()).collect();
        check(in_two_steps(&decoder, &signed, 2));
        check(in_two_steps(&decoder, &signed.iter().map(|&id| AtomicI64::new(id)).collect::<Vec<_>>(), 1));
        let narrow: std::result::Result<Vec<u16>, _> = ids.iter().map(|&id| id.try_into()).collect();
        if let Ok(narrow) = narrow {
            check(in_two_steps(&decoder, &narrow, 1));
            let shared: Vec<AtomicU16> = narrow.into_iter().map(AtomicU16::new).collect();
            check(in_two_steps(&decoder, &shared, 1));
        }
    }

    #[test]
    fn prop_stream_gives_the_text_of_the_whole(
        (vocab, ids) in any_ids(),
        sizes in prop::collection::vec(0_usize..9, 0..30),
    ) {
        let decoder = Arc::new(Decoder::new(&vocab));
        let Ok(expected) = decoder.decode_text(&ids, InvalidUtf8::Replace) else { return Ok(()) };
        let mut stream = StreamDecoder::new(Arc::clone(&decoder));
        let (mut text, mut rest) = (String::new(), &ids[..]);
        for size in sizes {
            let (piece, later) = rest.split_at(size.min(rest.len()));
            stream.push(piece, &mut text).unwrap();
            prop_assert!(expected.starts_with(&text));
            rest = later;
        }
        stream.push(rest, &mut text).unwrap();
        stream.finish(&mut text);
        prop_assert_eq!(text, expected);
    }
}
