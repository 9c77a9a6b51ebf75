import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from minillm.tokenizer import Tokenizer

EOT = "<|endoftext|>"
TEXT = "low lower lowest new newer newest wide wider widest, all tried and tested " * 5


@pytest.fixture
def corpus(tmp_path):
    file = tmp_path / "corpus.txt"
    file.write_text(TEXT + EOT + "a last document")
    return file


def test_ids_are_bytes_then_merges_then_special_tokens():
    tokenizer = Tokenizer.train([TEXT], 260, special_tokens=(EOT, "<|pad|>"))
    assert [tokenizer.vocab[i] for i in range(256)] == [bytes([i]) for i in range(256)]
    merged = [left + right for left, right in tokenizer.merges]
    assert [tokenizer.vocab[256 + i] for i in range(2)] == merged
    assert tokenizer.special_tokens == {EOT: 258, "<|pad|>": 259}


def test_special_tokens_may_come_first():
    tokenizer = Tokenizer.train([TEXT], 260, special_tokens=(EOT, "<|pad|>"), specials_first=True)
    assert tokenizer.special_tokens == {EOT: 0, "<|pad|>": 1}
    assert tokenizer.vocab[2] == b"\0"
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT


def test_files_and_texts_train_alike(corpus):
    texts = corpus.read_text().split(EOT)
    expected = Tokenizer.train(iter(texts), 280)
    for files in (corpus, str(corpus), [corpus], [str(corpus)], (corpus,)):
        assert Tokenizer.train(files, 280) == expected


def test_texts_are_documents_of_their_own():
    # Cut anywhere else, " b" or "ab" could be a pair.
    tokenizer = Tokenizer.train(["a", "b"] * 9 + ["cd"], 257, special_tokens=())
    assert tokenizer.merges == [(b"c", b"d")]


def test_a_lone_string_is_a_file_and_never_text():
    with pytest.raises(FileNotFoundError) as caught:
        Tokenizer.train("no/such/file.txt", 300)
    assert caught.value.filename == "no/such/file.txt"


def test_files_among_texts_are_an_error(corpus):
    with pytest.raises(ValueError, match=r"corpus.txt` is a file, but 'some text' is not"):
        Tokenizer.train([str(corpus), "some text"], 300)
    with pytest.raises(ValueError, match="is a file"):
        Tokenizer.train([corpus, "some text"], 300)


def test_what_is_no_text_is_an_error():
    with pytest.raises(TypeError, match="holds int, expected str"):
        Tokenizer.train(iter(["a", 3]), 300)
    with pytest.raises(ValueError, match="lone surrogate at character 1"):
        Tokenizer.train(["a\ud800"], 300)


def test_an_error_while_iterating_is_raised():
    def texts():
        yield TEXT
        raise LookupError("the source broke")

    with pytest.raises(LookupError, match="the source broke"):
        Tokenizer.train(texts(), 300)


def test_texts_are_fetched_in_the_calling_thread():
    seen = []

    def texts():
        seen.append(threading.current_thread())
        yield TEXT

    Tokenizer.train(texts(), 260)
    assert seen == [threading.current_thread()]


def test_many_small_and_one_large_text_arrive_whole():
    texts = ["xy"] * 200_000 + ["xyz" * 1_000_000]
    tokenizer = Tokenizer.train(iter(texts), 258, special_tokens=(), pattern="gpt2")
    assert tokenizer.merges == [(b"x", b"y"), (b"xy", b"z")]


@pytest.mark.parametrize("tie_break", ["lex", "id", "hf"])
def test_result_does_not_depend_on_threads(corpus, tie_break):
    trained = [Tokenizer.train(corpus, 290, tie_break=tie_break, threads=n) for n in (1, 2, 7)]
    assert trained[0] == trained[1] == trained[2]


def test_ties_are_broken_as_documented():
    text = ["ab cd"]
    options = {"special_tokens": (), "pattern": r"\w+|\s+"}
    assert Tokenizer.train(text, 257, tie_break="lex", **options).merges == [(b"c", b"d")]
    assert Tokenizer.train(text, 257, tie_break="id", **options).merges == [(b"a", b"b")]


def test_min_frequency_and_max_token_length_hold():
    with pytest.warns(UserWarning, match="min_frequency"):
        tokenizer = Tokenizer.train([TEXT, "rare"], 1000, min_frequency=5)
    assert (b"r", b"a") not in tokenizer.merges
    with pytest.warns(UserWarning, match="vocab_size is"):
        tokenizer = Tokenizer.train([TEXT], 1000, max_token_length=3)
    assert max(len(token) for token in tokenizer.vocab.values() if token != EOT.encode()) == 3


