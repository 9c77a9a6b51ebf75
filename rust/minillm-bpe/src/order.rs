//! Which row of which source is sample `i` of a run: a pure function of its number.
//!
//! A source is cut into rows; one of its epochs visits each row once, in an order of its own: a
//! [`Permutation`] that is computed, not stored, so that the sample of step one million costs what
//! the first one does, and a resumed run needs no more than its step. Of several sources each gets
//! its share in every prefix of the run ([`Mixture`]), and has epochs of its own. However many
//! processes read, they take the samples of this one sequence in turn.
//!
//! Weighed against nanoGPT's windows at random places: those never visit some tokens of the first
//! epoch (about 1/e of them) and their order lives in a generator's state.

mod document_rows;
mod mixture;
mod permutation;

use std::sync::Arc;

use crate::shard::ShardReader;
use crate::{Error, Result};
pub use document_rows::document_rows;
pub use mixture::Mixture;
pub(crate) use mixture::whole_shares;
pub use permutation::Permutation;

/// Where a row is: in which source, and at which of its tokens it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Index of the source.
    pub source: usize,
    /// Position of the first token.
    pub start: u64,
}

/// `count` samples from `first` on, each `every` behind the one before it: what one of `every`
/// processes takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Samples {
    /// Number of the first.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// From one to the next.
    pub every: u64,
}

impl Samples {
    /// Batch `index` of the process `rank` of `ranks`, of `count` samples each.
    ///
    /// All processes together take `ranks * count` neighbouring ones, each every `ranks`-th.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if there is no such rank, or 64 bits do not count the samples.
    pub fn batch(index: u64, count: u64, rank: u64, ranks: u64) -> Result<Self> {
        let refuse = |reason| Err(Error::Rows { reason });
        if rank >= ranks {
            return refuse(format!("rank is {rank}, expected less than the {ranks} ranks"));
        }
        let before = index.checked_mul(count).and_then(|before| before.checked_mul(ranks));
        match before.and_then(|before| before.checked_add(rank)) {
            Some(first) => Ok(Self { first, count, every: ranks }),
            None => refuse(format!("64 bits do not count batch {index} of {count}")),
        }
    }

    /// As many that follow; none if 64 bits do not count them.
    pub fn next(self) -> Option<Self> {
        let first = self.first.checked_add(self.count.checked_mul(self.every)?)?;
        Some(Self { first, ..self })
    }
}

/// The rows of one source.
#[derive(Clone, Debug)]
pub struct Rows(Starts);

#[derive(Clone, Debug)]
enum Starts {
    /// At every `stride`-th token, from one of the first `phases` on.
    Windows { number: u64, stride: u64, phases: u64 },
    /// Where it is written.
    Listed(Arc<[u64]>),
}

impl Rows {
    /// Rows that begin every `stride` tokens, where there are `places` tokens at which one fits.
    ///
    /// What fills no row is left out at both ends, a different part in each epoch, so that the same
    /// text is cut at other places the next time it comes round.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if either is 0.
    pub fn windows(places: u64, stride: u64) -> Result<Self> {
        let Some(last) = places.checked_sub(1) else {
            return Err(Error::Rows { reason: "the source is too short for one".to_owned() });
        };
        if stride == 0 {
            return Err(Error::Rows { reason: "stride is 0, expected 1 or more".to_owned() });
        }
        let (number, phases) = (last / stride + 1, last % stride + 1);
        Ok(Self(Starts::Windows { number, stride, phases }))
    }

    /// Rows of `seq_len` inputs, and the token behind them, that begin with the documents of a
    /// shard, as [`document_rows`] says.
    ///
    /// # Errors
    ///
    /// [`Error::Shard`] if it does not say where its documents begin; [`Error::Rows`] if it is too
    /// short; [`Error::Io`].
    pub fn at_documents(shard: &ShardReader, seq_len: u64) -> Result<Self> {
        let starts =
            document_rows(&shard.document_starts()?, shard.tokens().saturating_sub(1), seq_len);
        if starts.is_empty() {
            return Self::windows(0, 1);
        }
        Ok(Self(Starts::Listed(starts.into())))
    }

