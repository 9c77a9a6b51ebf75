//! Special tokens: strings that stand for themselves and are never split or merged.
//!
//! Where several could match, the leftmost wins, and of those that begin there the longest
//! (a regex alternation would take the first listed instead).

use std::collections::HashSet;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};

use crate::{Error, Result};

/// A set of special tokens made ready to be found in text; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct SpecialTokens {
    tokens: Vec<String>,
    matcher: Option<AhoCorasick>,
}

/// A stretch of text between special tokens, or one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment<'t> {
    /// Ordinary text, never empty.
    Text(&'t [u8]),
    /// The special token of this index.
    Special(usize),
}

impl SpecialTokens {
    /// Builds the matcher.
    ///
    /// # Errors
    ///
    /// [`Error::SpecialToken`] if one is empty or listed twice.
    pub fn new(tokens: &[String]) -> Result<Self> {
        let refuse = |token: &String, reason: &str| {
            Err(Error::SpecialToken { token: token.clone(), reason: reason.to_owned() })
        };
        let mut listed = HashSet::with_capacity(tokens.len());
        for token in tokens {
            if token.is_empty() {
                return refuse(token, "an empty string cannot be a special token");
            }
            if !listed.insert(token) {
                return refuse(token, "listed twice");
            }
        }
        if tokens.is_empty() {
            return Ok(Self::default());
        }
        let matcher = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(tokens);
        match matcher {
            Ok(matcher) => Ok(Self { tokens: tokens.to_vec(), matcher: Some(matcher) }),
            Err(err) => refuse(&tokens[0], &err.to_string()),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The strings, in the order given.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// Bytes of the longest one; 0 if there is none.
    pub fn max_len(&self) -> usize {
        self.tokens.iter().map(String::len).max().unwrap_or(0)
    }

    /// The next special token at or behind `from`: where it lies, and its index.
    pub fn find(&self, text: &[u8], from: usize) -> Option<(Range<usize>, usize)> {
        let found = self.matcher.as_ref()?.find(text.get(from..)?)?;
        Some((from + found.start()..from + found.end(), found.pattern().as_usize()))
    }

    /// Ordinary text and special tokens in order.
    pub fn split<'t>(&self, text: &'t [u8]) -> impl Iterator<Item = Segment<'t>> {
        let mut at = 0;
        let mut pending = None;
        std::iter::from_fn(move || {
            if let Some(special) = pending.take() {
                return Some(Segment::Special(special));
            }
            if at == text.len() {
                return None;
            }
            let Some((range, special)) = self.find(text, at) else {
                let rest = &text[at..];
                at = text.len();
                return Some(Segment::Text(rest));
            };
            let before = &text[at..range.start];
            at = range.end;
            if before.is_empty() {
                return Some(Segment::Special(special));
            }
            pending = Some(special);
            Some(Segment::Text(before))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specials(tokens: &[&str]) -> SpecialTokens {
        SpecialTokens::new(&tokens.iter().map(|&t| t.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn the_longest_of_the_leftmost_wins() {
        let found: Vec<_> = specials(&["<a>", "<a><b>", "<b>"]).split(b"x<a><b><a>").collect();
        assert_eq!(found, [Segment::Text(b"x"), Segment::Special(1), Segment::Special(0)]);
    }

    #[test]
    fn text_without_special_tokens_is_one_segment() {
        assert_eq!(
            SpecialTokens::default().split(b"abc").collect::<Vec<_>>(),
            [Segment::Text(b"abc")]
        );
        assert_eq!(specials(&["<a>"]).split(b"").count(), 0);
    }

    #[test]
    fn empty_and_repeated_tokens_are_refused() {
        let refused = |tokens: &[&str]| {
            let tokens: Vec<_> = tokens.iter().map(|&t| t.to_owned()).collect();
            SpecialTokens::new(&tokens).unwrap_err().to_string()
        };
        assert!(refused(&["a", ""]).contains("empty string"));
        assert_eq!(refused(&["a", "a"]), "special token \"a\": listed twice");
    }
}
