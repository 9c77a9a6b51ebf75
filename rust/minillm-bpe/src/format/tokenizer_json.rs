//! Hugging Face's `tokenizer.json`, the native format: one file that holds all of a vocabulary.
//!
//! What is written loads in `tokenizers` and `transformers` and gives the same ids there. What
//! only this crate knows (the pattern's name, the Unicode version of its tables, that merges come
//! from ranks, how often each merge's pair occurred) stands in `model.minillm`, a place where other
//! readers look for nothing.
//!
//! Read are byte-level BPE files; `decoder`, `post_processor`, `padding` and `truncation` are
//! passed over, because they act before or after what an encoder does here.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::vocab_entries::{VocabEntries, WrittenMerges, WrittenVocab};
use super::{byte_alphabet, gpt2_files, pre_tokenizer_json as pre_tokenizer};
use crate::pretokenize::UNICODE_VERSION;
use crate::{Error, Result, TokenId, Vocab};

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    model: Model,
}

#[derive(Deserialize)]
struct AddedToken {
    id: TokenId,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    dropout: Option<f64>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    vocab: VocabEntries,
    merges: Vec<MergeEntry>,
    minillm: Option<Facts>,
}

/// What tells the kind of any file.
#[derive(Deserialize)]
struct Kind {
    model: ModelKind,
}

#[derive(Deserialize)]
struct ModelKind {
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// A merge is a pair of strings; before 2024, one string with a space.
#[derive(Deserialize)]
#[serde(untagged)]
enum MergeEntry {
    Pair(String, String),
    Line(String),
}

/// The whole file, in the order of Hugging Face's. Written without a tree of values in between,
/// which would take longer than all the rest of saving.
#[derive(Serialize)]
struct Written<'v> {
    version: &'static str,
    truncation: (),
    padding: (),
    added_tokens: Vec<Value>,
    normalizer: (),
    pre_tokenizer: Value,
    post_processor: (),
    decoder: Value,
    model: WrittenModel<'v>,
}

#[derive(Serialize)]
struct WrittenModel<'v> {
    #[serde(rename = "type")]
    kind: &'static str,
    dropout: (),
    unk_token: (),
    continuing_subword_prefix: (),
    end_of_word_suffix: (),
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    minillm: Facts,
    vocab: WrittenVocab<'v>,
    merges: WrittenMerges<'v>,
}

/// What only this crate writes and reads.
#[derive(Serialize, Deserialize)]
struct Facts {
    format_version: u32,
    unicode_version: String,
    pattern: Option<String>,
    ranked: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    merge_counts: Option<Vec<u64>>,
}

const FACTS_VERSION: u32 = 1;

/// The text of `tokenizer.json`; the same for equal vocabularies with equal counts, byte for byte.
///
/// # Errors
///
/// [`Error::SpecialToken`] if one is written like an ordinary token.
pub fn to_json(vocab: &Vocab) -> Result<String> {
    write(vocab, vocab.merge_counts())
}

fn write(vocab: &Vocab, merge_counts: Option<&[u64]>) -> Result<String> {
    let file = Written {
        version: "1.0",
        truncation: (),
        padding: (),
        added_tokens: vocab.specials().iter().map(added_token).collect(),
        normalizer: (),
        pre_tokenizer: pre_tokenizer::write(vocab.pattern()),
        post_processor: (),
        decoder: pre_tokenizer::byte_level(true),
        model: WrittenModel {
            kind: "BPE",
            dropout: (),
            unk_token: (),
            continuing_subword_prefix: (),
            end_of_word_suffix: (),
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: vocab.whole_pretoken_lookup(),
            minillm: Facts {
                format_version: FACTS_VERSION,
                unicode_version: UNICODE_VERSION.to_owned(),
                pattern: vocab.pattern().name().map(str::to_owned),
                ranked: vocab.is_ranked(),
                merge_counts: merge_counts.map(<[u64]>::to_vec),
            },
            vocab: WrittenVocab::new(vocab)?,
            merges: WrittenMerges(vocab),
        },
    };
    let text = serde_json::to_string_pretty(&file)
        .map_err(|error| Error::Format { field: "model".to_owned(), reason: error.to_string() })?;
    Ok(text + "\n")
}

/// SHA-256 of [`to_json`] without the counts of the merges, in hexadecimal: what token files name
/// their tokenizer by. Equal vocabularies have equal sums, whatever corpus they were counted in.
///
/// # Errors
///
/// As [`to_json`].
pub fn sha256(vocab: &Vocab) -> Result<String> {
    if let Some(known) = vocab.sha256.get() {
        return Ok(known.clone());
    }
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(write(vocab, None)?) {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(vocab.sha256.get_or_init(|| hex).clone())
}

fn added_token((content, id): &(String, TokenId)) -> Value {
    json!({
        "id": id,
        "content": content,
        "single_word": false,
        "lstrip": false,
        "rstrip": false,
        "normalized": false,
        "special": true,
    })
}

/// What to do with a file that changes text before it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalizer {
    /// Refuse it: ids would differ.
    Refuse,
    /// Leave the change to the caller, or to text that needs none. (Qwen's is NFC, the form that
    /// nearly all text has.)
    Skip,
}

