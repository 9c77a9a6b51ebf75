use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::shard::{Dtype, Eot, SealedShard, ShardFacts, ShardWriter};

fn samples(first: u64, count: u64, every: u64) -> Samples {
    Samples { first, count, every }
}

fn windows(places: u64, stride: u64) -> Rows {
    Rows::windows(places, stride).unwrap()
}

/// A shard of documents of these lengths, separators included, in `folder`.
fn shard(folder: &std::path::Path, lengths: &[usize]) -> PathBuf {
    let path = folder.join("a.bin");
    let facts = ShardFacts {
        dtype: Dtype::Uint16,
        vocab_size: 300,
        eot_id: Some(0),
        eot: Eot::Prepend,
        part: None,
        tokenizer_sha256: String::new(),
    };
    let mut writer = ShardWriter::create(&path, facts).unwrap();
    for &length in lengths {
        writer.push(&vec![1_u16; length]).unwrap();
        writer.end_document(length as u64).unwrap();
    }
    SealedShard::publish(vec![writer.seal(vec![]).unwrap()]).unwrap();
    path
}

#[test]
fn order_of_one_source_and_of_two_is_frozen() {
    let starts = |order: Order| -> Vec<(usize, u64)> {
        let rows = order.rows(samples(3, 6, 1)).unwrap();
        rows.iter().map(|row| (row.source, row.start)).collect()
    };
    let alone = Order::new(vec![windows(95, 10)], &[1.0], 1337).unwrap();
    let both = Order::new(vec![windows(95, 10), windows(50, 7)], &[2.0, 1.0], 1337).unwrap();
    assert_eq!(
        (starts(alone), starts(both)),
        (
            [20, 30, 0, 80, 60, 70].map(|start| (0, start)).to_vec(),
            vec![(0, 90), (1, 28), (0, 20), (0, 30), (1, 7), (0, 0)]
        ),
        "a new order would change every run that resumes"
    );
}

#[test]
fn what_cannot_be_planned_is_refused() {
    for (rows, message) in [
        (Rows::windows(0, 5), "rows: the source is too short for one"),
        (Rows::windows(5, 0), "rows: stride is 0, expected 1 or more"),
    ] {
        assert_eq!(rows.unwrap_err().to_string(), message);
    }
    let error = Order::new(vec![windows(5, 1)], &[1.0, 2.0], 0).unwrap_err().to_string();
    assert_eq!(error, "weights: there are 2 of 1 sources");
    assert!(Order::new(vec![], &[], 0).is_err());
}

#[test]
fn batches_of_ranks_that_are_not_there_or_beyond_64_bits_are_refused() {
    for ((index, rank, ranks), message) in [
        ((0, 2, 2), "rows: rank is 2, expected less than the 2 ranks"),
        ((0, 0, 0), "rows: rank is 0, expected less than the 0 ranks"),
        ((1 << 62, 0, 1), "rows: 64 bits do not count batch 4611686018427387904 of 16"),
    ] {
        assert_eq!(Samples::batch(index, 16, rank, ranks).unwrap_err().to_string(), message);
    }
    assert_eq!(Samples::batch(3, 16, 1, 4).unwrap(), samples(193, 16, 4));
}

#[test]
fn samples_beyond_64_bits_or_beyond_memory_are_refused() {
    let order = Order::new(vec![windows(u64::MAX, 1)], &[1.0], 0).unwrap();
    for (asked, message) in [
        (samples(0, 1 << 62, 1), "rows: memory does not hold 4611686018427387904 from 0 on"),
        (samples(u64::MAX - 1, 5, 1), "rows: 64 bits do not count 5 from 18446744073709551614 on"),
        (samples(9, 1 << 40, 1 << 40), "rows: 64 bits do not count 1099511627776 from 9 on"),
    ] {
        assert_eq!(order.rows(asked).unwrap_err().to_string(), message);
    }
    assert_eq!(order.rows(samples(u64::MAX - 5, 5, 1)).unwrap().len(), 5);
    assert!(order.rows(samples(7, 0, 1)).unwrap().is_empty());
}

