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
//! All numbers are little-endian, and varints hold seven bits a byte, lowest first. Equal counts
//! make equal files, whoever counted.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::{
    CountOptions, Counts, CountsFiles,
    entries::{Entries, put_entry},
    runs::Run,
    table::sort_key,
};
use crate::{
    Error, Result,
    pretokenize::{Pattern, UNICODE_VERSION},
    progress::Progress,
    staged::Staged,
};

const MAGIC: &[u8; 8] = b"mlmcount";
const VERSION: u32 = 1;
const BYTE_ORDER_MARK: u32 = 0x0A0B_0C0D;
/// Magic, version, mark and header length; the checksum at the end.
const PREFIX_BYTES: u64 = 20;
const CHECKSUM_BYTES: u64 = 8;
/// A header that claims to be longer is damaged.
const MOST_HEADER_BYTES: u64 = 1 << 24;

const WRITE_BYTES: usize = 1 << 16;

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
    pre_tokens: u64,
}

impl CountsFile {
    /// Writes the file aside and renames it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], and nothing is changed then.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.save_watched(path, &Progress::default())
    }

    /// [`save`](Self::save), unless `progress` is cancelled before it is done.
    ///
    /// # Errors
    ///
    /// As [`save`](Self::save), and [`Error::Interrupted`].
    pub fn save_watched(&self, path: &Path, progress: &Progress) -> Result<()> {
        let counts = &self.counts;
        let mut writer = Writer::create(
            path,
            &self.pattern,
            &self.special_tokens,
            counts.corpus_bytes,
            counts.len() as u64,
        )?;
        let mut order: Vec<(u128, usize)> =
            (0..counts.len()).map(|index| (sort_key(counts.get(index).0), index)).collect();
        // Only the keys of long texts are ever equal.
        order.sort_unstable_by(|a, b| {
            a.0.cmp(&b.0).then_with(|| counts.get(a.1).0.cmp(counts.get(b.1).0))
        });
        for (_, index) in order {
            let (text, count) = counts.get(index);
            writer.put(text, count)?;
            progress.advance(0)?;
        }
        writer.publish()
    }

    /// Reads a file back.
    ///
    /// # Errors
    ///
    /// As [`CountsFiles::open`] and [`CountsFiles::load`].
    pub fn load(path: &Path) -> Result<Self> {
        CountsFiles::open(&[path], &[])?.load(None, &Progress::default())
    }

    /// The counts of both.
    ///
    /// # Errors
    ///
    /// [`Error::BadCounts`] if their text was cut in two ways; [`Error::TooManyBytes`];
    /// [`Error::Interrupted`] if `progress` is cancelled.
    pub fn plus(&self, other: &Self, progress: &Progress) -> Result<Self> {
        let differ = cut_differs(
            (&other.pattern, &other.special_tokens),
            (&self.pattern, &self.special_tokens),
            "the others with",
        );
        if let Some(reason) = differ {
            return Err(Error::BadCounts { path: PathBuf::from("counts"), reason });
        }
        let pairs = self.counts.iter().chain(other.counts.iter());
        let mut counts = Counts::from_pairs_watched(pairs, progress)?;
        let corpus_bytes = self.counts.corpus_bytes.checked_add(other.counts.corpus_bytes);
        counts.corpus_bytes = corpus_bytes.ok_or(Error::TooManyBytes)?;
        let (pattern, special_tokens) = (self.pattern.clone(), self.special_tokens.clone());
        Ok(Self { counts, pattern, special_tokens })
    }
}

/// Writes a run that is sorted already.
pub(super) fn save_run(
    path: &Path,
    run: &Run,
    corpus_bytes: u64,
    options: &CountOptions,
    progress: &Progress,
) -> Result<()> {
    let (pattern, special_tokens) = (&options.pattern, &options.special_tokens);
    let mut writer = Writer::create(path, pattern, special_tokens, corpus_bytes, run.n_entries())?;
    let mut stream = run.stream();
    loop {
        let n_read = stream.by_ref().take(WRITE_BYTES as u64).read_to_end(&mut writer.buffer);
        if n_read.map_err(|source| Error::io(run.folder(), source))? == 0 {
            return writer.publish();
        }
        writer.write()?;
        progress.advance(0)?;
    }
}

/// A file whose first part has been read.
pub(super) struct Opened {
    path: PathBuf,
    header: Header,
    pattern: Pattern,
    /// Hash of what is before the entries.
    hash: Xxh3,
    /// Where the entries begin, and how many bytes they take.
    start: u64,
    body_bytes: u64,
}

