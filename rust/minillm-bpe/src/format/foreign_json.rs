//! The `tokenizer.json` of a tokenizer that is not converted but wrapped: which bytes each of its
//! tokens stands for.
//!
//! Another library encodes; what is needed here is what its ids mean, as far as one token alone can
//! tell. Its decoder says how: by the [byte alphabet](super::byte_alphabet), or as `SentencePiece`,
//! where U+2581 is a space and `<0x41>` a byte. What would change the ids, as padding does, is
//! refused.

use serde::Deserialize;
use serde_json::Value;

use super::byte_alphabet;
use crate::{Error, Result, TokenId};

/// Ids and what they stand for.
#[derive(Debug, PartialEq, Eq)]
pub struct ForeignVocab {
    /// Bytes of each id, ascending, special tokens included.
    pub tokens: Vec<(TokenId, Vec<u8>)>,
    /// Special tokens, and others that were added to the model's.
    pub specials: Vec<(String, TokenId)>,
}

/// Turns a token's text into bytes.
type ToBytes = fn(&str) -> Result<Vec<u8>>;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    truncation: Value,
    #[serde(default)]
    padding: Value,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    decoder: Value,
}

#[derive(Deserialize)]
struct AddedToken {
    content: String,
    id: TokenId,
}

/// Reads `text`, the serialized tokenizer whose tokens and ids are `vocab`.
///
/// # Errors
///
/// [`Error::ForeignOption`] for what would change the ids, [`Error::ForeignDecoder`] if tokens do
/// not stand for bytes, [`Error::Format`] for what is no such file.
pub fn read(text: &str, vocab: Vec<(String, TokenId)>) -> Result<ForeignVocab> {
    let file: File = serde_json::from_str(text).map_err(|error| Error::Format {
        field: "tokenizer.json".to_owned(),
        reason: error.to_string(),
    })?;
    for (option, value) in [("truncation", &file.truncation), ("padding", &file.padding)] {
        if !value.is_null() {
            return Err(Error::ForeignOption { option });
        }
    }
    let specials: Vec<_> =
        file.added_tokens.into_iter().map(|token| (token.content, token.id)).collect();
    let to_bytes = token_bytes_by(&file.decoder)?;
    let bytes_of = |(token, id): (String, TokenId)| {
        let is_special = specials.iter().any(|(special, _)| *special == token);
        let bytes = if is_special { token.into_bytes() } else { to_bytes(&token)? };
        Ok((id, bytes))
    };
    let mut tokens = vocab.into_iter().map(bytes_of).collect::<Result<Vec<_>>>()?;
    tokens.sort_unstable_by_key(|&(id, _)| id);
    Ok(ForeignVocab { tokens, specials })
}

/// What turns a token's text into bytes.
fn token_bytes_by(decoder: &Value) -> Result<ToBytes> {
    const SENTENCE_PIECE: [&str; 5] = ["Metaspace", "Replace", "ByteFallback", "Fuse", "Strip"];
    let steps = match &decoder["decoders"] {
        Value::Array(steps) => steps.iter().collect(),
        _ => vec![decoder],
    };
    let mut kinds: Vec<&str> = steps.into_iter().filter_map(|step| step["type"].as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    if kinds == ["ByteLevel"] {
        return Ok(byte_level);
    }
    if !kinds.is_empty() && kinds.iter().all(|kind| SENTENCE_PIECE.contains(kind)) {
        return Ok(|token| Ok(sentence_piece(token)));
    }
    let kinds = if kinds.is_empty() { "none".to_owned() } else { kinds.join("`, `") };
    Err(Error::ForeignDecoder { kinds })
}

fn byte_level(token: &str) -> Result<Vec<u8>> {
    byte_alphabet::decode(token).map_err(|character| Error::Format {
        field: format!("token {token:?}"),
        reason: format!("holds {character:?}, which stands for no byte"),
    })
}

fn sentence_piece(token: &str) -> Vec<u8> {
    let byte = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    let is_upper = |digits: &&str| {
        digits.len() == 2 && digits.bytes().all(|d| matches!(d, b'0'..=b'9' | b'A'..=b'F'))
    };
    match byte.filter(is_upper).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
        Some(byte) => vec![byte],
        None => token.replace('\u{2581}', " ").into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_with(decoder: &str, tokens: &[&str]) -> Result<ForeignVocab> {
        let text = format!(
            r#"{{"truncation": null, "padding": null, "decoder": {decoder},
                "added_tokens": [{{"id": 9, "content": "</s>", "special": true}}]}}"#
        );
        let ids = 0..;
        read(&text, tokens.iter().map(|&token| token.to_owned()).zip(ids).collect())
    }

    fn bytes(found: Result<ForeignVocab>) -> Vec<Vec<u8>> {
        found.unwrap().tokens.into_iter().map(|(_, bytes)| bytes).collect()
    }

    #[test]
    fn the_decoder_tells_what_tokens_stand_for() {
        let tokens = ["\u{120}a", "</s>"];
        assert_eq!(bytes(read_with(r#"{"type": "ByteLevel"}"#, &tokens)), [&b" a"[..], b"</s>"]);
        let steps = r#"{"type": "Sequence", "decoders": [{"type": "Replace"}, {"type": "Fuse"}]}"#;
        let tokens = ["\u{2581}a", "<0xE2>", "<0xe2>", "<0x+1>", "</s>"];
        let expected = [&b" a"[..], b"\xe2", b"<0xe2>", b"<0x+1>", b"</s>"];
        let found = read_with(steps, &tokens);
        assert_eq!(found.as_ref().unwrap().specials, [("</s>".to_owned(), 9)]);
        assert_eq!(bytes(found), expected);
    }

    #[test]
    fn what_cannot_be_told_is_refused() {
        let message = |decoder: &str| read_with(decoder, &["a"]).unwrap_err().to_string();
        assert!(message("null").starts_with("the tokenizer's decoder is `none`, expected ByteL"));
        assert!(message(r#"{"type": "WordPiece"}"#).contains("decoder is `WordPiece`"));
        let mixed = r#"{"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "CTC"}]}"#;
        assert!(message(mixed).contains("decoder is `CTC`, `Fuse`"));
        let spaced = read_with(r#"{"type": "ByteLevel"}"#, &["a b"]).unwrap_err().to_string();
        assert_eq!(spaced, "token \"a b\": holds ' ', which stands for no byte");
        assert!(read("{", vec![]).unwrap_err().to_string().starts_with("tokenizer.json: "));
        let padded = read(r#"{"padding": {"pad_id": 0}}"#, vec![]).unwrap_err().to_string();
        assert_eq!(padded, "the tokenizer's padding is on, and would change the ids: turn it off");
    }
}