#[test]
fn rows_begin_with_documents_and_a_bare_file_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = shard(folder.path(), &[3, 2, 9, 5]);
    let rows = Rows::at_documents(&ShardReader::open(&path).unwrap(), 4).unwrap();
    let order = Order::new(vec![rows], &[1.0], 1).unwrap();
    let mut starts: Vec<u64> = (0..6).map(|i| order.row(i).start).collect();
    starts.sort_unstable();
    assert_eq!(starts, [0, 3, 5, 9, 13, 14]);
    let too_long = Rows::at_documents(&ShardReader::open(&path).unwrap(), 19);
    assert_eq!(too_long.unwrap_err().to_string(), "rows: the source is too short for one");
    std::fs::remove_file(path.with_extension("json")).unwrap();
    let bare = Rows::at_documents(&ShardReader::open(&path).unwrap(), 4).unwrap_err().to_string();
    assert!(
        bare.ends_with("a.bin: `documents` are not known without a manifest, and there is none")
    );
}

proptest! {
    #[test]
    fn prop_each_window_comes_exactly_once_an_epoch(
        places in 1_u64..300, stride in 1_u64..40, seed in any::<u64>(), epoch in 0_u64..4,
    ) {
        let rows = windows(places, stride);
        let n = rows.number();
        let mut starts: Vec<u64> = (epoch * n..(epoch + 1) * n).map(|i| rows.start(seed, i)).collect();
        starts.sort_unstable();
        prop_assert!(starts.windows(2).all(|pair| pair[1] - pair[0] == stride));
        prop_assert!(starts[0] < stride && starts[starts.len() - 1] < places);
        prop_assert!(starts[0] + n * stride >= places.min(stride), "no more than a stride is left");
    }

    #[test]
    fn prop_processes_together_take_the_order_and_go_on_with_it_in_another_number(
        weights in prop::collection::vec(1_u32..6, 1..4),
        first in 0_u64..50,
        before in 1_u64..6,
        after in 1_u64..6,
        count in 1_u64..5,
    ) {
        let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
        let sources = (0..weights.len() as u64).map(|i| windows(20 + 7 * i, 3)).collect();
        let order = Order::new(sources, &weights, 5).unwrap();
        let mut taken = BTreeMap::new();
        let mut done = first;
        for processes in [before, after] {
            for rank in 0..processes {
                let own = Samples { first: done + rank, count, every: processes };
                if first == 0 && done == 0 {
                    prop_assert_eq!(own, Samples::batch(0, count, rank, processes).unwrap());
                }
                for (k, row) in (0..).zip(order.rows(own).unwrap()) {
                    taken.insert(done + rank + k * processes, row);
                }
            }
            done += processes * count;
        }
        let expected: BTreeMap<u64, Row> = (first..done).map(|i| (i, order.row(i))).collect();
        prop_assert_eq!(taken, expected);
    }

    #[test]
    fn prop_each_source_of_a_mixture_has_the_epochs_it_would_have_alone(
        weights in prop::collection::vec(1_u32..6, 1..4), seed in any::<u64>(),
    ) {
        let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
        let sources: Vec<Rows> = (0..weights.len() as u64).map(|i| windows(9 + 5 * i, 2)).collect();
        let order = Order::new(sources.clone(), &weights, seed).unwrap();
        let mut own = vec![vec![]; weights.len()];
        for row in order.rows(samples(0, 100, 1)).unwrap() {
            own[row.source].push(row.start);
        }
        for ((starts, rows), (epoch, rest)) in own.iter().zip(&sources).zip(order.epochs(100)) {
            let n = rows.number();
            prop_assert_eq!(starts.len() as u64, epoch * n + rest);
            for epoch in starts.chunks(usize::try_from(n).unwrap()) {
                let distinct: std::collections::BTreeSet<_> = epoch.iter().collect();
                prop_assert_eq!(distinct.len(), epoch.len());
            }
        }
    }
}
