//! GPT-2's pattern as a scanner over bytes.
//!
//! ```text
//! '(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//! ```
//!
//! The pattern needs no look-ahead machinery: its only one, `\s+(?!\S)`, says that a run of white
//! space before something else gives up its last character (which then leads the next
//! pre-token if it is a space). So each pre-token is found by one forward scan, and any text
//! takes linear time.

use super::unicode::{Class, class_at, run_end};

/// End of the pre-token that begins at `start`; the caller guarantees `start < text.len()`.
#[inline]
pub(super) fn pre_token_end(text: &[u8], start: usize) -> usize {
    let first = text[start];
    if first == b'\'' {
        let contraction = contraction_len(&text[start + 1..]);
        if contraction > 0 {
            return start + 1 + contraction;
        }
    }
    // The optional leading space of the three ` ?X+` alternatives.
    let body = start + usize::from(first == b' ');
    if body < text.len() {
        let (class, len) = class_at(text, body);
        if class != Class::Whitespace {
            return run_end(text, body + len, class);
        }
    }
    whitespace_end(text, start)
}

/// Length of `s d m t ll ve re` at the head of `rest`, 0 if none is there.
pub(super) fn contraction_len(rest: &[u8]) -> usize {
    match rest {
        [b's' | b'd' | b'm' | b't', ..] => 1,
        [b'l', b'l', ..] | [b'v' | b'r', b'e', ..] => 2,
        _ => 0,
    }
}

/// End of the pre-token of white space that begins at `start`.
fn whitespace_end(text: &[u8], start: usize) -> usize {
    let (mut at, mut last) = (start, start);
    while at < text.len() {
        let (class, len) = class_at(text, at);
        if class != Class::Whitespace {
            // Something follows: give up the last character, unless it is the only one.
            return if last > start { last } else { at };
        }
        last = at;
        at += len;
    }
    at
}
