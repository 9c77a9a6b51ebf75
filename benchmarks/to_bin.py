"""How long does a file of text take to become a `.bin` of 16-bit ids on disk, from a cold start?

Everyone is a process of its own, timed from its first to its last moment: starting, importing,
loading the tokenizer, reading, encoding, writing. The ids must be the same. Who has no file sink
gets the few lines that its users write: encode, cast to 16 bits, `tofile`; `nanogpt` is nanoGPT's
way, tiktoken document by document. minillm also writes index, manifest and checksums, and waits
until all of it is on the disk; `--sync` makes the others wait too.

    python benchmarks/to_bin.py CORPUS --tokenizer own/tokenizer.json --name own
    python benchmarks/to_bin.py CORPUS --tokenizer FOLDER/tiktoken/r50k_base.tiktoken --name gpt2
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import App, Parameter

import harness
from harness import RESULTS, SEPARATOR, Contender
from tables import table
from vocabularies import GPT2

CONTENDERS = (
    Contender("minillm", "minillm"),
    Contender("minillm-no-table", "minillm"),
    Contender("gigatoken", "gigatoken"),
    Contender("nanogpt", "tiktoken"),
)

GIGATOKEN = """
    import sys
    import awkward
    import gigatoken
    import numpy as np
    kind, vocabulary, corpus, out, sync = sys.argv[1:]
    load = gigatoken.Tokenizer.from_tiktoken if kind == "ranks" else gigatoken.Tokenizer
    tokenizer = load(vocabulary)
    rows = tokenizer.encode_files(gigatoken.TextFileSource([corpus], separator="<|endoftext|>"))
    ids = np.asarray(awkward.flatten(rows)).astype(np.uint16)
    with open(out, "wb") as file:
        ids.tofile(file)
        if sync == "yes":
            import os
            os.fsync(file.fileno())
"""

NANOGPT = """
    import sys
    import numpy as np
    import tiktoken
    from tiktoken.load import load_tiktoken_bpe
    vocabulary, pattern, end_of_text, corpus, out, sync = sys.argv[1:]
    encoding = tiktoken.Encoding(
        "r50k",
        pat_str=pattern,
        mergeable_ranks=load_tiktoken_bpe(vocabulary),
        special_tokens={"<|endoftext|>": int(end_of_text)},
    )
    with open(corpus, encoding="utf-8", newline="") as file:
        documents = file.read().split("<|endoftext|>")
    rows = encoding.encode_ordinary_batch(documents, num_threads=2)
    ids = np.concatenate([np.array(row, dtype=np.uint16) for row in rows])
    with open(out, "wb") as file:
        ids.tofile(file)
        if sync == "yes":
            import os
            os.fsync(file.fileno())
