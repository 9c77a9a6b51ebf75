use std::path::Path;
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::order::Rows;

const PATIENCE: Duration = Duration::from_secs(60);

fn piece(folder: &Path, name: &str, ids: &[u32], dtype: Dtype) -> Piece {
    let path = folder.join(name);
    let mut bytes = vec![7; 5];
    for id in ids {
        bytes.extend(&id.to_le_bytes()[..dtype.width()]);
    }
    std::fs::write(&path, bytes).unwrap();
    Piece { path, offset: 5, dtype, tokens: ids.len() as u64 }
}

fn counting(folder: &Path, tokens: u32) -> RowFiles {
    let ids: Vec<u32> = (0..tokens).collect();
    RowFiles::new(vec![vec![piece(folder, "a.bin", &ids, Dtype::Uint16)]]).unwrap()
}

fn reader(folder: &Path, tokens: u32) -> RowReader<u16> {
    let rows = Rows::windows(u64::from(tokens) - 3, 4).unwrap();
    let order = Order::new(vec![rows], &[1.0], 3).unwrap();
    RowReader::new(counting(folder, tokens), Arc::new(order), 4)
}

fn take(reader: &RowReader<u16>, first: u64, count: u64) -> Result<Vec<u16>> {
    reader.read(Samples { first, count, every: 1 }, PATIENCE).map(Option::unwrap_or_default)
}

fn expected(reader: &RowReader<u16>, first: u64, count: u64) -> Vec<u16> {
    let starts = (first..first + count).map(|i| u16::try_from(reader.order.row(i).start).unwrap());
    starts.flat_map(|start| start..start + 4).collect()
}

#[test]
fn rows_come_in_the_order_wherever_it_is_sought() {
    let folder = tempfile::tempdir().unwrap();
    let reader = reader(folder.path(), 100);
    for first in [0, 5, 10, 15, 7, 12, 1000, 1005, 0, 0, 5] {
        assert_eq!(take(&reader, first, 5).unwrap(), expected(&reader, first, 5), "{first}");
    }
    assert_eq!(reader.ahead.lock().unwrap().len(), AHEAD);
}

#[test]
fn what_was_not_foreseen_is_forgotten_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let reader = reader(folder.path(), 100);
    take(&reader, 0, 2).unwrap();
    let (_never, rows) = sync_channel(1);
    reader.ahead.lock().unwrap()[0].rows = rows;
    let asked = Samples { first: 2, count: 2, every: 1 };
    assert!(reader.read(asked, Duration::ZERO).unwrap().is_none(), "it is still on its way");
    let began = Instant::now();
    assert_eq!(take(&reader, 50, 2).unwrap(), expected(&reader, 50, 2));
    assert!(began.elapsed() < PATIENCE);
}

#[test]
fn a_process_without_the_threads_reads_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut reader = reader(folder.path(), 100);
    take(&reader, 0, 2).unwrap();
    reader.process = 0;
    let _held = reader.ahead.lock().unwrap();
    let asked = Samples { first: 2, count: 2, every: 1 };
    assert_eq!(reader.read(asked, Duration::ZERO).unwrap(), Some(expected(&reader, 2, 2)));
}

#[test]
fn a_thread_that_panics_is_no_end() {
    let folder = tempfile::tempdir().unwrap();
    let reader = reader(folder.path(), 100);
    take(&reader, 0, 2).unwrap();
    reader.ahead.lock().unwrap()[0].rows = sync_channel(1).1;
    assert_eq!(take(&reader, 2, 2).unwrap(), expected(&reader, 2, 2));
    assert_eq!(take(&reader, 4, 2).unwrap(), expected(&reader, 4, 2));
}

#[test]
fn samples_at_the_end_of_64_bits_are_read_without_looking_further() {
    let folder = tempfile::tempdir().unwrap();
    let reader = reader(folder.path(), 100);
    let first = u64::MAX - 6;
    let rows: Vec<u16> = take(&reader, first, 5).unwrap();
    assert_eq!(rows.len(), 20);
    let message = take(&reader, first + 5, 5).unwrap_err().to_string();
    assert!(message.starts_with("rows: 64 bits do not count 5 from"), "{message}");
    let message = take(&reader, 0, 1 << 62).unwrap_err().to_string();
    assert!(message.starts_with("rows: memory does not hold"), "{message}");
}

#[test]
fn a_file_that_shrinks_is_an_error_with_its_name_and_no_end() {
    let folder = tempfile::tempdir().unwrap();
    let reader = reader(folder.path(), 100);
    let path = folder.path().join("a.bin");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..9]).unwrap();
    let cut = (0..20).find_map(|i| take(&reader, i * 5, 5).err()).unwrap().to_string();
    assert!(cut.contains("a.bin: `ids` ended behind number "), "{cut}");
    std::fs::remove_file(&path).unwrap();
    let gone = (100..120).find_map(|i| take(&reader, i * 5, 5).err()).unwrap();
    assert!(matches!(gone, Error::Io { .. }), "{gone}");
    std::fs::write(&path, whole).unwrap();
    assert_eq!(take(&reader, 0, 5).unwrap(), expected(&reader, 0, 5));
}

