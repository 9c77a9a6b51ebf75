//! Text -> ids: split at special tokens, cut into pre-tokens, merge each by rank.
//!
//! A text repeats itself: of 100 pre-tokens, 99 were met before. So encoding is a look-up in a
//! cache of pre-tokens, and merging is what happens when that fails. What the vocabulary alone
//! decides (`tables`) never changes and is shared by all threads; what was met (`state`) belongs to
//! one thread at a time, is bounded, and never changes what comes out.

mod batch;
mod disallowed;
mod filter;
mod merge;
mod state;
mod stream;
mod table;
mod tables;
mod trained;

use std::borrow::Cow;
use std::sync::Arc;

use crate::pretokenize::PreTokenizer;
use crate::progress::Stop;
use crate::shard::check_width;
use crate::special::{Segment, SpecialTokens};
use crate::{Result, TokenId, Vocab, ids::Id};
pub use disallowed::Disallowed;
use merge::{Scratch, merge};
pub use state::Pooled;
use state::Pools;
pub(crate) use state::State;
pub use stream::StreamEncoder;
use tables::Tables;
pub use trained::TrainedTable;

/// Which special tokens are recognized in a text; the others are ordinary text there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedSpecial {
    /// None: what users type can never become a special token.
    None,
    /// All that the vocabulary has.
    All,
    /// These; names that the vocabulary does not have are ignored.
    Only(Vec<String>),
}

/// Turns text into ids with one vocabulary.
///
/// Cheap to clone, and usable from any number of threads at once; no thread waits for another.
/// Caches of earlier calls are kept and reused, at most one per processor, each of bounded size.
#[derive(Clone, Debug)]
pub struct Encoder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    vocab: Arc<Vocab>,
    tables: Tables,
    pre_tokenizer: PreTokenizer,
    specials: SpecialMatcher,
    pools: Pools,
}

impl Shared {
    /// Appends the ids of one pre-token.
    fn merge<I: Id>(
        &self,
        scratch: &mut Scratch,
        pre_token: &[u8],
        out: &mut Vec<I>,
    ) -> Result<()> {
        let is_maybe_whole = self.tables.may_be_whole(pre_token);
        match is_maybe_whole.then(|| self.vocab.id(pre_token)).flatten() {
            Some(id) => {
                out.push(I::of(id));
                Ok(())
            }
            None => merge(&self.tables, scratch, pre_token, out),
        }
    }
}

/// Some special tokens, ready to be found, and their ids.
#[derive(Clone, Debug, Default)]
struct SpecialMatcher {
    tokens: SpecialTokens,
    ids: Vec<TokenId>,
}

impl SpecialMatcher {
    fn new<'s>(specials: impl Iterator<Item = &'s (String, TokenId)>) -> Result<Self> {
        let (texts, ids): (Vec<String>, Vec<TokenId>) = specials.cloned().unzip();
        Ok(Self { tokens: SpecialTokens::new(&texts)?, ids })
    }
}

impl Encoder {
    /// Builds the merge tables, in time linear in the number of merges.
    ///
    /// # Errors
    ///
    /// [`Error::Pattern`] if the vocabulary's pattern does not compile.
    pub fn new(vocab: Arc<Vocab>) -> Result<Self> {
        Self::with_table(vocab, None)
    }