def test_text_that_yields_too_few_merges_is_a_warning():
    with pytest.warns(UserWarning, match="vocab_size is 258 and not 1000: no two neighbours"):
        tokenizer = Tokenizer.train(["ab"], 1000)
    assert tokenizer.vocab_size == 258


def test_vocab_size_below_bytes_and_special_tokens_is_refused():
    with pytest.raises(ValueError, match=r"vocab_size is 256, but .* already take 257 ids"):
        Tokenizer.train([TEXT], 256)


def test_numbers_out_of_range_are_named():
    for options in ({"vocab_size": -1}, {"vocab_size": 1 << 32}):
        with pytest.raises(ValueError, match=r"vocab_size is .*, expected 0 to 4294967295"):
            Tokenizer.train([TEXT], **options)
    for name in ("threads", "min_frequency", "max_token_length"):
        with pytest.raises(ValueError, match=f"{name} is -1, expected 0 to"):
            Tokenizer.train([TEXT], 300, **{name: -1})


def test_no_text_is_an_error(tmp_path):
    empty = tmp_path / "empty.txt"
    empty.touch()
    with pytest.raises(ValueError, match=r"empty.txt: no text"):
        Tokenizer.train(empty, 300)
    for texts in ([], [""], iter([])):
        with pytest.raises(ValueError, match="no text"):
            Tokenizer.train(texts, 300)


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        Tokenizer.train([tmp_path / "gone.txt"], 300)
    assert caught.value.filename == str(tmp_path / "gone.txt")


def test_unknown_options_are_named():
    with pytest.raises(ValueError, match="unknown tie-break `random`; known are lex, id, hf"):
        Tokenizer.train([TEXT], 300, tie_break="random")
    with pytest.raises(ValueError, match="unknown pattern `gpt5`"):
        Tokenizer.train([TEXT], 300, pattern="gpt5")
    with pytest.raises(ValueError, match="special token"):
        Tokenizer.train([TEXT], 300, special_tokens=("",))


def test_bytes_of_all_kinds_survive(tmp_path):
    file = tmp_path / "mixed.bin"
    data = b"\xef\xbb\xbfbom\r\ncrlf\r\n\xff\xfe\x80broken\xe2\x82" * 3 + b"no final newline"
    file.write_bytes(data)
    tokenizer = Tokenizer.train(file, 280)
    assert tokenizer.decode_bytes(tokenizer.encode_bytes(data)) == data


def test_other_threads_run_while_training(tmp_path):
    file = tmp_path / "big.txt"
    file.write_text("".join(f"word{i} " for i in range(400_000)))
    ticks, done = 0, threading.Event()

    def train():
        Tokenizer.train(file, 2000, threads=1)
        done.set()

    thread = threading.Thread(target=train)
    thread.start()
    while not done.wait(0.005):
        ticks += 1
    thread.join()
    assert ticks > 5


WAIT_FOR_CTRL_C = """
import itertools
from minillm.tokenizer import Tokenizer
print("ready", flush=True)
Tokenizer.train({corpus}, 60_000)
"""


@pytest.mark.parametrize(
    "corpus",
    ["['{file}'] * 500", "(f'x{{i}} ' for i in itertools.count())", "itertools.repeat('x y ')"],
)
def test_ctrl_c_stops_training(tmp_path, corpus, soon_s):
    file = tmp_path / "big.txt"
    file.write_text("".join(f"w{i * 7919 % 1_000_003}x{i} " for i in range(1_500_000)))
    code = WAIT_FOR_CTRL_C.format(corpus=corpus.format(file=file))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.7)
    assert process.poll() is None
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors
    assert time.monotonic() - began < soon_s


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_processes_use_a_tokenizer_of_their_parent():
    code = f"""
import os
from minillm.tokenizer import Tokenizer
tokenizer = Tokenizer.train([{TEXT!r}], 280, threads=4)
texts = [{TEXT!r}] * 5000
expected = tokenizer.encode_batch_to_lists(texts, threads=4)
child = os.fork()
if child == 0:
    assert tokenizer.encode_batch_to_lists(texts, threads=4) == expected
    again = Tokenizer.train([{TEXT!r}], 280, threads=4)
    os._exit(0 if again == tokenizer else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_importing_the_tokenizer_imports_neither_torch_nor_numpy():
    code = (
        "import sys\n"
        "from minillm.tokenizer.commands import decode, encode, train\n"
        "print([name for name in ('torch', 'numpy', 'rich.console') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    assert Path(sys.executable).exists()
