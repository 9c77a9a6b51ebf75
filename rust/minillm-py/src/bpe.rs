//! `Bpe`: a vocabulary with its encoder and decoder, as a Python object that never changes.
//!
//! `Tokenizer` is made of it: what is said here of a method is what `help(Tokenizer)` shows,
//! in the words and the form of Python's documentation.

#![expect(clippy::doc_markdown, reason = "the backticks are where Python's documentation has them")]

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use minillm_bpe::format::tokenizer_json::Normalizer;
use minillm_bpe::format::{gpt2_files, tiktoken, tokenizer_json};
use minillm_bpe::pretokenize::PreTokenizer;
use minillm_bpe::shard::Dtype;
use minillm_bpe::{AllowedSpecial, Decoder, Encoder, Id, Result, TokenId, TrainedTable, Vocab};
use numpy::{IntoPyArray, PyArray1, PyUntypedArray};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::batch::IdVec;
use crate::errors::to_py;
use crate::ids::Ids;
use crate::special::{self, Special};
use crate::stream::{Stream, StreamDecoder};
use crate::text::{Text, ids_by_text, parse_pattern, pattern_text, tokens_by_id};
use crate::threads::Threads;
use crate::work::released;

/// A vocabulary with its encoder and decoder.
#[pyclass(frozen, subclass, module = "minillm._core")]
pub struct Bpe(Arc<Parts>);

/// Encoder and decoder are built when they are first needed: training saves what it learned, and
/// needs neither.
struct Parts {
    vocab: Arc<Vocab>,
    encoder: OnceLock<Encoder>,
    decoder: OnceLock<Arc<Decoder>>,
}

impl Bpe {
    /// Takes the vocabulary that `make` returns; all with the GIL released.
    pub fn build(py: Python<'_>, make: impl FnOnce() -> Result<Vocab> + Send) -> PyResult<Self> {
        released(py, || {
            let vocab = make()?;
            // A pattern that does not compile is refused at once.
            PreTokenizer::new(vocab.pattern())?;
            Ok(Self::of(Arc::new(vocab), OnceLock::new()))
        })
    }

    fn of(vocab: Arc<Vocab>, encoder: OnceLock<Encoder>) -> Self {
        Self(Arc::new(Parts { vocab, encoder, decoder: OnceLock::new() }))
    }

    /// The vocabulary itself, shared.
    pub fn vocabulary(&self) -> &Arc<Vocab> {
        &self.0.vocab
    }

    /// Type of the ids in arrays and token files.
    pub fn dtype(&self) -> Dtype {
        Dtype::for_vocab(self.vocabulary().size())
    }

    /// Several threads may build one at the same time; the first to be ready is kept.
    pub fn encoder(&self) -> Result<&Encoder> {
        if let Some(encoder) = self.0.encoder.get() {
            return Ok(encoder);
        }
        let encoder = Encoder::new(Arc::clone(self.vocabulary()))?;
        Ok(self.0.encoder.get_or_init(|| encoder))
    }

    fn decoder(&self) -> &Arc<Decoder> {
        self.0.decoder.get_or_init(|| Arc::new(Decoder::new(self.vocabulary())))
    }

    /// The ids of `text`, of the type of token files, whose tables are warm.
    fn ids(&self, py: Python<'_>, text: &Text, allowed: &AllowedSpecial) -> PyResult<IdVec> {
        released(py, || {
            let (encoder, text) = (self.encoder()?, text.as_bytes());
            match self.dtype() {
                Dtype::Uint16 => encoded(encoder, text, allowed).map(IdVec::Two),
                Dtype::Uint32 => encoded(encoder, text, allowed).map(IdVec::Four),
            }
        })
    }

