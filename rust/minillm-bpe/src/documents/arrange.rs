//! Parts of all sources -> one text: merged, freed of duplicates, mixed and limited.

use std::path::Path;

use super::duplicates::leave_out_duplicates;
use super::gather::lines;
use super::list::{Expected, List};
use super::mix::Mix;
use super::stream::{Count, Stream};
use super::text_out::{IS_VAL, TextOut};
use super::{
    ArrangeOptions, Arranged, Out, SourceOfParts, SourceStats, Taken, Weigh, WhenExhausted,
};
use crate::progress::{Phase, Progress};
use crate::{Error, Result};

/// Arranges the parts of `sources`.
///
/// Without weights, sources come one behind the other, or, if they were shuffled, all as one. With
/// weights, every prefix has of each source its share of what [`ArrangeOptions::weigh`] says, to
/// within one document. Limits are never exceeded: what would, ends the text.
///
/// What comes out depends on documents, options and seed alone. Memory is bounded, but for one bit
/// of each document of a part that has duplicates.
///
/// # Errors
///
/// [`Error::Arrange`] for options that do not go together; [`Error::Weights`]; [`Error::Shard`] for
/// a part that is missing, damaged or does not fit the others; [`Error::DiskFull`]; [`Error::Io`];
/// [`Error::Locked`]; [`Error::Interrupted`]. Nothing is left of the text then.
pub fn arrange(
    sources: &[SourceOfParts],
    options: &ArrangeOptions,
    progress: &Progress,
) -> Result<Arranged> {
    let weights = check(sources, options)?;
    let mut list = List::read(sources, &options.separator, &progress.stop())?;
    progress.begin(Phase::Arrange, list.sources.iter().map(|source| source.bytes).sum());
    if options.deduplicate {
        if !list.is_shuffled && !list.parts.is_empty() {
            return refuse("deduplicate", "needs documents that were gathered with a seed");
        }
        leave_out_duplicates(&mut list, progress)?;
    }
    let bytes = list.sources.iter().map(|source| source.bytes - source.duplicate_bytes).sum();
    let needed = options.max_bytes.unwrap_or(u64::MAX).min(bytes);
    let create = |path: &Path, has_sources| {
        TextOut::create(path, &options.separator, options.val_fraction, has_sources, needed)
    };
    let mut work = Work {
        sources,
        options,
        list: &list,
        progress,
        count: Count::new(options, progress),
        taken: vec![Taken::default(); sources.len()],
        all: Taken::default(),
        epochs: vec![0.0; sources.len()],
        ran_out_at: vec![None; sources.len()],
    };
    match &options.out {
        Out::One(path) => {
            let mut out = create(path, true)?;
            match weights {
                Some(weights) => work.mix(&weights, &mut out)?,
                None => work.pass(|_| true, &mut out)?,
            }
            out.finish(progress)?;
        }
        Out::Each(paths) => {
            let mut outs = Vec::new();
            for (source, path) in paths.iter().enumerate() {
                let mut out = create(path, false)?;
                work.pass(|of| of == source, &mut out)?;
                outs.push(out);
            }
            // All are complete before the first has its name.
            outs.into_iter().try_for_each(|out| out.finish(progress))?;
        }
    }
    Ok(work.into_report())
}

fn refuse<T>(option: &'static str, reason: impl Into<String>) -> Result<T> {
    Err(Error::Arrange { option, reason: reason.into() })
}

/// The weights, if there are any.
fn check(sources: &[SourceOfParts], options: &ArrangeOptions) -> Result<Option<Vec<f64>>> {
    if sources.is_empty() || sources.len() > usize::from(IS_VAL) {
        return refuse("sources", format!("are {}, expected 1 to {IS_VAL}", sources.len()));
    }
    let wants_tokens = sources.iter().any(|source| source.max_tokens.is_some())
        || options.max_tokens.is_some()
        || options.weigh == Weigh::Tokens && sources.iter().any(|source| source.weight.is_some());
    if wants_tokens && options.encoder.is_none() {
        return refuse("encoder", "is missing, and tokens are to be counted");
    }
    if let Out::Each(paths) = &options.out {
        if paths.len() != sources.len() {
            let (n_paths, n_sources) = (paths.len(), sources.len());
            return refuse("out", format!("names {n_paths} files for {n_sources} sources"));
        }
        let limits = [options.max_documents, options.max_bytes, options.max_tokens];
        if limits.iter().any(Option::is_some) {
            return refuse("out", "is one text for each source, which no limit of all can be for");
        }
        return Ok(None);
    }
    let weights: Vec<f64> = sources.iter().filter_map(|source| source.weight).collect();
    match weights.len() {
        0 => Ok(None),
        n if n == sources.len() => Ok(Some(weights)),
        n => refuse("weight", format!("is given for {n} of {} sources", sources.len())),
    }
}

/// One arrangement, under way.
struct Work<'a> {
    sources: &'a [SourceOfParts],
    options: &'a ArrangeOptions,
    list: &'a List,
    progress: &'a Progress,
    count: Count,
    taken: Vec<Taken>,
    all: Taken,
    epochs: Vec<f64>,
    ran_out_at: Vec<Option<u64>>,
}

