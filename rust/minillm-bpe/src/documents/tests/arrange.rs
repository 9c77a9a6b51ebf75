//! Arranging: shuffles, duplicates, shares and limits, against lists in memory.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::documents::gather::lines;
use crate::documents::part::key;

/// A source in memory: its documents in the order of reading, and what else is known of it.
#[derive(Clone, Debug)]
struct Listed {
    texts: Vec<String>,
    /// Ten times its weight.
    tenths: u32,
    max_documents: Option<u64>,
    max_bytes: Option<u64>,
}

fn listed() -> impl Strategy<Value = Listed> {
    (
        prop::collection::vec("[ab]{1,3}|[abc]{1,20}", 0..40),
        prop::sample::select(vec![10, 5, 30, 7]),
        prop::option::weighted(0.2, 0_u64..30),
        prop::option::weighted(0.2, 0_u64..100),
    )
        .prop_map(|(texts, tenths, max_documents, max_bytes)| Listed {
            texts,
            tenths,
            max_documents,
            max_bytes,
        })
}

/// Gathers the texts of a source in parts of so many.
fn gather(
    folder: &Path,
    name: &str,
    listed: &Listed,
    per_part: usize,
    seed: Option<u64>,
) -> SourceOfParts {
    let options = GatherOptions {
        max_documents: listed.max_documents,
        max_bytes: listed.max_bytes,
        ..options(seed)
    };
    let mut parts = Vec::new();
    for texts in listed.texts.chunks(per_part) {
        let out = folder.join(format!("{name}-{per_part}-{}", parts.len()));
        gather_rows(&out, options.clone(), texts).unwrap();
        parts.push(out);
    }
    SourceOfParts {
        weight: Some(f64::from(listed.tenths) / 10.0),
        max_documents: listed.max_documents,
        max_bytes: listed.max_bytes,
        ..source(name, parts)
    }
}

/// The slow twin: the documents that are arranged, each with its source.
fn list(
    sources: &[Listed],
    seed: Option<u64>,
    is_weighted: bool,
    options: &ArrangeOptions,
) -> Vec<(usize, String)> {
    let mut seen = HashSet::new();
    let mut streams: Vec<Vec<(usize, String)>> = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let (mut stream, mut bytes) = (Vec::new(), 0);
        for (i, text) in source.texts.iter().enumerate() {
            bytes += text.len() as u64;
            if source.max_documents.is_some_and(|most| i as u64 >= most)
                || source.max_bytes.is_some_and(|most| bytes > most)
            {
                break;
            }
            if !options.deduplicate || seen.insert(text.clone()) {
                stream.push((index, text.clone()));
            }
        }
        streams.push(stream);
    }
    if !is_weighted {
        streams = vec![streams.concat()];
    }
    for stream in &mut streams {
        if seed.is_some() {
            stream.sort_by_key(|(_, text)| key(text.as_bytes(), seed));
        }
    }
    let mixed = if is_weighted { mix(sources, &streams, options) } else { streams.concat() };
    let (mut all, mut bytes) = (Vec::new(), 0);
    for (source, text) in mixed {
        bytes += text.len() as u64;
        if options.max_bytes.is_some_and(|most| bytes > most)
            || options.max_documents.is_some_and(|most| all.len() as u64 >= most)
        {
            break;
        }
        all.push((source, text));
    }
    all
}

