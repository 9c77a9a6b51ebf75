//! Which special tokens of a text count as special: tiktoken's rule, spelled out.
//!
//! A text may hold the characters of a special token because its author means the token, or because
//! it is untrusted input that tries to end a document. So the caller says which it is: *allowed*
//! tokens become their ids, *disallowed* ones are an error, and any other is ordinary text.

use std::borrow::Cow;

use super::{AllowedSpecial, Encoder};
use crate::Result;
use crate::special::SpecialTokens;

/// A special token where it must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disallowed {
    /// Which of the texts.
    pub text: usize,
    /// What it holds.
    pub token: String,
    /// Where that begins.
    pub at_byte: usize,
}

impl Encoder {
    /// The first disallowed special token in the first of `texts` that has one.
    ///
    /// `disallowed` may name any strings; [`AllowedSpecial::All`] is every special token of the
    /// vocabulary that is not `allowed`.
    ///
    /// # Errors
    ///
    /// [`Error::SpecialToken`](crate::Error::SpecialToken) if one to look for is empty.
    pub fn find_disallowed<'t>(
        &self,
        texts: impl IntoIterator<Item = &'t [u8]>,
        allowed: &AllowedSpecial,
        disallowed: &AllowedSpecial,
    ) -> Result<Option<Disallowed>> {
        let refused = self.disallowed(allowed, disallowed)?;
        if refused.is_empty() {
            return Ok(None);
        }
        Ok(texts.into_iter().enumerate().find_map(|(text, bytes)| {
            let (range, which) = refused.find(bytes, 0)?;
            let token = refused.tokens()[which].clone();
            Some(Disallowed { text, token, at_byte: range.start })
        }))
    }

    fn disallowed(
        &self,
        allowed: &AllowedSpecial,
        disallowed: &AllowedSpecial,
    ) -> Result<Cow<'_, SpecialTokens>> {
        use AllowedSpecial::{All, None, Only};
        let every = &self.shared.specials.tokens;
        let mut names = match (disallowed, allowed) {
            (None, _) | (All, All) => Vec::new(),
            // Made ready once: this is what most callers want.
            (All, None) => return Ok(Cow::Borrowed(every)),
            (All, Only(allowed)) if allowed.is_empty() => return Ok(Cow::Borrowed(every)),
            (All, Only(allowed)) => {
                every.tokens().iter().filter(|token| !allowed.contains(token)).cloned().collect()
            }
            (Only(names), _) => names.clone(),
        };
        names.sort_unstable();
        names.dedup();
        SpecialTokens::new(&names).map(Cow::Owned)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Vocab, pretokenize::Pattern};

    fn only(names: &[&str]) -> AllowedSpecial {
        AllowedSpecial::Only(names.iter().map(|&name| name.to_owned()).collect())
    }

    fn found(allowed: &AllowedSpecial, disallowed: &AllowedSpecial) -> Option<(usize, String)> {
        let bytes = (0..=255_u8).map(|byte| (u32::from(byte), vec![byte])).collect();
        let specials = ["<a>", "<b>"].map(|token| (token.to_owned(), None)).to_vec();
        let vocab = Vocab::new(bytes, vec![], specials, Pattern::None).unwrap();
        let encoder = Encoder::new(Arc::new(vocab)).unwrap();
        let texts: [&[u8]; 2] = [b"plain", b"x<a><b>y"];
        let found = encoder.find_disallowed(texts, allowed, disallowed).unwrap();
        found.map(|found| {
            assert_eq!(found.text, 1);
            (found.at_byte, found.token)
        })
    }

    #[test]
    fn what_is_not_allowed_is_disallowed_by_all() {
        use AllowedSpecial::{All, None};
        let at = |at, token: &str| Some((at, token.to_owned()));
        assert_eq!(found(&None, &All), at(1, "<a>"));
        assert_eq!(found(&only(&[]), &All), at(1, "<a>"));
        assert_eq!(found(&only(&["<a>", "?"]), &All), at(4, "<b>"));
        assert_eq!(found(&only(&["<a>", "<b>"]), &All), Option::None);
        assert_eq!(found(&All, &All), Option::None);
    }

    #[test]
    fn what_is_named_is_disallowed_and_nothing_else() {
        use AllowedSpecial::{All, None};
        assert_eq!(found(&None, &None), Option::None);
        assert_eq!(found(&None, &only(&[])), Option::None);
        assert_eq!(found(&None, &only(&["<b>", "<b>"])), Some((4, "<b>".to_owned())));
        assert_eq!(found(&All, &only(&["y"])), Some((7, "y".to_owned())));
    }
}