"""

app = App(name="to_bin")


@app.default
def main(
    corpus: Path,
    *,
    tokenizer: Path,
    name: str,
    sync: bool = False,
    repeats: int = 5,
    only: Sequence[str] = (),
    out: Path | None = None,
    worker: Annotated[str | None, Parameter(show=False)] = None,
    report: Annotated[Path | None, Parameter(show=False)] = None,
) -> int:
    """Measures everyone on one corpus.

    Args:
        corpus: UTF-8 text; documents end at <|endoftext|>.
        tokenizer: A tokenizer.json with its trained-in table, or GPT-2's ranks (.tiktoken).
        name: Goes into the name of the result, to_bin-NAME.json.
        sync: Rivals wait for the disk, too.
        repeats: Processes of each contender.
        only: Contenders to run; all that can if none is named.
        out: File of the result, if not in results/.
        worker: Do the job of this contender once (internal).
        report: Where a worker writes what it measured (internal).
    """
    if worker is not None and report is not None:
        harness.answer(work(worker, corpus, tokenizer, sync=sync), report)
        return 0
    is_ranked = tokenizer.suffix == ".tiktoken"
    able = [
        one for one in CONTENDERS if one.name != ("minillm-no-table" if is_ranked else "nanogpt")
    ]
    contenders = harness.chosen(able, only, threads=0)
    arguments = [str(corpus), f"--tokenizer={tokenizer}", f"--name={name}"]
    arguments += ["--sync"] if sync else []
    measured = harness.measure(__file__, contenders, arguments, repeats=repeats)
    path = out or RESULTS / f"to_bin-{name}.json"
    facts = {"corpus": harness.describe_corpus(corpus), "threads": "all", "baseline": "minillm"}
    title = f"write {name} ids to disk" + (", all synced" if sync else "")
    sound = harness.write_comparison(path, title, contenders, measured, facts)
    print(table(path))
    return 0 if sound and harness.agree(path, "ids", "ids_sha256") else 1


def work(contender: str, corpus: Path, tokenizer: Path, *, sync: bool) -> harness.Sample:
    """One process, from its start to its end."""
    with tempfile.TemporaryDirectory(dir=corpus.parent) as folder:
        out = Path(folder) / "train.bin"
        text = Path(folder) / "corpus.txt"
        copy_without_blank_end(corpus, text)
        sample = harness.timed_command(
            COMMANDS[contender](text, tokenizer, out, "yes" if sync else "no")
        )
        ids = np.fromfile(out, "<u2")
    eot = GPT2.eot_id
    if tokenizer.suffix != ".tiktoken":
        eot = tokenizer_json_id(tokenizer)
    ids = ids[ids != eot]
    return {**sample, "ids": len(ids), "ids_sha256": hashlib.sha256(ids.tobytes()).hexdigest()}


def copy_without_blank_end(corpus: Path, text: Path) -> None:
    """What is blank behind the last separator is no document to minillm, but one to others.

    In small pieces: what this process holds would count as memory of the one that it starts.
    """
    shutil.copyfile(corpus, text)
    with text.open("rb+") as file:
        file.seek(max(text.stat().st_size - 4096, 0))
        start = file.tell()
        end = start + len(file.read().rstrip())
        file.truncate(end)


def tokenizer_json_id(tokenizer: Path) -> int:
    """The id of the separator."""
    added = json.loads(tokenizer.read_text())["added_tokens"]
    return next(int(token["id"]) for token in added if token["content"] == SEPARATOR)


def minillm(corpus: Path, tokenizer: Path, out: Path, _sync: str) -> list[str]:
    """The command, with a `tokenizer.json` of GPT-2 where the ranks are given."""
    command = [str(Path(sys.executable).with_name("minillm-bpe")), "encode", str(corpus)]
    command += [f"--tokenizer={as_json(tokenizer)}", f"--out={out}", "--val-fraction=0", "--quiet"]
    return command


def as_json(tokenizer: Path) -> Path:
    """The `tokenizer.json` of a file of ranks, made once in the folder for temporary files."""
    if tokenizer.suffix != ".tiktoken":
        return tokenizer
    made = Path(tempfile.gettempdir()) / f"minillm-{tokenizer.stem}.json"
    if not made.exists():
        code = (
            "import sys; from minillm.tokenizer import Tokenizer; "
            f"specials = {{{SEPARATOR!r}: {GPT2.eot_id}}}; "
            "Tokenizer.from_ranks(sys.argv[1], specials, pattern='gpt2').save(sys.argv[2])"
        )
        subprocess.run([sys.executable, "-c", code, str(tokenizer), str(made)], check=True)
    return made


def without_table(corpus: Path, tokenizer: Path, out: Path, sync: str) -> list[str]:
    """The command, told to start cold."""
    return [*minillm(corpus, tokenizer, out, sync), "--no-table"]


def gigatoken(corpus: Path, tokenizer: Path, out: Path, sync: str) -> list[str]:
    """What `encode_files` gives, which cuts the file at the separator."""
    kind = "ranks" if tokenizer.suffix == ".tiktoken" else "json"
    return [*python(GIGATOKEN), kind, str(tokenizer), str(corpus), str(out), sync]


def nanogpt(corpus: Path, tokenizer: Path, out: Path, sync: str) -> list[str]:
    """The way of nanoGPT's `prepare.py`, on documents of a local file."""
    known = [str(tokenizer), GPT2.regex, str(GPT2.eot_id)]
    return [*python(NANOGPT), *known, str(corpus), str(out), sync]


def python(code: str) -> list[str]:
    """A script for this interpreter."""
    return [sys.executable, "-c", textwrap.dedent(code)]


COMMANDS = {
    "minillm": minillm,
    "minillm-no-table": without_table,
    "gigatoken": gigatoken,
    "nanogpt": nanogpt,
}

if __name__ == "__main__":
    sys.exit(app())
