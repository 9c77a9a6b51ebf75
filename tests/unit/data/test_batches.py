import os
import signal
import threading
import time

import numpy as np
import pytest
import torch

from minillm import _core
from minillm.data import Batches, TokenFile, evaluation_windows
from minillm.tokenizer import Tokenizer


@pytest.fixture
def tokens(tmp_path):
    """103 ids that count up, so that an id is its own position."""
    np.arange(103, dtype="<u2").tofile(tmp_path / "a.bin")
    return TokenFile(tmp_path / "a.bin")


def starts(batches, index=0, count=100):
    """Where the rows of a batch of that many begin, as a list."""
    return batches.order.rows(index, count, 0, 1)[1].tolist()


def test_targets_are_the_inputs_one_token_later(tokens):
    ids, targets, _, n_targets = Batches([tokens], seq_len=8, batch_size=3, seed=0).batch(5)
    assert ids.shape == targets.shape == (3, 8)
    assert ids.dtype == torch.int64
    assert n_targets == 24
    assert torch.equal(targets, ids + 1)


def test_the_order_of_a_run_is_frozen(tokens):
    """Else what resumes would read other rows than it would have."""
    batches = Batches([tokens], seq_len=10, batch_size=1, seed=1337)
    assert starts(batches, count=12) == [51, 11, 91, 21, 31, 1, 81, 61, 71, 41, 10, 30]


