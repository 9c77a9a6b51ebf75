//! The object `{"token": id, ...}` that GPT-2's `vocab.json` and Hugging Face's `model.vocab` are.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

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
    pub(super) fn into_tokens(
        self,
        specials: &HashSet<&str>,
        field: &str,
    ) -> Result<Vec<(TokenId, Vec<u8>)>> {
        let tokens = self.0.into_iter().map(|(text, id)| {
            if specials.contains(&text[..]) {
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

/// All tokens of `vocab` by ascending id, as they are written.
///
/// # Errors
///
/// [`Error::SpecialToken`] if two tokens are written alike.
pub(super) fn write(vocab: &Vocab) -> Result<Map<String, Value>> {
    let special_texts: HashMap<TokenId, &str> =
        vocab.specials().iter().map(|(text, id)| (*id, &text[..])).collect();
    let mut entries = Map::with_capacity(vocab.len());
    for (id, token) in vocab.tokens() {
        let special = special_texts.get(&id);
        let text = special.map_or_else(|| byte_alphabet::encode(token), |&text| text.to_owned());
        if let Some(other) = entries.insert(text.clone(), Value::from(id)) {
            let reason = format!("ids {other} and {id} ({}) are written alike", show(token));
            return Err(Error::SpecialToken { token: text, reason });
        }
    }
    Ok(entries)
}