    /// The ids of `text`, if it holds no special token that it must not.
    pub fn checked_ids(
        &self,
        py: Python<'_>,
        text: &Bound<'_, PyAny>,
        allowed: &Special,
        disallowed: &Special,
        errors: &str,
    ) -> PyResult<IdVec> {
        let text = Text::encodable(text, errors)?;
        special::check(
            py,
            self,
            std::slice::from_ref(&text),
            |_| "text".to_owned(),
            (allowed, disallowed),
        )?;
        self.ids(py, &text, &allowed.0)
    }

    /// The ids of all texts, and where those of each begin and end.
    fn batch_ids(
        &self,
        py: Python<'_>,
        texts: &Bound<'_, PyAny>,
        allowed: &Special,
        disallowed: &Special,
        errors: &str,
        threads: usize,
    ) -> PyResult<(IdVec, Vec<u64>)> {
        let texts = Text::all(texts, errors)?;
        special::check(py, self, &texts, |index| format!("texts[{index}]"), (allowed, disallowed))?;
        released(py, || {
            let texts: Vec<&[u8]> = texts.iter().map(Text::as_bytes).collect();
            let (encoder, allowed) = (self.encoder()?, &allowed.0);
            Ok(match self.dtype() {
                Dtype::Uint16 => {
                    let (ids, offsets) = encoder.encode_batch(&texts, allowed, threads)?;
                    (IdVec::Two(ids), offsets)
                }
                Dtype::Uint32 => {
                    let (ids, offsets) = encoder.encode_batch(&texts, allowed, threads)?;
                    (IdVec::Four(ids), offsets)
                }
            })
        })
    }
}

/// The ids of `text`.
fn encoded<I: Id>(encoder: &Encoder, text: &[u8], allowed: &AllowedSpecial) -> Result<Vec<I>> {
    let mut ids = Vec::new();
    encoder.encode(text, allowed, &mut ids)?;
    ids.shrink_to_fit(); // many short texts may be kept for long
    Ok(ids)
}

#[pymethods]
impl Bpe {
    /// The same vocabulary once more: how a subclass is made of one.
    #[new]
    fn new(bpe: &Self) -> Self {
        Self(Arc::clone(&bpe.0))
    }

    #[staticmethod]
    fn of_parts(
        py: Python<'_>,
        vocab: Vec<(TokenId, Vec<u8>)>,
        merges: Vec<(Vec<u8>, Vec<u8>)>,
        special_tokens: Vec<(String, Option<TokenId>)>,
        pattern: Option<&str>,
    ) -> PyResult<Self> {
        let pattern = parse_pattern(pattern)?;
        Self::build(py, || Vocab::new(vocab, merges, special_tokens, pattern))
    }

    #[staticmethod]
    fn of_ranks(
        py: Python<'_>,
        ranks: Vec<(Vec<u8>, TokenId)>,
        special_tokens: Vec<(String, TokenId)>,
        pattern: Option<&str>,
    ) -> PyResult<Self> {
        let pattern = parse_pattern(pattern)?;
        Self::build(py, || Vocab::from_ranks(ranks, special_tokens, pattern))
    }

    #[staticmethod]
    fn of_tiktoken(
        py: Python<'_>,
        ranks: PyBackedStr,
        special_tokens: Vec<(String, TokenId)>,
        pattern: Option<&str>,
    ) -> PyResult<Self> {
        let pattern = parse_pattern(pattern)?;
        Self::build(py, || tiktoken::read(&ranks, special_tokens, pattern))
    }

    #[staticmethod]
    fn of_gpt2_files(
        py: Python<'_>,
        vocab: PyBackedStr,
        merges: PyBackedStr,
        special_tokens: Vec<(String, Option<TokenId>)>,
        pattern: Option<&str>,
    ) -> PyResult<Self> {
        let pattern = parse_pattern(pattern)?;
        Self::build(py, || gpt2_files::read(&vocab, &merges, special_tokens, pattern))
    }

