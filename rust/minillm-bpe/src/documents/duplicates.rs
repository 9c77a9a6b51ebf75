//! Finds documents that are equal to another, in all sources together.
//!
//! In the order of their keys they are neighbours, and the keys lie apart from the texts: this
//! reads a few bytes of each document, and whole texts only where two keys are the same. What is
//! left is one bit for each document.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::list::{List, ListedPart};
use super::merge::Merge;
use crate::progress::Progress;
use crate::{Error, Result};

/// What is compared at once.
const COMPARED_BYTES: usize = 1 << 16;

/// A text in a file.
struct Text {
    path: Arc<Path>,
    range: Range<u64>,
}

/// Leaves out all but the first of equal documents: that of the first source, part and number.
///
/// # Errors
///
/// [`Error::Shard`] for parts that are damaged; [`Error::Io`]; [`Error::Interrupted`].
pub(super) fn leave_out_duplicates(list: &mut List, progress: &Progress) -> Result<()> {
    let mut merge = Merge::new(list, |_| true, progress.stop())?;
    // The distinct texts of this key; more than one if the hash of different texts is the same.
    let (mut key, mut texts) = (None, Vec::new());
    while merge.advance_heads(&list.parts)? {
        let Some(run) = merge.current() else { break };
        if key != Some(run.head.key) {
            key = Some(run.head.key);
            texts.clear();
        }
        let ListedPart { path, source, .. } = &list.parts[run.part];
        let text = Text { path: Arc::clone(path), range: run.text_range() };
        let (source, part, head) = (*source, run.part, run.head);
        let mut is_equal = false;
        for other in &texts {
            is_equal = is_equal || equals(&text, other, progress)?;
        }
        if is_equal {
            list.parts[part].leave_out(head.ordinal)?;
            list.sources[source].duplicates += 1;
            list.sources[source].duplicate_bytes += u64::from(head.len);
        } else {
            texts.push(text);
        }
    }
    Ok(())
}

fn equals(a: &Text, b: &Text, progress: &Progress) -> Result<bool> {
    let len = |text: &Text| text.range.end - text.range.start;
    if len(a) != len(b) {
        return Ok(false);
    }
    let open = |text: &Text| {
        let open = || {
            let mut file = File::open(&text.path)?;
            file.seek(SeekFrom::Start(text.range.start))?;
            Ok(file.take(len(text)))
        };
        open().map_err(|source| Error::io(&*text.path, source))
    };
    let (mut left, mut right) = (open(a)?, open(b)?);
    let (mut of_left, mut of_right) = (Vec::new(), Vec::new());
    loop {
        for (stream, bytes, text) in [(&mut left, &mut of_left, a), (&mut right, &mut of_right, b)]
        {
            bytes.clear();
            let read = stream.take(COMPARED_BYTES as u64).read_to_end(bytes);
            read.map_err(|source| Error::io(&*text.path, source))?;
        }
        if of_left != of_right || of_left.is_empty() {
            return Ok(of_left == of_right);
        }
        progress.advance(0)?;
    }
}
