//! A counts file of any bytes is loaded or refused: no panic, and no more memory than it has bytes
//! to fill. What is loaded and saved loads again and is equal.
//!
//! A checksum and a number of entries would keep nearly all bytes from the code behind them. So the
//! first byte says what is made of the others: a file as they are; that file with a checksum
//! that fits; or the entries of a file whose header counts as many of them as the second byte says.

#![no_main]

use std::{fs, path::Path, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use minillm_bpe::{
    count::{Counts, CountsFile, CountsFiles},
    pretokenize::{NamedPattern, Pattern},
    progress::Progress,
};
use minillm_fuzz::Bounded;
use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_64;

#[global_allocator]
static ALLOCATOR: Bounded<{ 1 << 25 }> = Bounded;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

/// What is before the entries in a file without any, up to the number of its pre-tokens, and what
/// is behind that number.
static HEADER: LazyLock<(Vec<u8>, Vec<u8>)> = LazyLock::new(|| {
    let empty = CountsFile {
        counts: Counts::from_pairs([]).unwrap(),
        pattern: Pattern::Named(NamedPattern::Gpt2),
        special_tokens: vec![],
    };
    let path = FOLDER.path().join("empty");
    empty.save(&path).unwrap();
    let bytes = fs::read(path).unwrap();
    let number = b"\"pre_tokens\":0";
    let at = bytes.windows(number.len()).position(|part| part == number).unwrap();
    let zero = at + number.len() - 1;
    // The length of the header stays true: the number gets as many digits as are taken from it.
    (bytes[..zero].to_vec(), bytes[zero + 1..bytes.len() - 8].to_vec())
});

/// The file that the bytes stand for.
fn file_of(data: &[u8]) -> Vec<u8> {
    let (Some(kind), rest) = (data.first(), data.get(1..).unwrap_or_default()) else {
        return Vec::new();
    };
    let mut file = match (kind % 3, rest.split_first()) {
        (0, _) => return rest.to_vec(),
        (1, _) => rest[..rest.len().saturating_sub(8)].to_vec(),
        (_, Some((n_entries, entries))) => with_entries(*n_entries, entries),
        (_, None) => return Vec::new(),
    };
    file.extend_from_slice(&xxh3_64(&file).to_le_bytes());
    file
}

fn with_entries(n_entries: u8, entries: &[u8]) -> Vec<u8> {
    let (before, behind) = &*HEADER;
    let digits = n_entries.to_string();
    let mut file = [before, digits.as_bytes(), behind].concat();
    let longer = u8::try_from(digits.len() - 1).unwrap();
    file[16] += longer;
    file.extend_from_slice(entries);
    file
}

/// The file that is saved of what was loaded.
fn saved(loaded: &CountsFile) -> Vec<u8> {
    let path = FOLDER.path().join("saved");
    loaded.save(&path).unwrap();
    fs::read(path).unwrap()
}

fn load(paths: &[&Path], weights: &[u64]) -> minillm_bpe::Result<CountsFile> {
    CountsFiles::open(paths, weights)?.load(None, &Progress::default())
}

fuzz_target!(|data: &[u8]| {
    let path = FOLDER.path().join("given");
    let file = file_of(data);
    fs::write(&path, &file).unwrap();
    let Ok(loaded) = CountsFile::load(&path) else { return };
    let (before, checksum) = file.split_last_chunk().unwrap();
    assert_eq!(xxh3_64(before), u64::from_le_bytes(*checksum));
    let entries: Vec<_> = loaded.counts.iter().collect();
    assert!(entries.is_sorted_by(|a, b| a.0 < b.0), "a pre-token twice, or out of order");
    assert!(entries.iter().all(|(text, count)| !text.is_empty() && *count > 0));
    let first = saved(&loaded);
    let again = CountsFile::load(&FOLDER.path().join("saved")).unwrap();
    assert!(loaded.counts.iter().eq(again.counts.iter()));
    assert_eq!(saved(&again), first);
    let (twice, weighted) = (load(&[&path, &path], &[]), load(&[&path], &[2]));
    match (twice, weighted) {
        (Ok(twice), Ok(weighted)) => assert_eq!(saved(&twice), saved(&weighted)),
        (twice, weighted) => assert!(twice.is_err() && weighted.is_err()),
    }
});
