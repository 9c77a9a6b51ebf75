//! Which merges are made: first those of the tokenizer to continue from, then the learned ones.
//!
//! Two numberings of the tokens meet here. *Steps* number them in the order in which they came to
//! be: the 256 bytes, then each merge's new token. [`Merger`] and [`Order`] know only these, and
//! ties between ids are ties between these, whatever the ids of a file may be. The *vocabulary's*
//! ids are what is written: those of the base stay, and new ones are given out from above it.
//!
//! A base may hold tokens to which none of its merges leads. Such a token gets a step once a
//! learned merge yields its bytes, and keeps its id.

use std::borrow::Cow;

use foldhash::{HashMap, HashSet, HashSetExt};

use super::{TrainOptions, index::Limits, merge::Merger, queue::Order, symbol::Symbol};
use crate::{
    Error, Pair, Result, TokenId, TrainedTable,
    progress::{Phase, Progress},
    vocab::{Merge, Vocab},
};

/// The tokens learned so far and the rules for the next one.
pub(super) struct Learner<'o> {
    options: &'o TrainOptions,
    /// The vocabulary before the first learned merge.
    start: Cow<'o, Vocab>,
    order: Order,
    /// The step of each token's bytes. Without a base, of the single bytes alone: then, no two
    /// merges yield the same bytes.
    by_bytes: HashMap<Vec<u8>, TokenId>,
    /// The vocabulary's id of each step.
    ids: Vec<TokenId>,
    forbidden: HashSet<Vec<u8>>,
    /// Ids of the halves of each listed merge; without a base, no pair is merged twice, and none is
    /// noted.
    listed: HashSet<Pair>,
    counts: Vec<u64>,
    /// The learned merges in the vocabulary's ids.
    learned: Vec<Merge>,
    next_id: TokenId,
    /// The first id that is not for learned tokens.
    end_id: TokenId,
    /// Each smaller size that was reached, with the neighbours that merges had joined by then.
    pub(super) smaller: Vec<(u32, u64)>,
}

impl<'o> Learner<'o> {
    /// The 256 bytes, which the base may have anywhere.
    pub(super) fn new(options: &'o TrainOptions) -> Result<Self> {
        let start = match &options.base {
            Some(base) => Cow::Borrowed(&**base),
            None => Cow::Owned(bytes_alone(options)?),
        };
        let id_of = |byte| {
            let reason = || format!("no token for byte 0x{byte:02x}, so it cannot be continued");
            start.byte_id(byte).ok_or_else(|| Error::BadVocab { reason: reason() })
        };
        let n_specials = options.special_tokens.len() - start.specials().len();
        Ok(Self {
            options,
            order: Order::new(options.tie_break),
            by_bytes: (0..=u8::MAX).map(|byte| (vec![byte], TokenId::from(byte))).collect(),
            ids: (0..=u8::MAX).map(id_of).collect::<Result<_>>()?,
            forbidden: options.special_tokens.iter().map(|s| s.clone().into_bytes()).collect(),
            listed: HashSet::new(),
            counts: Vec::new(),
            learned: Vec::new(),
            next_id: start.size(),
            end_id: options.vocab_size - u32::try_from(n_specials).unwrap_or(u32::MAX),
            smaller: Vec::new(),
            start,
        })
    }

    /// Makes the merges of the base in their order, whatever their counts.
    pub(super) fn replay<S: Symbol>(
        &mut self,
        merger: &mut Merger<S>,
        progress: &Progress,
    ) -> Result<()> {
        let Some(base) = self.options.base.as_deref() else { return Ok(()) };
        let merges = base.listed_merges().into_owned();
        progress.begin(Phase::Merge, merges.len() as u64);
        merger.index_all(&self.order);
        for merge in merges {
            let count = self.apply(base, &merge, merger);
            self.counts.push(count);
            self.listed.insert((merge.left, merge.right));
            progress.advance(1)?;
        }
        Ok(())
    }

    /// Makes one merge of the base; returns how often its pair occurred.
    fn apply<S: Symbol>(&mut self, base: &Vocab, merge: &Merge, merger: &mut Merger<S>) -> u64 {
        let bytes = |id| base.token(id).unwrap_or_default();
        let (left, right) = (bytes(merge.left), bytes(merge.right));
        let step = |bytes: &[u8]| self.by_bytes.get(bytes).copied();
        // A half that no merge has yet led to occurs nowhere.
        let (Some(left_step), Some(right_step)) = (step(left), step(right)) else { return 0 };
        let pair = (left_step, right_step);
        let result = [left, right].concat();
        let count = merger.count_of(pair);
        match step(&result) {
            Some(_) if count == 0 => {}
            Some(known) => merger.merge(pair, known, &self.order),
            None => {
                let new = self.add(result, merge.result);
                merger.merge(pair, new, &self.order);
            }
        }
        count
    }

