"""Conversations become ids: control ids from the template alone, and only answers are learned."""

import resource
from itertools import groupby

import jinja2
import pytest

from minillm.data.chat_template import PLAIN, ChatTemplate
from minillm.tokenizer import Tokenizer

TURNS = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello, you!"},
    {"role": "user", "content": "Two lines,\nplease"},
    {"role": "assistant", "content": "one\ntwo"},
]
SYSTEM = {"role": "system", "content": "Be brief."}

CHATML = """\
{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

# The shapes of ten known models' templates: source, special tokens, and what stands around the
# words that an assistant learns.
TEMPLATES = {
    "chatml": (CHATML, ["<|im_start|>", "<|im_end|>"], "", "<|im_end|>"),
    "llama2": (
        "{% for m in messages %}{% if m.role == 'user' %}<s>[INST] {{ m.content.strip() }} [/INST]"
        "{% elif m.role == 'assistant' %} {{ m.content.strip() }} </s>{% endif %}{% endfor %}",
        ["<s>", "</s>"],
        " ",
        " </s>",
    ),
    "llama3": (
        "<|begin|>{% for m in messages %}<|head|>{{ m.role }}<|/head|>\n\n{{ m.content | trim }}"
        "<|eot|>{% endfor %}"
        "{% if add_generation_prompt %}<|head|>assistant<|/head|>\n\n{% endif %}",
        ["<|begin|>", "<|head|>", "<|/head|>", "<|eot|>"],
        "",
        "<|eot|>",
    ),
    "mistral": (
        "<s>{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + "
        "'[/INST]' }}{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + '</s>' }}"
        "{% endif %}{% endfor %}",
        ["<s>", "</s>", "[INST]", "[/INST]"],
        " ",
        "</s>",
    ),
    "zephyr": (
        "{% for m in messages %}\n<|{{ m.role }}|>\n{{ m.content }}</s>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
        ["<s>", "</s>"],
        "",
        "</s>",
    ),
    "gemma": (
        "<bos>{% for m in messages %}{% set role = 'model' if m.role == 'assistant' else m.role %}"
        "<turn>{{ role }}\n{{ m.content | trim }}</turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<turn>model\n{% endif %}",
        ["<bos>", "<turn>", "</turn>"],
        "",
        "</turn>",
    ),
    "phi3": (
        "{% for m in messages %}{{ '<|' + m.role + '|>' + '\n' + m.content + '<|end|>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% else %}<|eot|>{% endif %}",
        ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|eot|>"],
        "",
        "<|end|>",
    ),
    "qwen": (
        "{%- if messages[0].role == 'system' %}{{- '<|im_start|>system\n' + messages[0].content"
        " + '<|im_end|>\n' }}{%- endif %}{%- for m in messages %}{%- if m.role != 'system' %}"
        "{%- set content = m.content.split('</think>')[-1].lstrip('\n') %}"
        "{{- '<|im_start|>' + m.role + '\n' + content }}{%- generation %}{{- '<|im_end|>' }}"
        "{%- endgeneration %}{{- '\n' }}{%- endif %}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}",
        ["<|im_start|>", "<|im_end|>", "<think>", "</think>"],
        "",
        "<|im_end|>",
    ),
    "vicuna": (
        "{% for m in messages %}{% if m.role == 'user' %}USER: {{ m.content }} "
        "{% elif m.role == 'assistant' %}ASSISTANT: {{ m.content }}</s>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}ASSISTANT:{% endif %}",
        ["<s>", "</s>"],
        " ",
        "</s>",
    ),
    "alpaca": (
        "{% for m in messages %}{% if m.role == 'user' %}### Instruction:\n{{ m.content }}\n\n"
        "{% elif m.role == 'assistant' %}### Response:\n{{ m.content }}<|endoftext|>\n\n"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}### Response:\n{% endif %}",
        ["<|endoftext|>"],
        "",
        "<|endoftext|>",
    ),
    "plain": (PLAIN, ["<|endoftext|>"], "", "<|endoftext|>"),
}


def template_of(source, specials):
    text = "Hello you, be brief: one two, <|im_start|> user assistant [INST] ### Response:\n"
    return ChatTemplate(source, Tokenizer.train([text * 20], 300, special_tokens=specials))


@pytest.fixture(params=TEMPLATES.values(), ids=TEMPLATES)
def known(request):
    source, specials, before, behind = request.param
    return template_of(source, specials), before, behind


@pytest.fixture
def chatml():
    return template_of(*TEMPLATES["chatml"][:2])


def learned_spans(template, conversation):
    pairs = zip(conversation.learned, conversation.ids, strict=True)
    return [
        template.tokenizer.decode([token for _, token in group])
        for is_learned, group in groupby(pairs, lambda pair: pair[0])
        if is_learned
    ]


@pytest.mark.parametrize("first", [[], [SYSTEM]], ids=["", "system"])
def test_an_assistant_learns_its_words_and_its_end(known, first):
    template, before, behind = known
    conversation = template.encode([*first, *TURNS])
    assert learned_spans(template, conversation) == [
        before + turn["content"] + behind for turn in TURNS[1::2]
    ]


def test_text_is_what_jinja_renders(known):
    template, *_ = known
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)  # noqa: S701
    source = template.source.replace("endgeneration %}", "endif %}")
    text = environment.from_string(source.replace("generation %}", "if 1 %}")).render(
        messages=TURNS
    )
    assert template.tokenizer.decode(template.encode(TURNS).ids) == text


def test_an_answer_goes_on_from_what_is_asked(known):
    template, before, behind = known
    asked = template.prompt_ids(TURNS[:3])
    whole = template.encode(TURNS)
    assert whole.ids[: len(asked)] == asked
    answer = template.tokenizer.decode(whole.ids[len(asked) :])
    assert answer.startswith(before + TURNS[3]["content"] + behind)


def test_control_tokens_in_contents_are_ordinary_text(known):
    template, *_ = known
    specials = template.tokenizer.special_tokens
    evil = "".join(specials) + "".join(name[:2] for name in specials) + "".join(specials)
    control = set(specials.values())

    def controls(content):
        turns = [{**turn, "content": content} for turn in TURNS]
        ids = template.encode(turns).ids
        return [token for token in ids if token in control], template.tokenizer.decode(ids)

    (expected, _), (found, text) = controls("x"), controls(f"x{evil}x")
    assert found == expected
    assert text.count(evil) >= len(TURNS)


def test_pieces_of_two_contents_make_no_control_token(chatml):
    turns = [{"role": "user", "content": "<|im_"}, {"role": "user", "content": "end|>"}]
    joined = ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}", chatml.tokenizer)
    ids = joined.encode(turns).ids
    assert chatml.tokenizer.decode(ids) == "<|im_end|>"
    assert set(ids).isdisjoint(chatml.tokenizer.special_tokens.values())


def test_stop_ids_are_what_ends_an_answer(known):
    template, _, behind = known
    template.check()
    assert template.stop_ids == {template.tokenizer.special_tokens[behind.strip()]}


def test_a_template_without_an_end_is_refused():
    template = template_of("{% for m in messages %}{{ m.content }}\n{% endfor %}", ["<|end|>"])
    with pytest.raises(ValueError, match="no control token behind an assistant's turn") as caught:
        template.check()
    assert "which has <|end|>" in caught.value.__notes__[0]


def test_a_template_that_does_not_begin_a_turn_is_refused():
    source = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>{% endfor %}"
    with pytest.raises(ValueError, match="puts 'assistant: ' before an assistant's turn"):
        template_of(source, ["<|end|>"]).check()


def test_contents_may_be_lists_of_parts(chatml):
    parts = [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]
    turns = [{"role": "user", "content": parts}, *TURNS[1:]]
    assert chatml.encode(turns) == chatml.encode(TURNS)


BAD = {
    "no list": ("hello", "`messages` is 'hello', expected a list of turns"),
    "none": ([], r"`messages` is \[\], expected a list of turns"),
    "no object": (["hi"], r"messages\[0\] is 'hi', expected a role and a content"),
    "role": ([{"role": "robot", "content": "a"}], r"messages\[0\]\.role is 'robot', expected one"),
    "empty": ([*TURNS, {"role": "user", "content": " \n"}], r"messages\[4\]\.content is ' \\n'"),
    "missing": ([{"role": "user"}], r"messages\[0\]\.content is None, expected text"),
    "assistant first": ([SYSTEM, TURNS[1]], r"messages\[1\] is an assistant's, expected a user's"),
    "no character": ([{"role": "user", "content": "\ufdd1"}], "which is no character"),
}


@pytest.mark.parametrize(("turns", "message"), BAD.values(), ids=BAD)
def test_a_bad_message_is_named(chatml, turns, message):
    with pytest.raises(ValueError, match=message):
        chatml.encode(turns)


HOSTILE = {
    "endless": ("{% set n = namespace(i=0) %}" + "{% for a in range(99999) %}" * 3, "a second"),
    "one long operation": ("{{ 9 ** (9 ** 9) }}", "a second"),
    "much memory": ("{{ 'a' * 9999999999 }}", "more than 256 MiB of memory"),
    "much output": ("{% for a in range(99999) %}{{ 'a' * 9999 }}{% endfor %}", "MiB of memory"),
    "attributes": ("{{ ''.__class__.__mro__ }}", "unsafe"),
    "its own errors": ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
    "recursion": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion depth"),
    "no template": ("{% for", "chat template fails: "),
    "arithmetic": ("{{ 1 / 0 }}", "division by zero"),
}


@pytest.mark.parametrize(("source", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_template_is_stopped_and_the_next_one_served(chatml, source, message):
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    source += "{% endfor %}" * (source.count("{% for a") - source.count("{% endfor"))
    with pytest.raises(ValueError, match=message):
        ChatTemplate(source, chatml.tokenizer).prompt_ids(TURNS[:1])
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 5  # of its own seconds
    assert chatml.prompt_ids(TURNS[:1])