impl<'a> Work<'a> {
    /// Reads some sources from the start.
    fn stream(&self, is_of: impl Fn(usize) -> bool) -> Result<Stream<'a>> {
        Stream::new(self.list, self.sources, is_of, self.progress.stop())
    }

    /// Writes the document that `stream` is at. False if a limit of all forbids it.
    fn write(&mut self, stream: &Stream<'_>, out: &mut TextOut) -> Result<bool> {
        let (source, text) = (stream.source(), stream.text());
        let bytes = text.len() as u64;
        let new = Taken {
            documents: self.all.documents + 1,
            bytes: self.all.bytes + bytes,
            lines: self.all.lines + lines(text),
            tokens: self.all.tokens + stream.tokens(),
        };
        let is_above = |new: u64, most: Option<u64>| most.is_some_and(|most| new > most);
        let options = self.options;
        if is_above(new.documents, options.max_documents)
            || is_above(new.bytes, options.max_bytes)
            || is_above(new.tokens, options.max_tokens)
        {
            return Ok(false);
        }
        let taken = &mut self.taken[source];
        taken.documents += 1;
        taken.bytes += bytes;
        taken.lines += new.lines - self.all.lines;
        taken.tokens += stream.tokens();
        self.all = new;
        out.push(u16::try_from(source).unwrap_or(0), text, self.progress)?;
        self.progress.advance(bytes)?;
        Ok(true)
    }

    /// Writes the documents of some sources as they come, once.
    fn pass(&mut self, is_of: impl Fn(usize) -> bool + Copy, out: &mut TextOut) -> Result<()> {
        let mut stream = self.stream(is_of)?;
        let mut is_whole = true;
        while is_whole && stream.advance(&mut self.count)? {
            is_whole = self.write(&stream, out)?;
        }
        for source in (0..self.sources.len()).filter(|&source| is_of(source)) {
            self.epochs[source] = if is_whole {
                f64::from(self.taken[source].documents > 0)
            } else {
                part_of_epoch(&self.list.sources[source], self.taken[source].bytes)
            };
            self.ran_out_at[source] = is_whole.then_some(self.all.documents);
        }
        Ok(())
    }

    /// Writes the documents of all sources in proportion to their weights.
    fn mix(&mut self, weights: &[f64], out: &mut TextOut) -> Result<()> {
        let mut mix = Mix::new(weights)?;
        let mut streams = Vec::new();
        for source in 0..self.sources.len() {
            let mut stream = self.stream(|of| of == source)?;
            let has_any = stream.advance(&mut self.count)?;
            if !has_any && self.options.when_exhausted == WhenExhausted::Repeat {
                let name = &self.sources[source].name;
                return refuse("sources", format!("`{name}` has no document to repeat"));
            }
            streams.push(stream);
        }
        let weigh = self.options.weigh;
        let limits = [self.options.max_documents, self.options.max_bytes, self.options.max_tokens];
        let is_limited = limits.iter().any(Option::is_some);
        // What each had taken when its epoch began.
        let mut begun = vec![0; streams.len()];
        while let Some(source) = mix.next(|source| streams[source].units(weigh)) {
            let stream = &mut streams[source];
            if stream.has_ended() {
                match self.options.when_exhausted {
                    WhenExhausted::Repeat => {}
                    WhenExhausted::Stop => break,
                    WhenExhausted::Reweight => {
                        mix.drop_source(source);
                        continue;
                    }
                }
                *stream = self.stream(|of| of == source)?;
                stream.advance(&mut self.count)?;
                continue;
            }
            if !self.write(stream, out)? {
                break;
            }
            mix.take(source, stream.units(weigh));
            if !stream.advance(&mut self.count)? {
                self.epochs[source] += 1.0;
                begun[source] = self.taken[source].bytes;
                self.ran_out_at[source].get_or_insert(self.all.documents);
                let all_ran_out = self.ran_out_at.iter().all(Option::is_some);
                if self.options.when_exhausted == WhenExhausted::Repeat
                    && all_ran_out
                    && !is_limited
                {
                    break;
                }
            }
        }
        for (source, begun) in begun.into_iter().enumerate() {
            let bytes = self.taken[source].bytes - begun;
            self.epochs[source] += part_of_epoch(&self.list.sources[source], bytes);
        }
        Ok(())
    }

    fn into_report(self) -> Arranged {
        let stats = self.sources.iter().enumerate().map(|(index, source)| SourceStats {
            name: source.name.clone(),
            taken: self.taken[index],
            duplicates: self.list.sources[index].duplicates,
            epochs: self.epochs[index],
            ran_out_at: self.ran_out_at[index],
        });
        Arranged { sources: stats.collect(), taken: self.all }
    }
}

/// Which part of an epoch so many bytes are, where it has not ended.
fn part_of_epoch(source: &Expected, bytes: u64) -> f64 {
    let all = source.bytes.saturating_sub(source.duplicate_bytes).max(1);
    (bytes as f64 / all as f64).min(1.0)
}
