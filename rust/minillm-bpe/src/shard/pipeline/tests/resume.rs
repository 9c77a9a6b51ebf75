//! Runs that are stopped and taken up again, and parts that are joined.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::shard::{Part, join, unfinished};

/// The bytes of all files that are not hidden, by name.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap();
    let mut files: Vec<(String, Vec<u8>)> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

/// What differs between cases.
#[derive(Clone, Debug)]
struct Case {
    eot: Eot,
    val_fraction: f64,
    threads: usize,
}

fn cases() -> impl Strategy<Value = Case> {
    let eot = prop::sample::select(vec![Eot::Append, Eot::Prepend, Eot::None]);
    let threads = prop::sample::select(vec![1, 2, 5]);
    (eot, prop::sample::select(vec![0.0, 0.4]), threads)
        .prop_map(|(eot, val_fraction, threads)| Case { eot, val_fraction, threads })
}

impl Case {
    fn options(&self, folder: &TempDir) -> EncodeOptions {
        let base = options(folder, self.val_fraction, self.threads);
        EncodeOptions { eot: self.eot, sync_every: 0, ..base }
    }
}

/// A text that ends too early: as a stream that fails, or as a list that does.
fn broken(text: &[u8], at: usize) -> Source {
    Source::Reader("text".to_owned(), Box::new(Failing(Cursor::new(text[..at].to_vec()))))
}

fn list(texts: &[Vec<u8>], fails: bool) -> Source {
    let error = || Error::io("list", std::io::Error::other("it breaks off"));
    let end = fails.then(|| Err(error()));
    let texts: Vec<Vec<u8>> = texts.to_vec();
    Source::Documents("list".to_owned(), Box::new(texts.into_iter().map(Ok).chain(end)))
}

#[test]
fn runs_are_resumed_within_a_document_however_its_end_is_marked() {
    let document = "ab b a ".repeat(40);
    let text = format!("ab<|endoftext|>{document}<|endoftext|>b a").into_bytes();
    for eot in [Eot::Append, Eot::Prepend, Eot::None] {
        for threads in [1, 3] {
            let case = Case { eot, val_fraction: 0.0, threads };
            let whole = TempDir::new().unwrap();
            run(vec![reader(&text)], &case.options(&whole)).unwrap();
            for at in [60, 150, 280] {
                let folder = TempDir::new().unwrap();
                let options = case.options(&folder);
                run(vec![broken(&text, at)], &options).unwrap_err();
                let saved = unfinished(&options.out).unwrap().unwrap();
                assert!((20..text.len() as u64).contains(&saved), "{case:?}: {saved} of {at}");
                let options = EncodeOptions { resume: true, ..options };
                run(vec![reader(&text)], &options).unwrap();
                assert_eq!(contents(folder.path()), contents(whole.path()), "{case:?}, {at}");
            }
        }
    }
}

