//! `minillm._core`: converts types, releases the GIL, maps errors; nothing else.
//!
//! What each function means is documented in the crate `minillm-bpe`; what Python users see, in
//! `python/minillm/tokenizer`.

#![expect(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over by value")]

mod arrange;
mod batch;
mod bpe;
mod bytes;
mod corpus;
mod counts;
mod errors;
mod gather;
mod ids;
mod order;
mod progress;
mod rows;
mod shard;
mod shard_writer;
mod special;
mod stream;
mod table;
mod text;
mod threads;
mod tiktoken;
mod train;
mod work;

use minillm_bpe::peak_memory::peak_memory;
use minillm_bpe::pretokenize::{PreTokenizer, UNICODE_VERSION};
use minillm_bpe::{END_OF_TEXT, TrainedTable};
use pyo3::prelude::*;

use crate::text::{Text, parse_pattern};
use crate::work::released;

/// The extension module.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("unicode_version", UNICODE_VERSION)?;
    module.add("END_OF_TEXT", END_OF_TEXT)?;
    module.add("TABLE_ENTRIES", TrainedTable::ENTRIES)?;
    module.add_class::<bpe::Bpe>()?;
    module.add_class::<counts::CountReport>()?;
    module.add_class::<counts::Counts>()?;
    module.add_class::<counts::CountsFiles>()?;
    module.add_class::<gather::Gather>()?;
    module.add_class::<order::Order>()?;
    module.add_class::<order::Rows>()?;
    module.add_class::<progress::Progress>()?;
    module.add_class::<rows::RowReader>()?;
    module.add_class::<shard::Encoded>()?;
    module.add_class::<shard::Shard>()?;
    module.add_class::<shard::ShardReport>()?;
    module.add_class::<shard_writer::ShardWriter>()?;
    module.add_class::<stream::Stream>()?;
    module.add_class::<stream::StreamDecoder>()?;
    module.add_class::<table::Table>()?;
    module.add_class::<tiktoken::Encoding>()?;
    module.add_class::<train::Trained>()?;
    module.add_function(wrap_pyfunction!(corpus::expand_files, module)?)?;
    module.add_function(wrap_pyfunction!(corpus::holds_json_lines, module)?)?;
    module.add_function(wrap_pyfunction!(counts::count, module)?)?;
    module.add_function(wrap_pyfunction!(counts::count_to_file, module)?)?;
    module.add_function(wrap_pyfunction!(arrange::arrange, module)?)?;
    module.add_function(wrap_pyfunction!(gather::cut_files, module)?)?;
    module.add_function(wrap_pyfunction!(gather::gathered, module)?)?;
    module.add_function(wrap_pyfunction!(arrange::tokens_by_source, module)?)?;
    module.add_function(wrap_pyfunction!(rows::read_rows, module)?)?;
    module.add_function(wrap_pyfunction!(shard::convert_ids, module)?)?;
    module.add_function(wrap_pyfunction!(shard::encode_files, module)?)?;
    module.add_function(wrap_pyfunction!(shard::join_parts, module)?)?;
    module.add_function(wrap_pyfunction!(shard::read_layout, module)?)?;
    module.add_function(wrap_pyfunction!(shard::unfinished_encode, module)?)?;
    module.add_function(wrap_pyfunction!(train::measure, module)?)?;
    module.add_function(wrap_pyfunction!(peak_memory_bytes, module)?)?;
    module.add_function(wrap_pyfunction!(pretokenize, module)?)?;
    module.add_function(wrap_pyfunction!(text::foreign_vocab, module)?)?;
    module.add_function(wrap_pyfunction!(train::train, module)?)
}

/// The most memory that this process has held; `None` where the system does not tell.
#[pyfunction]
fn peak_memory_bytes() -> Option<u64> {
    peak_memory()
}

/// The pre-tokens of `text`, as bytes: a pattern may cut inside a character.
#[pyfunction]
fn pretokenize(
    py: Python<'_>,
    text: &Bound<'_, PyAny>,
    pattern: Option<&str>,
) -> PyResult<Vec<Vec<u8>>> {
    let (text, pattern) = (Text::new(text)?, parse_pattern(pattern)?);
    released(py, || {
        let mut parts = Vec::new();
        PreTokenizer::new(&pattern)?.for_each(text.as_bytes(), |part| parts.push(part.to_vec()))?;
        Ok(parts)
    })
}
