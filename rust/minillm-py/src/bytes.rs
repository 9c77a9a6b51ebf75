//! `bytes` that are written where they stay.

use std::mem::MaybeUninit;
use std::slice;

use pyo3::exceptions::PySystemError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// A new object of `len` bytes, which `fill` writes.
///
/// Unlike `PyBytes::new_with` it does not set them to zero before, which would take as long as
/// decoding does. `fill` returns its whole argument, to show that it wrote all.
pub fn filled_bytes<'py>(
    py: Python<'py>,
    len: usize,
    fill: impl for<'a> FnOnce(&'a mut [MaybeUninit<u8>]) -> PyResult<&'a mut [u8]>,
) -> PyResult<Bound<'py, PyBytes>> {
    let size = ffi::Py_ssize_t::try_from(len)?;
    // SAFETY: without a source, the call makes an object of `size` bytes that are not initialized,
    // or returns null with an exception set; `from_owned_ptr_or_err` takes both.
    let object = unsafe {
        let object = ffi::PyBytes_FromStringAndSize(std::ptr::null(), size);
        Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked::<PyBytes>()
    };
    // SAFETY: the object is a `bytes` of `len` bytes, which do not move, and outlives the slice.
    // Nobody else has a reference to it, unless it is the empty one, in which there is nothing to
    // write.
    let memory = unsafe {
        let start = ffi::PyBytes_AsString(object.as_ptr()).cast::<MaybeUninit<u8>>();
        slice::from_raw_parts_mut(start, len)
    };
    let start = memory.as_ptr().cast::<u8>();
    let written = fill(memory)?;
    if (written.as_ptr(), written.len()) != (start, len) {
        return Err(PySystemError::new_err("some bytes were not written"));
    }
    Ok(object)
}