/// Reads a vocabulary; one that [`to_json`] wrote comes back equal. Linear in the text.
///
/// Every added token becomes a special token, whether the file calls it special or not: either
/// way it is never split and never comes from merges. One that `model.vocab` has too must have the
/// same id there: Hugging Face takes that one in silence, and the file would not say what it means.
///
/// # Errors
///
/// [`Error::Format`] names the field that is damaged, contradicts another, or demands what would
/// change ids and is not done here; otherwise as [`Vocab::new`].
pub fn from_json(text: &str) -> Result<Vocab> {
    read(text, Normalizer::Refuse)
}

/// As [`from_json`], but the caller decides what becomes of a normalizer.
///
/// # Errors
///
/// As [`from_json`].
pub fn read(text: &str, normalizer: Normalizer) -> Result<Vocab> {
    let mut file: File = serde_json::from_str(text).map_err(|error| unreadable(text, &error))?;
    if normalizer == Normalizer::Skip {
        file.normalizer = Value::Null;
    }
    refuse_unsupported(&file)?;
    let pattern = pre_tokenizer::read(&file.pre_tokenizer)?;
    let Model { vocab: entries, merges, ignore_merges, minillm: facts, .. } = file.model;

    let specials: HashMap<&str, Option<TokenId>> =
        file.added_tokens.iter().map(|token| (&token.content[..], Some(token.id))).collect();
    let tokens = entries.into_tokens(&specials, "model.vocab")?;
    let specials = file.added_tokens.into_iter().map(|token| (token.content, token.id));
    let merges = merges.into_iter().enumerate().map(|(index, entry)| {
        read_merge(&entry).ok_or_else(|| {
            let reason = "is not two tokens in the byte alphabet";
            bad(format!("model.merges[{index}]"), reason)
        })
    });
    let merges = merges.collect::<Result<Vec<_>>>()?;
    if facts.as_ref().is_some_and(|facts| facts.ranked) {
        let ranks = tokens.into_iter().map(|(id, token)| (token, id)).collect();
        let vocab = Vocab::from_ranks(ranks, specials.collect(), pattern)?;
        let implied = vocab.merge_bytes();
        if !implied.eq(merges.iter().map(|(left, right)| (&left[..], &right[..]))) {
            return Err(bad("model.merges", "are not those that the ids, as ranks, lead to"));
        }
        return Ok(vocab.with_whole_pretoken_lookup(ignore_merges));
    }
    let specials = specials.map(|(content, id)| (content, Some(id))).collect();
    let vocab = Vocab::new(tokens, merges, specials, pattern)?;
    let vocab = vocab.with_whole_pretoken_lookup(ignore_merges);
    match facts.and_then(|facts| facts.merge_counts) {
        None => Ok(vocab),
        Some(counts) => vocab.with_merge_counts(counts).map_err(|error| match error {
            Error::Format { field, reason } => bad(format!("model.minillm.{field}"), reason),
            other => other,
        }),
    }
}

/// Other kinds of models have other fields: the kind is the cause then, and not what it lacks.
fn unreadable(text: &str, error: &serde_json::Error) -> Error {
    let kind = serde_json::from_str(text).ok().and_then(|kind: Kind| kind.model.kind);
    match kind {
        Some(kind) if kind != "BPE" => bad("model.type", "is not `BPE`"),
        _ => bad("tokenizer.json", error.to_string()),
    }
}

fn read_merge(entry: &MergeEntry) -> Option<(Vec<u8>, Vec<u8>)> {
    match entry {
        MergeEntry::Pair(left, right) => {
            Some((byte_alphabet::decode(left).ok()?, byte_alphabet::decode(right).ok()?))
        }
        MergeEntry::Line(line) => gpt2_files::parse_merge(line),
    }
}

