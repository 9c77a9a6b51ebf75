//! `Encoding`: a tokenizer with the methods of `tiktoken.Encoding`.
//!
//! Names, defaults, results and kinds of exceptions are those of tiktoken 0.14: an id that does not
//! exist is a `KeyError` here, and lone surrogates become U+FFFD in the methods where they do there.
//! What differs is said where it differs: messages are our own, batches run on as many threads as
//! asked for without a pool, and `encode_with_unstable`, which tiktoken itself calls unstable, is
//! not there.

#![expect(clippy::doc_markdown, reason = "the backticks are where Python's documentation has them")]

use minillm_bpe::decode::char_offsets;
use minillm_bpe::{END_OF_TEXT, TokenId};
use numpy::PyUntypedArray;
use pyo3::exceptions::{PyKeyError, PyNotImplementedError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyList, PySet, PyString, PyTuple};

use crate::bpe::Bpe;
use crate::special::Special;
use crate::text::not;
use crate::threads::Threads;

/// A tokenizer with the methods of a `tiktoken.Encoding`, so that existing code switches in a line.
///
/// Args:
///     tokenizer: Its vocabulary may be of any origin.
///     name: What the encoding calls itself; nothing depends on it.
#[pyclass(frozen, module = "minillm._core")]
pub struct Encoding {
    tokenizer: Py<Bpe>,
    /// Given by whoever made it.
    #[pyo3(get)]
    name: String,
}

impl Encoding {
    fn bpe(&self) -> &Bpe {
        self.tokenizer.get()
    }

    fn specials(&self) -> &[(String, TokenId)] {
        self.bpe().vocabulary().specials()
    }
}

#[pymethods]
impl Encoding {
    #[new]
    #[pyo3(signature = (tokenizer, name="minillm"))]
    fn new(tokenizer: Py<Bpe>, name: &str) -> Self {
        Self { tokenizer, name: name.to_owned() }
    }

