import base64
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

for rival in ("bpeasy", "ffbpe", "gigatoken"):
    pytest.importorskip(rival)  # has no build for some platforms
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script: str, *arguments: object, status: int = 0) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments), "--repeats=1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done.stderr


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    generator = random.Random(0)
    words = ["".join(generator.choices("abcd", k=generator.randint(1, 6))) for _ in range(300)]
    documents = [" ".join(generator.choices(words, k=200)) for _ in range(20)]
    file = tmp_path / "corpus.txt"
    file.write_text("<|endoftext|>".join(documents))
    return file


@pytest.fixture
def varied(tmp_path: Path) -> Path:
    """Text with more different words than fit into the bounds of these tests."""
    generator = random.Random(0)
    file = tmp_path / "varied.txt"
    words = ("".join(generator.choices("abcdefgh", k=7)) for _ in range(200_000))
    file.write_text(" ".join(words))
    return file


def test_training_is_measured_and_rivals_learn_the_same_tokens(
    corpus: Path, tmp_path: Path
) -> None:
    run("train_bpe.py", f"tiny={corpus}", "--vocab-size=400", f"--out-dir={tmp_path}")

    result = json.loads((tmp_path / "train_bpe-tiny.json").read_text())
    rows = result["contenders"]
    hashes = {name: row["tokens_sha256"] for name, row in rows.items()}
    like_id = {"minillm-id", "rustbpe", "bpeasy"}
    like_hf = {"minillm-hf", "minillm-command", "gigatoken", "ffbpe", "tokenizers"}
    assert set(rows) == {"minillm"} | like_id | like_hf
    assert len({hashes[name] for name in like_id}) == len({hashes[name] for name in like_hf}) == 1
    assert all(row["wall_s"]["median"] > 0 for row in rows.values())
    assert all(row["peak_rss_bytes"]["median"] > 1 << 20 for row in rows.values())
    assert result["command_overhead_s"] > 0