    /// Merges within `limits` until there are enough tokens; says why if there are not.
    pub(super) fn learn<S: Symbol>(
        &mut self,
        merger: &mut Merger<S>,
        limits: Limits,
        progress: &Progress,
    ) -> Result<Option<String>> {
        let n_tokens = u64::from(self.end_id - self.next_id);
        progress.begin(Phase::Merge, n_tokens);
        merger.index_frequent(n_tokens, limits, &self.order);
        let mut sizes = self.options.smaller_sizes.clone();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let n_trailing = self.options.vocab_size - self.end_id;
        let mut stopped_early = None;
        while self.next_id < self.end_id {
            while let Some(size) = sizes.pop_if(|size| *size <= self.next_id + n_trailing) {
                self.smaller.push((size, merger.n_joined()));
            }
            let Some((pair, count)) = merger.most_frequent(&self.order) else {
                stopped_early = Some(match self.options.min_frequency {
                    0 | 1 => "no two neighbours are left to merge".to_owned(),
                    least => format!(
                        "no pair of neighbours occurs {least} times any more (min_frequency)"
                    ),
                });
                break;
            };
            let bytes = [self.order.bytes(pair.0), self.order.bytes(pair.1)].concat();
            if self.forbidden.contains(&bytes) {
                merger.forget(pair);
                continue;
            }
            let n_ids = self.next_id;
            let result = match self.by_bytes.get(&bytes) {
                Some(&known) => known,
                None => self.learn_token(bytes),
            };
            self.list(pair, result, count)?;
            merger.merge(pair, result, &self.order);
            progress.advance(u64::from(self.next_id - n_ids))?;
        }
        let joined = merger.n_joined();
        self.smaller.extend(sizes.into_iter().rev().map(|size| (size, joined)));
        Ok(stopped_early)
    }

    /// Lists a merge, unless it is listed already.
    fn list(&mut self, pair: Pair, result: TokenId, count: u64) -> Result<()> {
        let id = |step: TokenId| self.ids[step as usize];
        let (left, right, result) = (id(pair.0), id(pair.1), id(result));
        if self.options.base.is_none() || self.listed.insert((left, right)) {
            let rank = u32::try_from(self.counts.len())
                .map_err(|_| Error::BadVocab { reason: "more than 2^32 merges".to_owned() })?;
            self.counts.push(count);
            self.learned.push(Merge { left, right, result, rank });
        }
        Ok(())
    }

    /// Gives new bytes their step, and the next id unless the base has one for them.
    fn learn_token(&mut self, bytes: Vec<u8>) -> TokenId {
        let id = self.start.id(&bytes).unwrap_or_else(|| {
            self.next_id += 1;
            self.next_id - 1
        });
        self.add(bytes, id)
    }

    fn add(&mut self, bytes: Vec<u8>, id: TokenId) -> TokenId {
        let step = self.order.push(&bytes);
        if self.options.base.is_some() {
            self.by_bytes.insert(bytes, step);
        }
        self.ids.push(id);
        step
    }

    /// The most frequent pre-tokens as they are merged now, if a table is wanted.
    pub(super) fn table<S: Symbol>(
        &self,
        merger: &Merger<S>,
        n_pre_tokens: usize,
    ) -> Option<TrainedTable> {
        // Under a bound, an eighth of it: the vocabulary, too, comes on top.
        let bound = self.options.max_memory.and_then(|bytes| usize::try_from(bytes / 8).ok());
        let most = bound.map_or(usize::MAX, TrainedTable::entries_in);
        let n_entries = self.options.table_entries.min(most).min(n_pre_tokens + 256);
        if n_entries == 0 {
            return None;
        }
        let size = self.next_id + (self.options.vocab_size - self.end_id);
        let mut table = TrainedTable::with_capacity(size, n_entries);
        // A byte alone is no part of the merged corpus, and its own token.
        for byte in 0..=u8::MAX {
            table.insert(&[byte], &[self.ids[usize::from(byte)]]);
        }
        let mut text = Vec::new();
        let mut ids = Vec::new();
        merger.for_each_pre_token(|steps| {
            text.clear();
            ids.clear();
            for &step in steps {
                text.extend_from_slice(self.order.bytes(step));
                ids.push(self.ids[step as usize]);
            }
            table.insert(&text, &ids);
            table.len() < n_entries
        });
        Some(table)
    }

    /// What the vocabulary was before, the learned tokens, and special tokens that come last.
    pub(super) fn into_vocab(self) -> Result<Vocab> {
        let (start, order) = (&self.start, &self.order);
        let is_ordinary = |id, token: &[u8]| start.id(token) == Some(id);
        let old = start.tokens().filter(|&(id, token)| is_ordinary(id, token));
        let old = old.map(|(id, token)| (id, token.to_vec()));
        let new = self.ids.iter().zip(0..).filter(|&(&id, _)| id >= start.size());
        let new = new.map(|(&id, step)| (id, order.bytes(step).to_vec()));
        let tokens = old.chain(new);
        let mut specials = start.specials().to_vec();
        let trailing = self.options.special_tokens.iter().skip(specials.len());
        specials.extend(trailing.cloned().zip(self.next_id..));
        let pattern = start.pattern().clone();
        let vocab = if start.is_ranked() {
            let ranks = tokens.map(|(id, token)| (token, id)).collect();
            Vocab::from_ranks(ranks, specials, pattern)?
        } else {
            let merges = [start.merges(), &self.learned].concat();
            let specials = specials.into_iter().map(|(text, id)| (text, Some(id))).collect();
            Vocab::with_merge_ids(tokens.collect(), merges, specials, pattern)?
                .with_merge_counts(self.counts)?
        };
        Ok(vocab.with_whole_pretoken_lookup(start.whole_pretoken_lookup()))
    }
}

/// The bytes in order, behind the special tokens if those come first.
fn bytes_alone(options: &TrainOptions) -> Result<Vocab> {
    let n_first = if options.specials_first { options.special_tokens.len() } else { 0 };
    let specials = options.special_tokens[..n_first].iter().cloned().zip((0..).map(Some));
    let first_byte = u32::try_from(n_first).unwrap_or(u32::MAX);
    let bytes = (first_byte..).zip((0..=u8::MAX).map(|byte| vec![byte]));
    Vocab::new(bytes.collect(), vec![], specials.collect(), options.pattern.clone())
}

#[cfg(test)]
mod tests;
