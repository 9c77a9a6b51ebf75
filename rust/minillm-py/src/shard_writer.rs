//! `ShardWriter`: a token file of ids that another program's tokenizer made.

use std::path::PathBuf;

use minillm_bpe::TokenId;
use minillm_bpe::shard::{
    Dtype, Eot, SealedShard, ShardFacts, ShardReport as Report, ShardWriter as Writer, SourceFacts,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::ids::Ids;
use crate::shard::{ShardReport, report_to_py};
use crate::work::released;

/// A token file on its way; without `finish`, nothing of it remains.
#[pyclass(module = "minillm._core")]
pub struct ShardWriter {
    path: PathBuf,
    eot_id: Option<TokenId>,
    /// In a box, as its checksum is aligned to 64 bytes, and objects of Python to 16.
    writer: Option<Box<Writer>>,
}

#[pymethods]
impl ShardWriter {
    #[new]
    #[pyo3(signature = (path, *, vocab_size, eot_id, tokenizer_sha256))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        vocab_size: u32,
        eot_id: Option<TokenId>,
        tokenizer_sha256: String,
    ) -> PyResult<Self> {
        let dtype = Dtype::for_vocab(vocab_size);
        let facts = ShardFacts {
            dtype,
            vocab_size,
            eot_id,
            eot: if eot_id.is_some() { Eot::Append } else { Eot::None },
            tokenizer_sha256,
            part: None,
        };
        let writer = released(py, || Writer::create(&path, facts))?;
        Ok(Self { path, eot_id, writer: Some(Box::new(writer)) })
    }

    /// Appends a document that was made from `n_bytes` bytes of text, and the end-of-text token.
    fn push(&mut self, py: Python<'_>, ids: &Bound<'_, PyAny>, n_bytes: u64) -> PyResult<()> {
        let ids = Ids::new(ids)?;
        let eot_id = self.eot_id;
        let writer = self.writer.as_mut().ok_or_else(finished)?;
        released(py, || {
            writer.push(&ids.to_vec()?)?;
            writer.push(eot_id.as_slice())?;
            writer.end_document(n_bytes)
        })
    }

    /// Gives the files their names. `sources` are what was read, and its bytes.
    fn finish(&mut self, py: Python<'_>, sources: Vec<(String, u64)>) -> PyResult<Py<ShardReport>> {
        let writer = self.writer.take().ok_or_else(finished)?;
        let facts = |(path, bytes)| SourceFacts { path, bytes };
        let path = self.path.clone();
        let report = released(py, || {
            let sealed = writer.seal(sources.into_iter().map(facts).collect())?;
            let facts = sealed.manifest();
            let (dtype, tokens) = (facts.dtype, facts.tokens);
            let report =
                Report { path, dtype, tokens, documents: facts.documents, bytes: facts.bytes };
            SealedShard::publish(vec![sealed])?;
            Ok(report)
        })?;
        report_to_py(py, report)
    }
}

fn finished() -> PyErr {
    PyValueError::new_err("this token file is finished already")
}
