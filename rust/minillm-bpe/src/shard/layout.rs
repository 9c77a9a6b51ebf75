//! Token files of other programs: what stands before the ids, read and written.
//!
//! | layout | before the ids | ids |
//! | --- | --- | --- |
//! | `nanogpt` | nothing | 16 bits |
//! | `llmc` | 256 int32: magic number, version, number of ids, zeros | 16 or 32 bits, by the magic |
//! | `npy` | numpy's own header | 16 or 32 bits |
//!
//! All numbers are little-endian. Sources: nanoGPT's `data/*/prepare.py`, llm.c's
//! `dev/data/data_common.py`, `numpy.lib.format`.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use super::{Dtype, npy_header};
use crate::{Error, Result};

/// Bytes of llm.c's header.
const LLMC_HEADER: usize = 256 * 4;

/// Magic number and version of llm.c's files: GPT-2's, and Llama 3's.
const LLMC: [(u32, i32, Dtype); 2] =
    [(20_240_520, 1, Dtype::Uint16), (20_240_801, 7, Dtype::Uint32)];

/// Most ids that llm.c's header can count.
const LLMC_MOST: u64 = i32::MAX as u64;

/// A program's way to begin a file of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Ids and nothing else.
    NanoGpt,
    /// llm.c's header.
    Llmc,
    /// An array of numpy.
    Npy,
}

impl Layout {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::NanoGpt, Self::Llmc, Self::Npy];

    /// What the command calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NanoGpt => "nanogpt",
            Self::Llmc => "llmc",
            Self::Npy => "npy",
        }
    }

    /// What stands before `tokens` ids.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyForLlmc`], which counts in 31 bits.
    pub(super) fn header(self, dtype: Dtype, tokens: u64) -> Result<Vec<u8>> {
        match self {
            Self::NanoGpt => Ok(Vec::new()),
            Self::Npy => Ok(npy_header::write(dtype, tokens)),
            Self::Llmc => {
                let count = i32::try_from(tokens);
                let count = count.map_err(|_| Error::TooManyForLlmc { tokens, most: LLMC_MOST })?;
                let known = LLMC.into_iter().filter(|&(_, _, ids)| ids == dtype);
                let facts = known.flat_map(|(magic, version, _)| [magic.cast_signed(), version]);
                let mut header: Vec<u8> = facts.chain([count]).flat_map(i32::to_le_bytes).collect();
                header.resize(LLMC_HEADER, 0);
                Ok(header)
            }
        }
    }
}

/// Which program's file it is, and where its ids lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Whose.
    pub layout: Layout,
    /// Type of the ids.
    pub dtype: Dtype,
    /// Bytes before the first id.
    pub offset: u64,
    /// Number of ids.
    pub tokens: u64,
}

impl Placed {
    /// Tells the layout of a file without a manifest by its first bytes.
    ///
    /// A bare file that begins like a header is taken for one with a header: its first two ids
    /// would have to be 55432 and 308, and the next two a version.
    ///
    /// # Errors
    ///
    /// [`Error::TokenFile`] if the file is cut short or longer than its header says, is of a type
    /// that holds no ids, or is empty; [`Error::Io`].
    pub fn read(path: &Path) -> Result<Self> {
        let io = |source| Error::io(path, source);
        let mut file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let mut start = Vec::new();
        (&mut file).take(npy_header::MAGIC.len() as u64).read_to_end(&mut start).map_err(io)?;
        let magic = start.first_chunk().map(|magic| u32::from_le_bytes(*magic));
        let known = LLMC.into_iter().find(|&(known, ..)| Some(known) == magic);
        let (layout, dtype, offset, tokens) = if start == npy_header::MAGIC {
            let header = npy_header::read(&mut file).map_err(io)?;
            let header = header.map_err(|reason| refuse(path, reason))?;
            (Layout::Npy, header.dtype, header.bytes, header.tokens)
        } else if let Some(known) = known {
            let tokens = llmc_tokens(path, &mut file, start, known)?;
            (Layout::Llmc, known.2, LLMC_HEADER as u64, tokens)
        } else {
            let tokens = i64::try_from(size / 2).unwrap_or(i64::MAX);
            (Layout::NanoGpt, Dtype::Uint16, 0, tokens)
        };
        if size == 0 {
            return Err(refuse(path, " is empty"));
        }
        let (body, width) = (size.saturating_sub(offset), dtype.width() as u64);
        if body % width != 0 {
            let name = dtype.name();
            return Err(refuse(
                path,
                format!(
                    ": {body} bytes is not a multiple of {width}, the size of a {name} id; the \
                     file is cut short or of another type"
                ),
            ));
        }
        let held = body / width;
        if u64::try_from(tokens) != Ok(held) {
            let reason = format!(": its header says {tokens} tokens, the file holds {held}");
            return Err(refuse(path, reason));
        }
        Ok(Self { layout, dtype, offset, tokens: held })
    }
}

