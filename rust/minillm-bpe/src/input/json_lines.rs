//! jsonl: in each line an object, of which one field is a document.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use super::{Field, open};
use crate::{Error, Result, corpus::LONGEST_DOCUMENT};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The documents of a jsonl file, opened when the first is asked for.
pub(super) struct JsonLines {
    path: PathBuf,
    field: Field,
    stream: Option<Box<dyn BufRead + Send>>,
    line: Vec<u8>,
    n_lines: u64,
    longest_line: usize,
}

impl JsonLines {
    pub(super) fn new(path: PathBuf, field: Field) -> Self {
        let longest_line = LONGEST_DOCUMENT;
        Self { path, field, stream: None, line: Vec::new(), n_lines: 0, longest_line }
    }

    /// Refuses longer lines.
    #[cfg(test)]
    pub(super) fn limited(self, longest_line: usize) -> Self {
        Self { longest_line, ..self }
    }

    fn next_document(&mut self) -> Result<Option<Vec<u8>>> {
        while self.read_line()? {
            let is_first = self.n_lines == 1;
            let line = match self.line.strip_prefix(BYTE_ORDER_MARK) {
                Some(rest) if is_first => rest,
                _ => &self.line,
            };
            // Without its end, which the parser would count as a line of its own.
            let line = line.trim_ascii_end();
            if line.is_empty() {
                continue;
            }
            let mut document = Vec::new();
            return match self.field.find(line, &mut document) {
                Ok(()) => Ok(Some(document)),
                Err(bad) => Err(self.refuse(bad.reason)),
            };
        }
        Ok(None)
    }

    /// Fills `line` with the next one. False at the end.
    fn read_line(&mut self) -> Result<bool> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => self.stream.insert(buffered(&self.path)?),
        };
        self.line.clear();
        let mut limited = stream.take(self.longest_line as u64 + 1);
        limited
            .read_until(b'\n', &mut self.line)
            .map_err(|source| Error::io(&self.path, source))?;
        self.n_lines += u64::from(!self.line.is_empty());
        if self.line.len() > self.longest_line {
            return Err(self.refuse(format!("has more than {} bytes", self.longest_line)));
        }
        Ok(!self.line.is_empty())
    }

    fn refuse(&self, reason: String) -> Error {
        Error::JsonLine { path: self.path.clone(), line: self.n_lines, reason }
    }
}

fn buffered(path: &Path) -> Result<Box<dyn BufRead + Send>> {
    let stream = open(path).map_err(|source| Error::io(path, source))?;
    Ok(Box::new(BufReader::with_capacity(1 << 17, stream)))
}

impl Iterator for JsonLines {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_document().transpose()
    }
}
