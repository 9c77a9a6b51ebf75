//! The object `{"token": id, ...}` that GPT-2's `vocab.json` and Hugging Face's `model.vocab` are.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};

use super::byte_alphabet;
use crate::vocab::show;
use crate::{Error, Result, TokenId, Vocab};

/// The entries in the order of the file. A map would let the last of two equal keys win in silence.
#[derive(Debug, Default)]
pub(super) struct VocabEntries(Vec<(String, TokenId)>);

impl<'de> Deserialize<'de> for VocabEntries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = VocabEntries;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of tokens with their ids")
    }

    fn visit_map<A: MapAccess<'de>>(
        self,
        mut map: A,
    ) -> std::result::Result<VocabEntries, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(VocabEntries(entries))
    }
}

impl VocabEntries {
    /// Ids and bytes of the tokens. `specials` are written as they are, all else in the byte
    /// alphabet; `field` is what messages call the object.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] for a token that is not in the alphabet, or a special token with another id
    /// than here.
    pub(super) fn into_tokens(
        self,
        specials: &HashMap<&str, Option<TokenId>>,
        field: &str,
    ) -> Result<Vec<(TokenId, Vec<u8>)>> {
        let tokens = self.0.into_iter().map(|(text, id)| {
            if let Some(special) = specials.get(&text[..]) {
                if let Some(special) = special.filter(|&special| special != id) {
                    let reason = format!(
                        "token {text:?} has id {id} here, but {special} as a special token"
                    );
                    return Err(Error::Format { field: field.to_owned(), reason });
                }
                return Ok((id, text.into_bytes()));
            }
            let bytes = byte_alphabet::decode(&text).map_err(|character| Error::Format {
                field: field.to_owned(),
                reason: format!(
                    "token {text:?} (id {id}) holds {character:?}, which stands for no byte"
                ),
            })?;
            Ok((id, bytes))
        });
        tokens.collect()
    }
}

/// All tokens of a vocabulary by ascending id, as they are written.
pub(super) struct WrittenVocab<'v>(&'v Vocab);

impl<'v> WrittenVocab<'v> {
    /// # Errors
    ///
    /// [`Error::SpecialToken`] if a special token is written like another token.
    pub(super) fn new(vocab: &'v Vocab) -> Result<Self> {
        for (text, id) in vocab.specials() {
            // Ordinary tokens are all written differently.
            let bytes = byte_alphabet::decode(text).ok();
            if let Some(other) = bytes.as_deref().and_then(|bytes| vocab.id(bytes)) {
                let token = vocab.token(other).unwrap_or_default();
                let (low, high) = (other.min(*id), other.max(*id));
                let reason = format!("ids {low} and {high} ({}) are written alike", show(token));
                return Err(Error::SpecialToken { token: text.clone(), reason });
            }
        }
        Ok(Self(vocab))
    }
}

impl Serialize for WrittenVocab<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let special_texts: HashMap<TokenId, &str> =
            self.0.specials().iter().map(|(text, id)| (*id, &text[..])).collect();
        let mut entries = serializer.serialize_map(Some(self.0.len()))?;
        let mut written = String::new();
        for (id, token) in self.0.tokens() {
            written.clear();
            match special_texts.get(&id) {
                Some(text) => written.push_str(text),
                None => byte_alphabet::encode_into(token, &mut written),
            }
            entries.serialize_entry(&written, &id)?;
        }
        entries.end()
    }
}

/// The merges of a vocabulary as pairs of tokens, as they are written.
pub(super) struct WrittenMerges<'v>(pub(super) &'v Vocab);

impl Serialize for WrittenMerges<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut merges = serializer.serialize_seq(None)?;
        let (mut first, mut second) = (String::new(), String::new());
        for (left, right) in self.0.merge_bytes() {
            first.clear();
            second.clear();
            byte_alphabet::encode_into(left, &mut first);
            byte_alphabet::encode_into(right, &mut second);
            merges.serialize_element(&[&first, &second])?;
        }
        merges.end()
    }
}