impl Opened {
    pub(super) fn new(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(|source| Error::io(path, source))?;
        Self::read(path, &mut file).map_err(|refused| match refused {
            Refused::Io(source) => Error::io(path, source),
            Refused::Because(reason) => Error::BadCounts { path: path.to_owned(), reason },
        })
    }

    fn read(path: &Path, file: &mut File) -> Result<Self, Refused> {
        let n_bytes = file.metadata()?.len();
        let mut prefix = Vec::new();
        file.take(PREFIX_BYTES).read_to_end(&mut prefix)?;
        if !prefix.starts_with(MAGIC) {
            return Err("not a counts file".to_owned().into());
        }
        let number = |at: usize| {
            let four = prefix.get(at..).and_then(<[u8]>::first_chunk::<4>);
            four.map(|four| u32::from_le_bytes(*four))
        };
        let (Some(version), Some(mark), Some(header_len)) = (number(8), number(12), number(16))
        else {
            return Err("cut short in its first bytes".to_owned().into());
        };
        if mark == BYTE_ORDER_MARK.swap_bytes() {
            return Err("big-endian; counts files are little-endian".to_owned().into());
        }
        if version != VERSION {
            return Err(format!("format version {version}, expected {VERSION}").into());
        }
        let start = PREFIX_BYTES + u64::from(header_len);
        let body_bytes = n_bytes.checked_sub(start + CHECKSUM_BYTES);
        let body_bytes = body_bytes.ok_or_else(|| "cut short in its header".to_owned())?;
        if start > MOST_HEADER_BYTES {
            return Err(format!("damaged: its header has {header_len} bytes").into());
        }
        let mut header = Vec::new();
        file.take(u64::from(header_len)).read_to_end(&mut header)?;
        let mut hash = Xxh3::new();
        hash.update(&prefix);
        hash.update(&header);
        if body_bytes == 0 {
            check_hash(file, &hash)?;
        }
        let header: Header = serde_json::from_slice(&header)
            .map_err(|err| format!("damaged: its header is not understood: {err}"))?;
        if header.unicode_version != UNICODE_VERSION {
            let found = header.unicode_version;
            return Err(format!("counted with Unicode {found}, expected {UNICODE_VERSION}").into());
        }
        let pattern = header.pattern.as_deref().map_or(Ok(Pattern::None), Pattern::parse);
        let pattern = pattern.map_err(|err| err.to_string())?;
        Ok(Self { path: path.to_owned(), header, pattern, hash, start, body_bytes })
    }

    /// What cut its text.
    pub(super) fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// What was left out of it.
    pub(super) fn special_tokens(&self) -> &[String] {
        &self.header.special_tokens
    }

    /// Bytes of its corpus.
    pub(super) fn corpus_bytes(&self) -> u64 {
        self.header.corpus_bytes
    }

    /// Number of its entries, as its header says.
    pub(super) fn pre_tokens(&self) -> u64 {
        self.header.pre_tokens
    }

    /// Its entries, each counted `weight` times.
    pub(super) fn entries(&self, buffer_bytes: usize, weight: u64) -> Entries<Body> {
        Entries::new(&self.path, self.body(), self.body_bytes, buffer_bytes, weight)
    }

    /// An error that names it.
    pub(super) fn bad(&self, reason: String) -> Error {
        Error::BadCounts { path: self.path.clone(), reason }
    }

    /// The entries' bytes.
    fn body(&self) -> Body {
        Body {
            path: self.path.clone(),
            at: self.start,
            n_left: self.body_bytes,
            hash: self.hash.clone(),
        }
    }
}

/// How two ways to cut text differ, if they do; `who` has the one that was expected.
pub(super) fn cut_differs(
    found: (&Pattern, &[String]),
    expected: (&Pattern, &[String]),
    who: &str,
) -> Option<String> {
    if found.0 != expected.0 {
        let (found, expected) = (found.0.shown(), expected.0.shown());
        return Some(format!("counted with pattern `{found}`, {who} `{expected}`"));
    }
    let (found, expected) = (found.1, expected.1);
    (found != expected)
        .then(|| format!("counted with special tokens {found:?}, {who} {expected:?}"))
}

/// Why a file cannot be used.
enum Refused {
    Io(io::Error),
    Because(String),
}

impl From<io::Error> for Refused {
    fn from(source: io::Error) -> Self {
        match source.kind() {
            // What a file says of its own content.
            io::ErrorKind::InvalidData => Self::Because(source.to_string()),
            _ => Self::Io(source),
        }
    }
}