const TEXT: &str = "([ab]{1,9}|[ \\n]{1,3}|<\\|endoftext\\|>|<\\|end|<a b>|\u{e9}){0,60}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn prop_stream_resumed_from_anywhere_gives_the_same_files(text in TEXT, case in cases()) {
        let text = [b"ab ab<|endoftext|>b<|endoftext|>", text.as_bytes()].concat();
        let whole = TempDir::new().unwrap();
        if run(vec![reader(&text)], &case.options(&whole)).is_err() {
            return Ok(()); // nothing fell to the training part
        }
        for at in (0..text.len()).step_by(text.len() / 8) {
            let folder = TempDir::new().unwrap();
            let options = case.options(&folder);
            run(vec![broken(&text, at)], &options).unwrap_err();
            let options = EncodeOptions { resume: true, ..options };
            run(vec![reader(&text)], &options).unwrap();
            prop_assert_eq!(contents(folder.path()), contents(whole.path()), "from {}", at);
        }
    }

    #[test]
    fn prop_list_resumed_at_every_document_gives_the_same_files(
        texts in prop::collection::vec(TEXT, 1..8),
        case in cases(),
    ) {
        let texts: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
        let whole = TempDir::new().unwrap();
        if run(vec![reader(b"ab"), list(&texts, false)], &case.options(&whole)).is_err() {
            return Ok(());
        }
        for n_texts in 0..texts.len() {
            let folder = TempDir::new().unwrap();
            let options = case.options(&folder);
            run(vec![reader(b"ab"), list(&texts[..n_texts], true)], &options).unwrap_err();
            let options = EncodeOptions { resume: true, ..options };
            run(vec![reader(b"ab"), list(&texts, false)], &options).unwrap();
            prop_assert_eq!(contents(folder.path()), contents(whole.path()), "at {}", n_texts);
        }
    }

    #[test]
    fn prop_files_resumed_until_they_are_done_give_the_same_files(
        texts in prop::collection::vec(TEXT, 1..4),
        case in cases(),
        part in prop::option::of(1..3_u32),
    ) {
        let inputs = TempDir::new().unwrap();
        let sources = || -> Vec<Source> {
            let path = |i| inputs.path().join(format!("{i}.txt"));
            (0..texts.len()).map(|i| Source::File(path(i))).collect()
        };
        for (i, text) in texts.iter().enumerate() {
            let text = "ab b<|endoftext|>".repeat(20) + text;
            fs::write(inputs.path().join(format!("{i}.txt")), text).unwrap();
        }
        let part = part.map(|index| Part { index, of: 2 });
        let (whole, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let options = EncodeOptions { part, ..case.options(&whole) };
        if run(sources(), &options).is_err() {
            return Ok(());
        }
        let options = EncodeOptions { part, resume: true, ..case.options(&folder) };
        for n_bytes in (0..).map(|turn| turn * 40) {
            match run_until(sources(), &options, n_bytes) {
                Ok(_) => break,
                Err(error) => prop_assert!(matches!(error, Error::Interrupted), "{}", error),
            }
        }
        prop_assert_eq!(contents(folder.path()), contents(whole.path()));
    }

    #[test]
    fn prop_parts_together_are_the_whole(
        texts in prop::collection::vec(TEXT, 1..4),
        case in cases(),
        of in 1_u32..6,
    ) {
        let inputs = TempDir::new().unwrap();
        let path = |i| inputs.path().join(format!("{i}.txt"));
        for (i, text) in texts.iter().enumerate() {
            fs::write(path(i), text).unwrap();
        }
        let sources = || (0..texts.len()).map(|i| Source::File(path(i))).collect();
        let (whole, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let options = case.options(&whole);
        let Ok(report) = run(sources(), &options) else { return Ok(()) };
        let names = |name: &str| -> Vec<_> {
            (1..=of).map(|i| folder.path().join(format!("{name}-{i}-of-{of}.bin"))).collect()
        };
        let (mut n_blank, mut bytes) = (0, 0);
        for index in 1..=of {
            let i = index as usize - 1;
            let options = EncodeOptions {
                out: names("train")[i].clone(),
                val_out: options.val_out.is_some().then(|| names("val")[i].clone()),
                part: Some(Part { index, of }),
                ..options.clone()
            };
            let report = run(sources(), &options).unwrap();
            n_blank += report.n_blank;
            bytes += report.bytes;
        }
        prop_assert_eq!((n_blank, bytes), (report.n_blank, report.bytes));
        for (name, out) in [("train", Some(&options.out)), ("val", options.val_out.as_ref())] {
            let Some(out) = out else { continue };
            let joined: Vec<u8> =
                names(name).iter().flat_map(|path| fs::read(path).unwrap()).collect();
            prop_assert!(joined == fs::read(out).unwrap());
            let all = folder.path().join(format!("{name}.bin"));
            join(&names(name), &all).unwrap();
            prop_assert_eq!(ids(&all), ids(out));
            let starts = |path: &Path| ShardReader::open(path).unwrap().document_starts().unwrap();
            prop_assert_eq!(starts(&all), starts(out));
        }
    }
}

/// Interrupts a run when it has read so many bytes, or a little more.
fn run_until(sources: Vec<Source>, options: &EncodeOptions, n_bytes: u64) -> Result<EncodeReport> {
    let (progress, is_done) = (Progress::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while progress.done_of_total().0 < n_bytes && !is_done.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            progress.cancel();
        });
        let result = encode_files(sources, &encoder(), options, &progress);
        is_done.store(true, Ordering::Relaxed);
        result
    })
}

const LONG: &str = "ab b<|endoftext|>a b<|endoftext|>";

/// A folder with a run that stopped half-way, and its options, with `resume`.
fn stopped() -> (TempDir, EncodeOptions) {
    let folder = TempDir::new().unwrap();
    let options = EncodeOptions { sync_every: 0, ..options(&folder, 0.3, 2) };
    let text = LONG.repeat(20);
    run(vec![broken(text.as_bytes(), text.len() - 5)], &options).unwrap_err();
    (folder, EncodeOptions { resume: true, ..options })
}

