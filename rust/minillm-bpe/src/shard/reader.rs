//! Reads a shard, and refuses one whose manifest does not fit it.

mod one_file;

use std::path::{Path, PathBuf};

use super::join::JoinedManifest;
use super::layout::{Layout, Placed};
use super::sealed_json::Sealed;
use super::{Dtype, FORMAT, FORMAT_VERSION, Manifest, Totals, beside, misfit};
use crate::progress::Progress;
use crate::staged::unfinished_path;
use crate::{Error, Result, TokenId, ids::Id};
use one_file::OneFile;

/// A shard that is open for reading.
///
/// A file without a manifest is read as that of another program: nanoGPT's, llm.c's or numpy's.
/// Where there is no such file, but a manifest that joins several, these are read one behind the
/// other.
#[derive(Debug)]
pub struct ShardReader {
    path: PathBuf,
    layout: Option<Layout>,
    dtype: Dtype,
    totals: Totals,
    tokenizer_sha256: Option<String>,
    /// Each with the position of its first id.
    files: Vec<(u64, OneFile)>,
}

/// What the file beside the ids says.
#[expect(clippy::large_enum_variant, reason = "there is one of them")]
enum Described {
    Bare,
    One(Manifest),
    Joined(JoinedManifest),
}

impl ShardReader {
    /// Opens the shard whose ids are in `path`, and compares sizes and the first and last block
    /// with the manifest; [`verify`](Self::verify) compares everything.
    ///
    /// # Errors
    ///
    /// [`Error::Shard`] names the field that does not fit; [`Error::Io`] if a file is missing.
    pub fn open(path: &Path) -> Result<Self> {
        if path.extension() == unfinished_path(path).extension() {
            return Err(misfit(path, "name", "is that of a file that is not finished"));
        }
        let (layout, sha256, files) = match read_manifest(path)? {
            Described::Joined(joined) => {
                (None, Some(joined.tokenizer_sha256.clone()), joined_files(path, &joined)?)
            }
            Described::One(manifest) => {
                let sha256 = manifest.tokenizer_sha256.clone();
                (None, Some(sha256), vec![OneFile::open(path, manifest)?])
            }
            Described::Bare => {
                let placed = Placed::read(path)?;
                (Some(placed.layout), None, vec![OneFile::bare(path, placed)?])
            }
        };
        let dtype = files.first().map_or(Dtype::Uint16, |file| file.dtype);
        let mut totals = Totals::default();
        let mut placed = Vec::with_capacity(files.len());
        for file in files {
            let start = totals.tokens;
            totals.tokens += file.tokens;
            if let Some(manifest) = &file.manifest {
                totals.documents += manifest.documents;
                totals.bytes += manifest.bytes;
            }
            placed.push((start, file));
        }
        let path = path.to_owned();
        Ok(Self { path, layout, dtype, totals, tokenizer_sha256: sha256, files: placed })
    }

    /// The manifest of the one file, or of each of several; none for a bare file.
    pub fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.files.iter().filter_map(|(_, file)| file.manifest.as_ref())
    }

    /// Whose file it is; [`None`] for one with a manifest.
    pub fn layout(&self) -> Option<Layout> {
        self.layout
    }

    /// The type of its ids.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Number of ids.
    pub fn tokens(&self) -> u64 {
        self.totals.tokens
    }

    /// How much is in it; of a bare file, the ids alone are known.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Appends up to `count` ids from position `start` on; fewer only at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a file cannot be read; [`Error::DtypeTooNarrow`] if the ids have 32 bits and
    /// `out` 16.
    pub fn read<I: Id>(&mut self, start: u64, count: usize, out: &mut Vec<I>) -> Result<()> {
        if I::DTYPE.width() < self.dtype.width() {
            return Err(Error::DtypeTooNarrow { vocab_size: TokenId::MAX });
        }
        let (mut start, mut left) = (start, count);
        for (first, file) in &mut self.files {
            if left > 0 && start < *first + file.tokens {
                let before = out.len();
                file.read(start - *first, left, out)?;
                let n_read = out.len() - before;
                (start, left) = (start + n_read as u64, left - n_read);
            }
        }
        Ok(())
    }

    /// Where each document starts, in tokens.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if there is no index, [`Error::Shard`] if it is not the manifest's, or there is
    /// no manifest.
    pub fn document_starts(&self) -> Result<Vec<u64>> {
        let mut all = Vec::new();
        for (first, file) in &self.files {
            all.extend(file.document_starts()?.iter().map(|start| first + start));
        }
        Ok(all)
    }

    /// Refuses ids that another tokenizer made.
    ///
    /// # Errors
    ///
    /// [`Error::Shard`] if the manifest names another one than `sha256`.
    pub fn check_tokenizer(&self, sha256: &str) -> Result<()> {
        match &self.tokenizer_sha256 {
            Some(found) if found != sha256 => {
                let reason = format!("is {found}, expected {sha256}");
                Err(misfit(&self.path, "tokenizer_sha256", reason))
            }
            _ => Ok(()),
        }
    }

    /// Reads everything and compares it with the checksums.
    ///
    /// # Errors
    ///
    /// [`Error::Shard`] names the first block that differs; [`Error::Interrupted`].
    pub fn verify(&mut self, progress: &Progress) -> Result<()> {
        self.files.iter_mut().try_for_each(|(_, file)| file.verify(progress))
    }
}

