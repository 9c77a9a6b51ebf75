//! tiktoken's rank files: one `base64(token) rank` a line.
//!
//! Pattern and special tokens are not in the file; in tiktoken they are code.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::pretokenize::Pattern;
use crate::{Error, Result, TokenId, Vocab};

/// Reads ranks.
///
/// # Errors
///
/// [`Error::Format`] names the line that is not `base64 rank`; otherwise as [`Vocab::from_ranks`].
pub fn read(text: &str, specials: Vec<(String, TokenId)>, pattern: Pattern) -> Result<Vocab> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty());
    let ranks = lines.map(|(index, line)| {
        let parsed = line.split_once(' ').and_then(|(token, rank)| {
            Some((STANDARD.decode(token).ok()?, rank.parse::<TokenId>().ok()?))
        });
        parsed.ok_or_else(|| Error::Format {
            field: format!("line {}", index + 1),
            reason: format!("{line:?} is not a token in base64, a space and a rank"),
        })
    });
    Vocab::from_ranks(ranks.collect::<Result<_>>()?, specials, pattern)
}

/// Writes the ordinary tokens of `vocab` with their ids as ranks.
///
/// # Errors
///
/// [`Error::NotRanked`] if its ids are not in the order of its merges: read back as ranks, it
/// would encode differently.
pub fn write(vocab: &Vocab) -> Result<String> {
    let in_order = || vocab.merges().windows(2).all(|pair| pair[0].result < pair[1].result);
    if !vocab.is_ranked() && !in_order() {
        return Err(Error::NotRanked);
    }
    let ordinary = vocab.tokens().filter(|&(id, token)| vocab.id(token) == Some(id));
    let lines: Vec<String> =
        ordinary.map(|(id, token)| format!("{} {id}\n", STANDARD.encode(token))).collect();
    Ok(lines.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANKS: &str = "YQ== 0\nYg== 1\nIA== 2\nIGE= 3\nIGFi 4\n";

    #[test]
    fn what_is_written_reads_back_equal() {
        let specials = vec![("<|endoftext|>".to_owned(), 9)];
        let vocab = read(RANKS, specials.clone(), Pattern::None).unwrap();
        assert_eq!(vocab.id(b" ab"), Some(4));
        assert_eq!(write(&vocab).unwrap(), RANKS);
        assert_eq!(read(&write(&vocab).unwrap(), specials, Pattern::None).unwrap(), vocab);
    }

    #[test]
    fn bad_line_is_named() {
        for bad in ["YQ==", "Y!== 7", "YQ== x", "YQ==  7", "YQ== -1"] {
            let error = read(&format!("{RANKS}{bad}\n"), vec![], Pattern::None).unwrap_err();
            let expected = format!("line 6: {bad:?} is not a token in base64");
            assert!(error.to_string().contains(&expected), "{error}");
        }
        let error = read(&format!("{RANKS}YQ== 7\n"), vec![], Pattern::None).unwrap_err();
        assert_eq!(error.to_string(), "vocabulary: token b\"a\" has two ids, 0 and 7");
    }

    #[test]
    fn merges_out_of_the_order_of_ids_cannot_be_ranks() {
        let tokens = [(0, "a"), (1, "b"), (2, "ab"), (3, "ba")];
        let tokens = tokens.map(|(id, token)| (id, token.as_bytes().to_vec())).to_vec();
        let pair = |left: &str, right: &str| (left.as_bytes().to_vec(), right.as_bytes().to_vec());
        let merges = vec![pair("b", "a"), pair("a", "b")];
        let vocab = Vocab::new(tokens, merges, vec![], Pattern::None).unwrap();
        assert!(matches!(write(&vocab), Err(Error::NotRanked)));
    }
}
