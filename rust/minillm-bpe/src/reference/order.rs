//! Whose turn it is in a mixture, by looking at every source each time.

/// The source of each of the first `sum` samples, and the number of that sample among its own.
///
/// Each goes to the source whose next one is due first, among those that do not have more than
/// their part yet; of equals, to the first.
pub fn turns(shares: &[u32]) -> Vec<(u32, u32)> {
    let sum: u64 = shares.iter().copied().map(u64::from).sum();
    let mut taken = vec![0_u32; shares.len()];
    let mut turns = Vec::new();
    for place in 0..sum {
        let mut first: Option<(u64, u32)> = None;
        for ((source, &share), &taken) in (0_u32..).zip(shares).zip(&taken) {
            let share = u64::from(share);
            let due = ((u64::from(taken) + 1) * sum).div_ceil(share);
            let is_early = u64::from(taken) * sum > place * share;
            if !is_early && first.is_none_or(|(earliest, _)| due < earliest) {
                first = Some((due, source));
            }
        }
        if let Some((_, source)) = first {
            let taken = &mut taken[source as usize];
            turns.push((source, *taken));
            *taken += 1;
        }
    }
    turns
}
