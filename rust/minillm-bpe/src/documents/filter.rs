//! Which documents are kept, and why the others are not.

use std::borrow::Cow;

use super::repetition::Repetition;
use super::{GatherOptions, InvalidUtf8};

/// Why a document, or a row, is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Blank,
    Short,
    Repetitive,
    InvalidUtf8,
    MissingField,
    NotText,
    NotJson,
    TooLong,
}

/// The rules for documents.
pub(super) struct Filter {
    min_length: u64,
    max_repetition: Option<f64>,
    invalid_utf8: InvalidUtf8,
    repetition: Repetition,
}

impl Filter {
    pub(super) fn new(options: &GatherOptions) -> Self {
        Self {
            min_length: options.min_length,
            max_repetition: options.max_repetition,
            invalid_utf8: options.invalid_utf8,
            repetition: Repetition::default(),
        }
    }

    /// The document as it is kept, or the first reason not to.
    pub(super) fn keep<'t>(&mut self, text: &'t [u8]) -> Result<Cow<'t, [u8]>, Reason> {
        let bare = text.trim_ascii();
        if bare.is_empty() {
            return Err(Reason::Blank);
        }
        let kept = match self.invalid_utf8 {
            InvalidUtf8::Keep => Cow::Borrowed(text),
            InvalidUtf8::Replace => match String::from_utf8_lossy(text) {
                Cow::Borrowed(_) => Cow::Borrowed(text),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            },
            InvalidUtf8::Skip | InvalidUtf8::Stop => {
                str::from_utf8(text).map_err(|_| Reason::InvalidUtf8)?;
                Cow::Borrowed(text)
            }
        };
        if !has_characters(kept.trim_ascii(), self.min_length) {
            return Err(Reason::Short);
        }
        if self.max_repetition.is_some_and(|most| self.repetition.share(&kept) > most) {
            return Err(Reason::Repetitive);
        }
        Ok(kept)
    }
}

/// Whether `text` has so many characters: bytes that go on with one do not count.
fn has_characters(text: &[u8], least: u64) -> bool {
    // A character has four bytes at most.
    text.len() as u64 / 4 >= least
        || text.iter().filter(|&&byte| byte & 0xC0 != 0x80).count() as u64 >= least
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::{OnBadRow, TextDocuments};

    fn filter(min_length: u64, invalid_utf8: InvalidUtf8) -> Filter {
        Filter::new(&GatherOptions {
            seed: None,
            documents: TextDocuments::Separator,
            separator: "|".to_owned(),
            min_length,
            max_repetition: Some(0.5),
            invalid_utf8,
            on_bad_row: OnBadRow::Stop,
            max_documents: None,
            max_bytes: None,
        })
    }

    #[test]
    fn characters_count_without_white_space_around() {
        let mut filter = filter(3, InvalidUtf8::Keep);
        let mut keep = |text: &str| filter.keep(text.as_bytes()).map(|_| ());
        assert_eq!(keep(" a\u{e9}\u{1f600}\n"), Ok(()));
        assert_eq!(keep(" a\u{1f600}\n  "), Err(Reason::Short));
        assert_eq!(keep("a b"), Ok(()));
        assert_eq!(keep(" \n\t\r"), Err(Reason::Blank));
        assert_eq!(keep("again\nagain\nagain\nagain"), Err(Reason::Repetitive));
    }

    #[test]
    fn what_is_not_utf_8_is_kept_replaced_or_dropped() {
        let text = b"ab\xff\xe2\x82cd";
        assert_eq!(filter(0, InvalidUtf8::Keep).keep(text).unwrap(), &text[..]);
        let replaced = filter(0, InvalidUtf8::Replace).keep(text).unwrap().into_owned();
        assert_eq!(replaced, "ab\u{fffd}\u{fffd}cd".as_bytes());
        assert_eq!(filter(0, InvalidUtf8::Skip).keep(text), Err(Reason::InvalidUtf8));
    }
}
