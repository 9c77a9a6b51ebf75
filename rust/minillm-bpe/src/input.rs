//! Files as users have them -> sources: plain text, compressed text, and jsonl of either.
//!
//! The suffix of its name says what a file is, as users expect it to; that a compressed one is what
//! its name says is checked when it is opened, and every error in it names it. Nothing is opened
//! before it is its turn, so that thousands of files need one handle.
//!
//! Unpacking and parsing happen in the thread that reads the corpus: other threads meanwhile work
//! on the blocks before.

mod json_field;
mod json_lines;
mod names;
mod packed;

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

pub use json_field::{BadRow, Field, WhyBad};
pub use names::{STDIN, files_of, holds_json_lines};

use crate::corpus::Source;
use json_lines::JsonLines;
use packed::{Packing, Unpacked};

/// Suffixes of files that hold a document a line.
const JSON_LINES: [&str; 2] = ["jsonl", "ndjson"];

/// The source that the file at `path` is, by its suffix: `.gz` and `.zst` are unpacked, and of
/// `.jsonl` and `.ndjson`, packed or not, `field` of each line is a document.
pub fn source(path: PathBuf, field: &Field) -> Source {
    let packing = Packing::of(&path);
    if is_json_lines(&path, packing) {
        let name = path.display().to_string();
        return Source::Documents(name, Box::new(JsonLines::new(path, field.clone())));
    }
    match packing {
        None => Source::File(path),
        Some(_) => Source::Reader(path.display().to_string(), Box::new(Late::Closed(path))),
    }
}

fn is_json_lines(path: &Path, packing: Option<Packing>) -> bool {
    has_suffix(unpacked_name(path, packing), &JSON_LINES)
}

/// Whether the file at `path` is jsonl, and whether it is packed, by its suffix.
pub(crate) fn kind_of(path: &Path) -> (bool, bool) {
    let packing = Packing::of(path);
    (is_json_lines(path, packing), packing.is_some())
}

/// A name whose suffix is that of what is packed.
fn unpacked_name(path: &Path, packing: Option<Packing>) -> &Path {
    if packing.is_some() { Path::new(path.file_stem().unwrap_or_default()) } else { path }
}

fn has_suffix(path: &Path, suffixes: &[&str]) -> bool {
    let suffix = path.extension().unwrap_or_default();
    suffixes.iter().any(|known| suffix.eq_ignore_ascii_case(known))
}

/// The bytes of a file, unpacked if its name says that it is packed.
pub(crate) fn open(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    let file = File::open(path)?;
    Ok(match Packing::of(path) {
        None => Box::new(file),
        Some(packing) => Box::new(Unpacked::new(Box::new(file), packing)?),
    })
}

/// A file that is opened when it is first read.
enum Late {
    Closed(PathBuf),
    Open(Box<dyn Read + Send>),
}

impl Read for Late {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self {
                Self::Closed(path) => *self = Self::Open(open(path)?),
                Self::Open(stream) => return stream.read(buffer),
            }
        }
    }
}

#[cfg(test)]
mod tests;