impl From<String> for Refused {
    fn from(reason: String) -> Self {
        Self::Because(reason)
    }
}

/// The entries of a file, as bytes; their last read ends with a look at the checksum.
///
/// The file is opened for each read, so that thousands of files can be added up at once.
pub(super) struct Body {
    path: PathBuf,
    at: u64,
    n_left: u64,
    hash: Xxh3,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.n_left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.at))?;
        let n_read = (&file).take(self.n_left).read(buffer)?;
        self.hash.update(&buffer[..n_read]);
        self.at += n_read as u64;
        self.n_left -= n_read as u64;
        if self.n_left == 0 {
            check_hash(&mut file, &self.hash)?;
        }
        Ok(n_read)
    }
}

/// Compares the hash of a file with the checksum that comes next in it.
fn check_hash(file: &mut File, hash: &Xxh3) -> io::Result<()> {
    let mut stored = [0; 8];
    file.read_exact(&mut stored)?;
    let (found, stored) = (hash.digest(), u64::from_le_bytes(stored));
    if found == stored {
        return Ok(());
    }
    let reason = format!("damaged: checksum {found:016x}, expected {stored:016x}");
    Err(io::Error::new(io::ErrorKind::InvalidData, reason))
}

/// A file that is being written, entry by entry.
pub(super) struct Writer {
    file: Staged,
    hash: Xxh3,
    buffer: Vec<u8>,
}

impl Writer {
    /// Writes all that is before the entries.
    pub(super) fn create(
        path: &Path,
        pattern: &Pattern,
        special_tokens: &[String],
        corpus_bytes: u64,
        pre_tokens: u64,
    ) -> Result<Self> {
        let header = Header {
            pattern: pattern.name().or(pattern.regex()).map(str::to_owned),
            special_tokens: special_tokens.to_vec(),
            unicode_version: UNICODE_VERSION.to_owned(),
            corpus_bytes,
            pre_tokens,
        };
        let header = serde_json::json!(header).to_string();
        let header_len = u32::try_from(header.len()).unwrap_or(u32::MAX);
        let mut buffer = MAGIC.to_vec();
        for number in [VERSION, BYTE_ORDER_MARK, header_len] {
            buffer.extend_from_slice(&number.to_le_bytes());
        }
        buffer.extend_from_slice(header.as_bytes());
        Ok(Self { file: Staged::create(path)?, hash: Xxh3::new(), buffer })
    }

    /// Appends an entry; entries must ascend.
    pub(super) fn put(&mut self, text: &[u8], count: u64) -> Result<()> {
        put_entry(&mut self.buffer, text, count);
        if self.buffer.len() < WRITE_BYTES { Ok(()) } else { self.write() }
    }

    /// Gives the file its name.
    pub(super) fn publish(mut self) -> Result<()> {
        self.write()?;
        self.file.write(&self.hash.digest().to_le_bytes())?;
        self.file.sync()?;
        self.file.publish()
    }