fn refuse_unsupported(file: &File) -> Result<()> {
    let model = &file.model;
    let is_set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let is_empty_sequence = file.normalizer["normalizers"].as_array().is_some_and(Vec::is_empty);
    let newer = model.minillm.as_ref().is_some_and(|facts| facts.format_version != FACTS_VERSION);
    let causes = [
        (model.kind.as_deref().is_some_and(|kind| kind != "BPE"), "model.type", "is not `BPE`"),
        (newer, "model.minillm.format_version", "is not 1, the only one known"),
        (model.dropout.is_some_and(|p| p != 0.0), "model.dropout", "would make encoding random"),
        (is_set(&model.continuing_subword_prefix), "model.continuing_subword_prefix", "is set"),
        (is_set(&model.end_of_word_suffix), "model.end_of_word_suffix", "is set"),
        (
            model.byte_fallback,
            "model.byte_fallback",
            "is set: only byte-level vocabularies are read",
        ),
        (
            !file.normalizer.is_null() && !is_empty_sequence,
            "normalizer",
            "would change the text, and is not done here",
        ),
    ];
    if let Some((_, field, reason)) = causes.into_iter().find(|&(is_cause, ..)| is_cause) {
        return Err(bad(field, reason));
    }
    for (index, token) in file.added_tokens.iter().enumerate() {
        let flags = [
            (token.single_word, "single_word"),
            (token.lstrip, "lstrip"),
            (token.rstrip, "rstrip"),
        ];
        if let Some((_, flag)) = flags.into_iter().find(|&(is_set, _)| is_set) {
            let reason = format!("is set for {:?}, and is not supported", token.content);
            return Err(bad(format!("added_tokens[{index}].{flag}"), reason));
        }
    }
    Ok(())
}

