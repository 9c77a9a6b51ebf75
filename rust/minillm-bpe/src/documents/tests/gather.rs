//! Gathering: documents, filters, bad rows, limits, and what is left of a failed part.

use std::io::Write;

use proptest::prelude::*;

use super::*;

/// Arranges parts in their order, and returns the documents.
fn read(parts: &[PathBuf]) -> Vec<String> {
    let out = parts[0].with_file_name("all.txt");
    let source = source("all", parts.to_vec());
    arrange(&[source], &arrange_options(Out::One(out.clone())), &Progress::default()).unwrap();
    documents(&out)
}

/// What files of that name and content give, each one of the file system.
fn gather(
    name: &str,
    content: &[u8],
    options: GatherOptions,
) -> Result<(GatherStats, Vec<String>)> {
    let folder = folder();
    let (path, out) = (folder.path().join(name), folder.path().join("part"));
    std::fs::write(&path, content).unwrap();
    let stats = gather_files(&out, options, &[FileRange::whole(path)])?;
    Ok((stats, read(&[out])))
}

fn refusal(name: &str, content: &str, options: GatherOptions) -> String {
    let message = gather(name, content.as_bytes(), options).unwrap_err().to_string();
    message[message.find(name).unwrap()..].to_owned()
}

#[test]
fn text_is_cut_at_separators_line_ends_or_nowhere() {
    let text = b"one\n| |\ntwo|\n\nthree\r\n";
    let cut = |documents| {
        let (stats, found) =
            gather("a.txt", text, GatherOptions { documents, ..options(None) }).unwrap();
        (found, stats.rows, stats.dropped.blank)
    };
    let strings = |texts: &[&str]| -> Vec<String> { texts.iter().map(|&t| t.to_owned()).collect() };
    let expected = strings(&["one\n", "\ntwo", "\n\nthree\r\n"]);
    assert_eq!(cut(TextDocuments::Separator), (expected.clone(), 4, 1));
    // A whole file is still cut at separators.
    assert_eq!(cut(TextDocuments::File), (expected, 1, 1));
    assert_eq!(cut(TextDocuments::Line), (strings(&["one", "two", "three"]), 5, 3));
}

#[test]
fn rows_of_jsonl_are_documents_whatever_packs_them() {
    let lines = "\u{feff}{\"text\": \"a\\nb\"}\r\n\n{\"text\": \"c|d\"}\n{\"text\": \" \"}";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(lines.as_bytes()).unwrap();
    let zstd = zstd::encode_all(lines.as_bytes(), 1).unwrap();
    for (name, content) in [
        ("a.jsonl", lines.as_bytes()),
        ("a.jsonl.gz", &gzip.finish().unwrap()),
        ("a.ndjson.zst", &zstd),
    ] {
        let (stats, found) = gather(name, content, options(None)).unwrap();
        assert_eq!(found, ["a\nb", "c", "d"], "{name}");
        assert_eq!((stats.rows, stats.documents, stats.bytes, stats.lines), (3, 3, 5, 4));
        assert_eq!(stats.dropped, Dropped { blank: 1, ..Dropped::default() });
    }
}

#[test]
fn bad_rows_are_told_by_number_and_field_or_counted() {
    let rows = "{\"text\": \"fine\"}\n\n{\"title\": 1}\n{\"text\": null}\n{\"te";
    let expected = "a.jsonl, row 3: has no field `text`; it has `title`";
    assert_eq!(refusal("a.jsonl", rows, options(None)), expected);
    let expected = "a.jsonl, row 1: field `text` is null, expected a string";
    assert_eq!(refusal("a.jsonl", "{\"text\": null}", options(None)), expected);
    let many = "{\"text\": \"x\"}\n".repeat(1_233) + "{]";
    let expected = "a.jsonl, row 1,234: not JSON: key must be a string at column 2";
    assert_eq!(refusal("a.jsonl", &many, options(None)), expected);
    let skip = GatherOptions { on_bad_row: OnBadRow::Skip, ..options(None) };
    let (stats, found) = gather("a.jsonl", rows.as_bytes(), skip).unwrap();
    assert_eq!(found, ["fine"]);
    let expected = Dropped { missing_field: 1, not_text: 1, not_json: 1, ..Dropped::default() };
    assert_eq!((stats.dropped, stats.rows), (expected, 4));
}

#[test]
fn rows_are_numbered_from_the_start_of_the_file_in_a_part_of_it() {
    let folder = folder();
    let path = folder.path().join("a.jsonl");
    let good = "{\"text\": \"fine\"}\n";
    std::fs::write(&path, good.repeat(10) + "{}\n").unwrap();
    let start = 4 * good.len() as u64;
    let range = FileRange { path, start, end: u64::MAX };
    let error = gather_files(&folder.path().join("part"), options(None), &[range]).unwrap_err();
    assert!(error.to_string().ends_with("a.jsonl, row 11: has no field `text`"), "{error}");
    assert_eq!(names(folder.path()), ["a.jsonl"]);
}

