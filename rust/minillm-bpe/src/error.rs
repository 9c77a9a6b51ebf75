//! Everything that can go wrong, one variant a cause.
//!
//! A message states the fact with its value, then what was expected, and can stand alone: it is
//! what a Python user reads.

use std::path::PathBuf;

use crate::TokenId;
use crate::corpus::LONGEST_DOCUMENT;

/// The result of every fallible operation of the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A cause of failure.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum Error {
    /// The operating system refused to read or write a file.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },

    /// The vocabulary has no room for a merge.
    #[error("vocab_size is {got}, but bytes and special tokens already take {taken} ids")]
    VocabTooSmall { got: u32, taken: u32 },

    /// The vocabulary has no room for the tokens that are there already.
    #[error("vocab_size is {got}, but the tokenizer to continue from has {base} ids")]
    VocabBelowBase { got: u32, base: u32 },

    /// An option that the tokenizer to continue from has settled otherwise.
    #[error("{option} is {got}, but the tokenizer to continue from has {base}")]
    BaseDiffers { option: &'static str, got: String, base: String },

    /// A vocabulary that has no smaller one of that size in it.
    #[error("cannot shorten the vocabulary to {size} ids: {reason}")]
    CannotTruncate { size: u32, reason: String },

    /// A regular expression that does not compile, or gives up while matching.
    #[error("pattern `{pattern}`: {reason}")]
    Pattern { pattern: String, reason: String },

    /// No pattern of that name.
    #[error("unknown pattern `{name}`; known are {}{}", known.join(", "), did_you_mean(name, known))]
    UnknownPattern { name: String, known: Vec<&'static str> },

    /// An empty, repeated or otherwise unusable special token.
    #[error("special token {token:?}: {reason}")]
    SpecialToken { token: String, reason: String },

    /// Tokens that contradict one another.
    #[error("vocabulary: {reason}")]
    BadVocab { reason: String },

    /// A merge of, or into, something that is not a token; or one that is listed twice.
    #[error("merge {rank} ({left} {right}): {reason}")]
    BadMerge { rank: u32, left: String, right: String, reason: String },

    /// Sources without a byte of ordinary text.
    #[error("{sources}: no text to train on")]
    EmptyCorpus { sources: String },

    /// No way to break ties has that name.
    #[error("unknown tie-break `{name}`; known are {}{}", known.join(", "), did_you_mean(name, known))]
    UnknownTieBreak { name: String, known: Vec<&'static str> },

    /// Training numbers the places of the distinct pre-tokens, and more than that, by 32 bits.
    #[error(
        "the distinct pre-tokens take {places} bytes, separators included, but training takes at \
         most {most}; use a pattern that cuts them shorter, or less text"
    )]
    TooManyPreTokens { places: usize, most: usize },

    /// Some published vocabularies lack bytes that their training text did not hold.
    #[error("the vocabulary has no token for byte 0x{byte:02x} of the text")]
    MissingByte { byte: u8 },

    /// Positions inside a pre-token have 32 bits.
    #[error("a pre-token has {bytes} bytes, and may have at most 4294967295; use a pattern")]
    PreTokenTooLong { bytes: usize },

    /// An id that stands for nothing.
    #[error("id {id} at position {position} is not in the vocabulary")]
    UnknownId { id: u32, position: usize },

    /// A number that is given as an id and cannot be one.
    #[error("id {id} at position {position} is not in 0..2^32")]
    IdOutOfRange { id: i64, position: usize },

    /// An array that another thread wrote to while it was read.
    #[error("the ids changed while they were decoded")]
    IdsChanged,

    /// A vocabulary file that is damaged, or demands what this crate does not do.
    #[error("{field}: {reason}")]
    Format { field: String, reason: String },

    /// An option of a wrapped tokenizer that must be off.
    #[error("the tokenizer's {option} is on, and would change the ids: turn it off")]
    ForeignOption { option: &'static str },

    /// A wrapped tokenizer whose tokens do not stand for bytes.
    #[error(
        "the tokenizer's decoder is `{kinds}`, expected ByteLevel or that of SentencePiece: which \
         bytes a token stands for cannot be told"
    )]
    ForeignDecoder { kinds: String },

    /// A vocabulary that cannot be written as ranks.
    #[error("the ids are not in the order of the merges, as ranks must be")]
    NotRanked,

    /// A shard whose files do not fit each other.
    #[error("{}: `{field}` {reason}", path.display())]
    Shard { path: PathBuf, field: String, reason: String },

    /// A token file of another program that is not what it begins like; the reason goes on from the
    /// name.
    #[error("`{}`{reason}", path.display())]
    TokenFile { path: PathBuf, reason: String },

    /// An id that nanoGPT's files have no room for.
    #[error(
        "`{}`: id {id} at position {position} does not fit nanoGPT's 16 bits\nhint: convert it to \
         llmc or npy, which have 32 bits",
        path.display()
    )]
    IdTooWide { path: PathBuf, id: TokenId, position: u64 },

    /// More ids than the header of a file can count.
    #[error("{tokens} tokens are more than the {most} that llm.c's header can say")]
    TooManyForLlmc { tokens: u64, most: u64 },

    /// A trained-in table that cannot be used.
    #[error("{}: {reason}", path.display())]
    Table { path: PathBuf, reason: String },

    /// Another process has it, or one of this name.
    #[error("{}: another process is writing it; wait for its end, or choose another name", path.display())]
    Locked { path: PathBuf },

    /// The disk has no room for what is left to write.
    #[error("{}: {source}{}", path.display(), room_needed(*needed))]
    DiskFull { path: PathBuf, source: std::io::Error, needed: Option<u64> },

    /// What an earlier run left does not fit this one.
    #[error(
        "{}: cannot resume: {reason}\nhint: resume with the options and inputs of the earlier run, \
         or begin anew without resuming",
        path.display()
    )]
    CannotResume { path: PathBuf, reason: String },

    /// Files that are not the parts of one whole.
    #[error("{}: cannot be joined: {reason}", path.display())]
    CannotJoin { path: PathBuf, reason: String },

    /// More ids than 16 bits tell apart.
    #[error("uint16 holds ids below 65536, but the vocabulary has {vocab_size}; use uint32")]
    DtypeTooNarrow { vocab_size: u32 },

    /// A shard that would hold nothing.
    #[error("{}: no document for it in {sources}", path.display())]
    NoDocuments { path: PathBuf, sources: String },

    /// Documents are to end with a special token that the vocabulary does not have.
    #[error("the tokenizer has no special token `{token}`, which ends documents")]
    NoSeparator { token: String },

    /// Ids whose bytes are no text, where text is demanded.
    #[error("the ids are no UTF-8 text: byte {position} is invalid")]
    InvalidUtf8 { position: usize },

    /// A file of counts that cannot be used, or not together with others.
    #[error("{}: {reason}", path.display())]
    BadCounts { path: PathBuf, reason: String },

    /// Rows of ids that their source has not, or that cannot be planned.
    #[error("rows: {reason}")]
    Rows { reason: String },

    /// Weights of files that are not one number each.
    #[error("weights: {reason}")]
    Weights { reason: String },

    /// Counts of nothing.
    #[error("a counted pre-token is empty, expected one byte or more")]
    EmptyPreToken,

    /// Weights, or damaged counts, that make a corpus longer than can be counted.
    #[error("with its weights, the corpus has more bytes than 64 bits can tell")]
    TooManyBytes,

    /// A bound for training that first makes the merges of another tokenizer.
    #[error(
        "max_memory cannot be kept while continuing from a tokenizer, whose merges need every pair; \
         count within the bound first, then continue from the counts without it"
    )]
    UnboundedBase,

    /// A bound that leaves no room to work.
    #[error("max_memory is {max_memory} bytes, but {what} takes at least {least}")]
    MemoryTooSmall { max_memory: u64, least: u64, what: String },

    /// A document that cannot be cut, and is too long to be held whole.
    #[error(
        "{}: more than {bytes} bytes of text offer no place to cut, and {}, or a pattern that splits \
         at white space",
        path.display(),
        if *bytes < LONGEST_DOCUMENT {
            "max_memory leaves no room for more; twice as much may do"
        } else {
            "no more is held in memory; special tokens between documents may do"
        }
    )]
    NoPlaceToCut { path: PathBuf, bytes: usize },

    /// A name that stands for no file to read.
    #[error("`{}` {problem}", name.display())]
    NoInput { name: PathBuf, problem: &'static str },

    /// A line of a jsonl file that holds no document.
    #[error("{}, line {}: {reason}", path.display(), grouped(*line))]
    JsonLine { path: PathBuf, line: u64, reason: String },

    /// A row, line or stretch of a file that holds no document, or one that cannot be taken.
    #[error("{}, {place}: {reason}", path.display())]
    Document { path: PathBuf, place: String, reason: String },

    /// A template that names no fields as it should.
    #[error("template `{template}`: {reason}")]
    Template { template: String, reason: String },

    /// Options that cannot be had of these sources, or not together.
    #[error("{option}: {reason}")]
    Arrange { option: &'static str, reason: String },

    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Names the file that an I/O error belongs to.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }

    /// Tells how many bytes are `needed` in all, if the cause is that there was no room.
    pub(crate) fn or_disk_full(self, needed: Option<u64>) -> Self {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match self {
            Self::Io { path, source }
                if matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge) =>
            {
                Self::DiskFull { path, source, needed }
            }
            other => other,
        }
    }
}