fn read_manifest(bin: &Path) -> Result<Described> {
    let path = beside(bin).1;
    // The manifest of `train.bin` is none of `train.npy`.
    if bin.extension() == Some(Layout::Npy.name().as_ref()) {
        return Ok(Described::Bare);
    }
    let Some(sealed) = Sealed::read(&path, FORMAT, FORMAT_VERSION)? else {
        return Ok(Described::Bare);
    };
    Ok(if sealed.value.get("parts").is_none() {
        Described::One(sealed.parse(&path)?)
    } else {
        if bin.exists() {
            return Err(misfit(
                &path,
                "parts",
                format!("joins others, but `{}` exists", bin.display()),
            ));
        }
        Described::Joined(sealed.parse(&path)?)
    })
}

fn joined_files(bin: &Path, joined: &JoinedManifest) -> Result<Vec<OneFile>> {
    let mut files = Vec::with_capacity(joined.parts.len());
    let json = beside(bin).1;
    for part in &joined.parts {
        if Path::new(&part.name).file_name() != Some(part.name.as_ref()) {
            let reason = format!("names `{}`, expected a file of the same folder", part.name);
            return Err(misfit(&json, "parts", reason));
        }
        let path = bin.with_file_name(&part.name);
        let part_json = beside(&path).1;
        let missing = || Error::io(&part_json, std::io::ErrorKind::NotFound.into());
        let sealed = Sealed::read(&part_json, FORMAT, FORMAT_VERSION)?.ok_or_else(missing)?;
        let found = sealed.checksum(&part_json)?;
        if found != part.json_xxh3 {
            let reason = format!("of `{}` is {}, but it has {found}", part.name, part.json_xxh3);
            return Err(misfit(&json, "json_xxh3", reason));
        }
        let file = OneFile::open(&path, sealed.parse(&part_json)?)?;
        if file.dtype != joined.dtype {
            return Err(misfit(&path, "dtype", format!("is not {}", joined.dtype.name())));
        }
        files.push(file);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tempfile::TempDir;

    use super::*;
    use crate::shard::sealed_json::seal;
    use crate::shard::{BLOCK_BYTES, Eot, SealedShard, ShardFacts, ShardWriter};

    const N_TOKENS: usize = BLOCK_BYTES + 10;

    /// A shard of three blocks and two documents.
    fn shard(folder: &TempDir) -> PathBuf {
        let path = folder.path().join("train.bin");
        let facts = ShardFacts {
            dtype: Dtype::Uint16,
            vocab_size: 1000,
            eot_id: None,
            eot: Eot::Append,
            part: None,
            tokenizer_sha256: "abc".to_owned(),
        };
        let mut writer = ShardWriter::create(&path, facts).unwrap();
        let ids: Vec<TokenId> = (0..1000).cycle().take(N_TOKENS).collect();
        writer.push(&ids[..100]).unwrap();
        writer.end_document(1).unwrap();
        writer.push(&ids[100..]).unwrap();
        writer.end_document(1).unwrap();
        let sealed = writer.seal(vec![]).unwrap();
        SealedShard::publish(vec![sealed]).unwrap();
        path
    }

    fn with_manifest(folder: &TempDir, change: impl Fn(&mut Value)) -> PathBuf {
        let path = shard(folder);
        let json = path.with_extension("json");
        let mut manifest: Value =
            serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
        change(&mut manifest);
        if let Some(fields) = manifest.as_object_mut() {
            fields.remove("json_xxh3");
        }
        std::fs::write(&json, seal(&json, &manifest).unwrap()).unwrap();
        path
    }

    #[test]
    fn any_range_is_read() {
        let folder = TempDir::new().unwrap();
        let mut reader = ShardReader::open(&shard(&folder)).unwrap();
        reader.verify(&Progress::default()).unwrap();
        assert_eq!(reader.tokens(), N_TOKENS as u64);
        assert_eq!(reader.document_starts().unwrap(), [0, 100]);
        let mut ids: Vec<TokenId> = Vec::new();
        reader.read(998, 4, &mut ids).unwrap();
        assert_eq!(ids, [998, 999, 0, 1]);
        ids.clear();
        reader.read(N_TOKENS as u64 - 2, 100, &mut ids).unwrap();
        reader.read(N_TOKENS as u64 + 9, 100, &mut ids).unwrap();
        assert_eq!(ids.len(), 2);
    }

    #[test]
    fn ids_of_16_bits_are_read_as_they_are_and_wider_ones_are_not() {
        let folder = TempDir::new().unwrap();
        let mut ids: Vec<u16> = Vec::new();
        ShardReader::open(&shard(&folder)).unwrap().read(998, 4, &mut ids).unwrap();
        assert_eq!(ids, [998, 999, 0, 1]);
        let path = folder.path().join("wide.bin");
        let facts = ShardFacts {
            dtype: Dtype::Uint32,
            vocab_size: 1000,
            eot_id: None,
            eot: Eot::None,
            part: None,
            tokenizer_sha256: String::new(),
        };
        let sealed = ShardWriter::create(&path, facts).unwrap().seal(vec![]).unwrap();
        SealedShard::publish(vec![sealed]).unwrap();
        let error = ShardReader::open(&path).unwrap().read(0, 1, &mut ids).unwrap_err();
        assert!(matches!(error, Error::DtypeTooNarrow { .. }), "{error}");
    }

    #[test]
    fn bare_file_is_read_as_16_bits() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("bare.bin");
        std::fs::write(&path, [1, 0, 2, 1]).unwrap();
        let mut ids: Vec<TokenId> = Vec::new();
        ShardReader::open(&path).unwrap().read(0, 9, &mut ids).unwrap();
        assert_eq!(ids, [1, 258]);
        std::fs::write(&path, [1, 0, 2]).unwrap();
        let message = ShardReader::open(&path).unwrap_err().to_string();
        assert!(message.contains("bare.bin`: 3 bytes is not a multiple of 2"), "{message}");
    }

    #[test]
    fn ids_behind_a_header_are_read_and_the_manifest_of_another_file_is_not() {
        let folder = TempDir::new().unwrap();
        let path = shard(&folder).with_extension("npy");
        let mut file = Layout::Npy.header(Dtype::Uint32, 3).unwrap();
        file.extend([1, 2, 70_000_u32].into_iter().flat_map(u32::to_le_bytes));
        std::fs::write(&path, file).unwrap();
        let mut reader = ShardReader::open(&path).unwrap();
        let mut ids: Vec<TokenId> = Vec::new();
        reader.read(1, 9, &mut ids).unwrap();
        assert_eq!((reader.layout(), ids), (Some(Layout::Npy), vec![2, 70_000]));
        assert!(reader.check_tokenizer("any").is_ok());
    }

    #[test]
    fn manifest_that_does_not_fit_is_refused_by_field() {
        type Change = fn(&mut Value);
        let cases: &[(Change, &str)] = &[
            (
                |m| m["format"] = "other".into(),
                "`format` is \"other\", expected \"minillm.tokens\"",
            ),
            (|m| m["format_version"] = 2.into(), "`format_version` is 2, expected 1"),
            (|m| m["dtype"] = "uint32".into(), "`tokens` says 1048586, but the file has 524293"),
            (|m| m["dtype"] = "float".into(), "`manifest` unknown variant `float`"),
            (|m| m["tokens"] = 5.into(), "`tokens` says 5, but the file has 1048586"),
            (|m| m["documents"] = 5.into(), "`documents` says 5, but"),
            (|m| m["documents"] = u64::MAX.into(), "`documents` says 18446744073709551615, but"),
            (|m| m["block_bytes"] = 0.into(), "`block_bytes` is 0"),
            (|m| m["block_bytes"] = 9.into(), "`block_xxh3` lists 3 blocks, expected 233020"),
            (|m| m["block_xxh3"][2] = "0".into(), "`block_xxh3` [2] is 0, but the file has"),
            (|m| m["vocab_size"] = 70_000.into(), "uint16 holds ids below 65536"),
            (|m| m["tokens"] = "many".into(), "`manifest` invalid type: string"),
        ];
        for (change, expected) in cases {
            let folder = TempDir::new().unwrap();
            let path = with_manifest(&folder, change);
            let message = ShardReader::open(&path).unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} should contain {expected:?}");
        }
    }

    #[test]
    fn damage_is_found() {
        let folder = TempDir::new().unwrap();
        let path = shard(&folder);
        let mut bytes = std::fs::read(&path).unwrap();
        // In the middle block, which opening does not read.
        bytes[BLOCK_BYTES + 5] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let message =
            ShardReader::open(&path).unwrap().verify(&Progress::default()).unwrap_err().to_string();
        assert!(message.contains("train.bin: `block_xxh3` [1] is "), "{message}");
        bytes[0] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let message = ShardReader::open(&path).unwrap_err().to_string();
        assert!(message.contains("train.bin: `block_xxh3` [0] is "), "{message}");

        let path = shard(&folder);
        std::fs::write(path.with_extension("idx"), [7; 16]).unwrap();
        let mut reader = ShardReader::open(&path).unwrap();
        for result in [reader.verify(&Progress::default()), reader.document_starts().map(|_| ())] {
            let message = result.unwrap_err().to_string();
            assert!(message.ends_with("train.idx: `idx_xxh3` is not the checksum of the file"));
        }
    }

    #[test]
    fn other_tokenizer_is_refused() {
        let folder = TempDir::new().unwrap();
        let reader = ShardReader::open(&shard(&folder)).unwrap();
        assert!(reader.check_tokenizer("abc").is_ok());
        let message = reader.check_tokenizer("def").unwrap_err().to_string();
        assert!(message.ends_with("`tokenizer_sha256` is abc, expected def"), "{message}");
    }
}