#[test]
fn what_is_not_utf_8_is_told_by_its_place() {
    let folder = folder();
    let path = folder.path().join("a.txt");
    std::fs::write(&path, b"fine|b\xffd").unwrap();
    let stop = GatherOptions { invalid_utf8: InvalidUtf8::Stop, ..options(None) };
    let out = folder.path().join("part");
    let error = gather_files(&out, stop, &[FileRange::whole(path.clone())]).unwrap_err();
    let expected = "a.txt, byte 6: byte 2 of the document is not UTF-8";
    assert!(error.to_string().ends_with(expected), "{error}");
    let replace = GatherOptions { invalid_utf8: InvalidUtf8::Replace, ..options(None) };
    gather_files(&out, replace, &[FileRange::whole(path)]).unwrap();
    assert_eq!(read(&[out]), ["fine", "b\u{fffd}d"]);
}

#[test]
fn documents_that_are_too_long_are_told_or_counted() {
    let folder = folder();
    let path = folder.path().join("a.txt");
    let out = folder.path().join("part");
    std::fs::write(&path, format!("fine\n{}\nalso fine", "x".repeat(5000))).unwrap();
    let lines = GatherOptions { documents: TextDocuments::Line, ..options(None) };
    let (progress, text) = (Progress::default(), Text::of_field("text"));
    let files = [FileRange::whole(path)];
    let mut gather = Gather::create(&out, lines.clone()).unwrap().limited(100);
    let error = gather.files(&files, &text, &progress).unwrap_err().to_string();
    assert!(error.ends_with("a.txt, line 2: a document has more than 100 bytes"), "{error}");
    let error = gather.finish(&out, &progress).unwrap_err().to_string();
    assert!(error.ends_with("`part` cannot be finished: reading ended with an error"), "{error}");
    let skip = GatherOptions { on_bad_row: OnBadRow::Skip, ..lines };
    let mut gather = Gather::create(&out, skip).unwrap().limited(100);
    assert!(gather.files(&files, &text, &progress).unwrap());
    let stats = gather.finish(&out, &progress).unwrap();
    assert_eq!((stats.documents, stats.dropped.too_long), (2, 1));
}

#[test]
fn offsets_that_lie_are_refused() {
    let folder = folder();
    let out = folder.path().join("part");
    for (offsets, first, n, expected) in [
        (&[0, 2, 1][..], 0, 2, "offset 2 is 1, expected 2 to 4"),
        (&[0, 5], 0, 1, "offset 1 is 5, expected 0 to 4"),
        (&[-1, 2], 0, 1, "offset 0 is -1, expected 0 to 4"),
        (&[0, 1], 0, 2, "2 from 0 on need more than 2 offsets"),
        (&[0, 1], 1, usize::MAX, "from 1 on need more than 2 offsets"),
        (&[], 0, 0, "0 from 0 on need more than 0 offsets"),
    ] {
        let mut gather = Gather::create(&out, options(None)).unwrap();
        let rows = Rows { offsets, data: b"abcd", first, n, name: "a.parquet", first_row: 1 };
        let error = gather.rows(rows, &Progress::default()).unwrap_err().to_string();
        assert!(error.starts_with("rows: a.parquet: ") && error.ends_with(expected), "{error}");
    }
    assert!(names(folder.path()).is_empty());
}

#[test]
fn what_is_gathered_otherwise_or_damaged_is_told() {
    let folder = folder();
    let out = folder.path().join("part");
    assert_eq!(gathered(&out, None).unwrap(), None);
    let then = options(Some(1));
    let stats = gather_rows(&out, then.clone(), &["a".to_owned(), "b".to_owned()]).unwrap();
    assert_eq!(gathered(&out, Some(&then)).unwrap(), Some(stats));
    assert_eq!(names(folder.path()), ["part", "part.json"]);
    let now = GatherOptions { seed: Some(2), ..then.clone() };
    let error = gathered(&out, Some(&now)).unwrap_err().to_string();
    assert!(error.ends_with("part: `seed` was 1 when it was gathered, and is 2"), "{error}");
    let now = GatherOptions { max_repetition: Some(0.5), ..then.clone() };
    let error = gathered(&out, Some(&now)).unwrap_err().to_string();
    assert!(error.ends_with("`max_repetition` was null when it was gathered, and is 0.5"));
    std::fs::write(&out, b"cut").unwrap();
    let error = gathered(&out, Some(&then)).unwrap_err().to_string();
    assert!(error.ends_with("part: `bytes` are 3, expected 82"), "{error}");
}

