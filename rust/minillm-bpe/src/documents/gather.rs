//! Reads the documents of one part, filters them, and writes them as sorted runs.
//!
//! Whoever has the documents calls again and again, with files or with rows of a table, until there
//! are no more or the limit of the part is reached.

use std::path::Path;

use super::filter::{Filter, Reason};
use super::part_writer::PartWriter;
use super::pieces::{Piece, Pieces};
use super::ranges::FileRange;
use super::separator::Separator;
use super::{GatherOptions, GatherStats, InvalidUtf8, OnBadRow, Text, TextDocuments};
use crate::corpus::LONGEST_DOCUMENT;
use crate::error::grouped;
use crate::input::{BadRow, WhyBad};
use crate::progress::{Phase, Progress};
use crate::shard::misfit;
use crate::{Error, Result};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A part that is being gathered. Dropped before [`finish`](Self::finish), it leaves nothing.
pub struct Gather {
    options: GatherOptions,
    separator: Separator,
    filter: Filter,
    writer: PartWriter,
    stats: GatherStats,
    longest: usize,
    /// An error has left out what was to be read.
    has_failed: bool,
}

/// Rows of text of a table in memory, as Apache Arrow lays out its large strings: row `i` is
/// `data[offsets[i]..offsets[i + 1]]`.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// Where rows begin and end.
    pub offsets: &'a [i64],
    /// Their texts.
    pub data: &'a [u8],
    /// The first to read, and how many.
    pub first: usize,
    /// How many to read.
    pub n: usize,
    /// What messages call the table.
    pub name: &'a str,
    /// The number that messages give the first, from 1.
    pub first_row: u64,
}

/// Where a text is, for messages.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a Path,
    kind: &'static str,
    number: u64,
    /// The part of a file in which lines are numbered.
    file: Option<&'a FileRange>,
}

impl Place<'_> {
    fn refuse(self, reason: String) -> Error {
        match self.file.map_or(Ok(0), FileRange::lines_before) {
            Ok(before) => Error::Document {
                path: self.path.to_owned(),
                place: format!("{} {}", self.kind, grouped(before + self.number)),
                reason,
            },
            Err(error) => error,
        }
    }
}

impl Gather {
    /// Begins the part `out`.
    ///
    /// # Errors
    ///
    /// [`Error::Shard`] for options that mean nothing; [`Error::Locked`]; [`Error::Io`].
    pub fn create(out: &Path, options: GatherOptions) -> Result<Self> {
        if options.separator.is_empty() {
            return Err(misfit(
                out,
                "separator",
                "is empty, expected what stands between documents",
            ));
        }
        if let Some(most) = options.max_repetition
            && !(0.0..=1.0).contains(&most)
        {
            return Err(misfit(out, "max_repetition", format!("is {most}, expected 0 to 1")));
        }
        Ok(Self {
            separator: Separator::new(&options.separator),
            filter: Filter::new(&options),
            writer: PartWriter::create(out, options.seed)?,
            stats: GatherStats::default(),
            options,
            longest: LONGEST_DOCUMENT,
            has_failed: false,
        })
    }

    /// Takes shorter documents alone.
    #[cfg(test)]
    pub(super) fn limited(self, longest: usize) -> Self {
        Self { longest, ..self }
    }

    /// Reads files, or parts of them: jsonl by its suffix, of which `text` makes documents, and all
    /// others as text. False once the limit of the part is reached.
    ///
    /// # Errors
    ///
    /// [`Error::Document`] names the place of what cannot be taken; [`Error::Io`];
    /// [`Error::DiskFull`]; [`Error::Interrupted`]. The part cannot be finished then.
    pub fn files(&mut self, files: &[FileRange], text: &Text, progress: &Progress) -> Result<bool> {
        let sizes = files.iter().map(FileRange::text_bytes);
        progress.begin(Phase::Gather, sizes.sum::<Option<u64>>().unwrap_or(0));
        self.guarded(|gather| {
            for file in files {
                if !gather.stats.limited {
                    gather.file(file, text, progress)?;
                }
            }
            Ok(())
        })
    }

    /// Reads rows of a table. False once the limit of the part is reached.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] for offsets that do not fit the data; else as [`files`](Self::files).
    pub fn rows(&mut self, rows: Rows<'_>, progress: &Progress) -> Result<bool> {
        rows.check()?;
        if progress.phase() != Phase::Gather {
            progress.begin(Phase::Gather, 0);
        }
        self.guarded(|gather| {
            let offsets = &rows.offsets[rows.first..=rows.first + rows.n];
            for (ends, number) in offsets.windows(2).zip(rows.first_row..) {
                if gather.stats.limited {
                    break;
                }
                let [start, end] = [ends[0], ends[1]].map(|at| usize::try_from(at).unwrap_or(0));
                let place = Place { path: Path::new(rows.name), kind: "row", number, file: None };
                gather.take_text(Piece::Whole(&rows.data[start..end]), place, progress)?;
                progress.advance((end - start) as u64)?;
            }
            Ok(())
        })
    }