/// Of the sources at or below their share, always that whose next document is due first.
fn mix(
    sources: &[Listed],
    streams: &[Vec<(usize, String)>],
    options: &ArrangeOptions,
) -> Vec<(usize, String)> {
    let mut weights: Vec<u64> = sources.iter().map(|source| u64::from(source.tenths)).collect();
    let (mut taken, mut at) = (vec![0; streams.len()], vec![0; streams.len()]);
    let (mut mixed, mut ran_out) = (Vec::new(), HashSet::new());
    let units = |source: usize, at: usize| match (streams[source].get(at), options.weigh) {
        (Some((_, text)), Weigh::Bytes) => text.len() as u64,
        _ => 1,
    };
    loop {
        let (all, sum): (u64, u64) = (taken.iter().sum(), weights.iter().sum());
        let ready = (0..streams.len())
            .filter(|&source| weights[source] > 0 && taken[source] * sum <= all * weights[source]);
        // Over a common denominator, so that equals are equal.
        let due = |source: usize| {
            let common: u64 = weights.iter().filter(|&&weight| weight > 0).product();
            (taken[source] + units(source, at[source])) * (common / weights[source])
        };
        let Some(source) = ready.min_by_key(|&source| (due(source), source)) else { break };
        let Some(document) = streams[source].get(at[source]) else {
            match options.when_exhausted {
                WhenExhausted::Stop => break,
                WhenExhausted::Repeat => at[source] = 0,
                WhenExhausted::Reweight => {
                    weights[source] = 0;
                    taken.fill(0);
                }
            }
            continue;
        };
        mixed.push(document.clone());
        taken[source] += units(source, at[source]);
        at[source] += 1;
        if at[source] == streams[source].len() {
            ran_out.insert(source);
        }
        let is_limited = options.max_documents.is_some() || options.max_bytes.is_some();
        let is_whole = ran_out.len() == streams.len() && !is_limited;
        let is_enough = mixed.len() > 1000;
        if options.when_exhausted == WhenExhausted::Repeat && (is_whole || is_enough) {
            break;
        }
    }
    mixed
}

fn run(
    folder: &Path,
    sources: &[SourceOfParts],
    options: &ArrangeOptions,
) -> (Arranged, Vec<String>) {
    let out = folder.join("all.txt");
    let options = ArrangeOptions { out: Out::One(out.clone()), ..options.clone() };
    let arranged = arrange(sources, &options, &Progress::default()).unwrap();
    (arranged, documents(&out))
}

proptest! {
    #[test]
    fn prop_parts_are_arranged_as_lists_are(
        listed in prop::collection::vec(listed(), 1..4),
        seed in prop::option::of(any::<u64>()),
        is_weighted in any::<bool>(),
        deduplicate in any::<bool>(),
        weigh in prop::sample::select(vec![Weigh::Documents, Weigh::Bytes]),
        when_exhausted in prop::sample::select(vec![
            WhenExhausted::Stop, WhenExhausted::Repeat, WhenExhausted::Reweight,
        ]),
        max_documents in prop::option::weighted(0.3, 0_u64..100),
        max_bytes in prop::option::weighted(0.3, 0_u64..300),
        (per_part, other) in (1_usize..20, 1_usize..20),
    ) {
        let folder = folder();
        let options = ArrangeOptions {
            deduplicate: deduplicate && seed.is_some(),
            weigh,
            when_exhausted,
            max_documents,
            max_bytes,
            ..arrange_options(Out::Each(vec![]))
        };
        let gathered = |per_part: usize| -> Vec<SourceOfParts> {
            let sources = listed.iter().enumerate().map(|(i, listed)| {
                let source = gather(folder.path(), &i.to_string(), listed, per_part, seed);
                SourceOfParts { weight: source.weight.filter(|_| is_weighted), ..source }
            });
            sources.collect()
        };
        let sources = gathered(per_part);
        let repeats = is_weighted && when_exhausted == WhenExhausted::Repeat;
        let alone = |i: usize| {
            let mut options = options.clone();
            (options.max_documents, options.max_bytes) = (None, None);
            list(&listed, seed, false, &options).iter().any(|(source, _)| *source == i)
        };
        if repeats && !(0..listed.len()).all(alone) {
            let out = Out::One(folder.path().join("all.txt"));
            let options = ArrangeOptions { out, ..options };
            let error = arrange(&sources, &options, &Progress::default()).unwrap_err().to_string();
            prop_assert!(error.ends_with("has no document to repeat"), "{}", error);
            return Ok(());
        }
        let (arranged, found) = run(folder.path(), &sources, &options);
        let expected = list(&listed, seed, is_weighted, &options);
        let texts: Vec<String> = expected.iter().map(|(_, text)| text.clone()).collect();
        prop_assert_eq!(&found, &texts);
        for (i, stats) in arranged.sources.iter().enumerate() {
            let own: Vec<&String> =
                expected.iter().filter(|(source, _)| *source == i).map(|(_, text)| text).collect();
            let taken = Taken {
                documents: own.len() as u64,
                bytes: own.iter().map(|text| text.len() as u64).sum(),
                lines: own.iter().map(|text| lines(text.as_bytes())).sum(),
                tokens: 0,
            };
            prop_assert_eq!(stats.taken, taken);
        }
        // Cut into other parts, it is the same.
        prop_assert_eq!(run(folder.path(), &gathered(other), &options), (arranged, found));
    }

    #[test]
    fn prop_shuffled_documents_do_not_depend_on_their_order(
        mut texts in prop::collection::vec("[ab]{1,9}", 1..60),
        seed in any::<u64>(),
        per_part in 1_usize..20,
    ) {
        let folder = folder();
        let arranged = |texts: &[String], name: &str, per_part| {
            let (tenths, max_documents, max_bytes) = (10, None, None);
            let listed = Listed { texts: texts.to_vec(), tenths, max_documents, max_bytes };
            let source = gather(folder.path(), name, &listed, per_part, Some(seed));
            run(folder.path(), &[source], &arrange_options(Out::Each(vec![]))).1
        };
        let found = arranged(&texts, "a", per_part);
        texts.reverse();
        prop_assert_eq!(arranged(&texts, "b", 7), found);
    }
}

