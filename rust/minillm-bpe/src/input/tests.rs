use std::io::{self, Write};

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    Result,
    corpus::CorpusReader,
    pretokenize::{NamedPattern, Pattern, PreTokenizer},
    special::SpecialTokens,
};

const EOT: &str = "<|endoftext|>";

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A frame that holds no text.
fn skippable(bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).unwrap();
    [&[0x53, 0x2a, 0x4d, 0x18], &len.to_le_bytes()[..], bytes].concat()
}

fn words(n: usize) -> String {
    let words: Vec<String> = (0..n).map(|i| (i * 7919 % 10_007).to_string()).collect();
    words.join(" ")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// What a file of that name and content yields: each text of each block.
fn read(name: &str, bytes: &[u8], block_bytes: usize, field: &str) -> Result<Vec<Vec<u8>>> {
    let folder = folder();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let mut reader = CorpusReader::new(
        vec![source(path, &Field::new(field))],
        block_bytes,
        SpecialTokens::new(&[EOT.to_owned()]).unwrap(),
        PreTokenizer::new(&Pattern::Named(NamedPattern::Gpt2)).unwrap(),
    );
    let mut texts = Vec::new();
    while let Some(block) = reader.next_block()? {
        texts.extend(block.texts().map(<[u8]>::to_vec));
    }
    Ok(texts)
}

/// The message, without the folder.
fn refusal(name: &str, bytes: &[u8]) -> String {
    let message = read(name, bytes, 1 << 16, "text").unwrap_err().to_string();
    message[message.find(name).unwrap()..].to_owned()
}

fn text(name: &str, bytes: &[u8]) -> Vec<u8> {
    read(name, bytes, 1 << 16, "text").unwrap().concat()
}

#[test]
fn the_suffix_says_what_a_file_is() {
    assert_eq!(text("a.txt", b"abc"), b"abc");
    assert_eq!(text("a.GZ", &gzip(b"abc")), b"abc");
    assert_eq!(text("a.txt.zst", &zstd(b"abc")), b"abc");
    let line = br#"{"text": "abc"}"#;
    assert_eq!(text("a.jsonl", line), b"abc");
    assert_eq!(text("a.NDJSON", line), b"abc");
    assert_eq!(text("a.jsonl.gz", &gzip(line)), b"abc");
    assert_eq!(text("a.ndjson.zst", &zstd(line)), b"abc");
    assert_eq!(text("jsonl", line), line);
}

#[test]
fn all_members_and_frames_are_read() {
    assert_eq!(text("a.gz", &[gzip(b"ab"), gzip(b""), gzip(b"c")].concat()), b"abc");
    let frames = [skippable(b"xyz"), zstd(b"ab"), skippable(b""), zstd(b"c")].concat();
    assert_eq!(text("a.zst", &frames), b"abc");
}

#[test]
fn what_is_not_packed_is_told() {
    let expected = "a.txt.gz: not gzip, whatever its suffix says: it begins with 70 6c 61 69; \
                    rename it without .gz if it is not packed";
    assert_eq!(refusal("a.txt.gz", b"plain text"), expected);
    assert!(refusal("a.zst", &gzip(b"x")).starts_with("a.zst: not zstd, whatever its suffix says"));
    assert_eq!(refusal("a.gz", b""), "a.gz: the file is empty, expected gzip data");
}

#[test]
fn a_packed_file_cut_short_anywhere_is_an_error() {
    let long = words(2000);
    for (name, packed) in [("a.gz", gzip(long.as_bytes())), ("a.zst", zstd(long.as_bytes()))] {
        for len in (1..packed.len()).step_by(97).chain([packed.len() - 1]) {
            let message = refusal(name, &packed[..len]);
            let is_named = ["cut short", "not gzip", "not zstd"].map(|part| message.contains(part));
            assert!(is_named.contains(&true), "{name} of {len} bytes: {message}");
        }
    }
    let packed = gzip(b"abc");
    let message = refusal("a.gz", &packed[..packed.len() - 1]);
    let expected = "after 3 bytes of text: it ends in the middle, as if cut short";
    assert!(message.ends_with(expected), "{message}");
}

#[test]
fn a_flipped_bit_is_an_error_or_changes_nothing() {
    let text = words(500);
    for (name, packed) in [("a.gz", gzip(text.as_bytes())), ("a.zst", zstd(text.as_bytes()))] {
        for at in (0..packed.len()).step_by(7) {
            let mut damaged = packed.clone();
            damaged[at] ^= 1 << (at % 8);
            match read(name, &damaged, 1 << 16, "text") {
                // gzip's header holds a time and flags that say nothing of the text.
                Ok(texts) => assert!(texts.concat() == text.as_bytes() && at < 10, "{name} {at}"),
                Err(error) => assert!(error.to_string().contains(name)),
            }
        }
    }
    assert!(
        refusal("a.gz", &[gzip(b"abc"), b"more than a header".to_vec()].concat())
            .contains("damaged")
    );
}

#[test]
fn a_window_above_128_mib_is_refused() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(28).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(b"abc").unwrap();
    let packed = encoder.finish().unwrap();
    assert!(refusal("a.zst", &packed).contains("window of more than 128 MiB"));
}

