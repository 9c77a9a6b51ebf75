mod resume;

use std::fs;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::pretokenize::{NamedPattern, Pattern};
use crate::progress::Stop;
use crate::shard::{Eot, ShardReader};
use crate::{Decoder, END_OF_TEXT, Vocab};

const EOT: TokenId = 300;

fn encoder_of(eot: TokenId) -> Encoder {
    let mut tokens: Vec<(TokenId, Vec<u8>)> =
        (0..=255_u8).map(|byte| (TokenId::from(byte), vec![byte])).collect();
    tokens.extend([(256, b"ab".to_vec()), (257, b" ab".to_vec())]);
    let pair = |left: &[u8], right: &[u8]| (left.to_vec(), right.to_vec());
    let merges = vec![pair(b"a", b"b"), pair(b" ", b"ab")];
    let specials = vec![(END_OF_TEXT.to_owned(), Some(eot)), ("<a b>".to_owned(), Some(301))];
    let pattern = Pattern::Named(NamedPattern::Gpt2);
    Encoder::new(Arc::new(Vocab::new(tokens, merges, specials, pattern).unwrap())).unwrap()
}

fn encoder() -> Encoder {
    encoder_of(EOT)
}

fn reader(text: &[u8]) -> Source {
    Source::Reader("text".to_owned(), Box::new(Cursor::new(text.to_vec())))
}

fn options(folder: &TempDir, val_fraction: f64, threads: usize) -> EncodeOptions {
    EncodeOptions {
        out: folder.path().join("train.bin"),
        val_out: (val_fraction > 0.0).then(|| folder.path().join("val.bin")),
        val_fraction,
        dtype: None,
        threads,
        eot: Eot::Append,
        separator: END_OF_TEXT.to_owned(),
        field: None,
        allowed: AllowedSpecial::None,
        sync_every: u64::MAX,
        resume: false,
        part: None,
    }
}

fn run(sources: Vec<Source>, options: &EncodeOptions) -> Result<EncodeReport> {
    encode_files(sources, &encoder(), options, &Progress::default())
}

fn ids(path: &Path) -> Vec<TokenId> {
    let mut shard = ShardReader::open(path).unwrap();
    shard.verify(&Progress::default()).unwrap();
    let mut ids = Vec::new();
    shard.read(0, usize::MAX, &mut ids).unwrap();
    ids
}

/// The documents that a shard holds, as text.
fn documents(path: &Path) -> Vec<Vec<u8>> {
    let decoder = Decoder::new(encoder().vocab());
    let ids = ids(path);
    let starts = ShardReader::open(path).unwrap().document_starts().unwrap();
    let mut starts: Vec<usize> = starts.iter().map(|&s| usize::try_from(s).unwrap()).collect();
    starts.push(ids.len());
    let document = |range: &[usize]| {
        let (last, ids) = ids[range[0]..range[1]].split_last().unwrap();
        assert_eq!(*last, EOT);
        let mut text = Vec::new();
        decoder.decode(ids, &mut text).unwrap();
        text
    };
    starts.windows(2).map(document).collect()
}

fn names(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What [`encode_files`] must find: pieces between separators that are not blank.
fn expected_documents(text: &[u8]) -> Vec<Vec<u8>> {
    let separator = END_OF_TEXT.as_bytes();
    let mut pieces = vec![Vec::new()];
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with(separator) {
            pieces.push(Vec::new());
            at += separator.len();
        } else {
            pieces.last_mut().unwrap().push(text[at]);
            at += 1;
        }
    }
    pieces.retain(|piece| !piece.iter().all(u8::is_ascii_whitespace));
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn prop_documents_are_what_stands_between_separators(
        texts in prop::collection::vec("([ab]{1,9}|[ \\n]{1,3}|<\\|endoftext\\|>|<\\|end|<a b>|\u{e9}){0,60}", 1..4),
        threads in 1_usize..4,
        split in any::<bool>(),
    ) {
        let folder = TempDir::new().unwrap();
        let options = options(&folder, if split { 0.5 } else { 0.0 }, threads);
        let expected: Vec<Vec<u8>> =
            texts.iter().flat_map(|text| expected_documents(text.as_bytes())).collect();
        let sources = texts.iter().map(|text| reader(text.as_bytes())).collect();
        match run(sources, &options) {
            Err(Error::NoDocuments { .. }) => prop_assert!(split || expected.is_empty()),
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
            Ok(report) => {
                let train = documents(&options.out);
                let val = options.val_out.as_ref().map_or(Vec::new(), |path| documents(path));
                prop_assert_eq!(report.train.documents, train.len() as u64);
                // Each document keeps its place in its part, and all copies go to the same part.
                let kept = |part: &[Vec<u8>]| -> Vec<Vec<u8>> {
                    expected.iter().filter(|document| part.contains(document)).cloned().collect()
                };
                prop_assert_eq!(kept(&train), &train[..]);
                prop_assert_eq!(kept(&val), &val[..]);
                prop_assert_eq!(train.len() + val.len(), expected.len());
                prop_assert!(!train.iter().any(|document| val.contains(document)));
            }
        }
    }
}