def test_seed_and_epoch_decide_the_order(tokens):
    orders = [
        starts(Batches([tokens], seq_len=4, batch_size=1, seed=seed), epoch, 25)
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_batches_do_not_depend_on_how_samples_are_grouped(tokens):
    """Nor on the epoch's end falling inside a batch: 10 windows an epoch, 4 a batch."""
    single = Batches([tokens], seq_len=10, batch_size=1, seed=3)
    grouped = Batches([tokens], seq_len=10, batch_size=4, seed=3)
    together = torch.cat([grouped.batch(index)[0] for index in range(7)])
    assert torch.equal(together, torch.cat([single.batch(index)[0] for index in range(28)]))


def test_any_batch_can_be_sought(tokens):
    batches = Batches([tokens], seq_len=10, batch_size=4, seed=3)
    forward = [batches.batch(index).ids.tolist() for index in range(9)]
    assert [batches.batch(index).ids.tolist() for index in reversed(range(9))] == forward[::-1]


def test_context_longer_than_the_data_is_refused(tokens):
    with pytest.raises(ValueError, match=r"seq_len \(103\) is longer than the data: .* 103 tokens"):
        Batches([tokens], seq_len=103, batch_size=1, seed=0)


def test_ids_above_the_signed_ones_stay_what_they_are(tmp_path):
    np.arange(65_400, 65_536, dtype="<u2").tofile(tmp_path / "a.bin")
    batches = Batches([TokenFile(tmp_path / "a.bin")], seq_len=135, batch_size=1, seed=0)
    assert batches.batch(0).ids.tolist() == [list(range(65_400, 65_535))]


def test_files_of_both_widths_are_mixed(tmp_path, tokens):
    np.save(tmp_path / "wide.npy", np.arange(70_000, 70_100, dtype="<u4"))
    sources = [tokens, TokenFile(tmp_path / "wide.npy")]
    batch = Batches(sources, [1, 3], seq_len=10, batch_size=8, seed=0).batch(0)
    assert (batch.ids[:, 0] >= 70_000).sum() == 6
    assert torch.equal(batch.targets, batch.ids + 1)


def test_rows_begin_with_documents_whatever_ends_them(tmp_path):
    lengths = [5, 1, 20, 3, 9, 2]
    tokenizer = Tokenizer.train(["a b c"], 257, special_tokens=["<|endoftext|>"])
    for eot, extra in (("append", 1), ("prepend", 1), ("none", 0)):
        (tmp_path / "a.txt").write_text("<|endoftext|>".join("x" * length for length in lengths))
        path = tmp_path / f"{eot}.bin"
        tokenizer.encode_files([tmp_path / "a.txt"], path, eot=eot)
        file = TokenFile(path)
        batches = Batches([file], seq_len=8, batch_size=1, seed=0, at_documents=True)
        begins = np.cumsum([0, *(length + extra for length in lengths)])
        rows = sorted(set(starts(batches)))
        long = begins[2]
        assert set(rows) - set(begins.tolist()) == {long + 8, long + 16} & set(rows), eot
        assert rows[0] == 0
        assert rows[-1] + 8 + 1 <= len(file) < rows[-1] + 2 * 8 + 1


def test_rows_of_a_bare_file_cannot_begin_with_documents(tokens):
    with pytest.raises(ValueError, match=r"data\.rows \(documents\): `.*a\.bin` has no manifest"):
        Batches([tokens], seq_len=8, batch_size=1, seed=0, at_documents=True)


def test_a_file_that_is_cut_while_it_is_read_is_an_error_with_its_name(tokens):
    batches = Batches([tokens], seq_len=10, batch_size=4, seed=3)
    batches.batch(0)
    os.truncate(tokens.path, 20)
    with pytest.raises(ValueError, match=r"a\.bin: `ids` ended behind number \d+ or later"):
        for index in range(1, 20):
            batches.batch(index)
    with pytest.raises(ValueError, match=r"a\.bin: `ids` ended behind number"):
        list(evaluation_windows(tokens, seq_len=10, batch_size=2, max_batches=None))
    tokens.path.unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.bin"):
        batches.batch(100)


def test_threads_that_share_a_reader_get_what_each_asks_for(tokens):
    batches = Batches([tokens], seq_len=10, batch_size=4, seed=3)
    expected = [batches.batch(index).ids.tolist() for index in range(8)]
    found = {}

    def take(worker):
        found[worker] = [batches.batch(index).ids.tolist() for index in range(8)]

    threads = [threading.Thread(target=take, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert list(found.values()) == [expected] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_reads_for_itself(tokens, soon_s):
    batches = Batches([tokens], seq_len=10, batch_size=4, seed=3)
    batches.batch(0)
    expected = batches._reader.read(5, 4, 0, 1).tolist()
    child = os.fork()
    if child == 0:
        os._exit(0 if batches._reader.read(5, 4, 0, 1).tolist() == expected else 1)
    deadline = time.monotonic() + 4 * soon_s
    done, status = os.waitpid(child, os.WNOHANG)
    while not done and time.monotonic() < deadline:
        time.sleep(0.01)
        done, status = os.waitpid(child, os.WNOHANG)
    if not done:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert done, "it waits for a thread that is not there"
    assert status == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe that nobody writes to")
def test_waiting_hears_a_signal(tmp_path):
    os.mkfifo(tmp_path / "a.bin")
    pieces = [(tmp_path / "a.bin", 0, 2, 100)]
    order = _core.Order([_core.Rows.windows(90, 10)], [1.0], 0)
    reader = _core.RowReader([pieces], order, 11)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        reader.read(0, 4, 0, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda order, _: order.rows(0, 1 << 62, 0, 1), "memory does not hold"),
        (lambda order, _: order.rows(1 << 63, 5, 0, 1), "64 bits do not count batch"),
        (lambda order, _: order.rows(0, 1, 2, 2), "rank is 2, expected less than the 2"),
        (lambda _, pieces: _core.read_rows(pieces, [0], 0), "one of 0 ids"),
        (lambda _, pieces: _core.read_rows(pieces, [0], 1 << 62), "ids from 0 on, of 103"),
        (lambda _, pieces: _core.read_rows([(pieces[0][0], 0, 8, 1)], [0], 1), "8 bytes"),
        (lambda *_: _core.read_rows([("x", 0, 2, 1 << 63)], [0], 1), "more than 64 bits can count"),
        (lambda order, pieces: _core.RowReader([pieces], order, 0).read(0, 1, 0, 1), "one of 0"),
        (lambda order, _: _core.RowReader([], order, 9).read(0, 1, 0, 1), "source 0 of 0"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused_without_a_panic(tokens, call, message):
    order = _core.Order([_core.Rows.windows(90, 10)], [1.0], 0)
    with pytest.raises(ValueError, match=message):
        call(order, tokens.pieces)


@pytest.mark.parametrize("seq_len", [1, 7, 50, 102, 200])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_evaluation_predicts_every_token_but_the_first_once(tokens, seq_len, batch_size):
    windows = evaluation_windows(tokens, seq_len=seq_len, batch_size=batch_size, max_batches=None)
    targets = torch.cat([target.flatten() for _, target, *_ in windows])
    assert targets.tolist() == list(range(1, 103))


def test_short_evaluation_is_spread_over_the_file(tokens):
    windows = evaluation_windows(tokens, seq_len=10, batch_size=2, max_batches=2)
    starts = torch.cat([ids[:, 0] for ids, *_ in windows])
    assert starts.tolist() == [0, 20, 50, 70]


def test_evaluation_needs_two_tokens(tmp_path):
    np.array([1], dtype="<u2").tofile(tmp_path / "a.bin")
    windows = evaluation_windows(
        TokenFile(tmp_path / "a.bin"), seq_len=4, batch_size=1, max_batches=None
    )
    with pytest.raises(ValueError, match="holds 1 tokens, evaluation needs 2"):
        next(windows)
