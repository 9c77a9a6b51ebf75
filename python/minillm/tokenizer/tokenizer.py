"""The tokenizer: how it is learned, how well it fits a text, and what it makes of files.

Every byte string survives `decode_bytes(encode_bytes(data))`, valid UTF-8 or not. How text is split
and merged, how ties are broken in training and what the saved file holds: `docs/tokenizer.md`.

A tokenizer never changes after it is built, so threads, forked processes and data loaders may share
one. Threads live as long as the call that asks for them, so a process may fork between any two
calls. (A pool that outlives the call is what makes other tokenizers hang in forked children.) Ids
come as arrays wherever there may be many: a Python `int` takes 32 bytes and more, an id in an array
two.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeAlias, TypedDict, Unpack, final

from minillm import _core
from minillm.files import FilePath
from minillm.tokenizer.inputs import TEXT_FIELD, Corpus, Files, files_or_texts
from minillm.tokenizer.limits import check_counting, check_numbers
from minillm.tokenizer.outputs import prepare_token_files
from minillm.tokenizer.vocabulary import Allowed, Vocabulary

TieBreak: TypeAlias = Literal["lex", "id", "hf"]


class MergeOptions(TypedDict, total=False):
    """What may be said of any merging; meaning and defaults are those of `Tokenizer.train`."""

    tie_break: TieBreak
    min_frequency: int
    max_token_length: int | None
    threads: int


@final
class Tokenizer(Vocabulary):
    """A byte-level BPE vocabulary with its pre-tokenizer and special tokens."""

    __slots__ = ()

    @classmethod
    def train(
        cls,
        corpus: Corpus | _core.Counts,
        vocab_size: int,
        *,
        base: Tokenizer | None = None,
        field: str = TEXT_FIELD,
        special_tokens: Sequence[str] = (_core.END_OF_TEXT,),
        specials_first: bool = False,
        pattern: str | None = "gpt2",
        tie_break: TieBreak = "lex",
        min_frequency: int = 1,
        max_token_length: int | None = None,
        weights: Sequence[int] = (),
        threads: int = 0,
        max_memory: int | None = None,
        temp_dir: FilePath | None = None,
    ) -> Tokenizer:
        """Learns a vocabulary. The result depends on nothing but the text and these options.

        Args:
            corpus: A file, a list of files, or an iterable of texts, each a document. In text
                files, special tokens separate documents; jsonl files hold one a line. Both may be
                packed by gzip or zstd. A folder or a pattern such as "data/**/*.txt" stands for
                files, too. A list of strings is taken for files if every one of them names one.
            vocab_size: Number of ids: 256 bytes, then merges, then special tokens.
            base: A tokenizer to go on from; `continued` says how.
            field: The field of jsonl files that is the text; "meta.text" is the field "text" of the
                object in the field "meta".
            special_tokens: Never counted, never split.
            specials_first: Gives the lowest ids to the special tokens.
            pattern: As for the constructor.
            tie_break: Which of several equally frequent pairs is merged first. "lex": the greatest
                pair of byte strings; "id": the smallest pair of ids, as rustbpe; "hf": as Hugging
                Face tokenizers.
            min_frequency: Pairs that occur less often are not merged.
            max_token_length: Longest token in bytes; None sets no limit.
            weights: How often each file, folder or pattern counts, a whole number of 1 or more;
                none: once each.
            threads: Number of threads; 0 takes every core. The result does not depend on it.
            max_memory: Bytes for counting and merging; those of the interpreter and of the
                vocabulary come on top. What finds no room while counting goes to disk; the result
                does not depend on it.
            temp_dir: Where on disk; None is the system's folder for temporary files.

        Raises:
            ValueError: If an option is out of range or there is no text.
            OSError: If a file cannot be read, or `temp_dir` not be written to.
        """
        check_numbers(vocab_size=vocab_size, min_frequency=min_frequency)
        check_numbers(max_token_length=max_token_length or 0)
        check_counting(special_tokens, weights, max_memory, temp_dir)
        source: Files | Iterator[str] | _core.Counts
        if isinstance(corpus, _core.Counts):
            source = corpus
        else:
            source, weights = files_or_texts(corpus, field=field, weights=weights)
        trained = _core.train(
            source,
            vocab_size,
            base=base,
            special_tokens=list(special_tokens),
            specials_first=specials_first,
            pattern=pattern,
            tie_break=tie_break,
            min_frequency=min_frequency,
            max_token_bytes=max_token_length,
            weights=weights,
            threads=threads,
            max_memory=max_memory,
            temp_dir=temp_dir,
        )
        if trained.stopped_early is not None:
            size = trained.bpe.vocab_size
            text = f"vocab_size is {size} and not {vocab_size}: {trained.stopped_early}"
            warnings.warn(text, stacklevel=2)
        return cls._of(trained.bpe)

    def continued(
        self,
        corpus: Corpus,
        vocab_size: int,
        *,
        field: str = TEXT_FIELD,
        **options: Unpack[MergeOptions],
    ) -> Tokenizer:
        """Learns more merges, as if training had made those of this tokenizer itself.

        Its merges are made first, in their order and however rare they are in `corpus`. All its
        ids stay what they are, those of special tokens too; new ones lie above them. On the same
        corpus, with the same options, the merges are those of one long run.

        Args:
            corpus: As for `train`.
            vocab_size: Number of ids in the end.
            field: As for `train`.
            options: `tie_break`, `min_frequency` and `max_token_length`, both of what is new only,
                and `threads`: as for `train`.

        Raises:
            ValueError: If this tokenizer has more ids already or lacks the token of a byte, an
                option is out of range, or there is no text.
            OSError: If a file cannot be read.
        """
        return self.train(
            corpus,
            vocab_size,
            base=self,
            field=field,
            special_tokens=list(self.special_tokens),
            pattern=self.pattern,
            **options,
        )

    def bytes_per_token(
        self, corpus: Corpus, *, field: str = TEXT_FIELD, threads: int = 0
    ) -> float:
        """How well the tokenizer fits a text, best one that it was not trained on.

        Special tokens count as nothing. Files are read in blocks, whatever their size.

        Args:
            corpus: As for `train`.
            field: As for `train`.
            threads: Number of threads; 0 takes every core.

        Raises:
            ValueError: If there is no text.
            OSError: If a file cannot be read.
        """
        source, _ = files_or_texts(corpus, field=field)
        n_bytes, n_tokens = _core.measure(source, self, threads=threads)
        if n_tokens == 0:
            raise ValueError("no text to measure")
        return n_bytes / n_tokens

    def encode_iterable(
        self, texts: Iterable[str], *, allowed_special: Allowed = "all"
    ) -> Iterator[int]:
        """The ids of the concatenation of `texts`, lazily and in constant memory.

        Wherever the pieces are cut, even inside a word or a special token, the ids are those of
        the whole.

        Args:
            texts: For example an open file, which yields its lines.
            allowed_special: As for `encode`, but by default every special token becomes its id,
                because this is for corpora, which separate documents by them. Others are ordinary
                text.
        """
        stream = self.stream(allowed_special)
        for text in texts:
            yield from stream.push(text)
        yield from stream.finish()

    def encode_files(
        self,
        files: Sequence[FilePath],
        out: FilePath,
        *,
        field: str = TEXT_FIELD,
        separator: str = _core.END_OF_TEXT,
        val_fraction: float = 0.0,
        dtype: Literal["uint16", "uint32"] | None = None,
        eot: Literal["append", "prepend", "none"] = "append",
        sync_every: int = 256_000_000,
        resume: bool = False,
        threads: int = 0,
    ) -> _core.Encoded:
        """Turns files of text into a token file, as `minillm-bpe encode` does.

        Args:
            files: Files, folders and patterns, of text or jsonl, packed or not.
            separator: Special token that separates documents in text.
            field: The field of jsonl files that is the text.
            out: The token file; its index, its manifest and this tokenizer are put beside it.
            val_fraction: Part of the documents, chosen by a hash of their text, that go to
                `val.bin` in the same folder.
            dtype: None takes 16 bits where the vocabulary allows it.
            eot: Where the id of the separator stands: behind each document, before it, nowhere.
            sync_every: After so many bytes of output, the state is saved on the disk.
            resume: Goes on from the state that was saved last, if there is one.
            threads: How many; 0 takes every core. The result does not depend on it.

        Returns:
            Tokens, documents and bytes of what was written.

        Raises:
            ValueError: If there is no document, or an output would overwrite an input.
            OSError: If a file cannot be read or written.
        """
        if isinstance(files, (str, os.PathLike)):
            raise ValueError(f"files is `{os.fspath(files)}`, expected a list of files")
        corpus = Files.of(files, field=field)
        encoded = _core.encode_files(
            corpus,
            self,
            Path(out),
            val_out=prepare_token_files(corpus, Path(out), val_fraction),
            val_fraction=val_fraction,
            dtype=dtype,
            threads=threads,
            eot=eot,
            separator=separator,
            sync_every=sync_every,
            resume=resume,
        )
        self.save(Path(out).with_name("tokenizer.json"))
        return encoded


def pretokenize(text: str, pattern: str | None = "gpt2") -> list[str]:
    """Splits `text` as it is split before merging; the parts add up to it."""
    return [part.decode() for part in _core.pretokenize(text, pattern)]


def as_tiktoken(tokenizer: Tokenizer, name: str = "minillm") -> _core.Encoding:
    """`tokenizer` with the methods of `tiktoken.Encoding`: existing code switches in one line.

    Args:
        tokenizer: Its vocabulary may be of any origin.
        name: What the encoding calls itself; nothing depends on it.
    """
    return _core.Encoding(tokenizer, name)