#[test]
fn manifest_says_what_was_written() {
    let folder = TempDir::new().unwrap();
    let text = b"ab ab<|endoftext|>\n<|endoftext|><|endoftext|>b";
    let report = run(vec![reader(text)], &options(&folder, 0.0, 2)).unwrap();
    assert_eq!(ids(&report.train.path), [256, 257, EOT, 98, EOT]);
    assert_eq!((report.n_blank, report.bytes), (2, text.len() as u64));
    let manifest = fs::read_to_string(folder.path().join("train.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let sum = tokenizer_json::sha256(encoder().vocab()).unwrap();
    let expected = serde_json::json!({
        "format": "minillm.tokens",
        "format_version": 1,
        "dtype": "uint16",
        "tokens": 5,
        "documents": 2,
        "bytes": 6,
        "vocab_size": 302,
        "eot_id": EOT,
        "eot": "append",
        "tokenizer_sha256": sum,
        "block_bytes": 1_048_576,
        "block_xxh3": manifest["block_xxh3"],
        "idx_xxh3": manifest["idx_xxh3"],
        "sources": [{ "path": "text", "bytes": text.len() }],
        "tool": concat!("minillm ", env!("CARGO_PKG_VERSION")),
        "json_xxh3": manifest["json_xxh3"],
    });
    assert_eq!(manifest, expected);
    assert_eq!(names(&folder), ["train.bin", "train.idx", "train.json"]);
}

#[test]
fn listed_texts_are_documents_and_other_specials_are_text_unless_allowed() {
    let folder = TempDir::new().unwrap();
    let list = || {
        let texts = ["ab<|endoftext|>b", "", "<a b>"].map(|text| Ok(text.as_bytes().to_vec()));
        Source::Documents("list".to_owned(), Box::new(texts.into_iter()))
    };
    let mut options = options(&folder, 0.0, 1);
    run(vec![list()], &options).unwrap();
    assert_eq!(documents(&options.out), [&b"ab"[..], b"b", b"<a b>"]);
    assert!(!ids(&options.out).contains(&301));
    options.allowed = AllowedSpecial::All;
    options.eot = Eot::None;
    run(vec![list()], &options).unwrap();
    assert_eq!(ids(&options.out), [256, 98, 301]);
}

#[test]
fn wide_vocabularies_take_32_bits_and_refuse_16() {
    let folder = TempDir::new().unwrap();
    let mut options = options(&folder, 0.0, 1);
    let encoder = encoder_of(65_536);
    let text = || vec![reader(b"ab")];
    let report = encode_files(text(), &encoder, &options, &Progress::default()).unwrap();
    assert_eq!(report.train.dtype, Dtype::Uint32);
    assert_eq!(ids(&options.out), [256, 65_536]);
    options.dtype = Some(Dtype::Uint16);
    let error = encode_files(text(), &encoder, &options, &Progress::default()).unwrap_err();
    let expected = "uint16 holds ids below 65536, but the vocabulary has 65537; use uint32";
    assert_eq!(error.to_string(), expected);
    let encoder = encoder_of(65_535);
    let report = encode_files(text(), &encoder, &options, &Progress::default()).unwrap();
    assert_eq!(report.train.dtype, Dtype::Uint16);
}

/// Yields some text, and then fails.
struct Failing(Cursor<Vec<u8>>);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(std::io::Error::other("the disk is on fire")),
            n_read => Ok(n_read),
        }
    }
}