#[test]
fn state_is_kept_only_where_there_is_one() {
    let folder = TempDir::new().unwrap();
    let options = options(&folder, 0.3, 2);
    run(vec![broken(LONG.repeat(20).as_bytes(), 300)], &options).unwrap_err();
    assert_eq!(names(&folder), [""; 0]);
    assert_eq!(unfinished(&options.out).unwrap(), None);
    // Nothing to resume: from the beginning.
    run(vec![reader(b"ab")], &EncodeOptions { resume: true, val_out: None, ..options }).unwrap();

    let (folder, options) = stopped();
    let left = [
        ".train.bin.unfinished",
        ".train.idx.unfinished",
        ".train.state",
        ".val.bin.unfinished",
        ".val.idx.unfinished",
    ];
    assert_eq!(names(&folder), left);
    assert!(unfinished(&options.out).unwrap().is_some_and(|bytes| bytes > 300));
    run(vec![reader(b"ab")], &EncodeOptions { resume: false, val_out: None, ..options }).unwrap();
    assert_eq!(names(&folder).iter().filter(|name| name.contains("train")).count(), 3);
}

#[test]
fn state_is_saved_inside_of_a_document_unless_it_may_be_for_validation() {
    let text = "ab b ".repeat(200);
    for (val_fraction, expected) in [(0.0, true), (0.3, false)] {
        let folder = TempDir::new().unwrap();
        let options = EncodeOptions { sync_every: 0, ..options(&folder, val_fraction, 2) };
        run(vec![broken(text.as_bytes(), 900)], &options).unwrap_err();
        let saved = unfinished(&options.out).unwrap();
        assert_eq!(saved.is_some_and(|bytes| bytes > 500), expected);
    }
}

#[test]
fn other_options_and_inputs_are_refused_by_name() {
    let (_folder, good) = stopped();
    let cases = [
        (
            EncodeOptions { dtype: Some(Dtype::Uint32), ..good.clone() },
            "cannot resume: dtype was uint16, and is uint32\nhint: ",
        ),
        (EncodeOptions { eot: Eot::None, ..good.clone() }, "eot was append, and is none"),
        (EncodeOptions { val_fraction: 0.4, ..good.clone() }, "val_fraction was 0.3, and is 0.4"),
        (EncodeOptions { val_out: None, ..good.clone() }, "val_out was val.bin, and is none"),
        (
            EncodeOptions { allowed: AllowedSpecial::All, ..good.clone() },
            "allowed_special was [], and is all",
        ),
    ];
    for (options, expected) in cases {
        let message = run(vec![reader(b"ab")], &options).unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} should contain {expected:?}");
    }
    let two = vec![reader(b"ab"), reader(b"ab")];
    let message = run(two, &good).unwrap_err().to_string();
    assert!(message.contains("number of sources was 1, and is 2"), "{message}");
    let other = vec![Source::Reader("other".to_owned(), Box::new(Cursor::new(vec![])))];
    let message = run(other, &good).unwrap_err().to_string();
    assert!(message.contains("source 1 was text, and is other"), "{message}");
    for text in [LONG.repeat(20).replace('a', "b"), LONG.to_owned()] {
        let message = run(vec![reader(text.as_bytes())], &good).unwrap_err().to_string();
        assert!(message.contains("what was read of `text` is not there any more"), "{message}");
    }
    let encoder = encoder_of(302);
    let again = vec![reader(LONG.repeat(20).as_bytes())];
    let error = encode_files(again, &encoder, &good, &Progress::default()).unwrap_err();
    assert!(error.to_string().contains("tokenizer_sha256 was "), "{error}");
    // None of it has done any harm.
    run(vec![reader(LONG.repeat(20).as_bytes())], &good).unwrap();
}

#[test]
fn lists_of_another_field_are_refused() {
    let folder = TempDir::new().unwrap();
    let texts = vec![LONG.as_bytes().to_vec(); 20];
    let with = |field: &str| EncodeOptions {
        sync_every: 0,
        resume: true,
        field: Some(field.to_owned()),
        ..options(&folder, 0.0, 1)
    };
    run(vec![list(&texts, false), broken(b"", 0)], &with("text")).unwrap_err();
    // What was read of the list was read to its end: nobody looks at it again.
    let sources = || vec![list(&texts, false), reader(b"ab")];
    let message = run(sources(), &with("body")).unwrap_err().to_string();
    assert!(message.contains("field was text, and is body"), "{message}");
    run(sources(), &with("text")).unwrap();
}

