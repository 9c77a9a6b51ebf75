//! Every way to scan cuts any bytes as the scalar scanner does, for each published pattern.
//!
//! The first byte says where the text is cut in two, the others are the text: a safe cut found in
//! its head must change nothing, whatever follows.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use minillm_bpe::pretokenize::{NamedPattern, Path, Pattern, PreTokenizer};

/// A pattern by the scalar scanner, and by all other ways, the best one last.
struct Contest {
    scalar: PreTokenizer,
    wide: Vec<(&'static str, PreTokenizer)>,
}

static CONTESTS: LazyLock<[Contest; 5]> = LazyLock::new(|| {
    NamedPattern::ALL.map(|named| {
        let by = |path| PreTokenizer::with_path(&Pattern::Named(named), path).unwrap();
        let paths = Path::available();
        let (scalar, wide) = paths.split_first().unwrap();
        assert!(scalar.name() == "scalar" && !wide.is_empty());
        Contest {
            scalar: by(*scalar),
            wide: wide.iter().map(|&path| (path.name(), by(path))).collect(),
        }
    })
});

/// Where the pre-tokens of `text` end; they must cover it without gaps.
fn ends(pre_tokenizer: &PreTokenizer, text: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut covered = 0;
    let visit = |start, end| {
        assert!(start == covered && start < end, "{start}..{end} behind {covered}");
        covered = end;
        ends.push(end);
    };
    pre_tokenizer.for_each_span(text, visit).unwrap();
    assert_eq!(covered, text.len());
    ends
}

fuzz_target!(|data: &[u8]| {
    let Some((&share, text)) = data.split_first() else { return };
    let head = text.len() * usize::from(share) / 255;
    for Contest { scalar, wide } in CONTESTS.iter() {
        let expected = ends(scalar, text);
        let pattern = scalar.pattern().shown();
        for (way, pre_tokenizer) in wide {
            assert_eq!(ends(pre_tokenizer, text), expected, "{pattern} {way}");
        }
        let Some(cut) = scalar.safe_cut(&text[..head], head) else { continue };
        let (before, behind) = text.split_at(cut);
        let (_, best) = wide.last().unwrap();
        let mut parts = ends(best, before);
        parts.extend(ends(best, behind).iter().map(|end| cut + end));
        assert_eq!(parts, expected, "{pattern} cut at {cut}");
    }
});