    /// How many rows an epoch has.
    pub fn number(&self) -> u64 {
        match &self.0 {
            Starts::Windows { number, .. } => *number,
            Starts::Listed(starts) => starts.len() as u64,
        }
    }

    /// Where the `i`-th row of all epochs begins.
    fn start(&self, seed: u64, i: u64) -> u64 {
        let (epoch, position) = (i / self.number(), i % self.number());
        let row = Permutation::new(seed, epoch, self.number()).at(position);
        match &self.0 {
            Starts::Windows { stride, phases, .. } => {
                row * stride + Permutation::new(seed, epoch, *phases).at(0)
            }
            Starts::Listed(starts) => {
                usize::try_from(row).ok().and_then(|row| starts.get(row)).copied().unwrap_or(0)
            }
        }
    }
}

/// The samples of a run, of one source or of several.
///
/// # Examples
///
/// ```
/// use minillm_bpe::order::{Order, Rows, Samples};
///
/// // Two sources of 9 and 4 places, cut every 3 and every 2 tokens; of the first, twice as much.
/// let sources = vec![Rows::windows(9, 3)?, Rows::windows(4, 2)?];
/// let order = Order::new(sources, &[2.0, 1.0], 1337)?;
/// let rows = order.rows(Samples { first: 0, count: 6, every: 1 })?;
/// let of: Vec<usize> = rows.iter().map(|row| row.source).collect();
/// assert_eq!(of, [0, 1, 0, 0, 1, 0]);
/// assert_eq!(order.epochs(6), [(1, 1), (1, 0)]);
/// # Ok::<(), minillm_bpe::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Order {
    sources: Vec<Rows>,
    mixture: Mixture,
    seed: u64,
}

impl Order {
    /// Plans the samples of `sources` in proportion to their weights.
    ///
    /// # Errors
    ///
    /// [`Error::Weights`] if the weights are not as many as the sources, or [`Mixture::new`] refuses
    /// them.
    pub fn new(sources: Vec<Rows>, weights: &[f64], seed: u64) -> Result<Self> {
        if weights.len() != sources.len() {
            let reason = format!("there are {} of {} sources", weights.len(), sources.len());
            return Err(Error::Weights { reason });
        }
        Ok(Self { sources, mixture: Mixture::new(weights)?, seed })
    }

    /// The row that is sample `i`. Takes constant time, whichever it is.
    pub fn row(&self, i: u64) -> Row {
        let (source, nth) = self.mixture.at(i);
        // The first source has the seed itself, as if it were alone.
        let seed = self.seed.wrapping_add((source as u64) << 40);
        Row { source, start: self.sources[source].start(seed, nth) }
    }

    /// The rows of some samples.
    ///
    /// # Errors
    ///
    /// [`Error::Rows`] if 64 bits do not count them, or memory does not hold them.
    pub fn rows(&self, samples: Samples) -> Result<Vec<Row>> {
        let Samples { first, count, every } = samples;
        let refuse = |what| Err(Error::Rows { reason: format!("{what} {count} from {first} on") });
        if samples.next().is_none() {
            return refuse("64 bits do not count");
        }
        let mut rows = Vec::new();
        if usize::try_from(count).map_or(true, |count| rows.try_reserve_exact(count).is_err()) {
            return refuse("memory does not hold");
        }
        rows.extend((0..count).map(|i| self.row(first + i * every)));
        Ok(rows)
    }

    /// What the first `samples` have taken of each source: whole epochs, and rows of the next one.
    pub fn epochs(&self, samples: u64) -> Vec<(u64, u64)> {
        let taken = self.mixture.taken(samples).into_iter().zip(&self.sources);
        taken.map(|(taken, rows)| (taken / rows.number(), taken % rows.number())).collect()
    }
}

#[cfg(test)]
mod tests;
