//! How fast is text cut into pre-tokens? One thread, no counting.
//!
//! ```text
//! cargo bench -p minillm-bpe --bench scan -- FILE...
//! ```
//!
//! For each file, pattern and way to scan prints a line of JSON: gigabytes a second (median, least
//! and most of the repeats, which are interleaved over the ways) and the number of pre-tokens.
//!
//! As when counting, the text comes in blocks that were just read and so lie in the processor's
//! cache; how fast memory is, is another question.

use std::{
    error::Error,
    hint::black_box,
    time::{Duration, Instant},
};

use minillm_bpe::pretokenize::{NamedPattern, Path, Pattern, PreTokenizer};
use serde_json::json;

const REPEATS: usize = 7;
/// A file is scanned so often that a repeat takes in at least this many bytes.
const LEAST_BYTES: usize = 32 << 20;
/// A quarter of the second-level cache of a core of today, or less.
const BLOCK_BYTES: usize = 256 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    // `cargo bench` adds `--bench`.
    let files = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    for file in files {
        let text = std::fs::read(&file)?;
        for pattern in NamedPattern::ALL {
            measure(&file, &text, pattern)?;
        }
    }
    Ok(())
}

fn measure(file: &str, text: &[u8], pattern: NamedPattern) -> Result<(), Box<dyn Error>> {
    let paths = Path::available();
    let pattern_made = Pattern::Named(pattern);
    let scanners = paths
        .iter()
        .map(|&path| PreTokenizer::with_path(&pattern_made, path))
        .collect::<Result<Vec<_>, _>>()?;
    let mut rates = vec![Vec::new(); paths.len()];
    let mut counts = vec![0; paths.len()];
    for _ in 0..REPEATS {
        for ((scanner, rates), count) in scanners.iter().zip(&mut rates).zip(&mut counts) {
            let (rate, pre_tokens) = scan(scanner, text)?;
            rates.push(rate);
            *count = pre_tokens;
        }
    }
    for ((path, mut rates), count) in paths.iter().zip(rates).zip(counts) {
        rates.sort_by(f64::total_cmp);
        let line = json!({
            "file": file,
            "pattern": pattern.name(),
            "path": path.name(),
            "gb_per_s": { "median": rates[REPEATS / 2], "min": rates[0], "max": rates[REPEATS - 1] },
            "pre_tokens": count,
        });
        println!("{line}");
    }
    Ok(())
}

/// Gigabytes a second, and the number of pre-tokens.
fn scan(scanner: &PreTokenizer, text: &[u8]) -> Result<(f64, u64), Box<dyn Error>> {
    let times = LEAST_BYTES.div_ceil(text.len().max(1));
    let mut pre_tokens = 0;
    let mut elapsed = Duration::ZERO;
    for _ in 0..times {
        pre_tokens = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let cut = scanner.safe_cut(rest, BLOCK_BYTES).filter(|_| rest.len() > BLOCK_BYTES);
            let (block, behind) = rest.split_at(cut.unwrap_or(rest.len()));
            rest = behind;
            black_box(block.iter().fold(0_u8, |sum, &byte| sum ^ byte));
            let started = Instant::now();
            let mut mixed = 0;
            scanner.for_each_span(black_box(block), |start, end| {
                pre_tokens += 1;
                mixed ^= start ^ end;
            })?;
            black_box(mixed);
            elapsed += started.elapsed();
        }
    }
    let gigabytes = (times * text.len()) as f64 / 1e9;
    Ok((gigabytes / elapsed.as_secs_f64(), pre_tokens))
}
