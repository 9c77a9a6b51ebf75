//! Counts on disk: so that several machines count a part each, and one count serves many
//! vocabularies.
//!
//! ```text
//! "mlmcount"                        8 bytes
//! format version                    u32
//! byte order mark 0x0A0B0C0D        u32
//! length of the header              u32
//! header, JSON                      pattern, special tokens, Unicode version, bytes of corpus
//! entries, ascending by text        varint length, varint count, text
//! xxh3 of everything before         u64
//! ```
//!
//! All numbers are little-endian; varints hold seven bits a byte, lowest first. Equal counts make
//! equal files, whoever counted.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::Counts;
use crate::{
    Error, Result,
    pretokenize::{Pattern, UNICODE_VERSION},
    staged::Staged,
};

const MAGIC: &[u8; 8] = b"mlmcount";
const VERSION: u32 = 1;
const BYTE_ORDER_MARK: u32 = 0x0A0B_0C0D;
/// Magic, version, mark and header length; the checksum at the end.
const PREFIX_BYTES: usize = 20;
const CHECKSUM_BYTES: usize = 8;

/// Counts, and how the text was cut that they count.
#[derive(Debug)]
pub struct CountsFile {
    /// The pre-tokens.
    pub counts: Counts,
    /// What cut the text.
    pub pattern: Pattern,
    /// What was left out of it.
    pub special_tokens: Vec<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// A name or a regular expression; absent if text was not cut.
    pattern: Option<String>,
    special_tokens: Vec<String>,
    unicode_version: String,
    corpus_bytes: u64,
    pre_tokens: usize,
}

impl CountsFile {
    /// Writes the file aside and renames it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], and nothing is changed then.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut file = Staged::create(path)?;
        file.write(&self.to_bytes())?;
        file.sync()?;
        file.publish()
    }

    /// Reads a file back.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; [`Error::BadCounts`] if it is no counts file, of another version or byte
    /// order, damaged, or was counted with other Unicode tables.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|source| Error::io(path, source))?;
        Self::from_bytes(&bytes)
            .map_err(|reason| Error::BadCounts { path: path.to_owned(), reason })
    }

    /// Adds up several files.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load), and [`Error::BadCounts`] for a file whose text was cut otherwise
    /// than the first one's.
    pub fn load_all(paths: &[impl AsRef<Path>]) -> Result<Option<Self>> {
        let mut sum: Option<Self> = None;
        for path in paths {
            let file = Self::load(path.as_ref())?;
            match &mut sum {
                None => sum = Some(file),
                Some(sum) => sum.add(&file).map_err(|reason| Error::BadCounts {
                    path: path.as_ref().to_owned(),
                    reason,
                })?,
            }
        }
        Ok(sum)
    }

    fn add(&mut self, other: &Self) -> Result<(), String> {
        if self.pattern != other.pattern {
            let show = |pattern: &Pattern| pattern.regex().unwrap_or("none").to_owned();
            let (found, expected) = (show(&other.pattern), show(&self.pattern));
            return Err(format!(
                "counted with pattern `{found}`, the files before with `{expected}`"
            ));
        }
        if self.special_tokens != other.special_tokens {
            let (found, expected) = (&other.special_tokens, &self.special_tokens);
            return Err(format!(
                "counted with special tokens {found:?}, the files before with {expected:?}"
            ));
        }
        let corpus_bytes = self.counts.corpus_bytes.saturating_add(other.counts.corpus_bytes);
        self.counts = Counts::from_pairs(self.counts.iter().chain(other.counts.iter()));
        self.counts.corpus_bytes = corpus_bytes;
        Ok(())
    }

    fn to_bytes(&self) -> Vec<u8> {
        let header = Header {
            pattern: self.pattern.name().or(self.pattern.regex()).map(str::to_owned),
            special_tokens: self.special_tokens.clone(),
            unicode_version: UNICODE_VERSION.to_owned(),
            corpus_bytes: self.counts.corpus_bytes,
            pre_tokens: self.counts.len(),
        };
        let header = serde_json::json!(header).to_string();
        let header_len = u32::try_from(header.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(self.counts.distinct_bytes() + 4 * self.counts.len());
        bytes.extend_from_slice(MAGIC);
        for number in [VERSION, BYTE_ORDER_MARK, header_len] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(header.as_bytes());
        let mut entries: Vec<(&[u8], u64)> = self.counts.iter().collect();
        entries.sort_unstable();
        for (text, count) in entries {
            put_varint(&mut bytes, text.len() as u64);
            put_varint(&mut bytes, count);
            bytes.extend_from_slice(text);
        }
        bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let number = |at: usize| {
            let four = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>);
            four.map(|four| u32::from_le_bytes(*four))
        };
        if !bytes.starts_with(MAGIC) {
            return Err("not a counts file".to_owned());
        }
        let (Some(version), Some(mark), Some(header_len)) = (number(8), number(12), number(16))
        else {
            return Err("cut short in its first bytes".to_owned());
        };
        if mark == BYTE_ORDER_MARK.swap_bytes() {
            return Err("big-endian; counts files are little-endian".to_owned());
        }
        if version != VERSION {
            return Err(format!("format version {version}, expected {VERSION}"));
        }
        let Some((body, checksum)) = bytes.split_last_chunk::<CHECKSUM_BYTES>() else {
            return Err("cut short in its first bytes".to_owned());
        };
        let (found, stored) = (xxh3_64(body), u64::from_le_bytes(*checksum));
        if found != stored {
            return Err(format!("damaged: checksum {found:016x}, expected {stored:016x}"));
        }
        let end = PREFIX_BYTES + header_len as usize;
        let header = body.get(PREFIX_BYTES..end).ok_or("its header is cut short")?;
        let header: Header = serde_json::from_slice(header).map_err(|err| err.to_string())?;
        if header.unicode_version != UNICODE_VERSION {
            let found = header.unicode_version;
            return Err(format!("counted with Unicode {found}, expected {UNICODE_VERSION}"));
        }
        let pattern = header.pattern.map_or(Ok(Pattern::None), |text| Pattern::parse(&text));
        let mut counts = read_entries(&body[end..], header.pre_tokens)?;
        counts.corpus_bytes = header.corpus_bytes;
        Ok(Self {
            counts,
            pattern: pattern.map_err(|err| err.to_string())?,
            special_tokens: header.special_tokens,
        })
    }
}

