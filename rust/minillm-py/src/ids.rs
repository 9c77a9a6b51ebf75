//! Token ids that callers pass to be decoded.

use std::sync::atomic::{AtomicI64, AtomicU16, AtomicU32};

use minillm_bpe::decode::RawId;
use minillm_bpe::{Decoder, Error, Result, StreamDecoder, TokenId};
use pyo3::buffer::{Element, PyBuffer};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::bytes::filled_bytes;
use crate::text::not;
use crate::work::released;

/// Token ids from a list, or where they lie in an array of 16, 32 or 64 bits.
pub enum Ids {
    /// In an array of `uint16`.
    U16(Array<u16>),
    /// In an array of `uint32`.
    U32(Array<u32>),
    /// In an array of `int64`.
    I64(Array<i64>),
    /// From any sequence of `int`, or an array whose elements lie apart.
    List(Vec<i64>),
}

impl Ids {
    /// Takes an array or any sequence of `int`. Not by `FromPyObject`, as `Text`.
    pub fn new(obj: &Bound<'_, PyAny>) -> PyResult<Self> {
        native(obj, Self::U16)
            .or_else(|_| native(obj, Self::U32))
            .or_else(|_| native(obj, Self::I64))
            .or_else(|_| obj.extract().map(Self::List))
            .map_err(|_| not("ids", obj, "a sequence of integers below 2^63, or an array"))
    }

    /// Their bytes; the work is done without the GIL.
    pub fn decode<'py>(
        &self,
        py: Python<'py>,
        decoder: &Decoder,
        threads: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        match self {
            Self::U16(ids) => decode(py, decoder, ids.numbers(), threads),
            Self::U32(ids) => decode(py, decoder, ids.numbers(), threads),
            Self::I64(ids) => decode(py, decoder, ids.numbers(), threads),
            Self::List(ids) => decode(py, decoder, ids, threads),
        }
    }

    /// The ids, copied.
    ///
    /// # Errors
    ///
    /// [`Error::IdOutOfRange`] for a number that is no id, with its position.
    pub fn to_vec(&self) -> Result<Vec<TokenId>> {
        fn copied<I: RawId>(ids: &[I]) -> Result<Vec<TokenId>> {
            let id = |(position, raw): (usize, &I)| {
                let number = raw.number();
                TokenId::try_from(number)
                    .map_err(|_| Error::IdOutOfRange { id: number.cast_signed(), position })
            };
            ids.iter().enumerate().map(id).collect()
        }
        match self {
            Self::U16(ids) => copied(ids.numbers()),
            Self::U32(ids) => copied(ids.numbers()),
            Self::I64(ids) => copied(ids.numbers()),
            Self::List(ids) => copied(ids),
        }
    }

    /// The text that is certain once `stream` has them.
    pub fn push_to(&self, stream: &mut StreamDecoder) -> Result<String> {
        let mut text = String::new();
        match self {
            Self::U16(ids) => stream.push(ids.numbers(), &mut text),
            Self::U32(ids) => stream.push(ids.numbers(), &mut text),
            Self::I64(ids) => stream.push(ids.numbers(), &mut text),
            Self::List(ids) => stream.push(ids, &mut text),
        }?;
        Ok(text)
    }
}

fn decode<'py, I: RawId>(
    py: Python<'py>,
    decoder: &Decoder,
    ids: &[I],
    threads: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let decoding = released(py, || decoder.measure(ids, threads))?;
    filled_bytes(py, decoding.n_bytes(), |out| released(py, || decoding.write_to(out)))
}

/// Ids in an array, if its numbers are of this type and of this machine's byte order, which `PyO3`
/// does not look at. Another order is read as a sequence of `int`.
fn native<T: Shareable + Into<i64>>(
    obj: &Bound<'_, PyAny>,
    in_place: impl Fn(Array<T>) -> Ids,
) -> PyResult<Ids> {
    let buffer = PyBuffer::get(obj)?;
    match buffer.format().to_bytes() {
        [b'<' | b'>' | b'!', ..] => Err(PyTypeError::new_err("of another byte order, perhaps")),
        _ => Array::new(buffer).map(in_place).or_else(|buffer| {
            Ok(Ids::List(buffer.to_vec(obj.py())?.into_iter().map(Into::into).collect()))
        }),
    }
}

/// Numbers that can be read while others write them.
///
/// # Safety
///
/// `Atomic` must have the size of `Self`, and any bits must be a valid one.
pub unsafe trait Shareable: Element {
    /// The same number, shared.
    type Atomic: RawId;
}

// SAFETY: the standard library says so of its atomic types.
unsafe impl Shareable for u16 {
    type Atomic = AtomicU16;
}

// SAFETY: as above.
unsafe impl Shareable for u32 {
    type Atomic = AtomicU32;
}

// SAFETY: as above.
unsafe impl Shareable for i64 {
    type Atomic = AtomicI64;
}

/// Where the numbers of an array lie, side by side and aligned.
pub struct Array<T: Shareable>(PyBuffer<T>);

impl<T: Shareable> Array<T> {
    /// Gives the buffer back if they lie otherwise.
    fn new(buffer: PyBuffer<T>) -> std::result::Result<Self, PyBuffer<T>> {
        let is_aligned = buffer.buf_ptr().cast::<T::Atomic>().is_aligned();
        if buffer.is_c_contiguous() && is_aligned { Ok(Self(buffer)) } else { Err(buffer) }
    }

    /// Atomic, because without the GIL another thread of Python may write to the array any time.
    fn numbers(&self) -> &[T::Atomic] {
        match self.0.as_slice_ptr() {
            // SAFETY: the buffer keeps the array where it is for as long as it lives. `PyO3`
            // gives the place of all its numbers, which `new` found to be aligned for `Atomic`;
            // the size is the same, and any bits are valid, as the trait demands.
            Some(numbers) => unsafe { &*(numbers.as_ptr() as *const [T::Atomic]) },
            // An empty array may lie nowhere.
            None => &[],
        }
    }
}
