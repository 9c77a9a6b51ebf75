"""Conversations become ids: control ids from the template alone, and only answers are learned."""

import time
from datetime import datetime
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

# What known models' templates do: source, special tokens, and what stands around the words that an
# assistant learns.
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
        "<|begin|><|head|>system<|/head|>\n\nToday: {{ strftime_now('%d %b %Y') }}<|eot|>"
        "{% for m in messages %}<|head|>{{ m.role }}<|/head|>\n\n{{ m.content | trim }}"
        "<|eot|>{% endfor %}"
        "{% if add_generation_prompt %}<|head|>assistant<|/head|>\n\n{% endif %}",
        ["<|begin|>", "<|head|>", "<|/head|>", "<|eot|>"],
        "",
        "<|eot|>",
    ),
    "mistral": (
        "<s>{% for m in messages %}{% if m.role != 'system' and (m.role == 'user') != "
        "((loop.index0 - (messages[0].role == 'system')) % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}"
        "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + "
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
        "<bos>{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}"
        "{% endif %}{% for m in messages %}"
        "{% set role = 'model' if m.role == 'assistant' else m.role %}"
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
    "qwen3": (  # keeps the last thoughts alone, and shows where there were none
        "{%- set ns = namespace(asked=0) %}{%- for m in messages %}{%- if m.role == 'user' %}"
        "{%- set ns.asked = loop.index0 %}{%- endif %}{%- endfor %}"
        "{%- for m in messages %}{%- set said, why = m.content, '' %}"
        "{%- if m.role == 'assistant' and '</think>' in said %}"
        "{%- set why = said.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
        "{%- set said = said.split('</think>')[-1].lstrip('\n') %}{%- endif %}"
        "{{- '<|im_start|>' + m.role + '\n' }}"
        "{%- if m.role == 'assistant' and loop.index0 > ns.asked %}"
        "{{- '<think>\n' + why + '\n</think>\n\n' }}{%- endif %}"
        "{{- said }}{%- generation %}{{- '<|im_end|>' }}{%- endgeneration %}{{- '\n' }}"
        "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
        "{%- if enable_thinking is defined and enable_thinking is false %}"
        "{{- '<think>\n\n</think>\n\n' }}{%- endif %}{%- endif %}",
        ["<|im_start|>", "<|im_end|>", "<think>", "</think>"],
        "",
        "<|im_end|>",
    ),
    "r1": (  # drops all thoughts, but asks for some
        "{{ '<s>' }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% endif %}"
        "{% endfor %}{% for m in messages %}{% if m.role == 'user' %}{{ '<user>' + m.content }}"
        "{% elif m.role == 'assistant' %}{{ '<assistant>' + m.content.split('</think>')[-1]"
        " + '</s>' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<assistant><think>\n' }}{% endif %}",
        ["<s>", "</s>", "<user>", "<assistant>"],
        "",
        "</s>",
    ),
    "glm": (  # the next turn's beginning is this one's end
        "[gMASK]{% for m in messages %}{{ '<|' + m.role + '|>\n' }}"
        "{%- if m.role == 'user' %}{{ m.content + ('/nothink' if enable_thinking is false) }}"
        "{%- elif m.role == 'assistant' %}{{ '<think></think>\n' + "
        "m.content.split('</think>')[-1].strip() }}{%- else %}{{ m.content }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n<think></think>{% endif %}",
        ["[gMASK]", "<|user|>", "<|assistant|>", "<|system|>"],
        "\n",
        "<|user|>",
    ),
    "harmony": (
        "<|start|>system<|message|>{{ strftime_now('%Y-%m-%d') }}<|end|>{% for m in messages %}"
        "<|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final{% endif %}"
        "<|message|>{{ m.content }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant{% endif %}",
        ["<|start|>", "<|message|>", "<|channel|>", "<|end|>"],
        "<|channel|>final<|message|>",
        "<|end|>",
    ),
    "functionary": (
        "{% if tools is defined %}{{ tools[0].name }}{% endif %}{% for m in messages %}"
        "<|head|>{{ m.role }}<|/head|>{{ 'all\n' if m.role == 'assistant' }}{{ m.content }}<|eot|>"
        "{% endfor %}{% if add_generation_prompt %}<|head|>assistant<|/head|>{% endif %}",
        ["<|head|>", "<|/head|>", "<|eot|>"],
        "all\n",
        "<|eot|>",
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
    if first and "no system role" in template.source:
        with pytest.raises(ValueError, match="chat template fails: no system role"):
            template.encode([*first, *TURNS])
        return
    conversation = template.encode([*first, *TURNS])
    assert learned_spans(template, conversation) == [
        before + turn["content"] + behind for turn in TURNS[1::2]
    ]


def test_text_is_what_jinja_renders(known):
    template, *_ = known
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)  # noqa: S701
    environment.globals["strftime_now"] = datetime(2024, 7, 26).strftime
    source = template.source.replace("endgeneration %}", "endif %}")
    text = environment.from_string(source.replace("generation %}", "if 1 %}")).render(
        messages=TURNS, enable_thinking=False
    )
    found = template.tokenizer.decode(template.encode(TURNS).ids)
    ends_itself = text.rstrip().endswith(tuple(template.tokenizer.special_tokens))
    assert found == (text if ends_itself else text + "<|user|>")


def test_an_answer_goes_on_from_what_is_asked(known):
    template, before, behind = known
    if "'<assistant><think>" in template.source:
        pytest.skip("it asks for thoughts which it then drops")
    if "ns.asked" in template.source:  # of older turns it shows no thoughts, not even that none
        before = ""
    asked = template.prompt_ids(TURNS[:3])
    whole = template.encode(TURNS)
    assert whole.ids[: len(asked)] == asked
    answer = template.tokenizer.decode(whole.ids[len(asked) :])
    assert answer.startswith(before + TURNS[3]["content"] + behind)


def test_control_tokens_in_contents_are_ordinary_text(known):
    template, *_ = known
    names = template.tokenizer.special_tokens
    specials = {name: names[name] for name in names if "think" not in name}  # these are for it
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


def test_what_a_prompt_does_not_begin_is_learned():
    source = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>{% endfor %}"
    template = template_of(source, ["<|end|>"])
    spans = learned_spans(template, template.encode(TURNS))
    assert spans == ["assistant: Hello, you!<|end|>", "assistant: one\ntwo<|end|>"]


WHY = "<think>\nwhy\n</think>\n\n"
THOUGHTS = {
    "chatml": [WHY + "one<|im_end|>", WHY + "two<|im_end|>"],
    "qwen3": ["one<|im_end|>", WHY + "two<|im_end|>"],
    "r1": ["\n\none</s>", "\n\ntwo</s>"],
    "glm": ["\none<|user|>", "\ntwo<|user|>"],
}


@pytest.mark.parametrize("is_special", [False, True], ids=["text", "special"])
@pytest.mark.parametrize(("name", "expected"), THOUGHTS.items(), ids=THOUGHTS)
def test_thoughts_are_learned_where_the_template_shows_them(name, expected, is_special):
    source, specials, *_ = TEMPLATES[name]
    tags = ["<think>", "</think>"]
    names = [special for special in specials if special not in tags] + tags * is_special
    template = template_of(source, names)
    asked = {"role": "user", "content": "Hi"}
    answers = [{"role": "assistant", "content": WHY + text} for text in ("one", "two")]
    conversation = template.encode([asked, answers[0], asked, answers[1]])
    assert learned_spans(template, conversation) == expected
    if is_special:  # as control tokens, which is how the model knows them
        text = template.tokenizer.decode(conversation.ids)
        count = sum(conversation.ids.count(template.tokenizer.special_tokens[tag]) for tag in tags)
        assert count == text.count("<think>") + text.count("</think>")


def test_a_user_cannot_think_for_the_assistant():
    template = template_of(CHATML, ["<|im_start|>", "<|im_end|>", "</think>"])
    ids = template.prompt_ids([{"role": "user", "content": "a</think>b"}])
    assert template.tokenizer.special_tokens["</think>"] not in ids


CHANGED = {
    "end": ("m.content.split('#')[0]", "yo # so", r"cuts or repeats messages\[1\]\.content"),
    "start": ("m.content.split('#')[-1]", "yo # so", r"cuts or repeats messages\[1\]\.content"),
    "all": ("'' if '#' in m.content else m.content", "#", r"cuts or repeats messages\[1\]"),
    "twice": (
        "m.content + messages[1:2] | map(attribute='content') | join",
        "yo",
        r"cuts or repeats messages\[1\]",
    ),
    "length": ("m.content + m.content | length | string", "yo", "looks into contents"),
    "case": ("m.content | capitalize", "yo", "looks into contents"),
    "chance": ("m.content + range(99999) | random | string", "yo", "looks into contents"),
}


@pytest.mark.parametrize(("code", "content", "message"), CHANGED.values(), ids=CHANGED)
def test_what_hides_whose_words_are_whose_is_refused(chatml, code, content, message):
    template = ChatTemplate(CHATML.replace("m.content", code), chatml.tokenizer)
    turns = [TURNS[0], {"role": "assistant", "content": content}, TURNS[2]]
    with pytest.raises(ValueError, match=message):
        template.encode(turns)
    assert template.prompt_ids(turns)  # of an answer nothing has to be told apart


def test_marks_of_a_template_are_no_marks(chatml):
    for odd in ("\ufdd2\ufde9\ufde9\ufddf", "\ufdd0\ufde1\ufddf", "\ufdd2"):
        template = ChatTemplate(CHATML + odd, chatml.tokenizer)
        assert template.prompt_ids(TURNS[:1])[:3] == chatml.prompt_ids(TURNS[:1])[:3]
    with pytest.raises(ValueError, match="looks into contents"):
        ChatTemplate(CHATML + "\ufdd0\ufde1\ufddf", chatml.tokenizer).encode(TURNS)


def test_a_turn_of_weight_zero_is_not_learned(chatml):
    turns = [TURNS[0], {**TURNS[1], "weight": 0}, TURNS[2], {**TURNS[3], "weight": 1}]
    conversation = chatml.encode(turns)
    assert learned_spans(chatml, conversation) == ["one\ntwo<|im_end|>"]
    assert conversation.ids == chatml.encode(TURNS).ids


def test_a_developer_is_the_system(chatml):
    assert chatml.encode([{**SYSTEM, "role": "developer"}, *TURNS]) == chatml.encode(
        [SYSTEM, *TURNS]
    )


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
    "tool calls": (
        [TURNS[0], {**TURNS[1], "tool_calls": [{"id": "1"}]}],
        r"messages\[1\] has `tool_calls`, expected only role, content, weight",
    ),
    "image": (
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
        r"messages\[0\]\.content is \[\{'type': 'image_url'.*expected text",
    ),
    "weight": ([TURNS[0], {**TURNS[1], "weight": 2}], r"\[1\]\.weight is 2, expected 0 or 1"),
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
def test_a_hostile_template_is_stopped_and_the_next_one_served(chatml, source, message, soon_s):
    began_s = time.monotonic()
    source += "{% endfor %}" * (source.count("{% for a") - source.count("{% endfor"))
    with pytest.raises(ValueError, match=message):
        ChatTemplate(source, chatml.tokenizer).prompt_ids(TURNS[:1])
    assert time.monotonic() - began_s < soon_s
    assert chatml.prompt_ids(TURNS[:1])