fn read_entries(mut rest: &[u8], expected: usize) -> Result<Counts, String> {
    let mut counts = Counts::default();
    let mut before: Option<&[u8]> = None;
    while !rest.is_empty() {
        let entry = take_varint(&mut rest).zip(take_varint(&mut rest)).and_then(|(len, count)| {
            let text = rest.split_off(..usize::try_from(len).ok()?)?;
            Some((text, count))
        });
        let Some((text, count)) = entry else {
            return Err(format!("entry {} is cut short", counts.len()));
        };
        if before.is_some_and(|before| before >= text) || text.is_empty() {
            return Err(format!("entry {} is out of order", counts.len()));
        }
        before = Some(text);
        counts.push(text, count);
    }
    if counts.len() != expected {
        return Err(format!("holds {} pre-tokens, its header says {expected}", counts.len()));
    }
    Ok(counts)
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *rest.split_off_first()?;
        number |= u64::from(byte & 0x7F).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pretokenize::NamedPattern;

    fn file(pairs: &[(&[u8], u64)]) -> CountsFile {
        CountsFile {
            counts: Counts::from_pairs(pairs.iter().copied()),
            pattern: Pattern::Named(NamedPattern::Gpt2),
            special_tokens: vec!["<|endoftext|>".to_owned()],
        }
    }

    fn sorted(file: &CountsFile) -> Vec<(Vec<u8>, u64)> {
        let mut entries: Vec<_> = file.counts.iter().map(|(t, n)| (t.to_vec(), n)).collect();
        entries.sort_unstable();
        entries
    }

    #[test]
    fn files_add_up_and_do_not_depend_on_order() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        file(&[(b"x", 1 << 40), (b"yy", 2)]).save(&a).unwrap();
        file(&[(b"yy", 3), (&[0xFF; 300], 1)]).save(&b).unwrap();
        let sum = CountsFile::load_all(&[&a, &b]).unwrap().unwrap();
        let expected = [(b"x".to_vec(), 1 << 40), (b"yy".to_vec(), 5), (vec![0xFF; 300], 1)];
        assert_eq!(sorted(&sum), expected);
        let reversed = CountsFile::load_all(&[&b, &a]).unwrap().unwrap();
        assert_eq!(sum.to_bytes(), reversed.to_bytes());
    }

    #[test]
    fn files_that_do_not_fit_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let good = file(&[(b"x", 1)]);
        let other_pattern = CountsFile { pattern: Pattern::None, ..file(&[(b"x", 1)]) };
        let other_specials = CountsFile { special_tokens: vec![], ..file(&[(b"x", 1)]) };
        let mut newer = good.to_bytes();
        newer[8] = 2;
        let mut big_endian = good.to_bytes();
        big_endian[12..16].reverse();
        let cases: [(Vec<u8>, &str); 6] = [
            (other_pattern.to_bytes(), "counted with pattern `none`, the files before with `'(?:"),
            (other_specials.to_bytes(), "counted with special tokens [], the files before with"),
            (newer, "format version 2, expected 1"),
            (big_endian, "big-endian; counts files are little-endian"),
            (b"hello".to_vec(), "not a counts file"),
            (MAGIC.to_vec(), "cut short in its first bytes"),
        ];
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        good.save(&first).unwrap();
        for (bytes, expected) in cases {
            fs::write(&second, bytes).unwrap();
            let message = CountsFile::load_all(&[&first, &second]).unwrap_err().to_string();
            let expected = format!("{}: {expected}", second.display());
            assert!(message.starts_with(&expected), "{message} should begin with {expected}");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let bytes = file(&[(b"abc", 300), (b"b", 1)]).to_bytes();
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(CountsFile::from_bytes(&flipped).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(CountsFile::from_bytes(&bytes[..len]).is_err(), "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn prop_files_read_back(
            pairs in proptest::collection::btree_map(
                proptest::collection::vec(any::<u8>(), 1..40), any::<u64>(), 0..50
            )
        ) {
            let pairs: Vec<(&[u8], u64)> = pairs.iter().map(|(t, &n)| (t.as_slice(), n)).collect();
            let written = file(&pairs);
            let read = CountsFile::from_bytes(&written.to_bytes()).unwrap();
            prop_assert_eq!(sorted(&read), sorted(&written));
            prop_assert_eq!((read.pattern, read.special_tokens), (written.pattern, written.special_tokens));
        }
    }
}
