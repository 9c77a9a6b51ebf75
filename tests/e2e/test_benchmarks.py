import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("gigatoken")  # has no build for some platforms
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script: str, *arguments: object) -> None:
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments), "--repeats=1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    generator = random.Random(0)
    words = ["".join(generator.choices("abcd", k=generator.randint(1, 6))) for _ in range(300)]
    documents = [" ".join(generator.choices(words, k=200)) for _ in range(20)]
    file = tmp_path / "corpus.txt"
    file.write_text("<|endoftext|>".join(documents))
    return file


def test_training_is_measured_and_rivals_learn_the_same_tokens(
    corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "result.json"

    run("train_bpe.py", corpus, "--vocab-size=400", f"--out={out}")

    rows = json.loads(out.read_text())["contenders"]
    assert rows["minillm-id"]["tokens_sha256"] == rows["rustbpe"]["tokens_sha256"]
    assert rows["minillm-hf"]["tokens_sha256"] == rows["tokenizers"]["tokens_sha256"]
    assert all(row["wall_s"]["median"] > 0 for row in rows.values())
    assert all(row["peak_rss_bytes"]["median"] > 1 << 20 for row in rows.values())


@pytest.mark.data
def test_encoding_is_measured_and_rivals_give_the_same_ids(
    corpus: Path, tmp_path: Path, data_dir: Path
) -> None:
    out = tmp_path / "result.json"

    run("encode.py", corpus, f"--vocabulary={data_dir / 'parity'}", "--threads=2", f"--out={out}")

    rows = json.loads(out.read_text())["contenders"]
    assert set(rows) == {"minillm", "tiktoken", "tokenizers", "gigatoken"}
    assert len({row["ids_sha256"] for row in rows.values()}) == 1