#[test]
fn files_that_have_changed_are_refused() {
    let folder = TempDir::new().unwrap();
    let input = folder.path().join("corpus.txt");
    let sources = || vec![Source::File(input.clone()), broken(b"", 0)];
    fs::write(&input, LONG.repeat(20)).unwrap();
    let options = EncodeOptions { sync_every: 0, ..options(&folder, 0.0, 1) };
    run(sources(), &options).unwrap_err();
    let options = EncodeOptions { resume: true, ..options };
    let refused = |expected: &str| {
        let message = run(sources(), &options).unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} should contain {expected:?}");
    };
    let modified = input.metadata().unwrap().modified().unwrap();
    let touched = modified + std::time::Duration::from_secs(5);
    fs::File::open(&input).unwrap().set_modified(touched).unwrap();
    refused("corpus.txt` was ");
    fs::write(&input, "ab").unwrap();
    refused("corpus.txt` was 660 bytes, and is 2 bytes");
}

#[test]
fn damage_to_what_was_left_is_found() {
    let files = [".train.bin.unfinished", ".train.idx.unfinished", ".val.bin.unfinished"];
    for name in files {
        let (folder, options) = stopped();
        let again = || vec![reader(LONG.repeat(20).as_bytes())];
        let path = folder.path().join(name);
        let bytes = fs::read(&path).unwrap();
        let mut damaged = bytes.clone();
        damaged[1] ^= 4;
        fs::write(&path, &damaged).unwrap();
        let message = run(again(), &options).unwrap_err().to_string();
        assert!(message.contains("unfinished` is damaged: its checksum"), "{message}");
        fs::write(&path, &bytes[..2]).unwrap();
        let message = run(again(), &options).unwrap_err().to_string();
        assert!(message.contains("unfinished` has 2 bytes, expected "), "{message}");
        fs::remove_file(&path).unwrap();
        let message = run(again(), &options).unwrap_err().to_string();
        assert!(message.contains("cannot resume: "), "{message}");
    }
    let (folder, options) = stopped();
    let path = folder.path().join(".train.state");
    let state = fs::read(&path).unwrap();
    for bit in (0..state.len() * 8).step_by(7) {
        let mut damaged = state.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, damaged).unwrap();
        let message = run(vec![reader(b"ab")], &options).unwrap_err().to_string();
        assert!(message.contains(".train.state: `"), "{message}");
    }
    // Without `resume` nobody looks at it.
    let options = EncodeOptions { resume: false, val_out: None, ..options };
    run(vec![reader(b"ab")], &options).unwrap();
}

#[test]
fn names_that_are_not_all_given_yet_are_given() {
    let whole = TempDir::new().unwrap();
    let text = LONG.repeat(20);
    run(vec![reader(text.as_bytes())], &options(&whole, 0.3, 1)).unwrap();
    let names = ["train.json", "train.idx", "train.bin", "val.json", "val.idx", "val.bin"];
    for n_named in 0..=names.len() {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        // A folder in the way of the first file: complete, saved, but not one has its name.
        fs::create_dir_all(at("train.json/x")).unwrap();
        let options = EncodeOptions { resume: true, ..options(&folder, 0.3, 1) };
        run(vec![reader(text.as_bytes())], &options).unwrap_err();
        fs::remove_dir_all(at("train.json")).unwrap();
        for name in &names[..n_named] {
            fs::rename(at(&format!(".{name}.unfinished")), at(name)).unwrap();
        }
        let report = run(vec![broken(b"", 0)], &options).unwrap();
        assert_eq!(report.bytes, text.len() as u64);
        assert_eq!(contents(folder.path()), contents(whole.path()));
    }
}

/// Encodes to the same files while it is read.
struct Inner(EncodeOptions);

impl Read for Inner {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        let error = run(vec![reader(b"ab")], &self.0).unwrap_err();
        Err(std::io::Error::other(error.to_string()))
    }
}

#[test]
fn one_writes_at_a_time() {
    let folder = TempDir::new().unwrap();
    let options = options(&folder, 0.3, 1);
    let other = EncodeOptions { out: folder.path().join("other.bin"), ..options.clone() };
    for (inner, file) in [(options.clone(), "train.bin"), (other, "val.bin")] {
        let source = Source::Reader("text".to_owned(), Box::new(Inner(inner)));
        let message = run(vec![source], &options).unwrap_err().to_string();
        assert!(message.contains(&format!("{file}: another process is writing")), "{message}");
    }
    assert_eq!(names(&folder), [""; 0]);
}

