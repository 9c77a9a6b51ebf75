//! `Bpe`: a vocabulary with its encoder and decoder, as a Python object that never changes.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use minillm_bpe::format::tokenizer_json::Normalizer;
use minillm_bpe::format::{gpt2_files, tiktoken, tokenizer_json};
use minillm_bpe::pretokenize::PreTokenizer;
use minillm_bpe::shard::Dtype;
use minillm_bpe::special::SpecialTokens;
use minillm_bpe::{AllowedSpecial, Decoder, Encoder, Id, Result, TokenId, TrainedTable, Vocab};
use numpy::PyUntypedArray;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyDict};

use crate::batch::IdVec;
use crate::errors::to_py;
use crate::ids::Ids;
use crate::stream::{Stream, StreamDecoder};
use crate::text::{Text, parse_pattern, pattern_text};
use crate::work::released;

/// Special tokens to recognize; `None` stands for all.
pub type Names = Option<Vec<String>>;

/// A vocabulary with its encoder and decoder, which are built when they are first needed: training
/// saves what it learned, and needs neither.
#[pyclass(frozen, module = "minillm._core")]
pub struct Bpe {
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
            Ok(Self { vocab: Arc::new(vocab), encoder: OnceLock::new(), decoder: OnceLock::new() })
        })
    }

    /// The vocabulary itself, shared.
    pub fn vocabulary(&self) -> &Arc<Vocab> {
        &self.vocab
    }

    /// Type of the ids in arrays and token files.
    pub fn dtype(&self) -> Dtype {
        Dtype::for_vocab(self.vocab.size())
    }

    /// Several threads may build one at the same time; the first to be ready is kept.
    pub fn encoder(&self) -> Result<&Encoder> {
        if let Some(encoder) = self.encoder.get() {
            return Ok(encoder);
        }
        let encoder = Encoder::new(Arc::clone(&self.vocab))?;
        Ok(self.encoder.get_or_init(|| encoder))
    }

    fn decoder(&self) -> &Arc<Decoder> {
        self.decoder.get_or_init(|| Arc::new(Decoder::new(&self.vocab)))
    }
}

/// The ids of `text`.
fn encoded<I: Id>(encoder: &Encoder, text: &[u8], allowed: &AllowedSpecial) -> Result<Vec<I>> {
    let mut ids = Vec::new();
    encoder.encode(text, allowed, &mut ids)?;
    ids.shrink_to_fit(); // many short texts may be kept for long
    Ok(ids)
}

/// `None` stands for all, as it does in Python.
pub fn allowed(names: Names) -> AllowedSpecial {
    names.map_or(AllowedSpecial::All, AllowedSpecial::Only)
}