    fn write(&mut self) -> Result<()> {
        self.hash.update(&self.buffer);
        self.file.write(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use proptest::prelude::*;
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;
    use crate::pretokenize::NamedPattern;

    pub(in crate::count) fn file(pairs: &[(&[u8], u64)]) -> CountsFile {
        CountsFile {
            counts: Counts::from_pairs(pairs.iter().copied()).unwrap(),
            pattern: Pattern::Named(NamedPattern::Gpt2),
            special_tokens: vec!["<|endoftext|>".to_owned()],
        }
    }

    pub(in crate::count) fn bytes_of(file: &CountsFile) -> Vec<u8> {
        let saved = tempfile::NamedTempFile::new().unwrap();
        file.save(saved.path()).unwrap();
        fs::read(saved.path()).unwrap()
    }

    fn of_bytes(bytes: &[u8]) -> Result<CountsFile> {
        let saved = tempfile::NamedTempFile::new().unwrap();
        fs::write(saved.path(), bytes).unwrap();
        CountsFile::load(saved.path())
    }

    pub(in crate::count) fn sorted(file: &CountsFile) -> Vec<(Vec<u8>, u64)> {
        let mut entries: Vec<_> = file.counts.iter().map(|(t, n)| (t.to_vec(), n)).collect();
        entries.sort_unstable();
        entries
    }

    /// A file with these entries, as they are, and a checksum that fits them.
    fn forged(entries: &[(&[u8], u64)]) -> Vec<u8> {
        let mut bytes = bytes_of(&file(&[]));
        bytes.truncate(bytes.len() - 8);
        let header = String::from_utf8(bytes[20..].to_vec()).unwrap();
        let wrong =
            header.replace("\"pre_tokens\":0", &format!("\"pre_tokens\":{}", entries.len()));
        bytes.splice(20.., wrong.into_bytes());
        for (text, count) in entries {
            put_entry(&mut bytes, text, *count);
        }
        sealed(bytes)
    }

    fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
        bytes
    }

    #[test]
    fn files_that_do_not_fit_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let good = file(&[(b"x", 1)]);
        let other_pattern = CountsFile { pattern: Pattern::None, ..file(&[(b"x", 1)]) };
        let other_specials = CountsFile { special_tokens: vec![], ..file(&[(b"x", 1)]) };
        let mut newer = bytes_of(&good);
        newer[8] = 2;
        let mut big_endian = bytes_of(&good);
        big_endian[12..16].reverse();
        let older = String::from_utf8_lossy(&bytes_of(&good)).replace("16.0.0", "15.1.0");
        let mut long_header = bytes_of(&good);
        long_header[16..20].fill(0xFF);
        let overflow = "with its counts, the corpus has more bytes than 64 bits can tell";
        let cases: [(Vec<u8>, &str); 14] = [
            (bytes_of(&other_pattern), "counted with pattern `none`, the files before with `gpt2`"),
            (
                bytes_of(&other_specials),
                "counted with special tokens [], the files before with [\"",
            ),
            (newer, "format version 2, expected 1"),
            (big_endian, "big-endian; counts files are little-endian"),
            (older.into_bytes(), "counted with Unicode 15.1.0, expected 16.0.0"),
            (b"hello".to_vec(), "not a counts file"),
            (MAGIC.to_vec(), "cut short in its first bytes"),
            (long_header, "cut short in its header"),
            (forged(&[(b"b", 1), (b"a", 1)]), "entry 1 is out of order"),
            (forged(&[(b"a", 1), (b"a", 1)]), "entry 1 is out of order"),
            (forged(&[(b"", 1)]), "entry 0 is out of order"),
            (forged(&[(b"a", 0)]), "entry 0 has a count of zero"),
            (forged(&[(b"ab", 1 << 63)]), overflow),
            (forged(&[(b"a", u64::MAX)]), overflow),
        ];
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        good.save(&first).unwrap();
        for (bytes, expected) in cases {
            fs::write(&second, bytes).unwrap();
            let message = CountsFiles::open(&[&first, &second], &[])
                .and_then(|files| files.load(None, &Progress::default()))
                .unwrap_err()
                .to_string();
            let expected = format!("{}: {expected}", second.display());
            assert!(message.starts_with(&expected), "{message} should begin with {expected}");
        }
    }

    #[test]
    fn lengths_that_are_not_there_allocate_nothing() {
        let mut bytes = bytes_of(&file(&[]));
        bytes.truncate(bytes.len() - 8);
        // A text of 2^62 bytes, counted once.
        bytes.extend_from_slice(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40, 1, b'a']);
        let message = of_bytes(&sealed(bytes.clone())).unwrap_err().to_string();
        assert!(message.ends_with(": entry 0 is cut short"), "{message}");
        // A length of more than 64 bits.
        bytes.truncate(bytes.len() - 11);
        bytes.extend_from_slice(&[0xFF; 9]);
        bytes.extend_from_slice(&[2, 1, b'a']);
        let message = of_bytes(&sealed(bytes)).unwrap_err().to_string();
        assert!(message.ends_with(": entry 0 is cut short"), "{message}");
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        for entries in [&[(&b"abc"[..], 300), (b"b", 1)][..], &[]] {
            let bytes = bytes_of(&file(entries));
            for bit in 0..8 * bytes.len() {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(of_bytes(&flipped).is_err(), "bit {bit}");
            }
            for len in 0..bytes.len() {
                assert!(of_bytes(&bytes[..len]).is_err(), "{len} bytes");
            }
        }
    }

    proptest! {
        #[test]
        fn prop_files_read_back(
            pairs in proptest::collection::btree_map(
                proptest::collection::vec(any::<u8>(), 1..40), 1_u64..1 << 50, 0..50
            )
        ) {
            let pairs: Vec<(&[u8], u64)> = pairs.iter().map(|(t, &n)| (t.as_slice(), n)).collect();
            let written = file(&pairs);
            let read = of_bytes(&bytes_of(&written)).unwrap();
            prop_assert_eq!(sorted(&read), sorted(&written));
            prop_assert_eq!((read.pattern, read.special_tokens), (written.pattern, written.special_tokens));
        }
    }
}
