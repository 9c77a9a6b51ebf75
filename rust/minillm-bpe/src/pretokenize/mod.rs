//! Text -> pre-tokens: the pieces inside which merges happen.
//!
//! A [`Pattern`] says how text is cut; a [`PreTokenizer`] is a pattern made ready. The
//! published ones run on hand-written scanners (`wide/` does up to 63 bytes at a time; the slow
//! twins are `gpt2.rs`, `cl100k.rs` and `o200k.rs`), all others on a regex engine. All take any
//! bytes: one that is not valid UTF-8 counts as a character of its own, neither letter nor number
//! nor white space.

mod case_tables;
mod cl100k;
mod general;
mod gpt2;
mod o200k;
mod tables;
mod unicode;
mod wide;

use crate::{Error, Result};
pub use unicode::UNICODE_VERSION;
#[doc(hidden)]
pub use wide::Path;

/// A published pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedPattern {
    /// GPT-2; also r50k and p50k.
    Gpt2,
    /// GPT-4; up to three digits a pre-token.
    Cl100k,
    /// Llama 3: as GPT-4, runs of line breaks kept together.
    Llama3,
    /// Qwen 2 and 3: as Llama 3, digits one by one.
    Qwen2,
    /// GPT-4o: upper and lower case told apart, marks count as letters.
    O200k,
}

impl NamedPattern {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Gpt2, Self::Cl100k, Self::Llama3, Self::Qwen2, Self::O200k];

    /// The name by which a user chooses it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gpt2 => "gpt2",
            Self::Cl100k => "cl100k",
            Self::Llama3 => "llama3",
            Self::Qwen2 => "qwen2",
            Self::O200k => "o200k",
        }
    }

    /// The regular expression, in the form that Hugging Face's engine takes too.
    pub fn regex(self) -> &'static str {
        match self {
            Self::Gpt2 => {
                r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
            }
            Self::Cl100k => {
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+\z|\s*[\r\n]|\s+(?!\S)|\s+"
            }
            Self::Llama3 => {
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            }
            Self::Qwen2 => {
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            }
            Self::O200k => {
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            }
        }
    }
}

/// Other spellings of the same patterns: GPT-2's own, and those of tiktoken's, whose possessive
/// quantifiers match the same text with less backtracking.
const SPELLINGS: [(NamedPattern, &str); 3] = [
    (
        NamedPattern::Gpt2,
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    ),
    (
        NamedPattern::Gpt2,
        r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    ),
    (
        NamedPattern::Cl100k,
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    ),
];

/// How text is cut into pre-tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// A published pattern.
    Named(NamedPattern),
    /// Any regular expression: its matches and what lies between them are the pre-tokens.
    Regex(String),
    /// No cut: a whole document is one pre-token.
    None,
}

impl Pattern {
    /// Understands what a user wrote: a known name, else a regular expression.
    ///
    /// The regular expression of a named pattern is that pattern, also as others spell it.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownPattern`] for a bare word that is no known name: as a regular expression
    /// it would match itself alone, which nobody wants.
    pub fn parse(text: &str) -> Result<Self> {
        let known = NamedPattern::ALL.into_iter().find(|n| text == n.name() || text == n.regex());
        let spelled = SPELLINGS.iter().find(|(_, regex)| text == *regex).map(|(named, _)| *named);
        if let Some(named) = known.or(spelled) {
            return Ok(Self::Named(named));
        }
        if text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            let known = NamedPattern::ALL.map(NamedPattern::name).to_vec();
            return Err(Error::UnknownPattern { name: text.to_owned(), known });
        }
        Ok(Self::Regex(text.to_owned()))
    }

    /// The name, if it has one.
    pub fn name(&self) -> Option<&'static str> {
        match self {
            Self::Named(named) => Some(named.name()),
            Self::Regex(_) | Self::None => None,
        }
    }

    /// What messages call it: its name, its regular expression, or `none`.
    pub fn shown(&self) -> &str {
        self.name().or(self.regex()).unwrap_or("none")
    }

    /// The regular expression, if there is one.
    pub fn regex(&self) -> Option<&str> {
        match self {
            Self::Named(named) => Some(named.regex()),
            Self::Regex(regex) => Some(regex),
            Self::None => None,
        }
    }
}

