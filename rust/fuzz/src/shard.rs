//! A token file of any bytes, with any index and manifest, is opened or refused: no panic, and no
//! more memory than its bytes can fill. What is opened and verified holds the ids of the file, and
//! of a sound one that was changed, nothing that its manifest vouches for is another.
//!
//! The first byte says what is made of the others: one of the three files of a sound shard, or
//! changes of single bytes of them, each of three bytes: where, and what to. It also says whether
//! the manifest gets the checksum that it should have, so that its lies are looked at.

#![no_main]

use std::{fs, path::PathBuf, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use minillm_bpe::progress::Progress;
use minillm_bpe::shard::{Dtype, Eot, SealedShard, ShardFacts, ShardReader, ShardWriter};
use minillm_fuzz::Bounded;
use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_64;

#[global_allocator]
static ALLOCATOR: Bounded<{ 1 << 25 }> = Bounded;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

/// The contents of `.bin`, `.idx` and `.json`.
type Files = [Vec<u8>; 3];

static SOUND: LazyLock<Files> = LazyLock::new(|| {
    let facts = ShardFacts {
        dtype: Dtype::Uint16,
        vocab_size: 1000,
        eot_id: Some(999),
        eot: Eot::Append,
        tokenizer_sha256: "ab".repeat(32),
        part: None,
    };
    let mut writer = ShardWriter::create(&paths()[0], facts).unwrap();
    for document in [&[1_u16, 2, 999][..], &[999], &[7; 60]] {
        writer.push(document).unwrap();
        writer.end_document(9).unwrap();
    }
    SealedShard::publish(vec![writer.seal(vec![]).unwrap()]).unwrap();
    paths().map(|path| fs::read(path).unwrap())
});

fn paths() -> [PathBuf; 3] {
    ["bin", "idx", "json"].map(|extension| FOLDER.path().join("given").with_extension(extension))
}

fn files_of(kind: u8, data: &[u8]) -> Files {
    let mut files = SOUND.clone();
    if let Some(file) = files.get_mut(usize::from(kind % 4)) {
        *file = data.to_vec();
        return files;
    }
    for &[low, high, byte] in data.as_chunks().0 {
        let (file, place) = (usize::from(high >> 6), u16::from_le_bytes([low, high & 63]));
        let file = files.get_mut(file).into_iter().flatten();
        file.skip(usize::from(place)).take(1).for_each(|old| *old = byte);
    }
    files
}

/// Puts the checksum of a manifest in the place of the one that it has.
fn seal(json: &mut Vec<u8>) {
    const FIELD: &[u8] = b",\n  \"json_xxh3\": \"";
    let end = json.windows(FIELD.len()).rposition(|bytes| bytes == FIELD);
    json.truncate(end.unwrap_or(json.len()));
    let checksum = format!("{:016x}\"\n}}\n", xxh3_64(json));
    json.extend_from_slice(FIELD);
    json.extend_from_slice(checksum.as_bytes());
}

fuzz_target!(|data: &[u8]| {
    let Some((&kind, rest)) = data.split_first() else { return };
    let mut files = files_of(kind, rest);
    if kind & 4 != 0 {
        seal(&mut files[2]);
    }
    for (path, bytes) in paths().iter().zip(&files) {
        fs::write(path, bytes).unwrap();
    }
    let Ok(mut reader) = ShardReader::open(&paths()[0]) else {
        assert_ne!(files, *SOUND, "a sound shard is refused");
        return;
    };
    let mut ids: Vec<u32> = Vec::new();
    reader.read(0, usize::MAX, &mut ids).unwrap();
    assert_eq!(ids.len() as u64, reader.tokens());
    let bytes: Vec<u8> = match reader.dtype() {
        Dtype::Uint16 => ids.iter().flat_map(|&id| (id as u16).to_le_bytes()).collect(),
        Dtype::Uint32 => ids.iter().flat_map(|id| id.to_le_bytes()).collect(),
    };
    assert_eq!(bytes, files[0]);
    let starts = reader.document_starts();
    if reader.verify(&Progress::default()).is_err() {
        return;
    }
    let starts = starts.unwrap();
    assert!(starts.iter().flat_map(|start| start.to_le_bytes()).eq(files[1].iter().copied()));
    if files[2] == SOUND[2] {
        assert_eq!(files, *SOUND);
    }
});
