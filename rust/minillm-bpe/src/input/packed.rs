//! gzip and zstd, unpacked while they are read.
//!
//! All members of a `.gz` and all frames of a `.zst` are read, as `cat a.gz b.gz` makes them. What
//! is cut short or damaged is an error that says how far it could be read: a corpus that silently
//! ends early is worse than none. Memory is bounded by the window, 128 MiB at most, which is also
//! zstd's own default.

use std::{
    io::{self, BufReader, Cursor, Read},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;

use super::has_suffix;
use crate::error::grouped;

/// The base-2 logarithm of the largest window of a zstd frame.
const LARGEST_WINDOW_LOG: u32 = 27;

/// Text, and bytes of it for each packed one, above which a file was made to waste time and not to
/// be read. Repetitive logs reach 100; gzip cannot exceed 1,032.
const BOMB_BYTES: u64 = if cfg!(test) { 1 << 20 } else { 256 << 20 };
const BOMB_RATIO: u64 = 1000;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    /// What the suffix of a file says.
    pub(super) fn of(path: &Path) -> Option<Self> {
        [Self::Gzip, Self::Zstd].into_iter().find(|packing| has_suffix(path, &[packing.suffix()]))
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Gzip => "gz",
            Self::Zstd => "zst",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Whether a file of this kind may begin so.
    fn begins_with(self, head: &[u8]) -> bool {
        match self {
            Self::Gzip => head.starts_with(&[0x1f, 0x8b]),
            // A frame, or one to skip.
            Self::Zstd => {
                matches!(head, [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
            }
        }
    }
}

type Stream = Box<dyn Read + Send>;

/// The text of a packed stream.
pub(super) struct Unpacked {
    decoder: Decoder,
    packing: Packing,
    text_bytes: u64,
}

enum Decoder {
    Gzip(Box<MultiGzDecoder<BufReader<Counted>>>),
    Zstd(zstd::Decoder<'static, BufReader<Counted>>),
}

/// Counts what is read through it.
struct Counted {
    stream: Stream,
    n_read: u64,
}

impl Unpacked {
    /// Begins to unpack.
    ///
    /// # Errors
    ///
    /// If `stream` does not begin as `packing` does.
    pub(super) fn new(mut stream: Stream, packing: Packing) -> io::Result<Self> {
        let mut head = Vec::new();
        stream.by_ref().take(4).read_to_end(&mut head)?;
        if !packing.begins_with(&head) {
            return Err(io::Error::other(misnamed(packing, &head)));
        }
        let stream: Stream = Box::new(Cursor::new(head).chain(stream));
        let stream = BufReader::with_capacity(1 << 17, Counted { stream, n_read: 0 });
        let decoder = match packing {
            Packing::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(stream))),
            Packing::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(stream)?;
                decoder.window_log_max(LARGEST_WINDOW_LOG)?;
                Decoder::Zstd(decoder)
            }
        };
        Ok(Self { decoder, packing, text_bytes: 0 })
    }

    /// Packed bytes that are unpacked.
    fn n_packed(&self) -> u64 {
        let stream = match &self.decoder {
            Decoder::Gzip(decoder) => decoder.get_ref(),
            Decoder::Zstd(decoder) => decoder.get_ref(),
        };
        stream.get_ref().n_read - stream.buffer().len() as u64
    }

    /// What a user can make of an error of the decoder.
    fn explain(&self, error: io::Error) -> io::Error {
        // The system's own, or a read to be tried again.
        if error.raw_os_error().is_some() || error.kind() == io::ErrorKind::Interrupted {
            return error;
        }
        let name = self.packing.name();
        let (n_packed, n_unpacked) = (grouped(self.n_packed()), grouped(self.text_bytes));
        let fact = if error.kind() == io::ErrorKind::UnexpectedEof {
            "it ends in the middle, as if cut short".to_owned()
        } else if error.to_string().contains("too much memory") {
            let most = 1_u64 << (LARGEST_WINDOW_LOG - 20);
            format!("it was packed with a window of more than {most} MiB; pack it without --long")
        } else {
            format!("the data is damaged ({error})")
        };
        io::Error::other(format!(
            "{name} byte {n_packed}, after {n_unpacked} bytes of text: {fact}"
        ))
    }
}

/// Says what a file is that is not what its name says.
fn misnamed(packing: Packing, head: &[u8]) -> String {
    let (name, suffix) = (packing.name(), packing.suffix());
    if head.is_empty() {
        return format!("the file is empty, expected {name} data");
    }
    let bytes: Vec<String> = head.iter().map(|byte| format!("{byte:02x}")).collect();
    let bytes = bytes.join(" ");
    format!(
        "not {name}, whatever its suffix says: it begins with {bytes}; rename it without .{suffix} if it is not packed"
    )
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.read(buffer),
            Decoder::Zstd(decoder) => decoder.read(buffer),
        };
        let n_read = read.map_err(|error| self.explain(error))?;
        self.text_bytes += n_read as u64;
        if self.text_bytes > BOMB_BYTES && self.text_bytes / BOMB_RATIO > self.n_packed() {
            return Err(io::Error::other(format!(
                "{} packed bytes became {} of text, more than {BOMB_RATIO} each: not read on; if it \
                 is meant so, unpack it first",
                grouped(self.n_packed()),
                grouped(self.text_bytes),
            )));
        }
        Ok(n_read)
    }
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_read = self.stream.read(buffer)?;
        self.n_read += n_read as u64;
        Ok(n_read)
    }
}
