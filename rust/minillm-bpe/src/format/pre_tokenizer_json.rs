//! The pattern of a vocabulary as `pre_tokenizer` of a `tokenizer.json`.
//!
//! There, a `ByteLevel` step turns bytes into characters, and may cut by GPT-2's pattern before
//! (`use_regex`). Any other pattern is a `Split` step in front of it. A step for `Digits` and then
//! GPT-2's pattern, as in `SmolLM2` and `StarCoder`, is read as one pattern that cuts alike.

use serde_json::{Value, json};

use crate::pretokenize::{NamedPattern, Pattern};
use crate::{Error, Result};

/// GPT-2's pattern inside of what lies between digits, each of which stands alone: white space
/// before a digit ends its piece, and is therefore not divided.
const DIGITS_APART: &str =
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|(?>\s+)(?=\p{N})|\s+(?!\S)|\s+";

/// A `ByteLevel` object.
pub(super) fn byte_level(use_regex: bool) -> Value {
    json!({
        "type": "ByteLevel",
        "add_prefix_space": false,
        "trim_offsets": true,
        "use_regex": use_regex,
    })
}

/// The `pre_tokenizer` that cuts by `pattern`.
pub(super) fn write(pattern: &Pattern) -> Value {
    let split = match pattern {
        Pattern::Named(NamedPattern::Gpt2) => return byte_level(true),
        Pattern::None => return byte_level(false),
        Pattern::Named(named) => named.regex(),
        Pattern::Regex(regex) => regex,
    };
    let split = json!({
        "type": "Split",
        "pattern": { "Regex": split },
        "behavior": "Isolated",
        "invert": false,
    });
    json!({ "type": "Sequence", "pretokenizers": [split, byte_level(false)] })
}

/// The pattern that a `pre_tokenizer` cuts by.
///
/// # Errors
///
/// [`Error::Format`] if it is not one of the shapes that [`write`] has.
pub(super) fn read(value: &Value) -> Result<Pattern> {
    let steps = match value["pretokenizers"].as_array() {
        Some(steps) if value["type"] == "Sequence" => &steps[..],
        _ => std::slice::from_ref(value),
    };
    let kinds: Vec<&str> = steps.iter().filter_map(|step| step["type"].as_str()).collect();
    match (&kinds[..], steps) {
        (["ByteLevel"], [bytes]) if uses_regex(bytes)? => Ok(Pattern::Named(NamedPattern::Gpt2)),
        (["ByteLevel"], [_]) => Ok(Pattern::None),
        (["Split", "ByteLevel"], [split, bytes]) if !uses_regex(bytes)? => read_split(split),
        (["Split", "ByteLevel"], _) => refuse("`use_regex` is set behind a `Split`"),
        (["Digits", "ByteLevel"], [digits, bytes])
            if digits["individual_digits"] == true && uses_regex(bytes)? =>
        {
            Ok(Pattern::Regex(DIGITS_APART.to_owned()))
        }
        ([], _) => refuse("is absent, but only byte-level vocabularies are read"),
        (kinds, _) => refuse(&format!(
            "`{}` is not supported, only `ByteLevel` with or without a `Split` before it",
            kinds.join("`, `")
        )),
    }
}

/// Both flags of `ByteLevel` are true where they are absent.
fn uses_regex(byte_level: &Value) -> Result<bool> {
    match byte_level["add_prefix_space"].as_bool() {
        Some(false) => Ok(byte_level["use_regex"].as_bool().unwrap_or(true)),
        _ => refuse("`add_prefix_space` is set, and would change the text"),
    }
}

fn read_split(split: &Value) -> Result<Pattern> {
    let Some(regex) = split["pattern"]["Regex"].as_str() else {
        return refuse("the pattern of `Split` is not a `Regex`");
    };
    // A bare word is no name here.
    let pattern = Pattern::parse(regex).ok().filter(|pattern| pattern.name() != Some(regex));
    let pattern = pattern.unwrap_or_else(|| Pattern::Regex(regex.to_owned()));
    match (split["behavior"].as_str(), split["invert"].as_bool().unwrap_or(false)) {
        (Some("Isolated"), _) => Ok(pattern),
        // Keeps the matches and drops what lies between them: the published patterns leave nothing
        // between them.
        (Some("Removed"), true) if pattern.name().is_some() => Ok(pattern),
        (behavior, _) => refuse(&format!(
            "the behavior of `Split` is `{}`, and only `Isolated` is supported",
            behavior.unwrap_or("absent")
        )),
    }
}

fn refuse<T>(reason: &str) -> Result<T> {
    Err(Error::Format { field: "pre_tokenizer".to_owned(), reason: reason.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_shapes_are_read() {
        let gpt4 = json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": NamedPattern::Cl100k.regex()},
             "behavior": "Removed", "invert": true},
            {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
        ]});
        assert_eq!(read(&gpt4).unwrap(), Pattern::Named(NamedPattern::Cl100k));
        let gpt2 = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true});
        assert_eq!(read(&gpt2).unwrap(), Pattern::Named(NamedPattern::Gpt2));
        let smol = json!({"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": true}, byte_level(true),
        ]});
        assert_eq!(read(&smol).unwrap(), Pattern::Regex(DIGITS_APART.to_owned()));
        let alone = json!({"type": "Sequence", "pretokenizers": [byte_level(false)]});
        assert_eq!(read(&alone).unwrap(), Pattern::None);
    }

    #[test]
    fn other_shapes_are_refused_by_name() {
        let sequence = |steps: &[Value]| json!({"type": "Sequence", "pretokenizers": steps});
        let split = |behavior: &str| json!({"type": "Split", "pattern": {"Regex": "a"}, "behavior": behavior});
        let cases = [
            (json!(null), "is absent"),
            (json!({"type": "Metaspace"}), "`Metaspace` is not supported"),
            (
                sequence(&[json!({"type": "Digits"}), byte_level(true)]),
                "`Digits`, `ByteLevel` is not",
            ),
            (
                sequence(&[
                    json!({"type": "Digits", "individual_digits": true}),
                    byte_level(false),
                ]),
                "`Digits`, `ByteLevel` is not",
            ),
            (json!({"type": "ByteLevel"}), "`add_prefix_space` is set"),
            (sequence(&[split("Isolated"), byte_level(true)]), "`use_regex` is set behind"),
            (sequence(&[split("Removed"), byte_level(false)]), "behavior of `Split` is `Removed`"),
            (
                sequence(&[
                    json!({"type": "Split", "pattern": {"String": "a"}}),
                    byte_level(false),
                ]),
                "is not a `Regex`",
            ),
        ];
        for (value, expected) in cases {
            let message = read(&value).unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} should contain {expected:?}");
        }
    }
}