#[pymethods]
impl Bpe {
    #[new]
    fn new(
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
    fn from_ranks(
        py: Python<'_>,
        ranks: Vec<(Vec<u8>, TokenId)>,
        special_tokens: Vec<(String, TokenId)>,
        pattern: Option<&str>,
    ) -> PyResult<Self> {
        let pattern = parse_pattern(pattern)?;
        Self::build(py, || Vocab::from_ranks(ranks, special_tokens, pattern))
    }

    #[staticmethod]
    fn from_tiktoken(
        py: Python<'_>,
        ranks: PyBackedStr,
        special_tokens: Vec<(String, TokenId)>,
        pattern: Option<&str>,
    ) -> PyResult<Self> {
        let pattern = parse_pattern(pattern)?;
        Self::build(py, || tiktoken::read(&ranks, special_tokens, pattern))
    }

    #[staticmethod]
    fn from_gpt2_files(
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
    fn from_json(py: Python<'_>, text: PyBackedStr, skip_normalizer: bool) -> PyResult<Self> {
        let normalizer = if skip_normalizer { Normalizer::Skip } else { Normalizer::Refuse };
        Self::build(py, || tokenizer_json::read(&text, normalizer))
    }

    fn to_json(&self, py: Python<'_>) -> PyResult<String> {
        released(py, || tokenizer_json::to_json(self.vocabulary()))
    }

    fn to_tiktoken(&self, py: Python<'_>) -> PyResult<String> {
        released(py, || tiktoken::write(self.vocabulary()))
    }

    fn to_gpt2_files(&self, py: Python<'_>) -> PyResult<(String, String)> {
        released(py, || {
            let vocab = self.vocabulary();
            Ok((gpt2_files::vocab_json(vocab)?, gpt2_files::merges_txt(vocab)))
        })
    }

    /// Hash of `to_json`.
    fn sha256(&self, py: Python<'_>) -> PyResult<String> {
        released(py, || tokenizer_json::sha256(self.vocabulary()))
    }

    fn vocab<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let tokens = PyDict::new(py);
        for (id, token) in self.vocabulary().tokens() {
            tokens.set_item(id, PyBytes::new(py, token))?;
        }
        Ok(tokens)
    }

    fn merges<'py>(&self, py: Python<'py>) -> Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let to_py = |(left, right)| (PyBytes::new(py, left), PyBytes::new(py, right));
        self.vocabulary().merge_bytes().map(to_py).collect()
    }

    fn token_id(&self, token: &[u8]) -> Option<TokenId> {
        self.vocabulary().id(token)
    }

    fn merge_counts(&self) -> Option<Vec<u64>> {
        self.vocabulary().merge_counts().map(<[u64]>::to_vec)
    }

    fn truncated(&self, py: Python<'_>, vocab_size: u32) -> PyResult<Self> {
        Self::build(py, || self.vocab.truncated(vocab_size))
    }

    fn special_tokens<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let tokens = PyDict::new(py);
        for (token, id) in self.vocabulary().specials() {
            tokens.set_item(token, id)?;
        }
        Ok(tokens)
    }

    #[getter]
    fn pattern(&self) -> Option<&str> {
        pattern_text(self.vocabulary().pattern())
    }

    #[getter]
    fn vocab_size(&self) -> u32 {
        self.vocabulary().size()
    }

    #[getter]
    fn n_merges(&self) -> usize {
        self.vocabulary().listed_merges().len()
    }

    #[getter]
    fn eot_id(&self) -> Option<TokenId> {
        self.vocabulary().eot_id()
    }

    fn __len__(&self) -> usize {
        self.vocabulary().len()
    }

    /// The first of `names` in `text` and the index of its first byte.
    fn find_special(
        &self,
        py: Python<'_>,
        text: &Bound<'_, PyAny>,
        names: Names,
    ) -> PyResult<Option<(String, usize)>> {
        let text = Text::new(text)?;
        released(py, || match names {
            None => self.encoder()?.find_special(text.as_bytes(), &AllowedSpecial::All),
            Some(names) => {
                let found = SpecialTokens::new(&names)?.find(text.as_bytes(), 0);
                Ok(found.map(|(range, index)| (names[index].clone(), range.start)))
            }
        })
    }

    fn encode(
        &self,
        py: Python<'_>,
        text: &Bound<'_, PyAny>,
        names: Names,
    ) -> PyResult<Vec<TokenId>> {
        let text = Text::new(text)?;
        released(py, || {
            match self.dtype() {
                // The type of token files, whose tables are warm.
                Dtype::Uint16 => {
                    let ids: Vec<u16> = encoded(self.encoder()?, text.as_bytes(), &allowed(names))?;
                    Ok(ids.into_iter().map(TokenId::from).collect())
                }
                Dtype::Uint32 => encoded(self.encoder()?, text.as_bytes(), &allowed(names)),
            }
        })
    }

    fn encode_to_numpy<'py>(
        &self,
        py: Python<'py>,
        text: &Bound<'_, PyAny>,
        names: Names,
    ) -> PyResult<Bound<'py, PyUntypedArray>> {
        let text = Text::new(text)?;
        let ids = released(py, || {
            let (encoder, allowed, text) = (self.encoder()?, allowed(names), text.as_bytes());
            match self.dtype() {
                Dtype::Uint16 => encoded(encoder, text, &allowed).map(IdVec::Two),
                Dtype::Uint32 => encoded(encoder, text, &allowed).map(IdVec::Four),
            }
        })?;
        Ok(ids.into_array(py))
    }

    /// The same vocabulary, whose encoder begins with the trained-in table at `path`.
    fn with_table(&self, py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        released(py, || {
            let table = TrainedTable::load(&path, &self.vocab)?;
            let encoder = Encoder::with_table(Arc::clone(&self.vocab), Some(table))?;
            Ok(Self {
                vocab: Arc::clone(&self.vocab),
                encoder: OnceLock::from(encoder),
                decoder: OnceLock::new(),
            })
        })
    }

    fn stream(&self, names: Names) -> PyResult<Stream> {
        self.encoder()
            .and_then(|encoder| encoder.stream(&allowed(names)))
            .map(Stream)
            .map_err(to_py)
    }

    fn decode<'py>(
        &self,
        py: Python<'py>,
        ids: &Bound<'_, PyAny>,
        threads: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        Ids::new(ids)?.decode(py, self.decoder(), threads)
    }

    fn stream_decoder(&self) -> StreamDecoder {
        StreamDecoder(minillm_bpe::StreamDecoder::new(Arc::clone(self.decoder())))
    }
}
