//! Rows of a fixed length that begin where documents do.

/// Where rows of `row_tokens` tokens begin, so that each begins with a document or, in a document
/// that is longer than a row, where the row before it ends.
///
/// The document that the end of a row cuts begins the next row, and so what was cut off is there
/// whole, and its head twice. What does not fill a row at the end of the file is left out.
///
/// `starts` are those of the documents, in ascending order, within `tokens`.
///
/// # Examples
///
/// ```
/// use minillm_bpe::order::document_rows;
///
/// // Documents of 3, 2, 9 and 4 tokens; the third is longer than a row.
/// assert_eq!(document_rows(&[0, 3, 5, 14], 18, 4), [0, 3, 5, 9, 13, 14]);
/// ```
pub fn document_rows(starts: &[u64], tokens: u64, row_tokens: u64) -> Vec<u64> {
    let row_tokens = row_tokens.max(1);
    let (mut rows, mut start, mut next) = (Vec::new(), 0, 0);
    while tokens.saturating_sub(start) >= row_tokens {
        rows.push(start);
        let end = start + row_tokens;
        while starts.get(next).is_some_and(|&document| document <= end) {
            next += 1;
        }
        // The last document that begins in the row, or right behind it.
        let cut = next.checked_sub(1).map_or(0, |last| starts[last]);
        start = if cut > start { cut } else { end };
    }
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn prop_every_token_is_in_a_row_and_every_row_begins_where_it_may(
            lengths in prop::collection::vec(1_u64..20, 1..40),
            row_tokens in 1_u64..12,
        ) {
            let ends = lengths.iter().scan(0, |end, length| {
                *end += length;
                Some(*end)
            });
            let ends: Vec<u64> = ends.collect();
            let tokens = *ends.last().unwrap();
            let starts: Vec<u64> = ends.iter().zip(&lengths).map(|(end, len)| end - len).collect();
            let rows = document_rows(&starts, tokens, row_tokens);
            let mut covered = 0;
            for (i, &row) in rows.iter().enumerate() {
                prop_assert!(row <= covered && row + row_tokens <= tokens);
                prop_assert!(i == 0 || row > rows[i - 1]);
                let goes_on = i > 0 && row == rows[i - 1] + row_tokens;
                prop_assert!(starts.contains(&row) || goes_on);
                covered = row + row_tokens;
            }
            prop_assert!(covered + row_tokens > tokens, "only what fills no row is left out");
        }
    }
}