#[test]
fn a_bomb_is_refused() {
    let zeros = vec![b' '; 4 << 20];
    for (name, packed) in [("a.gz", gzip(&zeros)), ("a.zst", zstd(&zeros))] {
        let folder = folder();
        let path = folder.path().join(name);
        std::fs::write(&path, packed).unwrap();
        let refused = io::copy(&mut open(&path).unwrap(), &mut io::sink());
        // gzip cannot do so well.
        match name {
            "a.gz" => assert!(refused.is_ok()),
            _ => assert!(refused.unwrap_err().to_string().contains("more than 1000 each")),
        }
    }
}

#[test]
fn lines_become_documents() {
    let lines = "\u{feff}{\"text\": \"a\\nb\"}\r\n\n  \r\n{\"n\": [1, {}], \"text\": \"\"}\n{\"text\":\"\u{e9}\\u00e9\\ud83d\\ude00\"}";
    let found = read("a.jsonl", lines.as_bytes(), 1 << 16, "text").unwrap();
    assert_eq!(found, [&b"a\nb"[..], b"", "\u{e9}\u{e9}\u{1f600}".as_bytes()]);
    for empty in ["", "\n", "\u{feff}", "\n\r\n  "] {
        assert!(read("a.jsonl", empty.as_bytes(), 16, "text").unwrap().is_empty());
    }
}

#[test]
fn a_dot_leads_into_an_object() {
    let line = br#"{"text": 1, "meta": {"id": 3, "text": "inner"}}"#;
    assert_eq!(read("a.jsonl", line, 16, "meta.text").unwrap(), [b"inner"]);
}