/// The number of ids that llm.c's header tells, of which `start` is read.
fn llmc_tokens(
    path: &Path,
    file: &mut File,
    start: Vec<u8>,
    (magic, expected, _): (u32, i32, Dtype),
) -> Result<i64> {
    let mut header = start;
    let read = header.len();
    header.resize(LLMC_HEADER, 0);
    file.read_exact(&mut header[read..]).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => {
            refuse(path, ": the file is cut short inside of its header, which is llm.c's")
        }
        _ => Error::io(path, error),
    })?;
    let numbers = header.chunks_exact(4).filter_map(|number| number.try_into().ok());
    let mut numbers = numbers.map(i32::from_le_bytes).skip(1);
    let (version, tokens) = (numbers.next(), numbers.next());
    if version == Some(expected) {
        return Ok(i64::from(tokens.unwrap_or_default()));
    }
    let found = version.unwrap_or_default();
    let reason =
        format!(": llm.c's header has version {found}, expected {expected} behind {magic}");
    Err(refuse(path, reason))
}

fn refuse(path: &Path, reason: impl Into<String>) -> Error {
    Error::TokenFile { path: path.to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn told(bytes: &[u8]) -> Result<Placed> {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("a.bin");
        std::fs::write(&path, bytes).unwrap();
        Placed::read(&path)
    }

    #[test]
    fn what_is_written_is_told() {
        for layout in Layout::ALL {
            for dtype in [Dtype::Uint16, Dtype::Uint32] {
                let mut file = layout.header(dtype, 3).unwrap();
                let offset = file.len() as u64;
                file.resize(file.len() + 3 * dtype.width(), 7);
                let found = told(&file);
                if (layout, dtype) == (Layout::NanoGpt, Dtype::Uint32) {
                    assert_eq!(found.unwrap().tokens, 6);
                } else {
                    assert_eq!(found.unwrap(), Placed { layout, dtype, offset, tokens: 3 });
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut llmc = Layout::Llmc.header(Dtype::Uint16, 3).unwrap();
        let cut = told(&llmc[..1000]).unwrap_err().to_string();
        assert!(
            cut.ends_with("a.bin`: the file is cut short inside of its header, which is llm.c's")
        );
        let message = told(&llmc).unwrap_err().to_string();
        assert!(message.ends_with("its header says 3 tokens, the file holds 0"), "{message}");
        llmc[4] = 2;
        let message = told(&llmc).unwrap_err().to_string();
        assert!(message.ends_with("has version 2, expected 1 behind 20240520"), "{message}");
        assert!(told(&[]).unwrap_err().to_string().ends_with("a.bin` is empty"));
        let message = told(&[1, 2, 3]).unwrap_err().to_string();
        assert!(message.contains("`: 3 bytes is not a multiple of 2, the size of a uint16 id"));
    }

    #[test]
    fn more_ids_than_llmc_can_count_are_refused() {
        let message = Layout::Llmc.header(Dtype::Uint16, 1 << 31).unwrap_err().to_string();
        assert_eq!(
            message,
            "2147483648 tokens are more than the 2147483647 that llm.c's header can say"
        );
    }
}