fn of_texts(folder: &Path, name: &str, texts: &[&str], seed: Option<u64>) -> SourceOfParts {
    let texts = texts.iter().map(|&text| text.to_owned()).collect();
    let listed = Listed { texts, tenths: 10, max_documents: None, max_bytes: None };
    SourceOfParts { weight: None, ..gather(folder, name, &listed, 3, seed) }
}

#[test]
fn each_source_goes_to_its_own_text_without_duplicates_of_those_before() {
    let folder = folder();
    let sources = [
        of_texts(folder.path(), "a", &["one", "two", "two", "three"], Some(1)),
        of_texts(folder.path(), "b", &["four", "two"], Some(1)),
    ];
    let outs = ["a.txt", "b.txt"].map(|name| folder.path().join(name));
    let options = ArrangeOptions { deduplicate: true, ..arrange_options(Out::Each(outs.to_vec())) };
    let arranged = arrange(&sources, &options, &Progress::default()).unwrap();
    let mut first = documents(&outs[0]);
    first.sort();
    assert_eq!(
        (first, documents(&outs[1])),
        (vec!["one".into(), "three".into(), "two".into()], vec!["four".to_owned()])
    );
    let duplicates: Vec<u64> = arranged.sources.iter().map(|source| source.duplicates).collect();
    assert_eq!(duplicates, [1, 1]);
    assert!(!folder.path().join("a.txt.sources").exists());
}

