"""A tokenizer of another library drives everything: text to token files, training, generation."""

import pytest

from minillm.config import SampleConfig
from minillm.infer import load_run, prompt_ids, stream_texts
from minillm.pretrain import run
from minillm.tokenizer import encode_texts, text_encoder
from minillm.track.metrics import read_metrics

STORY = "Tom saw a red kite and ran. "


@pytest.fixture
def tokenizer():
    """Letters and words with SentencePiece's spaces: what our own cannot read."""
    from tokenizers import AddedToken, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as HfTokenizer

    pieces = [("<unk>", 0.0), *[(letter, -9.0) for letter in "Tomsawredkiten.\u2581"]]
    pieces += [(f"\u2581{word}", -3.0) for word in STORY.replace(".", "").split()]
    theirs = HfTokenizer(models.Unigram(sorted(set(pieces), key=lambda one: -one[1]), unk_id=0))
    theirs.pre_tokenizer = pre_tokenizers.Metaspace()
    theirs.decoder = decoders.Metaspace()
    theirs.add_special_tokens([AddedToken("</s>", special=True)])
    return text_encoder(theirs, eot="</s>")


def test_it_encodes_trains_and_generates(make_config, tokenizer, tmp_path):
    config = make_config(model__vocab_size=str(tokenizer.vocab_size))
    for path in config.data.path.iterdir():
        path.unlink()
    for name, count in (("train", 60), ("val", 10)):
        texts = (STORY * 5 for _ in range(count))
        encode_texts(texts, config.data.path / f"{name}.bin", tokenizer=tokenizer)
    options = {"resume": False, "eval_only": False, "quiet": True, "tokenizer": tokenizer}
    result = run(config, **options)
    folder = config.train.out_dir
    assert result.val_bits_per_byte is not None
    assert (folder / "samples.txt").exists()
    assert not (folder / "tokenizer.json").exists()
    assert read_metrics(folder)[-1]["final"]

    loaded = load_run(folder, tokenizer=tokenizer)
    prompts = [prompt_ids(loaded.tokenizer, prompt) for prompt in ("Tom saw", "")]
    sample = SampleConfig(max_new_tokens=5, temperature=0.0)
    texts, ids = ["", ""], [[], []]
    for new, text in stream_texts(loaded.model, tokenizer, prompts, sample, seeds=[0, 0]):
        texts[new.row] += text
        ids[new.row] += [] if new.finish == "stop" else [new.id]
    assert texts == [loaded.tokenizer.decode(row) for row in ids]
    with pytest.raises(ValueError, match=r"tokenizer\.json` is missing"):
        load_run(folder)

    other = text_encoder(tokenizer)
    other.sha256 = "0" * 64
    with pytest.raises(ValueError, match="the tokenizer passed in has sha256 000000000000"):
        load_run(folder, tokenizer=other)
    with pytest.raises(ValueError, match="`the tokenizer passed in` is 000000000000"):
        run(config, **options | {"resume": True, "tokenizer": other})