#[test]
fn failure_leaves_what_was_there_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let options = options(&folder, 0.3, 2);
    let text = "ab b<|endoftext|>a b<|endoftext|>".repeat(50);
    run(vec![reader(text.as_bytes())], &options).unwrap();
    let before: Vec<Vec<u8>> =
        names(&folder).iter().map(|name| fs::read(folder.path().join(name)).unwrap()).collect();

    let failing = Failing(Cursor::new(text.replace('a', "b").into_bytes()));
    let error = run(vec![Source::Reader("hot".to_owned(), Box::new(failing))], &options);
    assert_eq!(error.unwrap_err().to_string(), "hot: the disk is on fire");

    let progress = Progress::default();
    progress.cancel();
    let error = encode_files(vec![reader(text.as_bytes())], &encoder(), &options, &progress);
    assert!(matches!(error, Err(Error::Interrupted)));

    let error = run(vec![reader(b" \n<|endoftext|>")], &options).unwrap_err();
    assert!(error.to_string().ends_with("train.bin: no document for it in `text`"), "{error}");

    let expected = ["train.bin", "train.idx", "train.json", "val.bin", "val.idx", "val.json"];
    assert_eq!(names(&folder), expected);
    let after: Vec<Vec<u8>> =
        names(&folder).iter().map(|name| fs::read(folder.path().join(name)).unwrap()).collect();
    assert_eq!(before, after);
}

#[test]
fn impossible_options_are_refused() {
    let folder = TempDir::new().unwrap();
    let good = options(&folder, 0.1, 1);
    let cases = [
        (EncodeOptions { separator: "<eod>".to_owned(), ..good.clone() }, "special token `<eod>`"),
        (EncodeOptions { val_fraction: 1.5, ..good.clone() }, "`val_fraction` is 1.5, expected"),
        (EncodeOptions { val_fraction: f64::NAN, ..good.clone() }, "`val_fraction` is NaN"),
        (
            EncodeOptions { val_out: Some(good.out.clone()), ..good.clone() },
            "`val_out` has the same index",
        ),
        (
            EncodeOptions { val_out: Some(good.out.with_extension("txt")), ..good.clone() },
            "`val_out` has the same index",
        ),
        (
            EncodeOptions { out: folder.path().join("tokenizer.bin"), ..good.clone() },
            "`name` is taken",
        ),
        (
            EncodeOptions { out: folder.path().join("train.json"), ..good.clone() },
            "`name` is taken",
        ),
        (EncodeOptions { out: folder.path().join("no/train.bin"), ..good }, "no/train.bin: "),
    ];
    for (options, expected) in cases {
        let message = run(vec![reader(b"ab")], &options).unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} should contain {expected:?}");
    }
    assert_eq!(names(&folder), [""; 0]);
}

#[test]
fn a_panic_of_a_thread_ends_the_others() {
    let encoder = encoder();
    let specials = SpecialTokens::new(&[END_OF_TEXT.to_owned()]).unwrap();
    let text = reader("ab b<|endoftext|>".repeat(50).as_bytes());
    let reader = CorpusReader::new(vec![text], 32, specials, encoder.pre_tokenizer().clone());
    let new_state = || encoder.new_state::<u16>(1 << 16, Stop::default());
    let encode = |_: &mut State<u16>, job: &mut Job<u16>| {
        assert!(job.block.index != 3, "a bug");
        Ok(())
    };
    let run = || in_order(reader, 2, new_state, encode, &Progress::default(), |_| Ok(()));
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
}

#[test]
fn membership_does_not_depend_on_order() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut texts: Vec<String> = (0..400).map(|n| format!("document {n}")).collect();
    let options = [options(&one, 0.25, 1), options(&two, 0.25, 3)];
    let report = run(vec![reader(texts.join(END_OF_TEXT).as_bytes())], &options[0]).unwrap();
    texts.reverse();
    run(vec![reader(texts.join(END_OF_TEXT).as_bytes())], &options[1]).unwrap();
    let val = |options: &EncodeOptions| {
        let mut found = documents(options.val_out.as_ref().unwrap());
        found.sort();
        found
    };
    assert_eq!(val(&options[0]), val(&options[1]));
    // 100 of 400 expected, standard deviation 9.
    let n_val = report.val.unwrap().documents;
    assert!((60..140).contains(&n_val), "{n_val} of 400 documents at a fraction of 0.25");
}
