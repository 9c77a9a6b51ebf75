"""JSONL becomes packed rows of which no conversation sees another."""

import json
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minillm.config import ModelConfig
from minillm.data import ChatTemplate, ConversationBatches, Conversations
from minillm.data import conversations as module
from minillm.data.chat_template import PLAIN
from minillm.model import IGNORED, Transformer
from minillm.tokenizer import Tokenizer

ASKED = {"role": "user", "content": "Say it."}


def line(*answers):
    turns = [turn for text in answers for turn in (ASKED, {"role": "assistant", "content": text})]
    return json.dumps({"messages": turns})


@pytest.fixture(scope="module")
def template():
    tokenizer = Tokenizer({i: bytes([i]) for i in range(256)}, [], ["<|endoftext|>"], pattern=None)
    return ChatTemplate(PLAIN, tokenizer)


@pytest.fixture
def read(tmp_path, template):
    def read_lines(*lines, seq_len=200):
        data = b"\n".join(one if isinstance(one, bytes) else one.encode() for one in lines)
        (tmp_path / "a.jsonl").write_bytes(data)
        return Conversations(tmp_path / "a.jsonl", template, seq_len=seq_len)

    return read_lines


def test_both_forms_are_read(read, template):
    instruction = {"instruction": "Add.", "input": "1 2", "output": "3"}
    without = {"instruction": "Go.", "input": "", "output": "gone"}
    read_all = read(line("a"), "", json.dumps(instruction), json.dumps(without))
    texts = [template.tokenizer.decode(one.ids) for one in read_all.kept]
    end = "<|endoftext|>"
    assert texts == [
        f"{end}user\nSay it.{end}assistant\na{end}",
        f"{end}user\nAdd.\n\n1 2{end}assistant\n3{end}",
        f"{end}user\nGo.{end}assistant\ngone{end}",
    ]