#[test]
fn epochs_and_ends_are_told() {
    let folder = folder();
    let mut sources = [
        of_texts(folder.path(), "a", &["a", "b"], None),
        of_texts(folder.path(), "b", &["1", "2", "3", "4", "5"], None),
    ];
    sources[0].weight = Some(1.0);
    sources[1].weight = Some(1.0);
    let told = |when_exhausted, max_documents| {
        let options = arrange_options(Out::Each(vec![]));
        let options = ArrangeOptions { when_exhausted, max_documents, ..options };
        let (arranged, found) = run(folder.path(), &sources, &options);
        let told: Vec<(f64, Option<u64>)> =
            arranged.sources.iter().map(|source| (source.epochs, source.ran_out_at)).collect();
        (found.concat(), told)
    };
    assert_eq!(told(WhenExhausted::Stop, None), ("a1b2".into(), vec![(1.0, Some(3)), (0.4, None)]));
    let expected = ("a1b2a3b4a5".into(), vec![(2.5, Some(3)), (1.0, Some(10))]);
    assert_eq!(told(WhenExhausted::Repeat, None), expected);
    let expected = ("a1b2a3b4a5b1".into(), vec![(3.0, Some(3)), (1.2, Some(10))]);
    assert_eq!(told(WhenExhausted::Repeat, Some(12)), expected);
    let expected = ("a1b2345".into(), vec![(1.0, Some(3)), (1.0, Some(7))]);
    assert_eq!(told(WhenExhausted::Reweight, None), expected);
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let folder = folder();
    let a = of_texts(folder.path(), "a", &["one"], None);
    let shuffled = of_texts(folder.path(), "s", &["one"], Some(7));
    let out = folder.path().join("all.txt");
    let one = || arrange_options(Out::One(out.clone()));
    let weighted = |source: &SourceOfParts| SourceOfParts { weight: Some(1.0), ..source.clone() };
    let missing = source("gone", vec![folder.path().join("gone")]);
    let is_each = arrange_options(Out::Each(vec![out.clone()]));
    for (sources, options, expected) in [
        (vec![], one(), "sources: are 0, expected 1 to 32768"),
        (vec![a.clone(), weighted(&a)], one(), "weight: is given for 1 of 2 sources"),
        (
            vec![a.clone()],
            ArrangeOptions { deduplicate: true, ..one() },
            "deduplicate: needs documents that were gathered with a seed",
        ),
        (
            vec![a.clone()],
            ArrangeOptions { max_tokens: Some(1), ..one() },
            "encoder: is missing, and tokens are to be counted",
        ),
        (
            vec![a.clone()],
            ArrangeOptions { separator: "\n".to_owned(), ..one() },
            "`separator` was \"|\" when it was gathered, expected \"\\n\"",
        ),
        (vec![shuffled, a.clone()], one(), "s-3-0"),
        (vec![missing], one(), "gone: `part` is missing, or not finished"),
        (
            vec![a.clone()],
            ArrangeOptions { max_bytes: Some(1), ..is_each.clone() },
            "out: is one text for each source, which no limit of all can be for",
        ),
        (vec![a.clone(), a], is_each, "out: names 1 files for 2 sources"),
    ] {
        let error = arrange(&sources, &options, &Progress::default()).unwrap_err().to_string();
        assert!(error.ends_with(expected), "{error}");
    }
    assert!(!names(folder.path()).iter().any(|name| name.contains("all.txt")));
}

#[test]
fn a_damaged_part_is_never_believed() {
    let folder = folder();
    let texts: Vec<String> = (0..30).map(|i| format!("document {i}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let source = of_texts(folder.path(), "a", &texts, Some(3));
    let part = source.parts[4].clone();
    let good = std::fs::read(&part).unwrap();
    let out = folder.path().join("all.txt");
    let options = ArrangeOptions { deduplicate: true, ..arrange_options(Out::One(out.clone())) };
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&part, &bytes).unwrap();
        let result = arrange(std::slice::from_ref(&source), &options, &Progress::default());
        let error = result.unwrap_err().to_string();
        assert!(error.contains("a-3-4: `documents` are not those that were gathered"), "{error}");
    }
    std::fs::write(&part, &good[..good.len() - 1]).unwrap();
    let result = arrange(&[source], &options, &Progress::default());
    assert!(result.unwrap_err().to_string().contains("a-3-4: `bytes` are"));
    assert!(!names(folder.path()).iter().any(|name| name.contains("all.txt")));
}

#[test]
fn who_wants_to_stop_is_heard_and_nothing_is_left() {
    let folder = folder();
    let source = of_texts(folder.path(), "a", &["one", "two"], Some(3));
    let before = names(folder.path());
    let progress = Progress::default();
    progress.cancel();
    let options = arrange_options(Out::One(folder.path().join("all.txt")));
    assert!(matches!(arrange(&[source], &options, &progress), Err(Error::Interrupted)));
    assert_eq!(names(folder.path()), before);
}