    /// The ids of `text`, where special tokens are ordinary text.
    fn encode_ordinary<'py>(
        &self,
        py: Python<'py>,
        text: &Bound<'_, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        self.bpe().encode_ordinary(py, str_only(text)?, "replace")
    }

    /// The ids of `text`; a `ValueError` where it holds a disallowed special token.
    #[pyo3(
        signature = (text, *, allowed_special=Special::NONE, disallowed_special=Special::ALL),
        text_signature = "($self, text, *, allowed_special=(), disallowed_special='all')"
    )]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        text: &Bound<'_, PyAny>,
        allowed_special: Special,
        disallowed_special: Special,
    ) -> PyResult<Bound<'py, PyList>> {
        self.bpe().encode(py, str_only(text)?, allowed_special, disallowed_special, "replace")
    }

    /// As `encode`, in an array of uint32; but a lone surrogate is a `UnicodeEncodeError`.
    #[pyo3(
        signature = (text, *, allowed_special=Special::NONE, disallowed_special=Special::ALL),
        text_signature = "($self, text, *, allowed_special=(), disallowed_special='all')"
    )]
    fn encode_to_numpy<'py>(
        &self,
        py: Python<'py>,
        text: &Bound<'_, PyAny>,
        allowed_special: Special,
        disallowed_special: Special,
    ) -> PyResult<Bound<'py, PyUntypedArray>> {
        str_only(text)?.call_method0("encode")?;
        let ids = self.bpe().checked_ids(py, text, &allowed_special, &disallowed_special, "strict");
        Ok(ids?.widened().into_array(py))
    }

    /// As `encode_ordinary` for each text.
    #[pyo3(signature = (text, *, num_threads=Threads(8)))]
    #[pyo3(text_signature = "($self, text, *, num_threads=8)")]
    fn encode_ordinary_batch<'py>(
        &self,
        py: Python<'py>,
        text: Vec<Bound<'py, PyAny>>,
        num_threads: Threads,
    ) -> PyResult<Vec<Bound<'py, PyList>>> {
        self.encode_batch(py, text, num_threads, Special::NONE, Special::NONE)
    }

    /// As `encode` for each text.
    #[pyo3(
        signature = (
            text, *, num_threads=Threads(8), allowed_special=Special::NONE,
            disallowed_special=Special::ALL
        ),
        text_signature = "($self, text, *, num_threads=8, allowed_special=(), \
                          disallowed_special='all')"
    )]
    fn encode_batch<'py>(
        &self,
        py: Python<'py>,
        text: Vec<Bound<'py, PyAny>>,
        num_threads: Threads,
        allowed_special: Special,
        disallowed_special: Special,
    ) -> PyResult<Vec<Bound<'py, PyList>>> {
        text.iter().try_for_each(|one| str_only(one).map(drop))?;
        let (texts, threads) = (PyList::new(py, text)?, num_threads);
        let (allowed, disallowed) = (allowed_special, disallowed_special);
        self.bpe().encode_batch_to_lists(py, &texts, allowed, disallowed, "replace", threads)
    }

    /// Is not there: nobody has asked for what tiktoken may still change.
    #[staticmethod]
    #[pyo3(signature = (*_args, **_options))]
    fn encode_with_unstable(
        _args: &Bound<'_, PyTuple>,
        _options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        Err(PyNotImplementedError::new_err("encode_with_unstable exists in tiktoken only"))
    }

    /// The id of a token, special ones included; a `KeyError` if there is none.
    fn encode_single_token(&self, text_or_bytes: &Bound<'_, PyAny>) -> PyResult<TokenId> {
        let bytes = match text_or_bytes.cast::<PyString>() {
            Ok(text) => text.call_method0("encode")?,
            Err(_) => text_or_bytes.clone(),
        };
        let token: PyBackedBytes = bytes.extract()?;
        let special = || self.specials().iter().find(|(text, _)| text.as_bytes() == &token[..]);
        let id = self.bpe().vocabulary().id(&token).or_else(|| special().map(|(_, id)| *id));
        id.ok_or_else(|| PyKeyError::new_err(bytes.unbind()))
    }

    /// The bytes of the ids; a `KeyError` for one that does not exist.
    fn decode_bytes<'py>(
        &self,
        py: Python<'py>,
        tokens: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let decoded = self.bpe().decode_bytes(py, tokens, Threads::ALL);
        decoded.or_else(|error| {
            if !error.is_instance_of::<PyValueError>(py) {
                return Err(error);
            }
            for token in tokens.try_iter()? {
                token?.extract::<TokenId>()?; // an `OverflowError` there
            }
            Err(PyKeyError::new_err(error.value(py).to_string()))
        })
    }

    /// The text of the ids; `errors` is what `bytes.decode` takes.
    #[pyo3(signature = (tokens, errors="replace"))]
    fn decode<'py>(
        &self,
        py: Python<'py>,
        tokens: &Bound<'py, PyAny>,
        errors: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.decode_bytes(py, tokens)?.call_method1("decode", ("utf-8", errors))
    }

    /// The bytes of one id; a `KeyError` if it does not exist.
    fn decode_single_token_bytes<'py>(
        &self,
        py: Python<'py>,
        token: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.decode_bytes(py, PyList::new(py, [token])?.as_any())
    }

    /// The bytes of each id.
    fn decode_tokens_bytes<'py>(
        &self,
        py: Python<'py>,
        tokens: &Bound<'py, PyAny>,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        tokens.try_iter()?.map(|token| self.decode_single_token_bytes(py, &token?)).collect()
    }

    /// The text, and for each id the index of the first character that it has bytes of.
    ///
    /// Raises:
    ///     UnicodeDecodeError: If the bytes are not UTF-8.
    fn decode_with_offsets<'py>(
        &self,
        py: Python<'py>,
        tokens: &Bound<'py, PyAny>,
    ) -> PyResult<(Bound<'py, PyAny>, Vec<usize>)> {
        let parts = self.decode_tokens_bytes(py, tokens)?;
        let parts: Vec<&[u8]> = parts.iter().map(PyBytesMethods::as_bytes).collect();
        let text = PyBytes::new(py, &parts.concat()).call_method1("decode", ("utf-8",))?;
        Ok((text, char_offsets(parts)))
    }

    /// As `decode` for each.
    #[pyo3(signature = (batch, *, errors="replace", num_threads=8))]
    fn decode_batch<'py>(
        &self,
        py: Python<'py>,
        batch: &Bound<'py, PyAny>,
        errors: &str,
        num_threads: usize,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let _ = num_threads; // a name that tiktoken has
        batch.try_iter()?.map(|tokens| self.decode(py, &tokens?, errors)).collect()
    }

    /// As `decode_bytes` for each.
    #[pyo3(signature = (batch, *, num_threads=8))]
    fn decode_bytes_batch<'py>(
        &self,
        py: Python<'py>,
        batch: &Bound<'py, PyAny>,
        num_threads: usize,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let _ = num_threads; // a name that tiktoken has
        batch.try_iter()?.map(|tokens| self.decode_bytes(py, &tokens?)).collect()
    }

    /// The bytes of every ordinary token, in order.
    fn token_byte_values<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        let ordinary = |id: &TokenId| self.specials().iter().all(|(_, special)| special != id);
        let tokens = self.bpe().vocabulary().tokens();
        let mut tokens: Vec<&[u8]> =
            tokens.filter(|(id, _)| ordinary(id)).map(|(_, token)| token).collect();
        tokens.sort_unstable();
        tokens.into_iter().map(|token| PyBytes::new(py, token)).collect()
    }

    /// The texts of the special tokens.
    #[getter]
    fn special_tokens_set<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PySet>> {
        PySet::new(py, self.specials().iter().map(|(text, _)| text))
    }

    /// Whether the id is that of a special token.
    fn is_special_token(&self, token: &Bound<'_, PyAny>) -> bool {
        let id = token.extract::<TokenId>();
        id.is_ok_and(|id| self.specials().iter().any(|(_, special)| *special == id))
    }

    /// The id of `<|endoftext|>`; a `KeyError` without one.
    #[getter]
    fn eot_token(&self) -> PyResult<TokenId> {
        self.bpe().vocabulary().eot_id().ok_or_else(|| PyKeyError::new_err(END_OF_TEXT))
    }

    /// The highest id.
    #[getter]
    fn max_token_value(&self) -> TokenId {
        self.n_vocab().saturating_sub(1)
    }

    /// The highest id and 1.
    #[getter]
    fn n_vocab(&self) -> u32 {
        self.bpe().vocabulary().size()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<Encoding {}>", PyString::new(py, &self.name).repr()?))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyAny>, (Py<Bpe>, String)) {
        let (this, py) = (slf.get(), slf.py());
        (slf.get_type().into_any(), (this.tokenizer.clone_ref(py), this.name.clone()))
    }
}

/// `text`; tiktoken takes no `bytes`, which `Tokenizer` does.
fn str_only<'a, 'py>(text: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyAny>> {
    if text.cast::<PyString>().is_ok() { Ok(text) } else { Err(not("text", text, "str")) }
}