#[test]
fn what_is_dropped_or_interrupted_leaves_nothing() {
    let folder = folder();
    let out = folder.path().join("part");
    let texts: Vec<String> = (0..100).map(|i| format!("document {i}")).collect();
    let progress = Progress::default();
    let mut gather = Gather::create(&out, options(Some(0))).unwrap();
    assert!(matches!(Gather::create(&out, options(None)), Err(Error::Locked { .. })));
    progress.cancel();
    let path = folder.path().join("a.txt");
    std::fs::write(&path, texts.join("|")).unwrap();
    let read = gather.files(&[FileRange::whole(path)], &Text::of_field("text"), &progress);
    assert!(matches!(read, Err(Error::Interrupted)));
    drop(gather);
    assert_eq!(names(folder.path()), ["a.txt"]);
}

#[test]
fn what_a_killed_process_left_is_in_nobodys_way() {
    let folder = folder();
    let out = folder.path().join("part");
    std::fs::write(folder.path().join(".part.unfinished"), "more than the new one will have")
        .unwrap();
    std::fs::write(folder.path().join(".part.lock"), "").unwrap();
    assert_eq!(gathered(&out, None).unwrap(), None);
    gather_rows(&out, options(None), &["a".to_owned()]).unwrap();
    assert_eq!(names(folder.path()), ["part", "part.json"]);
    assert_eq!(read(&[out]), ["a"]);
}

/// The slow twin: what of `texts`, one behind the other, is kept.
fn kept(texts: &[String], options: &GatherOptions) -> Vec<String> {
    let (mut kept, mut bytes) = (Vec::new(), 0);
    for document in texts.iter().flat_map(|text| text.split(SEPARATOR)) {
        let bare = document.trim_ascii_start().trim_ascii_end();
        if bare.is_empty() || (bare.chars().count() as u64) < options.min_length {
            continue;
        }
        bytes += document.len() as u64;
        if options.max_bytes.is_some_and(|most| bytes > most)
            || options.max_documents.is_some_and(|most| kept.len() as u64 >= most)
        {
            break;
        }
        kept.push(document.to_owned());
    }
    kept
}

proptest! {
    #[test]
    fn prop_rows_are_filtered_and_limited_as_a_list_is(
        texts in prop::collection::vec("([ab\u{e9}]{0,4}| |\\|){0,6}", 0..60),
        min_length in 0_u64..5,
        max_documents in prop::option::of(0_u64..40),
        max_bytes in prop::option::of(0_u64..200),
    ) {
        let folder = folder();
        let out = folder.path().join("part");
        let options = GatherOptions { min_length, max_documents, max_bytes, ..options(None) };
        let stats = gather_rows(&out, options.clone(), &texts).unwrap();
        let expected = kept(&texts, &options);
        prop_assert_eq!(stats.documents, expected.len() as u64);
        prop_assert_eq!(stats.bytes, expected.concat().len() as u64);
        let lines: usize = expected.iter().map(|text| text.lines().count()).sum();
        prop_assert_eq!(stats.lines, lines as u64);
        prop_assert_eq!(read(&[out]), expected);
    }

    #[test]
    fn prop_parts_of_files_give_what_the_whole_files_give(
        files in prop::collection::vec("([ab]{0,9}|\n|\\|| ){0,30}", 1..4),
        part_bytes in 1_u64..60,
        documents in prop::sample::select(vec![
            TextDocuments::Separator, TextDocuments::Line, TextDocuments::File,
        ]),
        is_jsonl in any::<bool>(),
    ) {
        let folder = folder();
        let suffix = if is_jsonl { "jsonl" } else { "txt" };
        let mut paths = Vec::new();
        for (i, text) in files.iter().enumerate() {
            let row = |text: &str| serde_json::json!({ "text": text }).to_string() + "\n";
            let jsonl = || text.split('b').map(row).collect::<String>();
            let path = folder.path().join(format!("{i}.{suffix}"));
            std::fs::write(&path, if is_jsonl { jsonl() } else { text.clone() }).unwrap();
            paths.push(path);
        }
        let options = GatherOptions { documents, ..options(None) };
        let whole: Vec<FileRange> = paths.iter().cloned().map(FileRange::whole).collect();
        let out = folder.path().join("whole");
        let expected = gather_files(&out, options.clone(), &whole).unwrap();
        let (mut parts, mut sum) = (Vec::new(), GatherStats::default());
        for ranges in cut_files(&paths, part_bytes, documents, SEPARATOR).unwrap() {
            let part = folder.path().join(format!("part {}", parts.len()));
            let stats = gather_files(&part, options.clone(), &ranges).unwrap();
            sum.rows += stats.rows;
            sum.documents += stats.documents;
            sum.bytes += stats.bytes;
            sum.lines += stats.lines;
            sum.dropped.blank += stats.dropped.blank;
            parts.push(part);
        }
        prop_assert_eq!(sum, expected);
        let expected = read(&[out]);
        let found = if parts.is_empty() { Vec::new() } else { read(&parts) };
        prop_assert_eq!(found, expected);
    }
}
