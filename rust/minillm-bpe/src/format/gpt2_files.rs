//! GPT-2's pair of files: `vocab.json` (token -> id) and `merges.txt` (one merge a line).
//!
//! They began as `encoder.json` and `vocab.bpe`. Tokens are written in the
//! [byte alphabet](super::byte_alphabet), special tokens as they are.

use std::collections::HashMap;

use super::byte_alphabet;
use super::vocab_entries::{VocabEntries, WrittenVocab};
use crate::pretokenize::Pattern;
use crate::{Error, Result, TokenId, Vocab};

/// Reads both files. A special token's id may stand in `vocab.json`, or here, or nowhere.
///
/// # Errors
///
/// [`Error::Format`] for what is not such a file; otherwise as [`Vocab::new`].
pub fn read(
    vocab_json: &str,
    merges_txt: &str,
    specials: Vec<(String, Option<TokenId>)>,
    pattern: Pattern,
) -> Result<Vocab> {
    let entries: VocabEntries = serde_json::from_str(vocab_json).map_err(|error| {
        Error::Format { field: "vocab.json".to_owned(), reason: error.to_string() }
    })?;
    let special_ids: HashMap<&str, Option<TokenId>> =
        specials.iter().map(|(text, id)| (&text[..], *id)).collect();
    let tokens = entries.into_tokens(&special_ids, "vocab.json")?;
    Vocab::new(tokens, read_merges(merges_txt)?, specials, pattern)
}

fn read_merges(merges_txt: &str) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    // `#` begins merges as well: only the first line can be a comment.
    let is_merge = |&(index, line): &(usize, &str)| {
        !line.is_empty() && (index > 0 || !line.starts_with("#version"))
    };
    let merges = merges_txt.lines().enumerate().filter(is_merge).map(|(index, line)| {
        parse_merge(line).ok_or_else(|| Error::Format {
            field: format!("merges.txt line {}", index + 1),
            reason: format!("{line:?} is not two tokens with a space between them"),
        })
    });
    merges.collect()
}

/// Two tokens in the byte alphabet with a space between them.
pub(super) fn parse_merge(line: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let (left, right) = line.split_once(' ')?;
    Some((byte_alphabet::decode(left).ok()?, byte_alphabet::decode(right).ok()?))
}

/// The text of `vocab.json`, special tokens included.
///
/// # Errors
///
/// [`Error::SpecialToken`] if one is written like an ordinary token.
pub fn vocab_json(vocab: &Vocab) -> Result<String> {
    serde_json::to_string(&WrittenVocab::new(vocab)?).map_err(|error| Error::Format {
        field: "vocab.json".to_owned(),
        reason: error.to_string(),
    })
}

/// The text of `merges.txt`.
pub fn merges_txt(vocab: &Vocab) -> String {
    let mut text = String::from("#version: 0.2\n");
    for (left, right) in vocab.merge_bytes() {
        text.extend([&byte_alphabet::encode(left), " ", &byte_alphabet::encode(right), "\n"]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOCAB: &str =
        "{\"<|endoftext|>\": 9, \"#\": 0, \"a\": 2, \"\u{120}\": 1, \"\u{120}a\": 5}";
    const MERGES: &str = "#version: 0.2\n\u{120} a\n";

    fn eot() -> Vec<(String, Option<TokenId>)> {
        vec![("<|endoftext|>".to_owned(), None)]
    }

    #[test]
    fn what_is_written_reads_back_equal() {
        let vocab = read(VOCAB, MERGES, eot(), Pattern::None).unwrap();
        assert_eq!((vocab.eot_id(), vocab.id(b" a")), (Some(9), Some(5)));
        let (json, merges) = (vocab_json(&vocab).unwrap(), merges_txt(&vocab));
        assert_eq!(merges, MERGES);
        assert_eq!(read(&json, &merges, eot(), Pattern::None).unwrap(), vocab);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("{\"a\": 1", MERGES, "vocab.json: EOF while parsing"),
            ("{\"a\": -1}", MERGES, "vocab.json: invalid value: integer `-1`"),
            ("{\"a\": 1, \"a\": 2}", "", "token b\"a\" has two ids, 1 and 2"),
            ("{\"a b\": 1}", "", "vocab.json: token \"a b\" (id 1) holds ' ', which stands for no"),
            (VOCAB, "a\n", "merges.txt line 1: \"a\" is not two tokens"),
            (VOCAB, "#version: 0.2\n# a b\n", "merges.txt line 2: \"# a b\" is not two tokens"),
            (VOCAB, "# a\n", "merge 0 (b\"#\" b\"a\"): b\"#a\" is not a token"),
        ];
        for (json, merges, expected) in cases {
            let error = read(json, merges, eot(), Pattern::None).unwrap_err();
            assert!(error.to_string().contains(expected), "{error} should contain {expected}");
        }
    }

    #[test]
    fn special_token_written_like_an_ordinary_one_is_refused() {
        let specials = vec![("\u{120}a".to_owned(), Some(7))];
        let vocab = read(VOCAB, MERGES, eot(), Pattern::None).unwrap();
        let tokens = vocab.tokens().take(4).map(|(id, token)| (id, token.to_vec())).collect();
        let vocab = Vocab::new(tokens, vec![], specials, Pattern::None).unwrap();
        let message = vocab_json(&vocab).unwrap_err().to_string();
        assert!(message.contains("ids 5 and 7"), "{message}");
    }
}