@pytest.mark.slow
def test_training_on_several_files_is_one_corpus_in_one_result(
    corpus: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_text("quite other text " * 100)
    only = [f"--only={name}" for name in ("minillm-hf", "minillm-command", "tokenizers", "ffbpe")]

    run("train_bpe.py", f"{corpus}:{other}", *only, "--vocab-size=400", f"--out-dir={tmp_path}")

    result = json.loads((tmp_path / "train_bpe-corpus+other.json").read_text())
    assert result["corpus"]["bytes"] == corpus.stat().st_size + other.stat().st_size
    assert len({row["tokens_sha256"] for row in result["contenders"].values()}) == 1


def test_a_contender_that_fails_is_reported_and_the_others_are_kept(tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    only = ["--only=minillm", "--only=minillm-command", "--only=bpeasy"]

    stderr = run("train_bpe.py", empty, *only, f"--out-dir={tmp_path}", status=1)

    result = json.loads((tmp_path / "train_bpe-empty.json").read_text())
    assert set(result["failed"]) == {"minillm", "minillm-command"}
    assert set(result["contenders"]) == {"bpeasy"}
    assert "minillm exited with 1" in stderr


@pytest.mark.parametrize(
    "script",
    ["train_bpe.py", "train_phases.py", "train_memory.py", "train_growth.py", "encode.py"],
)
def test_a_corpus_that_does_not_exist_is_named(script: str) -> None:
    stderr = run(script, "missing.txt", status=2)

    assert stderr == "error: `missing.txt` is not a file\n"


def test_a_contender_that_is_not_installed_is_left_out(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import harness

    here, gone = harness.Contender("here", "pytest"), harness.Contender("gone", "no-such-package")

    assert harness.chosen([here, gone], (), threads=0) == [here]
    assert capsys.readouterr().err == (
        "gone is left out: the package `no-such-package` is not installed\n"
    )


@pytest.mark.slow
def test_phases_are_measured_and_learn_the_same_tokens(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "result.json"

    run("train_phases.py", corpus, "--vocab-sizes", 300, 400, f"--out={out}")

    result = json.loads(out.read_text())
    assert len(result["contenders"]) == 2 * (1 + 2 * 2)
    for threads in ("1 thread", "all threads"):
        assert set(result["derived"][threads]["share_of_counting"]) == {"300", "400"}
        assert result["derived"][threads]["time_400_over_300"] > 0


def test_hostile_texts_are_measured_and_rivals_give_the_same_ids(tmp_path: Path) -> None:
    tokens = [bytes([byte]) for byte in range(256)] + [b"aa", b"aaaa"]
    lines = [f"{base64.b64encode(token).decode()} {rank}" for rank, token in enumerate(tokens)]
    (tmp_path / "tiktoken").mkdir()
    for name in ("r50k_base", "cl100k_base"):
        (tmp_path / "tiktoken" / f"{name}.tiktoken").write_text("\n".join(lines))
    out = tmp_path / "hostile.json"

    run("hostile.py", f"--vocabularies={tmp_path}", "--text-bytes=900", "--texts=a", f"--out={out}")

    cells = json.loads(out.read_text())["cells"]
    assert set(cells) == {"gpt2, a", "cl100k, a"}
    for cell in cells.values():
        assert set(cell["contenders"]) == {"minillm", "tiktoken", "gigatoken"}
        assert cell["agree"]
        assert cell["times_as_fast"] > 0


def test_bounded_memory_is_measured_and_learns_the_same_tokens(
    varied: Path, tmp_path: Path
) -> None:
    out = tmp_path / "result.json"

    run("train_memory.py", varied, "--vocab-size=400", "--max-memory=9000000", f"--out={out}")

    result = json.loads(out.read_text())
    rows = result["contenders"]
    assert rows["bounded"]["tokens_sha256"] == rows["unbounded"]["tokens_sha256"]
    assert rows["bounded"]["spills"]["min"] > 0 == rows["unbounded"]["spills"]["max"]
    assert result["time_over_unbounded"] > 0


def test_the_bound_is_a_part_of_the_peak_without_one(varied: Path, tmp_path: Path) -> None:
    out = tmp_path / "result.json"

    run("train_memory.py", varied, "--vocab-size=400", "--fraction=0.9", f"--out={out}")

    result = json.loads(out.read_text())
    peak = result["contenders"]["unbounded"]["peak_rss_bytes"]["median"]
    assert 0.7 * peak < result["max_memory_bytes"] < 1.1 * peak


@pytest.mark.slow  # transformers takes 18 s to import and to start five processes
def test_generation_is_measured_and_rivals_write_the_same_tokens(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    out = tmp_path / "result.json"
    size = ["--new-tokens=6", "--d-model=64", "--n-layers=2", "--vocab-size=300", "--threads=1"]
    only = [f"--only={name}, batch 8" for name in ("minillm", "transformers")]

    run("generate.py", *size, *only, f"--out={out}")

    result = json.loads(out.read_text())
    assert {row["written"] for row in result["contenders"].values()} == {6 * 8}
    assert set(result["ratios"]) == {"transformers over minillm, batch 8"}


@pytest.mark.slow
def test_growth_is_measured_drawn_and_resumed(corpus: Path, tmp_path: Path) -> None:
    out, image = tmp_path / "result.json", tmp_path / "plot.svg"
    options = ["--vocab-size=300", "--vocab-sizes=300", "--only=minillm-hf", f"--out={out}"]
    options += [f"--image={image}", "--resume"]

    stderr = run("train_growth.py", corpus, "--sizes-mb=1", *options)
    first = json.loads(out.read_text())["points"]
    run("train_growth.py", corpus, "--sizes-mb=1", *options)

    assert "the files hold 0 MB, which stands for all larger sizes" in stderr
    assert [(point["series"], point["bytes"]) for point in first] == [
        ("text", corpus.stat().st_size),
        ("vocabulary", corpus.stat().st_size),
    ]
    assert json.loads(out.read_text())["points"] == first
    assert image.read_text().count("minillm-hf") == 1


def test_growing_text_is_cut_at_the_end_of_a_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import train_growth

    first, second, out = (tmp_path / name for name in ("first", "second", "out"))
    first.write_text("one<|endoftext|>two")
    second.write_text("three")

    found = []
    for size in (18, 30, 1000):
        train_growth.write_prefix([first, second], size, out)
        found.append(out.read_text())

    assert found == ["one", "one", "one<|endoftext|>two<|endoftext|>three"]


@pytest.mark.data
@pytest.mark.parametrize("vocabulary", ["gpt2", pytest.param("learned", marks=pytest.mark.slow)])
def test_encoding_is_measured_and_rivals_give_the_same_ids(
    vocabulary: str, corpus: Path, tmp_path: Path, data_dir: Path
) -> None:
    options = [f"--vocabularies={data_dir / 'parity'}", f"--vocabulary={vocabulary}"]
    options += ["--threads=1", f"--out-dir={tmp_path}", f"--image={tmp_path / 'plot.svg'}"]

    run("encode.py", f"tiny={corpus}", *options)

    rows = json.loads((tmp_path / f"encode-{vocabulary}-tiny-1.json").read_text())["contenders"]
    learners = {"rustbpe"} if vocabulary == "learned" else set()
    assert set(rows) == {"minillm", "tiktoken", "tokenizers", "gigatoken"} | learners
    assert len({row["ids_sha256"] for row in rows.values()}) == 1
    assert (tmp_path / "plot.svg").read_text().count("tiktoken") == 1


def test_an_environment_beside_that_does_not_exist_is_named(corpus: Path) -> None:
    stderr = run("encode.py", corpus, "--beside=/no/such/python", status=2)

    assert stderr == "error: `/no/such/python` is not a file\n"


def test_a_rival_of_another_environment_is_run_by_its_interpreter(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import harness

    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho ran >>{tmp_path}/log\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    rival = harness.Contender("rival", "pytest", python=str(python))

    measured = harness.measure(BENCHMARKS / "train_bpe.py", [rival], [str(corpus)], repeats=1)

    assert rival.version == pytest.__version__
    assert list(measured.failed) == ["rival"]  # no trainer has that name
    assert (tmp_path / "log").read_text() == "ran\n" * 2


@pytest.mark.data
def test_decoding_is_measured_and_rivals_give_the_same_bytes(
    corpus: Path, tmp_path: Path, data_dir: Path
) -> None:
    out = tmp_path / "result.json"

    run("decode.py", corpus, f"--vocabulary={data_dir / 'parity'}", "--ids=100000", f"--out={out}")

    rows = json.loads(out.read_text())["contenders"]
    rivals = {"tiktoken", "tiktoken-list", "tokenizers", "gigatoken", "copy"}
    assert set(rows) == {"minillm", "minillm-1-thread", *rivals}
    assert len({row["bytes_sha256"] for row in rows.values()}) == 1
    assert len({row["decoded"] for row in rows.values()}) == 1


@pytest.mark.slow
def test_waiting_for_data_is_measured_for_both_loaders(tmp_path: Path) -> None:
    out = tmp_path / "loader.json"
    run("loader.py", "--steps=1", "--out", out)
    result = json.loads(out.read_text())
    assert set(result["contenders"]) == {"minillm", "memory map"}
    assert all(0 < share["median"] < 1 for share in result["wait_share"].values())