    /// [`new`](Self::new), with what training knows already. The table must be of this vocabulary.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_table(vocab: Arc<Vocab>, trained: Option<TrainedTable>) -> Result<Self> {
        let tables = Tables::new(&vocab);
        let pre_tokenizer = PreTokenizer::new(vocab.pattern())?;
        let specials = SpecialMatcher::new(vocab.specials().iter())?;
        let pools = Pools::new(trained);
        Ok(Self { shared: Arc::new(Shared { vocab, tables, pre_tokenizer, specials, pools }) })
    }

    /// The vocabulary that it encodes with.
    pub fn vocab(&self) -> &Arc<Vocab> {
        &self.shared.vocab
    }

    /// The pre-tokenizer that it cuts text with.
    pub fn pre_tokenizer(&self) -> &PreTokenizer {
        &self.shared.pre_tokenizer
    }

    /// Appends the ids of `text`, in which nothing is a special token.
    ///
    /// Any bytes encode, in linear time, a single long pre-token as well.
    ///
    /// # Errors
    ///
    /// [`Error::MissingByte`] if the vocabulary lacks the token of a byte of `text`,
    /// [`Error::Pattern`] when the regex engine gives up, [`Error::DtypeTooNarrow`] if 16 bits do
    /// not hold the vocabulary. `out` then ends somewhere in the text.
    pub fn encode_ordinary<I: Id>(&self, text: &[u8], out: &mut Vec<I>) -> Result<()> {
        self.with_state(|state| self.encode_ordinary_with(state, text, out))
    }

    /// Appends the ids of `text`, where `allowed` special tokens become their own ids.
    ///
    /// Of several special tokens that match, the leftmost wins, then the longest.
    ///
    /// # Errors
    ///
    /// As [`encode_ordinary`](Self::encode_ordinary).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use minillm_bpe::{AllowedSpecial, Encoder, Vocab, pretokenize::Pattern};
    ///
    /// let bytes = (0..=255_u8).map(|byte| (u32::from(byte), vec![byte])).collect();
    /// let specials = vec![("<|endoftext|>".to_owned(), Some(256))];
    /// let encoder = Encoder::new(Arc::new(Vocab::new(bytes, vec![], specials, Pattern::None)?))?;
    /// let mut ids: Vec<u16> = Vec::new();
    /// encoder.encode(b"hi<|endoftext|>", &AllowedSpecial::All, &mut ids)?;
    /// assert_eq!(ids, [104, 105, 256]);
    /// # Ok::<(), minillm_bpe::Error>(())
    /// ```
    pub fn encode<I: Id>(
        &self,
        text: &[u8],
        allowed: &AllowedSpecial,
        out: &mut Vec<I>,
    ) -> Result<()> {
        let specials = self.allow(allowed)?;
        self.with_state(|state| self.encode_with(state, &specials, text, out))
    }

    /// Encodes a text that arrives in pieces.
    ///
    /// # Errors
    ///
    /// None but those of building the matcher, which a valid vocabulary does not cause.
    pub fn stream(&self, allowed: &AllowedSpecial) -> Result<StreamEncoder> {
        let specials = self.allow(allowed)?.into_owned();
        Ok(StreamEncoder::new(self.clone(), specials))
    }

    fn allow(&self, allowed: &AllowedSpecial) -> Result<Cow<'_, SpecialMatcher>> {
        match allowed {
            AllowedSpecial::All => Ok(Cow::Borrowed(&self.shared.specials)),
            AllowedSpecial::None => Ok(Cow::Owned(SpecialMatcher::default())),
            AllowedSpecial::Only(names) => {
                let specials = self.shared.vocab.specials().iter();
                SpecialMatcher::new(specials.filter(|(text, _)| names.contains(text)))
                    .map(Cow::Owned)
            }
        }
    }

    /// The ids of one pre-token, by merging.
    pub(crate) fn merge_alone(&self, pre_token: &[u8]) -> Result<Vec<TokenId>> {
        let mut ids = Vec::new();
        self.shared.merge(&mut Scratch::default(), pre_token, &mut ids)?;
        Ok(ids)
    }

    /// A state for one thread that encodes much, with so many bytes for what it meets. Heeds `stop`
    /// even within a pre-token.
    pub(crate) fn new_state<I: Id>(&self, max_bytes: usize, stop: Stop) -> State<I> {
        I::pool(&self.shared.pools).new_state(max_bytes, stop)
    }

    /// Lends `work` a state of an earlier call.
    fn with_state<I: Id, T>(&self, work: impl FnOnce(&mut State<I>) -> Result<T>) -> Result<T> {
        check_width(I::DTYPE, self.vocab().size())?;
        I::pool(&self.shared.pools).with(work)
    }

    fn encode_with<I: Id>(
        &self,
        state: &mut State<I>,
        specials: &SpecialMatcher,
        text: &[u8],
        out: &mut Vec<I>,
    ) -> Result<()> {
        for segment in specials.tokens.split(text) {
            match segment {
                Segment::Text(text) => self.encode_ordinary_with(state, text, out)?,
                Segment::Special(index) => out.push(I::of(specials.ids[index])),
            }
        }
        Ok(())
    }

    /// [`encode_ordinary`](Self::encode_ordinary) with the caller's state; ids must fit.
    pub(crate) fn encode_ordinary_with<I: Id>(
        &self,
        state: &mut State<I>,
        text: &[u8],
        out: &mut Vec<I>,
    ) -> Result<()> {
        let shared = &*self.shared;
        let scanned = shared.pre_tokenizer.for_each_block(text, |block| {
            state.append(shared, text, block, out);
        });
        // Whatever happened, nothing of this text may wait until the next.
        scanned.and(state.take_failure())
    }
}

#[cfg(test)]
mod tests;
