//! GPT-4's pattern and its relatives as a scanner over bytes.
//!
//! ```text
//! (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|
//! \s+\z|\s*[\r\n]|\s+(?!\S)|\s+
//! ```
//!
//! Llama 3 and Qwen 2 lack `\s+\z`, and Qwen takes digits one by one: [`Rules`]. As in GPT-2's,
//! each pre-token is found by one forward scan. A run of white space ends behind its last line
//! break if it has one, else before its last character if something follows.

use super::unicode::{Class, class_at, run_end};

/// In what the relatives differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// Most numbers in one pre-token.
    pub max_numbers: usize,
    /// White space at the end of the text stays together, line breaks and all.
    pub keeps_end: bool,
}

/// End of the pre-token that begins at `start`; the caller guarantees `start < text.len()`.
pub(super) fn pre_token_end(text: &[u8], start: usize, rules: Rules) -> usize {
    let contraction = contraction_len(&text[start..]);
    if contraction > 0 {
        return start + contraction;
    }
    let (class, len) = class_at(text, start);
    let next = start + len;
    let next_class = (next < text.len()).then(|| class_at(text, next).0);
    let leads_letters = class != Class::Number && !is_line_break(text[start]);
    match (class, next_class) {
        (Class::Letter, _) => run_end(text, next, Class::Letter),
        (_, Some(Class::Letter)) if leads_letters => run_end(text, next, Class::Letter),
        (Class::Number, _) => numbers_end(text, next, rules.max_numbers - 1),
        (Class::Other, _) => line_breaks_end(text, run_end(text, next, Class::Other)),
        (Class::Whitespace, Some(Class::Other)) if text[start] == b' ' => {
            line_breaks_end(text, run_end(text, next, Class::Other))
        }
        (Class::Whitespace, _) => whitespace_end(text, start, rules.keeps_end),
    }
}

/// Length of `'s 't 're 've 'm 'll 'd` at the head of `rest`, in either case, 0 if none is there.
///
/// The long s, U+017F, is an s when case does not matter.
pub(super) fn contraction_len(rest: &[u8]) -> usize {
    let [b'\'', rest @ ..] = rest else { return 0 };
    match rest {
        [b's' | b't' | b'm' | b'd' | b'S' | b'T' | b'M' | b'D', ..] => 2,
        [b'l' | b'L', b'l' | b'L', ..]
        | [b'v' | b'V' | b'r' | b'R', b'e' | b'E', ..]
        | [0xC5, 0xBF, ..] => 3,
        _ => 0,
    }
}

pub(super) fn is_line_break(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

fn line_breaks_end(text: &[u8], at: usize) -> usize {
    at + text[at..].iter().take_while(|&&byte| is_line_break(byte)).count()
}

/// End of at most `most` numbers from `at` on.
pub(super) fn numbers_end(text: &[u8], mut at: usize, most: usize) -> usize {
    for _ in 0..most {
        if at == text.len() {
            break;
        }
        let (class, len) = class_at(text, at);
        if class != Class::Number {
            break;
        }
        at += len;
    }
    at
}

/// End of the pre-token of white space that begins at `start`.
pub(super) fn whitespace_end(text: &[u8], start: usize, keeps_end: bool) -> usize {
    let (mut at, mut last, mut behind_line_break) = (start, start, None);
    while at < text.len() {
        let (class, len) = class_at(text, at);
        if class != Class::Whitespace {
            break;
        }
        last = at;
        at += len;
        if is_line_break(text[last]) {
            behind_line_break = Some(at);
        }
    }
    let is_end = at == text.len();
    match behind_line_break {
        _ if is_end && keeps_end => at,
        Some(end) => end,
        None if is_end || last == start => at,
        None => last,
    }
}
