//! Merges one pre-token: lowest rank first, leftmost first among equals.
//!
//! Up to [`SHORT`] bytes the lowest rank is found by looking at all of them: quadratic, and
//! faster than any bookkeeping. Longer ones fall apart first, between bytes that no merge joins, and
//! what is still longer then is for [`long`]. `reference::encode` is the slow twin of both.

mod long;

use super::tables::{PairMerge, Tables};
use crate::progress::Stop;
use crate::{Result, ids::Id};
use long::Window;

/// Longest pre-token that is merged by scanning.
const SHORT: usize = 32;

/// Memory that merging reuses, and the wish to stop, for which a long pre-token looks out.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    window: Window,
    stop: Stop,
}

impl Scratch {
    pub(super) fn new(stop: Stop) -> Self {
        Self { window: Window::default(), stop }
    }
}

/// Appends the ids of one pre-token.
///
/// # Errors
///
/// [`MissingByte`](crate::Error::MissingByte) if there is no token for one of the bytes,
/// [`Interrupted`](crate::Error::Interrupted) if that was wished,
/// [`PreTokenTooLong`](crate::Error::PreTokenTooLong) if 4 GiB have to be merged as a whole.
pub(super) fn merge<I: Id>(
    tables: &Tables,
    scratch: &mut Scratch,
    pre_token: &[u8],
    out: &mut Vec<I>,
) -> Result<()> {
    if pre_token.len() <= SHORT {
        return merge_short(tables, pre_token, out);
    }
    let mut start = 0;
    for end in 1..=pre_token.len() {
        if end < pre_token.len() && tables.may_join(pre_token[end - 1], pre_token[end]) {
            continue;
        }
        let stretch = &pre_token[start..end];
        start = end;
        match *stretch {
            [byte] => out.push(I::of(tables.known_byte_id(byte)?)),
            _ if stretch.len() <= SHORT => merge_short(tables, stretch, out)?,
            _ => scratch.window.merge(tables, stretch, &scratch.stop, out)?,
        }
    }
    Ok(())
}

fn merge_short<I: Id>(tables: &Tables, pre_token: &[u8], out: &mut Vec<I>) -> Result<()> {
    let mut ids = [0; SHORT];
    for (id, &byte) in ids.iter_mut().zip(pre_token) {
        *id = tables.known_byte_id(byte)?;
    }
    let mut len = pre_token.len();
    // `merges[i]` is the merge of parts i and i + 1; the last part has none.
    let mut merges = [PairMerge::NONE; SHORT];
    for i in 1..len {
        merges[i - 1] = tables.byte_pair(pre_token[i - 1], pre_token[i]);
    }
    loop {
        let mut at = 0;
        for i in 1..len {
            if merges[i].rank < merges[at].rank {
                at = i;
            }
        }
        if merges[at].is_none() {
            out.extend(ids[..len].iter().map(|&id| I::of(id)));
            return Ok(());
        }
        ids[at] = merges[at].result;
        ids.copy_within(at + 2..len, at + 1);
        merges.copy_within(at + 1..len, at);
        len -= 1;
        merges[at] = if at + 1 < len { tables.pair(ids[at], ids[at + 1]) } else { PairMerge::NONE };
        if at > 0 {
            merges[at - 1] = tables.pair(ids[at - 1], ids[at]);
        }
    }
}
