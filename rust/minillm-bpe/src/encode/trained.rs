//! The trained-in table: the pre-tokens that training met most often, with their ids.
//!
//! When training ends, it has merged every pre-token of its corpus. Kept beside the tokenizer,
//! that spares encoding of the same corpus, or of one like it, nearly all merging, and
//! all threads read one table instead of filling one each. It changes the speed and nothing else:
//! what is in it is what merging gives.
//!
//! ```text
//! "mlmtable"                        8 bytes
//! format version                    u32
//! byte order mark 0x0A0B0C0D        u32
//! bytes of an id, 2 or 4            u32
//! number of sets, as log2           u32
//! sha256 of the tokenizer           32 bytes
//! sets                              64 bytes each
//! xxh3 of everything before         u64
//! ```
//!
//! All numbers are little-endian. The sets are those of memory, so loading is one copy and a
//! checksum. Read, not mapped: a file that is cut meanwhile cannot kill the process, and pages of
//! 2 MiB make up for the copy.

use std::{fs::File, io::Read, path::Path};

use xxhash_rust::xxh3::Xxh3;

use super::{Encoder, table::ShortTable};
use crate::{
    Error, Result, TokenId, Vocab, format::tokenizer_json, ids::Id, key, shard::Dtype,
    staged::Staged,
};

const MAGIC: &[u8; 8] = b"mlmtable";
const VERSION: u32 = 1;
const BYTE_ORDER_MARK: u32 = 0x0A0B_0C0D;
const HEADER_BYTES: usize = 56;
const CHECKSUM_BYTES: usize = 8;

/// Pre-tokens with their ids, of one vocabulary.
#[derive(Clone, Debug)]
pub struct TrainedTable(Sets);

#[derive(Clone, Debug)]
pub(super) enum Sets {
    Two(ShortTable<u16>),
    Four(ShortTable<u32>),
}

impl TrainedTable {
    /// How many pre-tokens `train` keeps at most, in 16 MB. On 194 MB of Wikipedia, which has
    /// 509,000 that are keys, encoding it again takes 0.69 of the time without a table, reading it
    /// included; all of them 0.62 in twice the memory, half as many 0.84, an eighth 1.1.
    pub const ENTRIES: usize = 3 << 17;

    /// An empty table for ids of a vocabulary of that size, with room for so many pre-tokens.
    pub(crate) fn with_capacity(vocab_size: u32, n_entries: usize) -> Self {
        Self(match Dtype::for_vocab(vocab_size) {
            Dtype::Uint16 => Sets::Two(ShortTable::with_capacity(n_entries)),
            Dtype::Uint32 => Sets::Four(ShortTable::with_capacity(n_entries)),
        })
    }

    /// How many pre-tokens fit into so many bytes.
    pub(crate) fn entries_in(bytes: usize) -> usize {
        (1 << (bytes / ShortTable::<u16>::SET_BYTES).max(1).ilog2()) / 2 * 3
    }

    /// Keeps a pre-token that is not here, if it and its ids are short enough.
    pub(crate) fn insert(&mut self, pre_token: &[u8], ids: &[TokenId]) {
        fn insert<I: Id>(table: &mut ShortTable<I>, key: u128, ids: &[TokenId]) {
            // Room for as many as fit into an entry; the file has no arena.
            let mut narrow = I::Sixteen::default();
            if let Some((_, inline)) = narrow.as_mut().split_first_mut()
                && let Some(narrow) = inline.get_mut(..ids.len())
            {
                narrow.iter_mut().zip(ids).for_each(|(narrow, &id)| *narrow = I::of(id));
                table.insert(key, narrow);
            }
        }
        match (key::of(pre_token), &mut self.0) {
            (None, _) => {}
            (Some(key), Sets::Two(table)) => insert(table, key, ids),
            (Some(key), Sets::Four(table)) => insert(table, key, ids),
        }
    }