    #[staticmethod]
    #[pyo3(signature = (text, *, skip_normalizer=false))]
    fn of_json(py: Python<'_>, text: PyBackedStr, skip_normalizer: bool) -> PyResult<Self> {
        let normalizer = if skip_normalizer { Normalizer::Skip } else { Normalizer::Refuse };
        Self::build(py, || tokenizer_json::read(&text, normalizer))
    }

    /// What `save` writes.
    fn to_json(&self, py: Python<'_>) -> PyResult<String> {
        released(py, || tokenizer_json::to_json(self.vocabulary()))
    }

    /// What `save_ranks` writes.
    fn to_tiktoken(&self, py: Python<'_>) -> PyResult<String> {
        released(py, || tiktoken::write(self.vocabulary()))
    }

    /// What `save_files` writes.
    fn to_gpt2_files(&self, py: Python<'_>) -> PyResult<(String, String)> {
        released(py, || {
            let vocab = self.vocabulary();
            Ok((gpt2_files::vocab_json(vocab)?, gpt2_files::merges_txt(vocab)))
        })
    }

    /// The vocabulary of the first `vocab_size` ids.
    fn truncated(&self, py: Python<'_>, vocab_size: u32) -> PyResult<Self> {
        Self::build(py, || self.vocabulary().truncated(vocab_size))
    }

    /// The same vocabulary, whose encoder begins with the trained-in table at `path`.
    fn with_table(&self, py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        released(py, || {
            let vocab = self.vocabulary();
            let table = TrainedTable::load(&path, vocab)?;
            let encoder = Encoder::with_table(Arc::clone(vocab), Some(table))?;
            Ok(Self::of(Arc::clone(vocab), OnceLock::from(encoder)))
        })
    }

    /// Hash of the saved form but for `merge_counts`; token files name their tokenizer by it.
    #[getter]
    fn sha256(&self, py: Python<'_>) -> PyResult<String> {
        released(py, || tokenizer_json::sha256(self.vocabulary()))
    }