    fn guarded(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<bool> {
        let done = work(self);
        self.has_failed |= done.is_err();
        done.map(|()| !self.stats.limited)
    }

    fn file(&mut self, file: &FileRange, text: &Text, progress: &Progress) -> Result<()> {
        let separator = self.options.separator.clone();
        let is_jsonl = file.is_json_lines();
        let (delimiter, kind) = match self.options.documents {
            _ if is_jsonl => (Some(&b"\n"[..]), "row"),
            TextDocuments::Line => (Some(&b"\n"[..]), "line"),
            TextDocuments::Separator => (Some(separator.as_bytes()), "byte"),
            TextDocuments::File => (None, "byte"),
        };
        let mut pieces = Pieces::new(file.open()?, &file.path, delimiter, self.longest);
        let (mut n_pieces, mut document) = (0, Vec::new());
        while !self.stats.limited {
            let Some((start, mut piece)) = pieces.next(progress)? else { break };
            n_pieces += 1;
            let place = match kind {
                "byte" => {
                    Place { path: &file.path, kind, number: file.start + start + 1, file: None }
                }
                _ => Place { path: &file.path, kind, number: n_pieces, file: Some(file) },
            };
            if let Piece::Whole(line) = piece
                && is_jsonl
            {
                let is_first = file.start + start == 0;
                let mark = if is_first { BYTE_ORDER_MARK } else { b"" };
                let line = line.strip_prefix(mark).unwrap_or(line).trim_ascii_end();
                if line.is_empty() {
                    continue;
                }
                if let Err(bad) = text.of(line, &mut document) {
                    self.stats.rows += 1;
                    self.bad_row(bad, place)?;
                    continue;
                }
                piece = Piece::Whole(&document);
            } else if let Piece::Whole(line) = piece
                && kind == "line"
            {
                piece = Piece::Whole(line.strip_suffix(b"\r").unwrap_or(line));
            }
            self.take_text(piece, place, progress)?;
        }
        Ok(())
    }

    fn bad_row(&mut self, bad: BadRow, place: Place<'_>) -> Result<()> {
        if self.options.on_bad_row == OnBadRow::Stop {
            return Err(place.refuse(bad.reason));
        }
        self.stats.dropped.count(match bad.why {
            WhyBad::NotJson => Reason::NotJson,
            WhyBad::Missing => Reason::MissingField,
            WhyBad::NotText => Reason::NotText,
        });
        Ok(())
    }

    /// Takes the documents of a text: what stands between separators.
    fn take_text(&mut self, piece: Piece<'_>, place: Place<'_>, progress: &Progress) -> Result<()> {
        self.stats.rows += 1;
        let whole = match piece {
            Piece::Whole(text) if text.len() <= self.longest => text,
            _ if self.options.on_bad_row == OnBadRow::Skip => {
                self.stats.dropped.count(Reason::TooLong);
                return Ok(());
            }
            _ => {
                let longest = grouped(self.longest as u64);
                return Err(place.refuse(format!("a document has more than {longest} bytes")));
            }
        };
        let mut rest = Some(whole);
        while let Some(text) = rest
            && !self.stats.limited
        {
            let (document, behind) = self.separator.first(text);
            rest = behind.filter(|behind| !behind.is_empty());
            self.take_document(document, place, progress)?;
        }
        Ok(())
    }

    fn take_document(&mut self, text: &[u8], place: Place<'_>, progress: &Progress) -> Result<()> {
        let text = match self.filter.keep(text) {
            Ok(text) => text,
            Err(Reason::InvalidUtf8) if self.options.invalid_utf8 == InvalidUtf8::Stop => {
                let valid = str::from_utf8(text).map_or_else(|error| error.valid_up_to(), str::len);
                let at = grouped(valid as u64 + 1);
                return Err(place.refuse(format!("byte {at} of the document is not UTF-8")));
            }
            Err(reason) => {
                self.stats.dropped.count(reason);
                return Ok(());
            }
        };
        let (documents, bytes) = self.writer.taken();
        let most_bytes = self.options.max_bytes.unwrap_or(u64::MAX);
        if bytes + text.len() as u64 > most_bytes || self.options.max_documents == Some(documents) {
            self.stats.limited = true;
            return Ok(());
        }
        self.stats.lines += lines(&text);
        self.writer.push(&text, progress)?;
        (self.stats.documents, self.stats.bytes) = self.writer.taken();
        self.stats.limited = self.options.max_documents == Some(self.stats.documents);
        Ok(())
    }

    /// Writes the rest, and gives the part its name.
    ///
    /// # Errors
    ///
    /// [`Error::Shard`] if reading has failed before; [`Error::DiskFull`]; [`Error::Io`];
    /// [`Error::Interrupted`].
    pub fn finish(self, out: &Path, progress: &Progress) -> Result<GatherStats> {
        if self.has_failed {
            let reason = "cannot be finished: reading ended with an error";
            return Err(misfit(out, "part", reason));
        }
        self.writer.finish(self.options, self.stats, progress)?;
        Ok(self.stats)
    }
}

impl Rows<'_> {
    /// Refuses offsets that do not ascend within the data.
    fn check(&self) -> Result<()> {
        let refuse =
            |reason: String| Err(Error::Rows { reason: format!("{}: {reason}", self.name) });
        let end = self.first.checked_add(self.n).filter(|&end| end < self.offsets.len());
        let Some(end) = end else {
            let (n, first, held) = (self.n, self.first, self.offsets.len());
            return refuse(format!("{n} from {first} on need more than {held} offsets"));
        };
        let mut least = 0;
        for (row, &offset) in self.offsets[self.first..=end].iter().enumerate() {
            let at = usize::try_from(offset).ok();
            let Some(at) = at.filter(|&at| at >= least && at <= self.data.len()) else {
                let (row, most) = (self.first + row, self.data.len());
                return refuse(format!("offset {row} is {offset}, expected {least} to {most}"));
            };
            least = at;
        }
        Ok(())
    }
}

/// Lines of a text, the last of which may lack its end.
pub(super) fn lines(text: &[u8]) -> u64 {
    let ends = memchr::memchr_iter(b'\n', text).count() as u64;
    ends + u64::from(text.last().is_some_and(|&last| last != b'\n'))
}
