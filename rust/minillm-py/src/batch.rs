//! Many texts at once, as arrays: no Python object is made for an id.

use minillm_bpe::TokenId;
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
        bpe.encoder()?.encode_batch(&texts, &allowed(names), threads)
    })?;
    Ok((id_array(py, ids, bpe.vocabulary().size()), offsets.into_pyarray(py)))
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

/// Ids as an array of the type that token files have: 16 bits if they hold the vocabulary, else 32.
pub fn id_array(py: Python<'_>, ids: Vec<TokenId>, vocab_size: u32) -> Bound<'_, PyUntypedArray> {
    if vocab_size > 1 << 16 {
        return ids.into_pyarray(py).as_untyped().clone();
    }
    let narrow: Vec<u16> = py.detach(|| ids.iter().map(|&id| low_half(id)).collect());
    narrow.into_pyarray(py).as_untyped().clone()
}

/// The id itself, which is below 2^16.
#[expect(clippy::cast_possible_truncation, reason = "asked for: the caller knows the vocabulary")]
fn low_half(id: TokenId) -> u16 {
    id as u16
}
