//! Many texts at once, as arrays: no Python object is made for an id.

use minillm_bpe::shard::Dtype;
use minillm_bpe::special::SpecialTokens;
use numpy::{IntoPyArray, PyArray1, PyArrayMethods, PyUntypedArray};
use pyo3::prelude::*;

use crate::bpe::{Bpe, Names, allowed};
use crate::text::Text;
use crate::work::released;

/// The ids of all `texts`, one after the other, and where those of each begin and end.
#[pyfunction]
pub fn encode_batch<'py>(
    py: Python<'py>,
    bpe: &Bpe,
    texts: Vec<Bound<'py, PyAny>>,
    names: Names,
    threads: usize,
) -> PyResult<(Bound<'py, PyUntypedArray>, Bound<'py, PyArray1<u64>>)> {
    let texts = Text::all(&texts)?;
    let (ids, offsets) = released(py, || {
        let texts: Vec<&[u8]> = texts.iter().map(Text::as_bytes).collect();
        let (encoder, allowed) = (bpe.encoder()?, allowed(names));
        Ok(match bpe.dtype() {
            Dtype::Uint16 => {
                let (ids, offsets) = encoder.encode_batch(&texts, &allowed, threads)?;
                (IdVec::Two(ids), offsets)
            }
            Dtype::Uint32 => {
                let (ids, offsets) = encoder.encode_batch(&texts, &allowed, threads)?;
                (IdVec::Four(ids), offsets)
            }
        })
    })?;
    Ok((ids.into_array(py), offsets.into_pyarray(py)))
}

/// The first of `names` in the first text that has one: the text's index, the name, and the index
/// of its first byte.
#[pyfunction]
pub fn find_special_in_batch(
    py: Python<'_>,
    bpe: &Bpe,
    texts: Vec<Bound<'_, PyAny>>,
    names: Names,
) -> PyResult<Option<(usize, String, usize)>> {
    let texts = Text::all(&texts)?;
    released(py, || {
        let every = || bpe.vocabulary().specials().iter().map(|(text, _)| text.clone()).collect();
        let names = names.unwrap_or_else(every);
        let specials = SpecialTokens::new(&names)?;
        Ok(texts.iter().enumerate().find_map(|(index, text)| {
            let (range, which) = specials.find(text.as_bytes(), 0)?;
            Some((index, names[which].clone(), range.start))
        }))
    })
}

/// Ids of the type that token files have: 16 bits if they hold the vocabulary, else 32.
pub enum IdVec {
    /// 16 bits.
    Two(Vec<u16>),
    /// 32 bits.
    Four(Vec<u32>),
}

impl IdVec {
    /// The same memory as an array.
    pub fn into_array(self, py: Python<'_>) -> Bound<'_, PyUntypedArray> {
        match self {
            Self::Two(ids) => ids.into_pyarray(py).as_untyped().clone(),
            Self::Four(ids) => ids.into_pyarray(py).as_untyped().clone(),
        }
    }
}