#[test]
fn a_line_without_a_document_is_told_and_numbered() {
    let refusal = |line: &str| {
        let lines = format!("{{\"text\": \"fine\"}}\n\n{line}\n{{}}");
        let message = refusal("a.jsonl", lines.as_bytes());
        message.strip_prefix("a.jsonl, line 3: ").unwrap().to_owned()
    };
    assert_eq!(refusal("so"), "not JSON: expected value at column 1");
    assert_eq!(refusal(r#"{"text": "a""#), "not JSON: EOF while parsing an object at column 12");
    assert_eq!(refusal(r#"{"text": "a"} x"#), "not JSON: trailing characters at column 15");
    assert_eq!(
        refusal(r#"{"title": "", "body": ""}"#),
        "has no field `text`; it has `title`, `body`"
    );
    assert_eq!(refusal("{}"), "has no field `text`");
    for (value, kind) in [
        ("1", "a number"),
        ("-1", "a number"),
        ("0.5", "a number"),
        ("null", "null"),
        ("true", "true or false"),
        ("[[1]]", "an array"),
        ("{\"a\": {}}", "an object"),
    ] {
        let expected = format!("field `text` is {kind}, expected a string");
        assert_eq!(refusal(&format!("{{\"text\": {value}}}")), expected);
    }
    assert_eq!(refusal("[1]"), "the line is an array, expected an object");
    for escape in [r"\ud83d", r"\ude00", r"\ud83d\u0041", r"\ud83d\ud83d"] {
        let message = refusal(&format!("{{\"text\": \"{escape}\"}}"));
        assert!(message.contains("is a lone surrogate"), "{escape}: {message}");
    }
    let many: Vec<String> = (0..20).map(|i| format!("\"{i}\": 0")).collect();
    assert!(refusal(&format!("{{{}}}", many.join(", "))).ends_with("`6`, `7`, ..."));
}

#[test]
fn inner_fields_are_refused_by_their_whole_names() {
    let refusal = |line: &[u8]| read("a.jsonl", line, 16, "a.b").unwrap_err().to_string();
    assert!(refusal(br#"{"a": 1}"#).ends_with("field `a` is a number, expected an object"));
    assert!(refusal(br#"{"a": {"c": 1}}"#).ends_with("has no field `a.b`; it has `a.c`"));
    assert!(refusal(br#"{"c": 1}"#).ends_with("has no field `a.b`; it has `c`"));
}

#[test]
fn text_that_is_not_utf_8_is_not_json() {
    assert!(
        refusal("a.jsonl", b"{\"text\": \"\xff\"}").contains("line 1: not JSON: invalid unicode")
    );
}

#[test]
fn a_line_that_is_too_long_is_not_held() {
    let folder = folder();
    let path = folder.path().join("a.jsonl");
    std::fs::write(&path, format!("{{\"text\": \"{}\"}}", "x".repeat(1000))).unwrap();
    let mut lines = JsonLines::new(path, Field::new("text")).limited(100);
    let error = lines.next().unwrap().unwrap_err();
    assert!(error.to_string().ends_with("a.jsonl, line 1: has more than 100 bytes"));
}

#[test]
fn deep_nesting_is_no_trouble() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let lines = format!("{{\"n\": {deep}, \"text\": \"a\"}}");
    assert_eq!(read("a.jsonl", lines.as_bytes(), 16, "text").unwrap(), [b"a"]);
}

#[test]
fn a_missing_file_is_named() {
    for name in ["no.jsonl", "no.txt.gz", "no.jsonl.zst"] {
        let sources = vec![source(name.into(), &Field::new("text"))];
        let specials = SpecialTokens::new(&[]).unwrap();
        let pre_tokenizer = PreTokenizer::new(&Pattern::None).unwrap();
        let mut reader = CorpusReader::new(sources, 16, specials, pre_tokenizer);
        assert!(reader.next_block().unwrap_err().to_string().starts_with(&format!("{name}: ")));
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let key = prop_oneof![Just("text".to_owned()), Just("a".to_owned()), any::<String>()];
    leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// The slow twin: builds all of the value.
fn find_in_value(line: &[u8], path: &[&str]) -> Option<String> {
    let mut value = &serde_json::from_slice::<Value>(line).ok()?;
    for key in path {
        value = value.as_object()?.get(*key)?;
    }
    value.as_str().map(str::to_owned)
}

proptest! {
    #[test]
    fn prop_a_field_is_what_the_whole_value_has(
        value in any_json(),
        text in any_json(),
        path in prop_oneof![Just(vec!["text"]), Just(vec!["a", "text"])],
    ) {
        // Mostly with the field, and sometimes twice.
        let wrapped = json!({ "x": value.clone(), "a": value.clone(), "text": text }).to_string();
        let twice = wrapped.replacen("\"x\":", "\"text\":", 1);
        let nested = json!({ "a": { "text": value.clone(), "b": 1 }, "text": 0 }).to_string();
        for line in [value.to_string(), wrapped, twice, nested] {
            let mut found = Vec::new();
            let result = Field::new(&path.join(".")).find(line.as_bytes(), &mut found);
            let found = result.ok().map(|()| String::from_utf8(found).unwrap());
            prop_assert_eq!(found, find_in_value(line.as_bytes(), &path), "{}", line);
        }
    }

    #[test]
    fn prop_broken_lines_are_refused_as_the_whole_value_is(
        value in any_json(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        // Of other fields, what is not Unicode is passed over; there is no other field here.
        let text = value.as_str().unwrap_or("abc");
        let mut line = json!({ "text": text }).to_string().into_bytes();
        let at = at.index(line.len());
        line[at] = byte;
        let mut found = Vec::new();
        let result = Field::new("text").find(&line, &mut found);
        let found = result.ok().map(|()| String::from_utf8(found).unwrap());
        prop_assert_eq!(found, find_in_value(&line, &["text"]));
    }

    #[test]
    fn prop_packed_text_comes_back_in_blocks_of_any_size(
        parts in prop::collection::vec("(ab? |[\\n ]{1,3}|<\\|endoftext\\|>|\u{e9}){0,40}", 1..4),
        block_bytes in 1_usize..64,
    ) {
        let whole = parts.concat();
        let plain = read("a.txt", whole.as_bytes(), block_bytes, "").unwrap();
        let members: Vec<u8> = parts.iter().flat_map(|part| gzip(part.as_bytes())).collect();
        prop_assert_eq!(&read("a.gz", &members, block_bytes, "").unwrap(), &plain);
        let frames: Vec<u8> = parts
            .iter()
            .flat_map(|part| [zstd(part.as_bytes()), skippable(part.as_bytes())].concat())
            .collect();
        prop_assert_eq!(&read("a.zst", &frames, block_bytes, "").unwrap(), &plain);
    }
}