    /// Number of pre-tokens.
    pub fn len(&self) -> usize {
        match &self.0 {
            Sets::Two(table) => table.len(),
            Sets::Four(table) => table.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pre-tokens with their ids.
    pub fn entries(&self) -> Vec<(Vec<u8>, Vec<TokenId>)> {
        fn entries<I: Id>(table: &ShortTable<I>) -> Vec<(Vec<u8>, Vec<TokenId>)> {
            let ids = |ids: &[I]| ids.iter().map(|id| id.id()).collect();
            let text = |key| {
                let (bytes, len) = key::text_of(key);
                bytes[..len].to_vec()
            };
            table.entries().map(|(key, found)| (text(key), ids(found))).collect()
        }
        match &self.0 {
            Sets::Two(table) => entries(table),
            Sets::Four(table) => entries(table),
        }
    }

    /// The same pre-tokens as another vocabulary encodes them.
    ///
    /// # Errors
    ///
    /// Those of [`Encoder::encode_ordinary`], and [`Error::Pattern`] for a pattern that does not
    /// compile.
    pub fn refitted(&self, encoder: &Encoder) -> Result<Self> {
        let mut refitted = Self::with_capacity(encoder.vocab().size(), self.len());
        for (pre_token, _) in self.entries() {
            refitted.insert(&pre_token, &encoder.merge_alone(&pre_token)?);
        }
        Ok(refitted)
    }

    pub(super) fn sets(self) -> Sets {
        self.0
    }

    /// Writes the file aside and renames it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], and nothing is changed then.
    pub fn save(&self, path: &Path, vocab: &Vocab) -> Result<()> {
        let (width, n_sets) = match &self.0 {
            Sets::Two(table) => (2, table.n_sets()),
            Sets::Four(table) => (4, table.n_sets()),
        };
        let mut header = MAGIC.to_vec();
        for number in [VERSION, BYTE_ORDER_MARK, width, n_sets.trailing_zeros()] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        header.extend_from_slice(&fingerprint(vocab)?);
        let mut checksum = Xxh3::new();
        checksum.update(&header);
        let mut file = Staged::create(path)?;
        file.write(&header)?;
        let write = |bytes: &[u8]| {
            checksum.update(bytes);
            file.write(bytes)
        };
        match &self.0 {
            Sets::Two(table) => table.write_to(write),
            Sets::Four(table) => table.write_to(write),
        }?;
        file.write(&checksum.digest().to_le_bytes())?;
        file.publish_unsynced().map(drop)
    }

    /// Reads a table that was made for `vocab`.
    ///
    /// # Errors
    ///
    /// [`Error::Table`] for a file that is damaged, of another version, or of another tokenizer;
    /// [`Error::Io`] for one that cannot be read.
    pub fn load(path: &Path, vocab: &Vocab) -> Result<Self> {
        let misfit = |reason: String| Error::Table { path: path.to_owned(), reason };
        let mut file = File::open(path).map_err(|source| Error::io(path, source))?;
        let mut header = [0; HEADER_BYTES];
        file.read_exact(&mut header).map_err(|_| misfit("is no table: it is cut short".into()))?;
        let log2 = check_header(&header, vocab).map_err(misfit)?;
        let n_bytes = ShortTable::<u16>::SET_BYTES << log2;
        let expected = (HEADER_BYTES + n_bytes + CHECKSUM_BYTES) as u64;
        let found = file.metadata().map_err(|source| Error::io(path, source))?.len();
        if found != expected {
            return Err(misfit(format!("has {found} bytes, and its header says {expected}")));
        }
        let mut checksum = Xxh3::new();
        checksum.update(&header);
        let mut read = |bytes: &mut [u8]| {
            file.read_exact(bytes).map_err(|source| Error::io(path, source))?;
            checksum.update(bytes);
            Ok(())
        };
        let sets = match Dtype::for_vocab(vocab.size()) {
            Dtype::Uint16 => ShortTable::from_bytes(1 << log2, &mut read)?.map(Sets::Two),
            Dtype::Uint32 => ShortTable::from_bytes(1 << log2, &mut read)?.map(Sets::Four),
        };
        let digest = checksum.digest();
        let mut expected = [0; CHECKSUM_BYTES];
        file.read_exact(&mut expected).map_err(|source| Error::io(path, source))?;
        if digest.to_le_bytes() != expected {
            return Err(misfit("is damaged: its checksum does not fit".into()));
        }
        // Sets that no table has would need a forger.
        sets.map(Self).ok_or_else(|| misfit("is damaged: its sets are no table".into()))
    }
}

fn fingerprint(vocab: &Vocab) -> Result<Vec<u8>> {
    let hex = tokenizer_json::sha256(vocab)?;
    let byte = |at: usize| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    Ok((0..64).step_by(2).filter_map(byte).collect())
}

/// The logarithm of the number of sets.
fn check_header(header: &[u8; HEADER_BYTES], vocab: &Vocab) -> std::result::Result<u32, String> {
    let (magic, rest) = header.split_at(MAGIC.len());
    let (numbers, sha256) = rest.split_at(16);
    if magic != MAGIC {
        return Err("is no table of minillm".into());
    }
    let mut numbers = numbers.chunks_exact(4).filter_map(|four| four.try_into().ok());
    let mut next = || numbers.next().map_or(0, u32::from_le_bytes);
    let (version, mark, width, log2) = (next(), next(), next(), next());
    if mark != BYTE_ORDER_MARK {
        return Err("has another byte order".into());
    }
    if version != VERSION {
        return Err(format!("has format version {version}, this minillm reads {VERSION}"));
    }
    let fits = fingerprint(vocab).is_ok_and(|expected| expected == sha256);
    if !fits {
        return Err("is of another tokenizer".into());
    }
    if usize::try_from(width) != Ok(Dtype::for_vocab(vocab.size()).width()) || log2 > 30 {
        return Err(format!("is damaged: ids of {width} bytes, 2^{log2} sets"));
    }
    Ok(log2)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::pretokenize::Pattern;

    fn vocab(last: &str) -> Vocab {
        let bytes = (0..=255_u8).map(|byte| (TokenId::from(byte), vec![byte]));
        let tokens = bytes.chain([(256, b"ab".to_vec()), (257, last.as_bytes().to_vec())]);
        let merges = vec![(b"a".to_vec(), b"b".to_vec()), (b"ab".to_vec(), last[2..].into())];
        Vocab::new(tokens.collect(), merges, vec![], Pattern::parse("gpt2").unwrap()).unwrap()
    }

    fn table(vocab: &Vocab) -> TrainedTable {
        let mut table = TrainedTable::with_capacity(vocab.size(), 100);
        table.insert(b"abc", &[257]);
        table.insert(b" ab", &[32, 256]);
        table.insert(b"too long for a key", &[1]);
        table.insert(b"too many", b"too many".map(TokenId::from).as_slice());
        table
    }

    fn saved(vocab: &Vocab) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.table");
        table(vocab).save(&path, vocab).unwrap();
        (folder, path)
    }

    #[test]
    fn what_was_saved_is_loaded_and_used() {
        let vocab = Arc::new(vocab("abc"));
        let (_folder, path) = saved(&vocab);
        let loaded = TrainedTable::load(&path, &vocab).unwrap();
        assert_eq!(loaded.len(), 2, "neither long keys nor long lists");
        let sorted = |table: &TrainedTable| {
            let mut entries = table.entries();
            entries.sort();
            entries
        };
        assert_eq!(sorted(&loaded), sorted(&table(&vocab)));
        let encoder = Encoder::with_table(Arc::clone(&vocab), Some(loaded.clone())).unwrap();
        let text = b"abc ab, too many that are too long for a key";
        let (mut found, mut expected) = (Vec::<u16>::new(), Vec::<u16>::new());
        encoder.encode_ordinary(text, &mut found).unwrap();
        Encoder::new(Arc::clone(&vocab)).unwrap().encode_ordinary(text, &mut expected).unwrap();
        assert_eq!(found, expected);
        // That it is asked at all: this one lies.
        let mut lying = TrainedTable::with_capacity(vocab.size(), 1);
        lying.insert(b"abc", &[7]);
        let encoder = Encoder::with_table(Arc::clone(&vocab), Some(lying)).unwrap();
        let mut found = Vec::<u16>::new();
        encoder.encode_ordinary(b"abc", &mut found).unwrap();
        assert_eq!(found, [7]);
    }

    #[test]
    fn another_vocabulary_has_its_own_ids() {
        let other = Encoder::new(Arc::new(vocab("abd"))).unwrap();
        let refitted = table(&vocab("abc")).refitted(&other).unwrap();
        let mut entries = refitted.entries();
        entries.sort();
        assert_eq!(entries, [(b" ab".to_vec(), vec![32, 256]), (b"abc".to_vec(), vec![256, 99])]);
    }

    #[test]
    fn tables_that_do_not_fit_are_refused_by_name() {
        let vocab = vocab("abc");
        let (_folder, path) = saved(&vocab);
        let message = |vocab: &Vocab| TrainedTable::load(&path, vocab).unwrap_err().to_string();
        assert!(message(&self::vocab("abd")).ends_with("tokenizer.table: is of another tokenizer"));
        let whole = std::fs::read(&path).unwrap();
        let refused = |bytes: &[u8], reason: &str| {
            std::fs::write(&path, bytes).unwrap();
            let message = message(&vocab);
            assert!(message.contains(reason), "{message}");
        };
        refused(&whole[..40], "cut short");
        refused(&whole[..whole.len() - 1], "and its header says");
        refused(&[&whole[..], b"x"].concat(), "and its header says");
        let with = |at: usize, byte: u8| [&whole[..at], &[byte], &whole[at + 1..]].concat();
        refused(&with(0, b'x'), "is no table of minillm");
        refused(&with(8, 9), "format version 9");
        refused(&with(12, 9), "another byte order");
        refused(&with(16, 4), "ids of 4 bytes");
        refused(&with(20, 50), "2^50 sets");
    }

    #[test]
    fn sets_that_no_table_has_are_refused_even_with_a_checksum() {
        let vocab = vocab("abc");
        let (_folder, path) = saved(&vocab);
        let whole = std::fs::read(&path).unwrap();
        let end = whole.len() - CHECKSUM_BYTES;
        let forge = |change: &dyn Fn(&mut [u8])| {
            let mut bytes = whole[..end].to_vec();
            change(&mut bytes[HEADER_BYTES..]);
            let checksum = xxhash_rust::xxh3::xxh3_64(&bytes).to_le_bytes();
            std::fs::write(&path, [&bytes[..], &checksum].concat()).unwrap();
            TrainedTable::load(&path, &vocab).unwrap_err().to_string()
        };
        // Full sets, in which a search would never end; a second key without a first; a list of
        // ids in an arena that is not there.
        assert!(forge(&|sets| sets.fill(1)).ends_with("its sets are no table"));
        assert!(forge(&|sets| sets[16] = 1).ends_with("its sets are no table"));
        assert!(forge(&|sets| sets[46] = 8).ends_with("its sets are no table"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn prop_a_flipped_bit_is_found(at in any::<prop::sample::Index>(), bit in 0_u32..8) {
            let vocab = vocab("abc");
            let (_folder, path) = saved(&vocab);
            let mut bytes = std::fs::read(&path).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            std::fs::write(&path, bytes).unwrap();
            prop_assert!(TrainedTable::load(&path, &vocab).is_err());
        }
    }
}