/// Consecutive pre-tokens, as they are found together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'b> {
    /// Where the first one begins.
    pub(crate) start: usize,
    base: usize,
    /// Where each one ends, from `base` on.
    ends: &'b [u16],
}

impl<'b> Block<'b> {
    fn of_one(start: usize, end: usize) -> Self {
        Self { start, base: end, ends: &[0] }
    }

    /// Where each one ends; the next one begins there.
    #[inline]
    pub(crate) fn ends(self) -> impl ExactSizeIterator<Item = usize> + 'b {
        self.ends.iter().map(move |&end| self.base + usize::from(end))
    }

    /// The same in blocks of at most `n`.
    pub(crate) fn split(self, n: usize) -> impl Iterator<Item = Self> + 'b {
        let mut start = self.start;
        self.ends.chunks(n).map(move |ends| {
            let block = Self { start, ends, ..self };
            start = block.ends().last().unwrap_or(start);
            block
        })
    }
}

/// A pattern made ready to cut text; cheap to clone.
#[derive(Clone, Debug)]
pub struct PreTokenizer {
    pattern: Pattern,
    engine: Engine,
}

#[derive(Clone, Debug)]
enum Engine {
    Gpt2(Path),
    Cl100k(wide::Cl100k, Path),
    O200k(wide::O200k, Path),
    Regex(fancy_regex::Regex),
    Whole,
}

impl PreTokenizer {
    /// Compiles `pattern`.
    ///
    /// # Errors
    ///
    /// [`Error::Pattern`] if it is no regular expression.
    pub fn new(pattern: &Pattern) -> Result<Self> {
        Self::with_path(pattern, Path::best())
    }

    /// [`new`](Self::new), by a way of the caller's choice where the pattern has several.
    #[doc(hidden)]
    pub fn with_path(pattern: &Pattern, path: Path) -> Result<Self> {
        let cl100k = |max_numbers, keeps_end| {
            Engine::Cl100k(wide::Cl100k::new(cl100k::Rules { max_numbers, keeps_end }), path)
        };
        let engine = match pattern {
            Pattern::Named(NamedPattern::Gpt2) => Engine::Gpt2(path),
            Pattern::Named(NamedPattern::Cl100k) => cl100k(3, true),
            Pattern::Named(NamedPattern::Llama3) => cl100k(3, false),
            Pattern::Named(NamedPattern::Qwen2) => cl100k(1, false),
            Pattern::Named(NamedPattern::O200k) => Engine::O200k(wide::O200k::new(), path),
            Pattern::Regex(regex) => Engine::Regex(general::compile(regex)?),
            Pattern::None => Engine::Whole,
        };
        Ok(Self { pattern: pattern.clone(), engine })
    }

    /// What it was made from.
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// Calls `visit` with start and end of each pre-token of `text`, in order and without gaps.
    ///
    /// # Errors
    ///
    /// [`Error::Pattern`] when the regex engine gives up on a text.
    #[inline]
    pub fn for_each_span(&self, text: &[u8], mut visit: impl FnMut(usize, usize)) -> Result<()> {
        self.for_each_block(text, |block| {
            let mut start = block.start;
            for end in block.ends() {
                visit(start, end);
                start = end;
            }
        })
    }

