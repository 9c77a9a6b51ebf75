"""The engine of `minillm prepare`: documents are gathered into parts, and parts arranged."""

import gzip
import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minillm import _core
from minillm.tokenizer import Tokenizer

OPTIONS = {"documents": "separator", "invalid_utf8": "keep", "on_bad_row": "stop"}
PLAIN = {"deduplicate": False, "weigh": "documents", "when_exhausted": "stop"}
EOT = _core.END_OF_TEXT


def gathered(out: Path, texts: list[str], seed: int | None = None) -> Path:
    gather = _core.Gather(out, seed=seed, **OPTIONS)
    data = [text.encode() for text in texts]
    offsets = np.cumsum([0] + [len(text) for text in data], dtype=np.int64)
    buffer = np.frombuffer(b"".join(data), dtype=np.uint8)
    assert gather.rows(offsets, buffer, 0, len(texts), "rows", 1)
    gather.finish()
    return out


def documents(path: Path) -> list[str]:
    return path.read_text().split(EOT)[:-1]


def test_files_rows_and_ranges_of_files_give_the_same_documents(tmp_path):
    texts = [f"document {i}\nof two lines" for i in range(100)]
    plain, packed = tmp_path / "a.txt", tmp_path / "a.jsonl.gz"
    plain.write_text(EOT.join(texts))
    rows = "".join(json.dumps({"meta": {"id": i, "text": t}}) + "\n" for i, t in enumerate(texts))
    packed.write_bytes(gzip.compress(rows.encode()))
    parts = [gathered(tmp_path / "rows", texts)]
    gather = _core.Gather(tmp_path / "packed", seed=None, **OPTIONS)
    assert gather.files([packed], template="{meta.text}")
    assert gather.finish() == {
        "rows": 100, "documents": 100, "bytes": sum(map(len, texts)), "lines": 200,
        "dropped": dict.fromkeys(
            ("blank", "short", "repetitive", "invalid_utf8", "missing_field", "not_text",
             "not_json", "too_long"), 0),
        "limited": False,
    }  # fmt: skip
    parts.append(tmp_path / "packed")
    for i, ranges in enumerate(_core.cut_files([plain], 500, documents="separator")):
        gather = _core.Gather(tmp_path / f"{i}", seed=None, **OPTIONS)
        gather.files(ranges)
        gather.finish()
        parts.append(tmp_path / f"{i}")
    assert len(parts) > 5
    for sources in [parts[:1], parts[1:2], parts[2:]]:
        out = tmp_path / "all.txt"
        _core.arrange([{"name": "a", "parts": sources}], out=out, **PLAIN)
        assert documents(out) == texts


def test_a_part_is_found_again_and_refused_by_the_option_that_differs(tmp_path):
    out = tmp_path / "part"
    assert _core.gathered(out, seed=1, **OPTIONS) is None
    gathered(out, ["a", "b"], seed=1)
    stats = _core.gathered(out, seed=1, **OPTIONS)
    assert stats is not None
    assert stats["documents"] == 2
    with pytest.raises(ValueError, match="part: `seed` was 1 when it was gathered, and is 2"):
        _core.gathered(out, seed=2, **OPTIONS)


def test_a_limit_ends_the_reading(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(EOT.join("abcde"))
    gather = _core.Gather(tmp_path / "part", seed=None, max_documents=3, **OPTIONS)
    assert not gather.files([path])
    stats = gather.finish()
    assert (stats["documents"], stats["limited"]) == (3, True)
    with pytest.raises(ValueError, match="the part is finished already"):
        gather.finish()


def test_names_of_options_are_checked(tmp_path):
    with pytest.raises(ValueError, match="unknown documents `word`; known are separator, line"):
        _core.Gather(tmp_path / "part", seed=None, **(OPTIONS | {"documents": "word"}))
    with pytest.raises(ValueError, match="unknown weigh `words`; known are documents, bytes"):
        _core.arrange([], out=tmp_path / "out", **(PLAIN | {"weigh": "words"}))


def test_tokens_of_each_source_are_those_of_the_token_files(tmp_path):
    tokenizer = Tokenizer.train(["a few words to learn from"], vocab_size=270)
    texts = [[f"some text number {i} of {name}" for i in range(200)] for name in ("x", "yy")]
    sources = [
        {"name": name, "parts": [gathered(tmp_path / name, own, seed=5)], "weight": weight}
        for name, own, weight in zip("xy", texts, [3.0, 1.0], strict=True)
    ]
    out = tmp_path / "all.txt"
    options = PLAIN | {"weigh": "tokens"}
    stats = _core.arrange(sources, out=out, encoder=tokenizer, val_fraction=0.2, **options)
    tokenizer.encode_files([out], tmp_path / "train.bin", val_fraction=0.2)
    found = _core.tokens_by_source(
        tmp_path / "all.txt.sources", tmp_path / "train.bin", tmp_path / "val.bin", 2
    )
    for of_source, told in zip(found, stats["sources"], strict=True):
        assert of_source["val"]["documents"] > 0
        for key in ("tokens", "documents", "bytes"):
            assert of_source["train"][key] + of_source["val"][key] == told[key]
    share = stats["sources"][0]["tokens"] / stats["tokens"]
    assert share == pytest.approx(0.75, abs=0.01)


def test_limits_of_tokens_are_kept_and_as_full_as_they_can_be(tmp_path):
    tokenizer = Tokenizer.train(["a few words to learn from"], vocab_size=270)
    sources = [
        {"name": name, "parts": [gathered(tmp_path / name, texts)], "max_tokens": most}
        for name, texts, most in [
            ("x", [f"{i:02}" for i in range(50)], 31),
            ("y", ["a"] * 50, None),
        ]
    ]
    out = tmp_path / "all.txt"
    stats = _core.arrange(sources, out=out, encoder=tokenizer, max_tokens=50, **PLAIN)
    # Two digits and a separator are three tokens, a letter and a separator two.
    assert [(source["documents"], source["tokens"]) for source in stats["sources"]] == [
        (10, 30),
        (10, 20),
    ]
    assert documents(out) == [f"{i:02}" for i in range(10)] + ["a"] * 10


def test_a_part_that_fails_leaves_nothing_while_it_is_held(tmp_path):
    gather = _core.Gather(tmp_path / "part", seed=None, **OPTIONS)
    with pytest.raises(FileNotFoundError, match="gone"):
        gather.files([tmp_path / "gone.txt"])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="the part is finished already, or has failed"):
        gather.finish()


FILLS = """
import sys
import numpy as np
from minillm import _core
gather = _core.Gather(sys.argv[1], seed=0, documents="line", invalid_utf8="keep", on_bad_row="stop")
gather.files([sys.argv[2]])
gather.finish()
"""


def test_a_full_disk_is_named_with_the_bytes_it_lacks(tmp_path):
    text = tmp_path / "a.txt"
    text.write_text("a line of text\n" * 200_000)
    limit = 1 << 20
    found = subprocess.run(
        [sys.executable, "-c", FILLS, tmp_path / "part", text],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "OSError: [Errno 27] File too large; the files take about " in found.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
