//! The header of numpy's `.npy` files, for arrays of ids with one axis.
//!
//! It is a literal of a Python `dict`; of what such a literal may hold, this reads as much as numpy
//! writes, and takes the rest for damage. Source: `numpy.lib.format`, version 1.0.

use std::io::{self, Read};

use super::Dtype;

/// What a file begins with.
pub(super) const MAGIC: [u8; 6] = *b"\x93NUMPY";

/// As in numpy, which parses no longer ones either.
const LONGEST: usize = 10_000;

/// The ids begin at a multiple of this.
const ALIGN: usize = 64;

/// Room that numpy leaves for the number to grow in place.
const DIGITS: usize = 21;

/// Where the ids begin, and what they are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes before the first id.
    pub(super) bytes: u64,
    pub(super) dtype: Dtype,
    /// As the header says, which may lie.
    pub(super) tokens: i64,
}

/// The bytes that numpy writes before `tokens` ids.
pub(super) fn write(dtype: Dtype, tokens: u64) -> Vec<u8> {
    let kind = descr(dtype);
    let mut text = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({tokens},), }}");
    let grown = text.len() + DIGITS.saturating_sub(tokens.to_string().len());
    let before = MAGIC.len() + 4;
    let whole = (before + grown + 1).next_multiple_of(ALIGN) - before;
    // Numpy adds a whole line of spaces where none is needed.
    let whole = if before + grown + 1 == before + whole { whole + ALIGN } else { whole };
    text.extend(std::iter::repeat_n(' ', whole - 1 - text.len()));
    text.push('\n');
    let mut header = MAGIC.to_vec();
    header.extend([1, 0]);
    header.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
    header.extend(text.into_bytes());
    header
}

/// Reads the header of a file whose [`MAGIC`] is read; or tells what is wrong with it, behind the
/// file's name.
pub(super) fn read(file: &mut impl Read) -> io::Result<Result<Header, String>> {
    let damaged = || Ok(Err(": the header, which is numpy's, is damaged".to_owned()));
    let mut start = Vec::new();
    file.take(2).read_to_end(&mut start)?;
    let width = if start.first() == Some(&1) { 2 } else { 4 };
    file.take(width).read_to_end(&mut start)?;
    let length = start.get(2..).unwrap_or_default().iter().rev();
    let length = length.fold(0, |sum, &byte| sum * 256 + usize::from(byte)).min(LONGEST);
    let mut text = Vec::new();
    file.take(length as u64).read_to_end(&mut text)?;
    let bytes = (MAGIC.len() + start.len() + text.len()) as u64;
    let Some((kind, shape)) = std::str::from_utf8(&text).ok().and_then(parse) else {
        return damaged();
    };
    let dtype = [Dtype::Uint16, Dtype::Uint32].into_iter().find(|&dtype| descr(dtype) == kind);
    let axis = shape.strip_prefix('(').and_then(|shape| shape.strip_suffix(",)"));
    let tokens = axis.and_then(|tokens| tokens.trim().parse().ok());
    Ok(match (dtype, tokens) {
        (Some(dtype), Some(tokens)) => Ok(Header { bytes, dtype, tokens }),
        _ => Err(format!(" holds {kind} of shape {shape}, expected <u2 or <u4, and one axis")),
    })
}

/// Numpy's name for ids.
fn descr(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::Uint16 => "<u2",
        Dtype::Uint32 => "<u4",
    }
}

/// The type and the shape in a header, as they are written there.
fn parse(text: &str) -> Option<(&str, &str)> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let (mut kind, mut shape) = (None, None);
    while !rest.is_empty() {
        let (name, behind) = rest.split_once(':')?;
        let behind = behind.trim_start();
        let end = value_end(behind)?;
        let value = behind[..end].trim_end();
        match unquoted(name.trim())? {
            "descr" => kind = Some(unquoted(value).unwrap_or(value)),
            "shape" => shape = Some(value),
            _ => {}
        }
        rest = behind[end..].trim_start_matches(',').trim();
    }
    Some((kind?, shape?))
}

/// Where the comma behind the value lies that `text` begins with, or its end; [`None`] if a bracket
/// or a quote is left open.
fn value_end(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0_u32, None);
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some(open), _) => quote = Some(open).filter(|&open| open != character),
            (None, '\'' | '"') => quote = Some(character),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.checked_sub(1)?,
            (None, ',') if depth == 0 => return Some(at),
            (None, _) => {}
        }
    }
    (depth == 0 && quote.is_none()).then_some(text.len())
}

fn unquoted(text: &str) -> Option<&str> {
    let inner = ['\'', '"'].into_iter().find_map(|q| text.strip_prefix(q)?.strip_suffix(q))?;
    (!inner.contains(['\'', '"'])).then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Header, String> {
        let mut file = vec![1, 0];
        file.extend(u16::try_from(text.len()).unwrap().to_le_bytes());
        file.extend(text.as_bytes());
        read(&mut &file[..]).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        for tokens in [0, 5, 1 << 40, i64::MAX.cast_unsigned()] {
            let header = write(Dtype::Uint32, tokens);
            assert!(header.len().is_multiple_of(ALIGN));
            let expected = Header {
                bytes: header.len() as u64,
                dtype: Dtype::Uint32,
                tokens: tokens.cast_signed(),
            };
            assert_eq!(read(&mut &header[MAGIC.len()..]).unwrap(), Ok(expected));
        }
    }

    #[test]
    fn other_arrays_are_named() {
        let structured = "{'descr': [('a', '<u2')], 'fortran_order': False, 'shape': (2, 3), }";
        let cases = [
            (
                structured,
                " holds [('a', '<u2')] of shape (2, 3), expected <u2 or <u4, and one axis",
            ),
            ("{'descr': '<u2', 'shape': (2.0,)}", " holds <u2 of shape (2.0,), expected"),
            ("{'descr': '|O', 'shape': ()}\n", " holds |O of shape (), expected"),
            ("{'descr': '<u2', 'shape': (5)}\n", " holds <u2 of shape (5), expected"),
        ];
        for (text, expected) in cases {
            let message = read_text(text).unwrap_err();
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn damage_is_told() {
        let cases = ["", "{", "{}", "{'descr': '<u2'}", "{'descr: '<u2', 'shape': (5,)}"];
        let more = ["{'descr': '<u2', 'shape': (5,}", "{'descr': '<u2', 'shape': (5,)} 1", "{:}"];
        for text in cases.into_iter().chain(more) {
            assert!(read_text(text).unwrap_err().ends_with("is damaged"), "{text}");
        }
    }
}
