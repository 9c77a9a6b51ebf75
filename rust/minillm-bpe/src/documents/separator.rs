//! The string between documents.

use memchr::memmem::Finder;

/// What stands between documents, and never inside one.
pub(super) struct Separator {
    finder: Finder<'static>,
    /// So many bytes before a separator and with it make another one that begins earlier, if they
    /// are those that it begins with. None for most.
    periods: Vec<usize>,
}

impl Separator {
    pub(super) fn new(text: &str) -> Self {
        let text = text.as_bytes();
        let periods = (1..text.len()).rev().filter(|&n| text[n..] == text[..text.len() - n]);
        Self { periods: periods.collect(), finder: Finder::new(text).into_owned() }
    }

    /// `text` up to the first separator that it has, or would have if one stood behind.
    pub(super) fn first<'t>(&self, text: &'t [u8]) -> (&'t [u8], Option<&'t [u8]>) {
        let needle = self.finder.needle();
        if let Some(at) = self.finder.find(text) {
            return (&text[..at], Some(&text[at + needle.len()..]));
        }
        let cut = self.periods.iter().find(|&&n| text.ends_with(&needle[..n]));
        (&text[..text.len() - cut.unwrap_or(&0)], None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn prop_documents_with_separators_behind_are_cut_where_they_were(
            text in "[ab\n]{0,12}",
            separator in prop::sample::select(vec!["\n", "\n\n", "aba", "aabaa", "ab"]),
        ) {
            let by = Separator::new(separator);
            let (mut documents, mut rest) = (Vec::new(), Some(text.as_bytes()));
            while let Some(text) = rest {
                let (document, behind) = by.first(text);
                documents.push(String::from_utf8(document.to_vec()).unwrap());
                rest = behind;
            }
            let joined: String = documents.iter().map(|text| text.to_owned() + separator).collect();
            let mut found: Vec<&str> = joined.split(separator).collect();
            prop_assert_eq!(found.pop(), Some(""));
            prop_assert_eq!(&found, &documents);
            prop_assert!(text.starts_with(&documents[0]));
        }
    }
}