#[test]
fn a_full_disk_tells_how_much_is_needed() {
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let error = Error::io("train.bin", full).or_disk_full(Some(388_000_000));
    let message = error.to_string();
    assert!(message.ends_with("; the files take about 388.0 MB in all"), "{message}");
    assert!(message.starts_with("train.bin: "), "{message}");
}

#[test]
fn parts_that_do_not_fit_are_not_joined() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("corpus.txt"), LONG.repeat(10)).unwrap();
    let encode = |index: u32, change: fn(&mut EncodeOptions)| {
        let mut options = EncodeOptions {
            out: at(&format!("{index}.bin")),
            part: Some(Part { index, of: 3 }),
            ..options(&folder, 0.0, 1)
        };
        change(&mut options);
        run(vec![Source::File(at("corpus.txt"))], &options).unwrap();
        options.out
    };
    let parts: Vec<_> = (1..=3).map(|index| encode(index, |_| ())).collect();
    let refused = |parts: &[&Path], expected: &str| {
        let parts: Vec<_> = parts.iter().map(|part| part.to_path_buf()).collect();
        let message = join(&parts, &at("all.bin")).unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} should contain {expected:?}");
    };
    let [one, two, three] = &parts[..] else { unreachable!() };
    refused(&[one, three], "all.bin: cannot be joined: part 2 of 3 is missing");
    refused(&[one, two], "part 3 of 3 is missing");
    refused(&[], "there are no parts");
    refused(&[one, two, two, three], "part 2 is there twice");
    let whole = EncodeOptions { out: at("whole.bin"), ..options(&folder, 0.0, 1) };
    run(vec![Source::File(at("corpus.txt"))], &whole).unwrap();
    refused(&[one, two, &whole.out], "whole.bin: cannot be joined: it is not one of several");
    refused(&[one, two, &at("no/3.bin")], "another folder");
    encode(3, |options| options.eot = Eot::None);
    refused(&[one, two, three], "3.bin: cannot be joined: eot is none, but of `");
    fs::write(at("corpus.txt"), LONG.repeat(11)).unwrap();
    encode(3, |_| ());
    refused(
        &[one, two, three],
        "3.bin: cannot be joined: size of source `corpus.txt` is 363 bytes",
    );
    fs::write(at("corpus.txt"), LONG.repeat(10)).unwrap();
    encode(3, |_| ());
    let message = join(&parts, &at("tokenizer.bin")).unwrap_err().to_string();
    assert!(message.contains("`name` is taken by another file"), "{message}");
    let otherwise = |part: &PathBuf| at("x").join("..").join(part.file_name().unwrap());
    fs::create_dir(at("x")).unwrap();
    join(&parts.iter().map(otherwise).collect::<Vec<_>>(), &at("all.bin")).unwrap();

    // A part that another one has taken the place of, and names that lead elsewhere.
    encode(2, |options| options.dtype = Some(Dtype::Uint32));
    let message = ShardReader::open(&at("all.bin")).unwrap_err().to_string();
    assert!(message.contains("all.json: `json_xxh3` of `2.bin` is "), "{message}");
    fs::remove_file(two).unwrap();
    assert!(ShardReader::open(&at("all.bin")).is_err());
    encode(2, |_| ());
    fs::write(at("all.bin"), "").unwrap();
    let message = ShardReader::open(&at("all.bin")).unwrap_err().to_string();
    assert!(message.contains("`parts` joins others, but `"), "{message}");
    let message = join(&parts, &at("all.bin")).unwrap_err().to_string();
    assert!(message.contains("all.bin: cannot be joined: it exists"), "{message}");
}

#[test]
fn impossible_parts_are_refused() {
    let folder = TempDir::new().unwrap();
    let base = options(&folder, 0.0, 1);
    for (index, of, expected) in [
        (0, 3, "`part` is 0/3, expected 1/3 to 3/3"),
        (4, 3, "`part` is 4/3, expected 1/3 to 3/3"),
        (1, 0, "`part` is 1/0"),
        (1, 2, "`part` needs files, and `text` is none"),
    ] {
        let options = EncodeOptions { part: Some(Part { index, of }), ..base.clone() };
        let message = run(vec![reader(b"ab")], &options).unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} should contain {expected:?}");
    }
    assert_eq!(names(&folder), [""; 0]);
}

#[test]
fn unfinished_files_are_refused() {
    let (folder, _) = stopped();
    let path = folder.path().join(".train.bin.unfinished");
    let message = ShardReader::open(&path).unwrap_err().to_string();
    assert!(message.contains("`name` is that of a file that is not finished"), "{message}");
}
