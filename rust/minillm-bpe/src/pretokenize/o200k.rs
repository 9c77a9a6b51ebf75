//! GPT-4o's pattern as a scanner over bytes.
//!
//! ```text
//! [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|
//! [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|
//! \p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
//! ```
//!
//! A word is capitals and then small letters, at least one small one (first alternative), or
//! capitals alone (second). Letters without case and marks count as both, and this is where the
//! regex turns back: of `xAB`, x without case, the first part takes all three, finds no small letter behind,
//! and gives back until the caseless one serves as a small letter; `AB` is left for the next
//! pre-token. So one scan that remembers the last caseless letter finds the end. The leading
//! character is tried first and, as it may be a mark, done without if that fails.

use super::cl100k::{contraction_len, is_line_break, numbers_end, whitespace_end};
use super::unicode::{Case, Class, case_at, class_at, run_end};

pub(super) const MAX_NUMBERS: usize = 3;

/// End of the pre-token that begins at `start`; the caller guarantees `start < text.len()`.
pub(super) fn pre_token_end(text: &[u8], start: usize) -> usize {
    let (class, len) = class_at(text, start);
    let next = start + len;
    let may_lead = matches!(class, Class::Other | Class::Whitespace) && !is_line_break(text[start]);
    let bodies = [next, start].into_iter().skip(usize::from(!may_lead));
    let word = bodies
        .clone()
        .find_map(|body| word_end(text, body))
        .or_else(|| bodies.clone().find_map(|body| capitals_end(text, body)));
    if let Some(end) = word {
        return end + contraction_len(&text[end..]);
    }
    let is_other = |at: usize| at < text.len() && class_at(text, at).0 == Class::Other;
    match class {
        Class::Number => numbers_end(text, next, MAX_NUMBERS - 1),
        Class::Other => tail_end(text, run_end(text, next, Class::Other)),
        Class::Whitespace if text[start] == b' ' && is_other(next) => {
            tail_end(text, run_end(text, next, Class::Other))
        }
        // A letter is always a word.
        Class::Whitespace | Class::Letter => whitespace_end(text, start, false),
    }
}

/// End of capitals and then at least one small letter from `at` on.
fn word_end(text: &[u8], mut at: usize) -> Option<usize> {
    let mut behind_either = None;
    while at < text.len() {
        let (case, len) = case_at(text, at);
        match case {
            Case::Upper => {}
            Case::Either => behind_either = Some(at + len),
            Case::Lower => return Some(small_end(text, at)),
            Case::None => break,
        }
        at += len;
    }
    behind_either
}

/// End of the small letters from `at` on.
fn small_end(text: &[u8], mut at: usize) -> usize {
    while at < text.len() {
        let (case, len) = case_at(text, at);
        if !matches!(case, Case::Lower | Case::Either) {
            break;
        }
        at += len;
    }
    at
}

/// End of at least one capital from `start` on, where no small letter follows them.
fn capitals_end(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    while at < text.len() {
        let (case, len) = case_at(text, at);
        if case != Case::Upper {
            break;
        }
        at += len;
    }
    (at > start).then_some(at)
}

/// End of the line breaks and slashes from `at` on.
fn tail_end(text: &[u8], at: usize) -> usize {
    at + text[at..].iter().take_while(|byte| b"\r\n/".contains(byte)).count()
}