    /// [`for_each_span`](Self::for_each_span), some pre-tokens at a time.
    ///
    /// # Errors
    ///
    /// As there.
    #[inline]
    pub(crate) fn for_each_block(
        &self,
        text: &[u8],
        mut visit: impl FnMut(Block<'_>),
    ) -> Result<()> {
        match &self.engine {
            Engine::Gpt2(path) => wide::for_each_block(text, wide::Gpt2, *path, visit),
            Engine::Cl100k(rules, path) => wide::for_each_block(text, *rules, *path, visit),
            Engine::O200k(rules, path) => wide::for_each_block(text, *rules, *path, visit),
            Engine::Regex(regex) => {
                general::for_each_span(regex, text, |start, end| visit(Block::of_one(start, end)))?;
            }
            Engine::Whole if text.is_empty() => {}
            Engine::Whole => visit(Block::of_one(0, text.len())),
        }
        Ok(())
    }

    /// Calls `visit` with each pre-token of `text`, in order; their concatenation is `text`.
    ///
    /// # Errors
    ///
    /// As [`for_each_span`](Self::for_each_span).
    #[inline]
    pub fn for_each(&self, text: &[u8], mut visit: impl FnMut(&[u8])) -> Result<()> {
        self.for_each_span(text, |start, end| visit(&text[start..end]))
    }

    /// The largest `i <= upto` where `text[..i]` and `text[i..]` are cut apart exactly as they are
    /// together, whatever follows `text`. [`None`] if there is none, or none is known.
    ///
    /// There are three kinds of such places, true of every published pattern:
    ///
    /// - Before ASCII white space behind an ASCII letter or digit, the pre-token of the letter or
    ///   digit ends, for none takes white space behind either, and the next one begins there,
    ///   whatever came before. The last run of white space to the left is followed by that letter
    ///   or digit on both sides of the cut, so what it gives up does not change either.
    /// - Before a space or tab behind any character that is not white space, for the same reasons.
    ///   (Line ends are taken by punctuation.)
    /// - Behind a line end that stands between two characters that are not white space, unless the
    ///   second is a slash: whatever took the line end takes nothing more but line ends and
    ///   slashes, and a line end that stands alone ends a pre-token, be it the last or not.
    ///
    /// So Chinese, which has no spaces, is cut between its lines.
    pub fn safe_cut(&self, text: &[u8], upto: usize) -> Option<usize> {
        if !matches!(self.pattern, Pattern::Named(_)) {
            return None;
        }
        let last = upto.min(text.len().checked_sub(1)?);
        (1..=last).rev().find(|&i| match (text[i - 1], text[i]) {
            (before, b' ' | b'\t' | b'\n' | b'\r') if before.is_ascii_alphanumeric() => true,
            (_, b' ' | b'\t') => ends_visibly(&text[..i]),
            (b'\n', after) => {
                after != b'/' && begins_visibly(&text[i..]) && ends_visibly(&text[..i - 1])
            }
            _ => false,
        })
    }
}

/// Whether the last character is there to its last byte, and is not white space.
fn ends_visibly(text: &[u8]) -> bool {
    let longest = match text.last() {
        Some(last) if last.is_ascii() => 1,
        _ => text.len().min(4),
    };
    (1..=longest).any(|n| is_visible(&text[text.len() - n..]))
}

/// Whether the first character is there to its last byte, and is not white space.
fn begins_visibly(text: &[u8]) -> bool {
    let longest = match text.first() {
        Some(first) if first.is_ascii() => 1,
        _ => text.len().min(4),
    };
    (1..=longest).any(|n| is_visible(&text[..n]))
}

/// Whether this is one character, and not white space.
fn is_visible(bytes: &[u8]) -> bool {
    let mut characters = std::str::from_utf8(bytes).unwrap_or_default().chars();
    characters.next().is_some_and(|only| !only.is_whitespace()) && characters.next().is_none()
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    static GPT2: LazyLock<PreTokenizer> = LazyLock::new(|| named(NamedPattern::Gpt2));
    static REGEXES: LazyLock<[PreTokenizer; 5]> =
        LazyLock::new(|| NamedPattern::ALL.map(|named| regex(named.regex())));
    static SPELLED: LazyLock<[(NamedPattern, PreTokenizer); 3]> =
        LazyLock::new(|| SPELLINGS.map(|(named, spelling)| (named, regex(spelling))));
    static ALL: LazyLock<[PreTokenizer; 5]> = LazyLock::new(|| NamedPattern::ALL.map(named));

    fn spans(pre_tokenizer: &PreTokenizer, text: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        pre_tokenizer.for_each(text, |pre_token| out.push(pre_token.to_vec())).unwrap();
        out
    }

    fn named(pattern: NamedPattern) -> PreTokenizer {
        PreTokenizer::new(&Pattern::Named(pattern)).unwrap()
    }

    fn regex(pattern: &str) -> PreTokenizer {
        PreTokenizer::new(&Pattern::Regex(pattern.to_owned())).unwrap()
    }

    /// Text with many class changes: characters of each class, of each UTF-8 length, broken bytes.
    fn awkward_text() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => "[ \\n\\t]{1,3}".prop_map(String::into_bytes),
            4 => "[a-z]{1,4}".prop_map(String::into_bytes),
            2 => "'(s|d|m|t|ll|ve|re|l|v|S)?".prop_map(String::into_bytes),
            2 => "[0-9.,!'_/]{1,3}".prop_map(String::into_bytes),
            2 => "[A-Zb\u{1c5}\u{2b0}\u{5d0}\u{301}\u{df}]{1,4}".prop_map(String::into_bytes),
            2 => "\\PC{1,2}".prop_map(String::into_bytes),
            1 => "[\u{a0}\u{2028}\u{3000}\u{85}\u{180e}\u{200b}\u{301}\u{17f}]"
                .prop_map(String::into_bytes),
            1 => any::<char>().prop_map(|c| c.to_string().into_bytes()),
            1 => proptest::collection::vec(any::<u8>(), 1..4),
        ];
        proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
    }

    #[test]
    fn gpt2_cuts_a_sentence_as_published() {
        let found = spans(&GPT2, b"I'll go to \nNo 10!'s");
        let expected = ["I", "'ll", " go", " to", " ", "\n", "No", " 10", "!'", "s"];
        assert_eq!(found, expected.map(|t| t.as_bytes().to_vec()));
    }

    #[test]
    fn nothing_is_lost_between_matches_of_a_regex() {
        let found = spans(&regex("[a-z]+"), b"12ab\xFF\xFFcd!");
        assert_eq!(found, [&b"12"[..], b"ab", b"\xFF\xFF", b"cd", b"!"]);
    }

    #[test]
    fn bare_words_are_names_and_never_patterns() {
        let message = Pattern::parse("gpt5").unwrap_err().to_string();
        assert_eq!(
            message,
            "unknown pattern `gpt5`; known are gpt2, cl100k, llama3, qwen2, o200k\n\
             hint: did you mean `gpt2`?"
        );
        assert_eq!(Pattern::parse(r"\w+").unwrap(), Pattern::Regex(r"\w+".to_owned()));
    }

    #[test]
    fn a_pattern_that_does_not_compile_is_named() {
        let err = PreTokenizer::new(&Pattern::Regex("(a".to_owned())).unwrap_err();
        assert!(err.to_string().starts_with("pattern `(a`: "), "{err}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn prop_every_scanner_equals_its_regex(text in awkward_text()) {
            for (scanner, regex) in ALL.iter().zip(REGEXES.iter()) {
                let found = spans(scanner, &text);
                prop_assert_eq!(&found, &spans(regex, &text), "{:?}", scanner.pattern());
                for (named, spelled) in SPELLED.iter() {
                    if scanner.pattern() == &Pattern::Named(*named) {
                        prop_assert_eq!(&found, &spans(spelled, &text), "{:?}", spelled);
                    }
                }
            }
        }

        #[test]
        fn prop_safe_cuts_change_nothing(text in awkward_text(), more in awkward_text()) {
            for pre_tokenizer in ALL.iter() {
                let whole = [text.clone(), more.clone()].concat();
                let all = spans(pre_tokenizer, &whole);
                prop_assert_eq!(all.concat(), whole.clone());
                if let Some(cut) = pre_tokenizer.safe_cut(&text, text.len()) {
                    let mut parts = spans(pre_tokenizer, &whole[..cut]);
                    parts.extend(spans(pre_tokenizer, &whole[cut..]));
                    prop_assert_eq!(parts, all, "{:?}", pre_tokenizer.pattern());
                }
            }
        }
    }
}
