//! The documents of some sources in their order, as far as their limits of tokens let them.

use super::list::List;
use super::merge::Merge;
use super::{ArrangeOptions, SourceOfParts, Weigh};
use crate::encode::State;
use crate::progress::{Progress, Stop};
use crate::{Encoder, Result, TokenId};

/// Memory for pre-tokens that were met.
const STATE_BYTES: usize = 32 << 20;

/// Counts the tokens of documents, if that is wanted.
pub(super) struct Count {
    encoder: Option<(Encoder, State<TokenId>)>,
    ids: Vec<TokenId>,
}

impl Count {
    pub(super) fn new(options: &ArrangeOptions, progress: &Progress) -> Self {
        let encoder = options
            .encoder
            .as_ref()
            .map(|encoder| (encoder.clone(), encoder.new_state(STATE_BYTES, progress.stop())));
        Self { encoder, ids: Vec::new() }
    }

    /// Those of a document, and one for its separator; 0 if they are not counted.
    fn tokens(&mut self, text: &[u8]) -> Result<u64> {
        let Some((encoder, state)) = &mut self.encoder else { return Ok(0) };
        self.ids.clear();
        encoder.encode_ordinary_with(state, text, &mut self.ids)?;
        Ok(self.ids.len() as u64 + 1)
    }
}

/// One reading of some sources.
pub(super) struct Stream<'a> {
    list: &'a List,
    sources: &'a [SourceOfParts],
    merge: Merge,
    /// Tokens that each source has given, and whether it gives no more.
    given: Vec<u64>,
    is_closed: Vec<bool>,
    n_open: usize,
    /// Source and tokens of the document that it is at.
    source: usize,
    tokens: u64,
    has_ended: bool,
}

impl<'a> Stream<'a> {
    /// Begins to read the sources that `is_of` names.
    pub(super) fn new(
        list: &'a List,
        sources: &'a [SourceOfParts],
        is_of: impl Fn(usize) -> bool,
        stop: Stop,
    ) -> Result<Self> {
        let n = sources.len();
        let n_open = (0..n).filter(|&source| is_of(source)).count();
        let merge = Merge::new(list, is_of, stop)?;
        let (given, is_closed) = (vec![0; n], vec![false; n]);
        let (source, tokens, has_ended) = (0, 0, false);
        Ok(Self { list, sources, merge, given, is_closed, n_open, source, tokens, has_ended })
    }

    /// Goes on to the next document. False at the end.
    pub(super) fn advance(&mut self, count: &mut Count) -> Result<bool> {
        while self.n_open > 0 && self.merge.advance(&self.list.parts)? {
            let part = self.merge.current().map_or(0, |run| run.part);
            let source = self.list.parts[part].source;
            if self.is_closed[source] {
                continue;
            }
            let tokens = count.tokens(self.merge.text())?;
            let given = self.given[source] + tokens;
            if self.sources[source].max_tokens.is_some_and(|most| given > most) {
                self.is_closed[source] = true;
                self.n_open -= 1;
                continue;
            }
            self.given[source] = given;
            (self.source, self.tokens) = (source, tokens);
            return Ok(true);
        }
        self.has_ended = true;
        Ok(false)
    }

    /// Whether it is behind its last document.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The source of the document.
    pub(super) fn source(&self) -> usize {
        self.source
    }

    /// The text of the document.
    pub(super) fn text(&self) -> &[u8] {
        self.merge.text()
    }

    /// The tokens of the document; 0 if they are not counted.
    pub(super) fn tokens(&self) -> u64 {
        self.tokens
    }

    /// What the document weighs. One that is not there weighs least: so it is missed as late as can
    /// be.
    pub(super) fn units(&self, weigh: Weigh) -> u64 {
        match weigh {
            _ if self.has_ended => 1,
            Weigh::Documents => 1,
            Weigh::Bytes => self.text().len() as u64,
            Weigh::Tokens => self.tokens,
        }
    }
}