#[test]
fn rows_that_are_not_there_are_refused_before_memory_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let files = counting(folder.path(), 10);
    for (source, start, row_tokens, message) in [
        (0, 8, 3, "rows: one of 3 ids from 8 on, of 10"),
        (0, u64::MAX, 3, "rows: one of 3 ids from 18446744073709551615 on, of 10"),
        (0, 0, 1 << 62, "rows: one of 4611686018427387904 ids from 0 on, of 10"),
        (1, 0, 1, "rows: one of source 1 of 1"),
        (0, 0, 0, "rows: one of 0 ids, expected 1 or more"),
    ] {
        let error = files.read::<u16>(&[Row { source, start }], row_tokens).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn wide_ids_are_not_read_as_narrow_ones_nor_those_of_other_widths_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let pieces = [("a", Dtype::Uint16), ("b", Dtype::Uint32)]
        .map(|(name, dtype)| vec![piece(folder.path(), name, &[1, 2], dtype)]);
    let files = RowFiles::new(pieces.to_vec()).unwrap();
    assert_eq!(files.dtype(), Dtype::Uint32);
    let row = Row { source: 0, start: 0 };
    assert!(matches!(files.read::<u16>(&[row], 1), Err(Error::DtypeTooNarrow { .. })));
    assert_eq!(files.read::<u32>(&[row], 2).unwrap(), [1, 2]);
    for width in [0, 1, 8, usize::MAX] {
        let message = Dtype::from_width(width).unwrap_err().to_string();
        assert_eq!(message, format!("rows: ids of {width} bytes, expected 2 or 4"));
    }
    assert_eq!(Dtype::from_width(4).unwrap(), Dtype::Uint32);
}

#[test]
fn ids_beyond_64_bits_are_refused() {
    let lying = |offset, tokens| {
        let path = PathBuf::from("lying.bin");
        Piece { path, offset, dtype: Dtype::Uint32, tokens }
    };
    for pieces in
        [vec![lying(0, u64::MAX / 2)], vec![lying(u64::MAX - 3, 1)], vec![lying(0, 1 << 61); 8]]
    {
        let message = RowFiles::new(vec![pieces]).unwrap_err().to_string();
        assert_eq!(message, "lying.bin: `ids` are more than 64 bits can count");
    }
}

#[cfg(unix)]
#[test]
fn a_thousand_files_more_than_may_be_open_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let one = piece(folder.path(), "a.bin", &[1, 2, 3], Dtype::Uint16);
    let limit = {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is a valid place for what is asked for.
        unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
        usize::try_from(limit.rlim_cur).unwrap().min(10_000)
    };
    let pieces: Vec<Piece> = (0..limit + 1000)
        .map(|i| {
            let path = folder.path().join(i.to_string());
            std::fs::hard_link(&one.path, &path).unwrap();
            Piece { path, ..one.clone() }
        })
        .collect();
    let n = 3 * pieces.len();
    let files = RowFiles::new(vec![pieces]).unwrap();
    let all: Vec<u16> = files.read(&[Row { source: 0, start: 0 }], n).unwrap();
    assert_eq!(all, [1, 2, 3].repeat(n / 3));
}

proptest! {
    #[test]
    fn prop_rows_are_those_of_the_files_one_behind_the_other(
        pieces in prop::collection::vec(prop::collection::vec(any::<u16>(), 0..9), 1..4),
        wide in prop::collection::vec(any::<bool>(), 4),
        row_tokens in 1_usize..6,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let ids: Vec<u32> = pieces.concat().into_iter().map(u32::from).collect();
        prop_assume!(ids.len() >= row_tokens);
        let open = pieces.iter().zip(&wide).enumerate().map(|(i, (ids, &wide))| {
            let ids: Vec<u32> = ids.iter().copied().map(u32::from).collect();
            let dtype = if wide { Dtype::Uint32 } else { Dtype::Uint16 };
            piece(folder.path(), &i.to_string(), &ids, dtype)
        });
        let files = RowFiles::new(vec![vec![], open.collect()]).unwrap();
        let starts = 0..=ids.len() - row_tokens;
        let rows: Vec<Row> =
            starts.clone().map(|start| Row { source: 1, start: start as u64 }).collect();
        let expected: Vec<u32> =
            starts.flat_map(|start| ids[start..start + row_tokens].to_vec()).collect();
        prop_assert_eq!(files.read::<u32>(&rows, row_tokens).unwrap(), expected);
    }
}