/// How much room files will take.
pub fn room_needed(bytes: Option<u64>) -> String {
    let megabytes = bytes.map(|bytes| bytes as f64 / 1e6);
    megabytes.map_or(String::new(), |mb| format!("; the files take about {mb:.1} MB in all"))
}

/// A number as people read it: 1,234,567.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.char_indices() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A line that names the nearest of the `known` names, empty if none is near `name`.
fn did_you_mean(name: &str, known: &[&str]) -> String {
    let nearest = known.iter().min_by_key(|known| edits(name, known));
    match nearest {
        // As many letters right as wrong, at least.
        Some(known) if edits(name, known) * 2 <= known.len() => {
            format!("\nhint: did you mean `{known}`?")
        }
        _ => String::new(),
    }
}

/// Letters to insert, delete or replace to make `b` of `a` (Levenshtein's distance).
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, right) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_count_insertions_deletions_and_replacements() {
        assert_eq!((edits("gpt2", "gpt2"), edits("gtp2", "gpt2"), edits("", "lex")), (0, 2, 3));
        assert_eq!((edits("llama", "llama3"), edits("cl1000k", "cl100k")), (1, 1));
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        let known = ["gpt2", "cl100k"];
        assert_eq!(did_you_mean("gtp2", &known), "\nhint: did you mean `gpt2`?");
        assert_eq!(did_you_mean("whitespace", &known), "");
    }
}