fn bad(field: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::Format { field: field.into(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pretokenize::{NamedPattern, Pattern};

    fn vocab(pattern: Pattern) -> Vocab {
        let tokens = [(0, &b"a"[..]), (1, b" "), (4, b" a"), (5, b"\xff"), (6, b" a\xff")];
        let tokens = tokens.map(|(id, token)| (id, token.to_vec())).to_vec();
        let merges = vec![(b" ".to_vec(), b"a".to_vec()), (b" a".to_vec(), b"\xff".to_vec())];
        let specials = vec![("<|endoftext|>".to_owned(), None), ("<a b>".to_owned(), Some(90))];
        Vocab::new(tokens, merges, specials, pattern).unwrap()
    }

    fn gpt2() -> Pattern {
        Pattern::Named(NamedPattern::Gpt2)
    }

    /// The file of a small vocabulary with one change.
    fn changed(change: impl Fn(&mut Value)) -> Result<Vocab> {
        let mut file: Value = serde_json::from_str(&to_json(&vocab(gpt2())).unwrap()).unwrap();
        change(&mut file);
        from_json(&file.to_string())
    }

    #[test]
    fn what_is_written_reads_back_equal() {
        let regex = Pattern::Regex(r"[a-z]+|\s".to_owned());
        let named = NamedPattern::ALL.map(Pattern::Named);
        for pattern in named.into_iter().chain([regex, Pattern::None]) {
            for whole in [false, true] {
                let vocab = vocab(pattern.clone()).with_whole_pretoken_lookup(whole);
                let text = to_json(&vocab).unwrap();
                assert_eq!(from_json(&text).unwrap(), vocab);
                assert_eq!(to_json(&from_json(&text).unwrap()).unwrap(), text);
            }
        }
    }

    #[test]
    fn counts_of_merges_are_written_and_not_summed() {
        let counted = vocab(gpt2()).with_merge_counts(vec![u64::MAX, 3]).unwrap();
        let read = from_json(&to_json(&counted).unwrap()).unwrap();
        assert_eq!(read.merge_counts(), Some(&[u64::MAX, 3][..]));
        assert_eq!(sha256(&counted).unwrap(), sha256(&vocab(gpt2())).unwrap());
    }

    #[test]
    fn ranked_vocabulary_reads_back_ranked() {
        let tokens = ["a", "b", "ab", "ba", "aba", "zzz"];
        let ranks = tokens.iter().zip(3..).map(|(token, id)| (token.as_bytes().to_vec(), id));
        let specials = vec![("<|endoftext|>".to_owned(), 100)];
        let vocab = Vocab::from_ranks(ranks.collect(), specials, gpt2()).unwrap();
        let text = to_json(&vocab).unwrap();
        assert_eq!(from_json(&text).unwrap(), vocab);
        let mut file: Value = serde_json::from_str(&text).unwrap();
        file["model"]["merges"] = json!([["a", "b"]]);
        let message = from_json(&file.to_string()).unwrap_err().to_string();
        assert_eq!(message, "model.merges: are not those that the ids, as ranks, lead to");
    }

    #[test]
    fn merges_may_be_lines() {
        let read =
            changed(|file| file["model"]["merges"] = json!(["\u{120} a", "\u{120}a \u{ff}"]));
        assert_eq!(read.unwrap(), vocab(gpt2()));
    }

    #[test]
    fn what_lies_is_refused_by_name() {
        type Change = fn(&mut Value);
        let cases: &[(Change, &str)] = &[
            (|file| file["model"]["merges"] = json!([["a", "x"]]), "b\"x\" is not a token"),
            (|file| file["model"]["merges"] = json!([["a", "a"]]), "b\"aa\" is not a token"),
            (|file| file["model"]["merges"] = json!([["", "a"]]), "b\"\" is not a token"),
            (|file| file["model"]["merges"] = json!([["a", "b", "c"]]), "tokenizer.json: "),
            (|file| file["model"]["merges"] = json!(["a"]), "model.merges[0]: is not two tokens"),
            (
                |file| file["model"]["vocab"]["q"] = json!(4),
                "id 4 stands for both b\" a\" and b\"q\"",
            ),
            (|file| file["model"]["vocab"][""] = json!(50), "token 50 is empty"),
            (|file| file["model"]["vocab"]["q"] = json!(-4), "tokenizer.json: invalid value"),
            (
                |file| file["model"]["vocab"]["q r"] = json!(70),
                "model.vocab: token \"q r\" (id 70)",
            ),
            (|file| file["model"]["vocab"]["q"] = json!(u32::MAX), "id 4294967295 is too large"),
            (
                |file| file["added_tokens"][0]["id"] = json!(95),
                "model.vocab: token \"<a b>\" has id 90 here, but 95 as a special token",
            ),
            (
                |file| file["added_tokens"][1] = json!({ "id": 4, "content": "<new>" }),
                "id 4 already stands for b\" a\"",
            ),
            (
                |file| file["added_tokens"][0]["lstrip"] = json!(true),
                "added_tokens[0].lstrip: is set",
            ),
            (|file| file["added_tokens"][1]["content"] = json!(""), "special token \"\": is empty"),
            (|file| file["model"]["type"] = json!("Unigram"), "model.type: is not `BPE`"),
            (
                |file| file["model"] = json!({"type": "Unigram", "vocab": [["a", 0.5]]}),
                "model.type: is not `BPE`",
            ),
            (|file| file["model"]["byte_fallback"] = json!(true), "model.byte_fallback: is set"),
            (|file| file["model"]["dropout"] = json!(0.1), "model.dropout: would make"),
            (
                |file| file["model"]["end_of_word_suffix"] = json!("</w>"),
                "end_of_word_suffix: is set",
            ),
            (|file| file["normalizer"] = json!({"type": "NFC"}), "normalizer: would change"),
            (|file| file["pre_tokenizer"] = json!(null), "pre_tokenizer: "),
            (
                |file| file["model"]["minillm"]["format_version"] = json!(2),
                "format_version: is not 1",
            ),
            (
                |file| file["model"]["minillm"]["merge_counts"] = json!([1, 2, 3]),
                "model.minillm.merge_counts: has 3 counts for 2 merges",
            ),
            (
                |file| file["model"]["minillm"]["merge_counts"] = json!([-1, 2]),
                "tokenizer.json: invalid value",
            ),
            (|file| *file = json!({}), "tokenizer.json: missing field `model`"),
            (|file| *file = json!([]), "tokenizer.json: "),
        ];
        for (change, expected) in cases {
            let message = changed(change).unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} should contain {expected:?}");
        }
    }

    #[test]
    fn normalizer_is_skipped_on_request() {
        let text = to_json(&vocab(gpt2())).unwrap();
        let text = text.replace("\"normalizer\": null", "\"normalizer\": {\"type\": \"NFC\"}");
        assert!(from_json(&text).is_err());
        assert_eq!(super::read(&text, Normalizer::Skip).unwrap(), vocab(gpt2()));
    }

    #[test]
    fn token_listed_twice_is_refused() {
        let text = to_json(&vocab(gpt2())).unwrap().replace("\"a\": 0,", "\"a\": 0, \"a\": 7,");
        let message = from_json(&text).unwrap_err().to_string();
        assert_eq!(message, "vocabulary: token b\"a\" has two ids, 0 and 7");
    }

    #[test]
    fn equal_vocabularies_have_equal_sums() {
        let sum = sha256(&vocab(gpt2())).unwrap();
        assert_eq!(sum.len(), 64);
        assert_eq!(sum, sha256(&vocab(gpt2()).clone()).unwrap());
        assert_ne!(sum, sha256(&vocab(Pattern::None)).unwrap());
    }

    proptest! {
        #[test]
        fn prop_damaged_files_never_panic(cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut text = to_json(&vocab(gpt2())).unwrap().into_bytes();
            // Without the newline at its end, the text is still whole.
            let at = cut.index(text.len() - 1);
            text[at] = byte;
            let _ = from_json(&String::from_utf8_lossy(&text));
            text.truncate(at);
            prop_assert!(from_json(&String::from_utf8_lossy(&text)).is_err());
        }
    }
}
