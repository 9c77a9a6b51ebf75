//! Gathers and arranges small corpora, and compares with lists in memory.

mod arrange;
mod gather;

use std::path::{Path, PathBuf};

use super::*;
use crate::progress::Progress;
use crate::{Error, Result};

const SEPARATOR: &str = "|";

fn options(seed: Option<u64>) -> GatherOptions {
    GatherOptions {
        seed,
        documents: TextDocuments::Separator,
        separator: SEPARATOR.to_owned(),
        min_length: 0,
        max_repetition: None,
        invalid_utf8: InvalidUtf8::Keep,
        on_bad_row: OnBadRow::Stop,
        max_documents: None,
        max_bytes: None,
    }
}

fn arrange_options(out: Out) -> ArrangeOptions {
    ArrangeOptions {
        out,
        deduplicate: false,
        weigh: Weigh::Documents,
        when_exhausted: WhenExhausted::Stop,
        max_documents: None,
        max_bytes: None,
        max_tokens: None,
        encoder: None,
        separator: SEPARATOR.to_owned(),
        val_fraction: 0.0,
    }
}

fn source(name: &str, parts: Vec<PathBuf>) -> SourceOfParts {
    SourceOfParts {
        name: name.to_owned(),
        parts,
        weight: None,
        max_documents: None,
        max_bytes: None,
        max_tokens: None,
    }
}

/// Gathers rows that hold `texts`.
fn gather_rows(out: &Path, options: GatherOptions, texts: &[String]) -> Result<GatherStats> {
    let progress = Progress::default();
    let mut gather = Gather::create(out, options)?;
    let mut offsets = vec![0];
    for text in texts {
        offsets.push(offsets[offsets.len() - 1] + i64::try_from(text.len()).unwrap());
    }
    let (data, n) = (texts.concat(), texts.len());
    // A few rows a time, as readers of tables have them.
    for first in (0..n).step_by(3) {
        let first_row = first as u64 + 1;
        let rows = Rows {
            offsets: &offsets,
            data: data.as_bytes(),
            first,
            n: (n - first).min(3),
            name: "rows",
            first_row,
        };
        if !gather.rows(rows, &progress)? {
            break;
        }
    }
    gather.finish(out, &progress)
}

/// Gathers files, or parts of them.
fn gather_files(out: &Path, options: GatherOptions, files: &[FileRange]) -> Result<GatherStats> {
    let progress = Progress::default();
    let mut gather = Gather::create(out, options)?;
    gather.files(files, &Text::of_field("text"), &progress)?;
    gather.finish(out, &progress)
}

/// The documents of an arranged text.
fn documents(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut found: Vec<String> = text.split(SEPARATOR).map(str::to_owned).collect();
    assert_eq!(found.pop().unwrap(), "");
    found
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}
