"""Files that have changed since they were written: a bit, a cut, a hole, or more than there was."""

import random
import shutil

import pytest

from minillm.checkpoint import CheckpointError, latest_checkpoint, verify_checkpoint
from minillm.data import TokenFile
from minillm.tokenizer import Tokenizer

KINDS = ("bit", "bit", "bit", "cut", "zeros", "longer")


def damaged(content, kind, rng):
    """`content` with a flipped bit, cut short, with a sector of zeros, or with bytes behind it."""
    if kind == "bit":
        bad = bytearray(content)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        return bytes(bad)
    if kind == "cut":
        return content[: rng.randrange(len(content))]
    if kind == "longer":
        return content + rng.randbytes(rng.randint(1, 600))
    start = rng.randrange(len(content))
    return content[:start] + bytes(len(content[start : start + 512])) + content[start + 512 :]


def break_one_by_one(paths, count, seed):
    """Damages one file at a time, `count` times in all; gives what was done, and mends it after."""
    rng = random.Random(seed)
    whole = {path: path.read_bytes() for path in paths}
    done = 0
    while done < count:
        path, kind = paths[done % len(paths)], rng.choice(KINDS)
        bad = damaged(whole[path], kind, rng)
        if bad == whole[path]:  # zeros over zeros
            continue
        path.write_bytes(bad)
        yield f"{path.name}: {kind}"
        path.write_bytes(whole[path])
        done += 1


@pytest.fixture
def run(unbroken, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(unbroken(), folder)
    return folder


def test_damage_of_a_checkpoint_is_found_when_it_is_loaded(run, amount, tell):
    checkpoint = latest_checkpoint(run)[0].path
    asked, hits = amount(200, 5000), []
    for where in break_one_by_one(sorted(checkpoint.iterdir()), asked, seed=2):
        with pytest.raises(CheckpointError) as found:
            verify_checkpoint(checkpoint)
        assert str(checkpoint) in str(found.value)
        hits.append(where)
    assert latest_checkpoint(run)[0].path == checkpoint
    tell(
        "damage of a checkpoint",
        asked=asked,
        injected=len(hits),
        where=hits,
        outcome="found, every one",
    )


def test_damage_of_a_token_file_is_found_before_training(data, tmp_path, amount, tell):
    shutil.copytree(data, tmp_path / "data")
    paths = [tmp_path / "data" / f"train.{end}" for end in ("bin", "idx", "json")]
    asked, hits = amount(200, 5000), []
    for where in break_one_by_one(paths, asked, seed=3):
        with pytest.raises((ValueError, OSError), match=r"train\.(bin|idx|json)"):
            TokenFile(paths[0]).check_ids(257)
        hits.append(where)
    TokenFile(paths[0]).check_ids(257)
    tell(
        "damage of a token file, its index or its manifest",
        asked=asked,
        injected=len(hits),
        where=hits,
        outcome="found, every one",
    )


def test_damage_of_a_tokenizer_is_found_or_changes_no_id(letters_tokenizer, tmp_path, amount, tell):
    """A file also has fields for other programs, and counts: the hash is of what ids depend on."""
    path, out, text = tmp_path / "tokenizer.json", tmp_path / "train.bin", tmp_path / "text.txt"
    letters_tokenizer.save(path)
    text.write_text("the cat and the dog, 12 rats, \u00e9")
    letters_tokenizer.encode_files([text], out)
    tokens, ids = TokenFile(out), letters_tokenizer.encode(text.read_text())
    asked, hits, harmless = amount(200, 5000), [], 0
    for where in break_one_by_one([path], asked, seed=4):
        hits.append(where)
        try:
            loaded = Tokenizer.load(path)
            tokens.check_tokenizer(loaded.sha256, path)
        except ValueError as error:
            assert "tokenizer.json" in str(error)
            continue
        harmless += 1
        assert loaded.merges == letters_tokenizer.merges
        assert loaded.vocab == letters_tokenizer.vocab
        assert loaded.special_tokens == letters_tokenizer.special_tokens
        assert loaded.encode(text.read_text()) == ids
    assert harmless < asked / 4
    tokens.check_tokenizer(Tokenizer.load(path).sha256, path)
    outcome = f"found, but for {harmless} in what no id depends on: these change nothing"
    tell("damage of a tokenizer", asked=asked, injected=asked, where=hits, outcome=outcome)