    /// Bytes of each id, special tokens included.
    #[getter]
    fn vocab<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        tokens_by_id(py, self.vocabulary().tokens())
    }

    /// Merged pairs, lowest rank first.
    #[getter]
    fn merges<'py>(&self, py: Python<'py>) -> Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let to_py = |(left, right)| (PyBytes::new(py, left), PyBytes::new(py, right));
        self.vocabulary().merge_bytes().map(to_py).collect()
    }

    /// How often each of `merges` occurred when training merged it; None if nobody noted it.
    ///
    /// Saved with the tokenizer, but no part of `sha256`: ids do not depend on it.
    #[getter]
    fn merge_counts(&self) -> Option<Vec<u64>> {
        self.vocabulary().merge_counts().map(<[u64]>::to_vec)
    }

    /// Number of `merges`.
    #[getter]
    fn n_merges(&self) -> usize {
        self.vocabulary().listed_merges().len()
    }

    /// The longest tokens that merges make, longest first, at most `count`.
    fn longest_tokens<'py>(&self, py: Python<'py>, count: usize) -> Vec<Bound<'py, PyBytes>> {
        let longest = self.vocabulary().longest_merged(count);
        longest.iter().map(|token| PyBytes::new(py, token)).collect()
    }

    /// Id of each special token.
    #[getter]
    fn special_tokens<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        ids_by_text(py, self.vocabulary().specials())
    }

    /// Name or regex of the pre-tokenizer; None if text is not split.
    #[getter]
    fn pattern(&self) -> Option<&str> {
        pattern_text(self.vocabulary().pattern())
    }

    /// Highest id + 1: the rows that an embedding needs. `len` counts the ids in use.
    #[getter]
    fn vocab_size(&self) -> u32 {
        self.vocabulary().size()
    }

    /// Id of `<|endoftext|>`, which ends each document; None without one.
    #[getter]
    fn eot_id(&self) -> Option<TokenId> {
        self.vocabulary().eot_id()
    }

    /// The id of an ordinary token; None if there is none.
    fn token_id(&self, token: &[u8]) -> Option<TokenId> {
        self.vocabulary().id(token)
    }

    /// Bytes of text that each id stands for; 0 for special tokens and unused ids.
    fn token_bytes_lengths<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        self.vocabulary().text_lengths().into_pyarray(py)
    }

    fn __len__(&self) -> usize {
        self.vocabulary().len()
    }

    fn __eq__(&self, py: Python<'_>, other: &Self) -> PyResult<bool> {
        Ok(self.sha256(py)? == other.sha256(py)?)
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<u64> {
        let mut hasher = DefaultHasher::new();
        self.sha256(py)?.hash(&mut hasher);
        Ok(hasher.finish())
    }

    /// The ids of `text`, with special tokens treated as tiktoken does.
    ///
    /// Args:
    ///     text: Any text, or UTF-8 in `bytes`.
    ///     allowed_special: "all", or the special tokens that become their ids.
    ///     disallowed_special: The special tokens that `text` must not hold; "all" is all that are
    ///         not allowed. What is in neither set is ordinary text.
    ///     errors: What becomes of a lone surrogate, which has no UTF-8 form: "strict" refuses the
    ///         text, "replace" puts U+FFFD.
    ///
    /// Raises:
    ///     ValueError: If `text` holds a disallowed token or a lone surrogate; it says where.
    #[pyo3(signature = (
        text, *, allowed_special=Special::NONE, disallowed_special=Special::ALL, errors="strict"
    ))]
    pub fn encode<'py>(
        &self,
        py: Python<'py>,
        text: &Bound<'_, PyAny>,
        allowed_special: Special,
        disallowed_special: Special,
        errors: &str,
    ) -> PyResult<Bound<'py, PyList>> {
        self.checked_ids(py, text, &allowed_special, &disallowed_special, errors)?.into_list(py)
    }

    /// As `encode`; 16-bit ids if `vocab_size` allows it, as in token files.
    #[pyo3(signature = (
        text, *, allowed_special=Special::NONE, disallowed_special=Special::ALL, errors="strict"
    ))]
    fn encode_to_numpy<'py>(
        &self,
        py: Python<'py>,
        text: &Bound<'_, PyAny>,
        allowed_special: Special,
        disallowed_special: Special,
        errors: &str,
    ) -> PyResult<Bound<'py, PyUntypedArray>> {
        let ids = self.checked_ids(py, text, &allowed_special, &disallowed_special, errors)?;
        Ok(ids.into_array(py))
    }

    /// The ids of `text` with every special token in it taken as ordinary text.
    #[pyo3(signature = (text, *, errors="strict"))]
    pub fn encode_ordinary<'py>(
        &self,
        py: Python<'py>,
        text: &Bound<'_, PyAny>,
        errors: &str,
    ) -> PyResult<Bound<'py, PyList>> {
        let text = Text::encodable(text, errors)?;
        self.ids(py, &text, &AllowedSpecial::None)?.into_list(py)
    }

    /// The ids of any bytes, valid UTF-8 or not, with no special tokens.
    fn encode_bytes<'py>(
        &self,
        py: Python<'py>,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        self.ids(py, &Text::new(data)?, &AllowedSpecial::None)?.into_list(py)
    }

    /// The ids of all texts in one array, and where those of each begin and end.
    ///
    /// Those of text `i` are `ids[offsets[i]:offsets[i + 1]]`. Other Python threads run meanwhile.
    /// A single long text is shared among the threads, too.
    ///
    /// Args:
    ///     texts: A list, best of a few megabytes and more. UTF-8 in `bytes` is encoded where it
    ///         lies; a `str` that is not ASCII is first turned into it.
    ///     allowed_special: As for `encode`.
    ///     disallowed_special: As for `encode`.
    ///     errors: What becomes of lone surrogates, as for `encode`.
    ///     threads: How many; 0 takes every core. The ids do not depend on it.
    ///
    /// Raises:
    ///     ValueError: As for `encode`; it names the text by its index.
    #[pyo3(signature = (
        texts, *, allowed_special=Special::NONE, disallowed_special=Special::ALL, errors="strict",
        threads=Threads::ALL
    ))]
    fn encode_batch<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'_, PyAny>,
        allowed_special: Special,
        disallowed_special: Special,
        errors: &str,
        threads: Threads,
    ) -> PyResult<(Bound<'py, PyUntypedArray>, Bound<'py, PyArray1<u64>>)> {
        let (allowed, disallowed) = (&allowed_special, &disallowed_special);
        let (ids, offsets) = self.batch_ids(py, texts, allowed, disallowed, errors, threads.0)?;
        Ok((ids.into_array(py), offsets.into_pyarray(py)))
    }

    /// As `encode_batch`, a list for each text; slower, and many times larger.
    #[pyo3(signature = (
        texts, *, allowed_special=Special::NONE, disallowed_special=Special::ALL, errors="strict",
        threads=Threads::ALL
    ))]
    pub fn encode_batch_to_lists<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'_, PyAny>,
        allowed_special: Special,
        disallowed_special: Special,
        errors: &str,
        threads: Threads,
    ) -> PyResult<Vec<Bound<'py, PyList>>> {
        let (allowed, disallowed) = (&allowed_special, &disallowed_special);
        let (ids, offsets) = self.batch_ids(py, texts, allowed, disallowed, errors, threads.0)?;
        ids.into_lists(py, &offsets)
    }

    /// Encodes a text that arrives in pieces; `encode_iterable` is made of it.
    fn stream(&self, allowed_special: Special) -> PyResult<Stream> {
        let stream = self.encoder().and_then(|encoder| encoder.stream(&allowed_special.0));
        stream.map(Stream).map_err(to_py)
    }

    /// The text of `ids`.
    ///
    /// Args:
    ///     ids: Any sequence or integer array.
    ///     errors: What becomes of bytes that are not UTF-8, as a token may end in the middle of a
    ///         character: "replace" puts U+FFFD, "strict" raises `UnicodeDecodeError`.
    ///     threads: As for `decode_bytes`.
    ///
    /// Raises:
    ///     ValueError: If an id is not in the vocabulary.
    #[pyo3(signature = (ids, errors="replace", *, threads=Threads::ALL))]
    fn decode<'py>(
        &self,
        py: Python<'py>,
        ids: &Bound<'_, PyAny>,
        errors: &str,
        threads: Threads,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.decode_bytes(py, ids, threads)?.call_method1("decode", ("utf-8", errors))
    }

    /// The bytes of `ids`, exactly; inverts every way to encode.
    ///
    /// Args:
    ///     ids: Any sequence or integer array. An array of uint16, uint32 or int64 is read where it
    ///         lies, which is by far the fastest way.
    ///     threads: How many; 0 takes every core. Less than a million ids take one.
    ///
    /// Raises:
    ///     ValueError: If an id is not in the vocabulary.
    #[pyo3(signature = (ids, *, threads=Threads::ALL))]
    pub fn decode_bytes<'py>(
        &self,
        py: Python<'py>,
        ids: &Bound<'_, PyAny>,
        threads: Threads,
    ) -> PyResult<Bound<'py, PyBytes>> {
        Ids::new(ids)?.decode(py, self.decoder(), threads.0)
    }

    /// Decodes ids that arrive one after the other, such as those of a model.
    ///
    /// Its `push(ids)` returns the text that is certain then: half a character waits for its rest,
    /// bytes that are not UTF-8 are U+FFFD. `finish()` returns U+FFFD for a rest that never came.
    /// However the ids are cut into pieces, the whole is what `decode` returns for all of them.
    fn stream_decoder(&self) -> StreamDecoder {
        StreamDecoder(minillm_bpe::StreamDecoder::new(Arc::clone(self.decoder())))
    }
}