BROKEN = {
    "no json": ('{"messages": [', r"line 2: not JSON: Expecting value: column 15 \(char 14\)"),
    "no utf-8": (b'{"messages": "\xff"}', "line 2: not UTF-8 text"),
    "neither": ('{"text": "a"}', "line 2: neither a conversation"),
    "no object": ("[1]", "line 2: neither a conversation"),
    "deep": ("[" * 100_000, "line 2: not JSON: "),
    "role": (
        '{"messages": [{"role": "x", "content": "a"}]}',
        r"line 2: messages\[0\]\.role is 'x'",
    ),
    "only asked": (json.dumps({"messages": [ASKED]}), "line 2: no message is an assistant's"),
    "weightless": (
        json.dumps({"messages": [ASKED, {"role": "assistant", "content": "a", "weight": 0}]}),
        "line 2: no message is an assistant's that is to be learned",
    ),
    "tools": (
        json.dumps({"messages": [ASKED], "tools": [{"name": "f"}]}),
        "line 2: `tools` are not read",
    ),
    "no output": ('{"instruction": "a"}', r"line 2: messages\[1\]\.content is None"),
    "odd input": ('{"instruction": 5, "output": "b"}', r"line 2: messages\[0\]\.content is 5"),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_line_is_named(read, text, message):
    with pytest.raises(ValueError, match=r"a\.jsonl`, " + message):
        read(line("a"), text)


def test_a_template_that_takes_its_time_on_each_line_is_stopped(read, monkeypatch):
    monkeypatch.setattr(module.time, "monotonic", iter(range(0, 1000, 20)).__next__)
    with pytest.raises(ValueError, match="line 4: the chat template takes too long: over 50 ms"):
        read(*[line("a")] * 9)


def test_of_two_forms_in_a_row_it_is_the_conversation_that_counts(read):
    row = {**json.loads(line("a")), "instruction": "b", "output": "c", "tools": None}
    assert read(json.dumps(row)).kept == read(line("a")).kept


def test_conversations_beyond_the_context_are_left_out_and_counted(read):
    found = read(line("a"), line("b" * 300), line("c"), line("d" * 300))
    assert (len(found.kept), found.left_out) == (2, [2, 4])
    with pytest.raises(ValueError, match="holds no conversation of at most 201 tokens") as caught:
        read(line("b" * 300), line("b" * 250))
    assert "hint: the shortest has 275: raise --seq-len to 274 or more" in str(caught.value)
    with pytest.raises(ValueError, match=r"a\.jsonl` holds no conversation$"):
        read("", " ")


def test_rows_hold_whole_conversations_and_only_answers_are_targets(read, template):
    found = read(*(line("x" * n, "y" * n) for n in range(1, 30)), seq_len=250)
    batches = ConversationBatches(found, seq_len=250, batch_size=3, seed=0)
    seen = []
    for ids, targets, documents, n_targets in batches.in_order(max_batches=None):
        assert n_targets == (targets != IGNORED).sum()
        for row in range(len(ids)):
            for document in documents[row].unique().tolist():
                places = documents[row] == document
                if document < 0:
                    assert (targets[row][places] == IGNORED).all()
                    continue
                one = found.kept[document]
                assert ids[row][places].tolist() == one.ids[:-1]
                expected = [
                    token if learned else IGNORED
                    for token, learned in zip(one.ids, one.learned, strict=True)
                ]
                assert targets[row][places].tolist() == expected[1:]
                seen.append(document)
    assert sorted(seen) == list(range(len(found.kept)))


def test_an_epoch_visits_each_row_once_and_any_step_can_be_sought(read):
    found = read(*(line("x" * n) for n in range(1, 60)), seq_len=120)
    batches = ConversationBatches(found, seq_len=120, batch_size=1, seed=7)
    epochs = [
        [batches.batch(epoch * batches.windows + row) for row in range(batches.windows)]
        for epoch in range(2)
    ]
    keys = [[tuple(ids.flatten().tolist()) for ids, *_ in epoch] for epoch in epochs]
    assert sorted(keys[0]) == sorted(keys[1])
    assert keys[0] != keys[1]
    assert torch.equal(batches.batch(5).ids, epochs[0][5].ids)


def test_ranks_share_the_rows_of_conversations(read):
    found = read(*(line("x" * n) for n in range(1, 60)), seq_len=120)
    sizes = {"seq_len": 120, "seed": 7}
    alone = ConversationBatches(found, batch_size=6, **sizes).batch(1).ids
    ranks = [
        ConversationBatches(found, batch_size=3, rank=rank, world=2, **sizes).batch(1).ids
        for rank in range(2)
    ]
    assert torch.equal(torch.stack(ranks, dim=1).flatten(0, 1), alone)


def test_packed_conversations_do_not_see_each_other(read):
    found = read(*(line("x" * n) for n in range(20, 30)), seq_len=200)
    torch.manual_seed(0)
    model = Transformer(
        ModelConfig(vocab_size=257, context_length=200, d_model=32, n_layers=2, n_heads=2)
    ).eval()
    ids, _, documents, _ = next(
        ConversationBatches(found, seq_len=200, batch_size=1, seed=0).in_order(max_batches=1)
    )
    assert len(documents.unique()) > 2
    packed = model(ids, documents=documents)
    for document in documents.unique().tolist():
        places = documents[0] == document
        alone = model(ids[:, places])
        torch.testing.assert_close(packed[:, places], alone, rtol=1e-4, atol=1e-5)


@given(st.lists(st.integers(1, 50), max_size=60))
def test_packing_loses_nothing_and_overfills_nothing(lengths):
    bins = module.pack(lengths, 50)
    assert sorted(item for one in bins for item in one) == list(range(len(lengths)))
    assert all(sum(lengths[item] for item in one) <= 50 for one in bins)
    sums = [sum(lengths[item] for item in one) for one in bins]
    assert all(a + b > 50 for a, b in combinations(sums, 2))
