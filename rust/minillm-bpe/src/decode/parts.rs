//! Decoding in two steps, so that the bytes are written once and to where they stay: how many
//! there will be, then the bytes; both by several threads where there is enough to do.

use std::mem::MaybeUninit;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::{Decoder, RawId};
use crate::{Error, Result, at_work, huge_pages};

/// Ids that a thread takes at a time: some milliseconds of work, far more than starting it costs.
const PART_IDS: usize = 1 << 20;

/// Ids that are known to be valid, and how many bytes they stand for; made by
/// [`Decoder::measure`].
#[derive(Debug)]
pub struct Decoding<'a, I> {
    decoder: &'a Decoder,
    ids: &'a [I],
    /// Of each part that a thread decodes alone.
    part_bytes: Vec<usize>,
    threads: usize,
}

impl<'a, I: RawId> Decoding<'a, I> {
    pub(super) fn new(decoder: &'a Decoder, ids: &'a [I], threads: usize) -> Result<Self> {
        let threads = at_work(threads).min(ids.len().div_ceil(PART_IDS)).max(1);
        let mut part_bytes = vec![0; ids.len().div_ceil(PART_IDS)];
        let parts = ids.chunks(PART_IDS).zip(&mut part_bytes).enumerate();
        each(threads, parts, |(index, (ids, n_bytes))| {
            *n_bytes = decoder.decoded_len(ids, index * PART_IDS)?;
            Ok(())
        })?;
        Ok(Self { decoder, ids, part_bytes, threads })
    }

    /// Number of bytes.
    pub fn n_bytes(&self) -> usize {
        self.part_bytes.iter().sum()
    }

    /// Writes all of `out`, which is what it returns.
    ///
    /// # Errors
    ///
    /// [`Error::IdsChanged`] if `out` is not of [`n_bytes`](Self::n_bytes), which happens when
    /// another thread changes the ids in the meantime. What `out` holds then means nothing.
    pub fn write_to<'o>(&self, out: &'o mut [MaybeUninit<u8>]) -> Result<&'o mut [u8]> {
        if out.len() != self.n_bytes() {
            return Err(Error::IdsChanged);
        }
        huge_pages::advise(out);
        let mut rest = &mut *out;
        let parts = self.part_bytes.iter().map(|&n_bytes| {
            let (part, later) = std::mem::take(&mut rest).split_at_mut(n_bytes);
            rest = later;
            part
        });
        let parts = self.ids.chunks(PART_IDS).zip(parts).enumerate();
        each(self.threads, parts, |(index, (ids, out))| {
            self.decoder.fill(ids, index * PART_IDS, out)
        })?;
        // SAFETY: the parts make up all of `out`, and `fill` initializes each or returns an error.
        Ok(unsafe { &mut *(std::ptr::from_mut(out) as *mut [u8]) })
    }
}

/// Does `work` for each of `parts` on so many threads, and returns the error of the first part that
/// has one: threads take parts in their order, so all before it were taken and are done.
fn each<P: Iterator<Item = (usize, T)> + Send, T: Send>(
    threads: usize,
    mut parts: P,
    work: impl Fn((usize, T)) -> Result<()> + Sync,
) -> Result<()> {
    if threads == 1 {
        return parts.try_for_each(work);
    }
    let parts = Mutex::new(parts);
    let failure = Mutex::new(None::<(usize, Error)>);
    let run = || {
        loop {
            let part = parts.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((index, part)) = part else { return };
            if let Err(error) = work((index, part)) {
                let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                if failure.as_ref().is_none_or(|(first, _)| index < *first) {
                    *failure = Some((index, error));
                }
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(run);
        }
        run();
    });
    let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.map_or(Ok(()), |(_, error)| Err(error))
}
