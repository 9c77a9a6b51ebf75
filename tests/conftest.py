"""What all tests share: checked signatures, Ctrl-C, and the real text of `MINILLM_DATA`.

Every tensor's axes and dtype are checked as the signatures state them while the tests run. That
hook must be in place before anything imports the modules, so it stands here.
"""

import os
import shutil
import signal
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from jaxtyping import install_import_hook

# Workers side by side have a core each; two that both want all would only wait for one another.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Where bytecode may not be kept, each of the many processes of these tests would compile PyTorch
# anew, which takes longer than its import.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

HOOKED = ["minillm.model", "minillm.optim", "textbook.model", "textbook.optim", "textbook.data"]
install_import_hook(HOOKED, "beartype.beartype")

# A shell starts background jobs deaf to Ctrl-C, and so would be what the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

DATA_VARIABLE = "MINILLM_DATA"


CLOCKS = ("tokens_per_s", "elapsed_s", "memory_bytes")

SETTINGS = {
    "model.context_length": "32",
    "model.d_model": "32",
    "model.n_layers": "2",
    "model.n_heads": "2",
    "model.dropout": "0.1",
    "train.batch_size": "4",
    "train.max_train_steps": "20",
    "train.gradient_accumulation_steps": "2",
    "train.eval_interval": "5",
    "train.eval_batches": "2",
    "train.generate_interval": "7",
    "train.save_interval": "4",
    "train.log_interval": "3",
    "train.device": "cpu",
    "train.threads": "1",
    "optim.warmup_steps": "4",
    "sample.max_new_tokens": "8",
}


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="write golden files anew")
    parser.addoption("--fault-size", choices=["ci", "full"], default="ci", help="how many faults")
    parser.addoption(
        "--fault-report", type=Path, help="file that tells of them, brought up to date"
    )


@pytest.fixture(scope="session")
def update_golden(request) -> bool:
    """Whether golden tests record what they measure instead of holding it against the record."""
    return request.config.getoption("--update-golden")


@pytest.fixture(scope="session")
def soon_s() -> float:
    """Seconds within which all that should be at once has ended, on a machine at work for others.

    What a test stops must go on for longer than that, or the stop would show nothing.
    """
    return 15.0


@pytest.fixture(scope="session")
def data_dir() -> Iterator[Path]:
    """A folder with every file of `MINILLM_DATA` unpacked, or a skip where there is none."""
    if DATA_VARIABLE not in os.environ:
        pytest.skip(f"{DATA_VARIABLE} is not set")
    with tempfile.TemporaryDirectory(prefix="minillm-data-") as folder:
        for packed in sorted(Path(os.environ[DATA_VARIABLE]).glob("*.zst")):
            unpack(packed, Path(folder))
        yield Path(folder)


@pytest.fixture(autouse=True)
def one_thread():
    """Lets no test inherit the threads that a run before it asked PyTorch for."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture
def no_compiler(monkeypatch):
    """Keeps PyTorch's profiler from importing the compiler for one setting: that takes seconds."""
    config = SimpleNamespace(triton=SimpleNamespace(cudagraphs=False))
    monkeypatch.setitem(sys.modules, "torch._inductor.config", config)
    monkeypatch.setitem(sys.modules, "torch._inductor", SimpleNamespace(config=config))


@pytest.fixture(scope="session")
def letters_tokenizer():
    """A small trained tokenizer, quick to make and good for any text."""
    from minillm.tokenizer import Tokenizer

    text = "the cat and the dog sat on the mat; 12 rats ran at the cat.\n\n"
    return Tokenizer.train([text * 50], 280)


@pytest.fixture
def make_parts(letters_tokenizer):
    """A model of random weights that no other would be mistaken for, ready for the exchange."""

    def make(**fields):
        import torch

        from minillm.checkpoint import model_tensors
        from minillm.config import ModelConfig, SampleConfig
        from minillm.interop import Parts
        from minillm.model import Transformer

        shape = {"vocab_size": letters_tokenizer.vocab_size, "context_length": 64, "d_model": 32}
        shape |= {"n_layers": 2, "n_heads": 4, "d_ff": 64, "init_std": 0.1}
        torch.manual_seed(0)
        model = Transformer(ModelConfig(**{**shape, **fields}))
        for parameter in model.parameters():
            if parameter.ndim == 1:  # off their ones and zeros, where mistakes would hide
                torch.nn.init.normal_(parameter, mean=1.0, std=0.3)
        tensors = model_tensors(model)
        return Parts(model.config, tensors, letters_tokenizer, None, SampleConfig(temperature=0.0))

    return make


CHATML = """{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@pytest.fixture
def make_foreign(make_parts):
    """The same with control tokens of one's own, and a chat template."""

    def make(*specials, template=None, **fields):
        from minillm.tokenizer import Tokenizer

        text = "the cat and the dog sat on the mat; 12 rats ran at the cat.\n\n"
        size = 270 + len(specials)
        tokenizer = Tokenizer.train([text * 50], size, special_tokens=list(specials))
        parts = make_parts(vocab_size=tokenizer.vocab_size, **fields)
        return parts._replace(tokenizer=tokenizer, chat_template=template)

    return make


@pytest.fixture
def chat_parts(make_foreign):
    """A model whose turns end in another token than its texts."""
    return make_foreign("<|endoftext|>", "<|im_start|>", "<|im_end|>", template=CHATML)


@pytest.fixture(scope="session")
def run_settings():
    """Dotted fields of a run that takes a second."""
    return SETTINGS


@pytest.fixture(scope="session")
def write_data():
    """Fills a folder with byte-level shards of some text, their manifests and their tokenizer."""

    def write(folder):
        import numpy as np

        from minillm.tokenizer import Tokenizer

        folder.mkdir()
        end = "<|endoftext|>"
        tokenizer = Tokenizer({i: bytes([i]) for i in range(256)}, [], [end], pattern=None)
        tokenizer.save(folder / "tokenizer.json")
        for name, stories in (("train", 60), ("val", 6)):
            rng = np.random.default_rng(stories)
            words = ["Tom", "saw", "a", "red", "kite", "and", "ran"]
            text = folder.parent / f"{name}.txt"
            text.write_text(end.join(" ".join(rng.choice(words, size=20)) for _ in range(stories)))
            tokenizer.encode_files([text], folder / f"{name}.bin")
        return folder

    return write


@pytest.fixture(scope="session")
def shared_data(write_data, tmp_path_factory):
    """Data of a run, to be read only."""
    return write_data(tmp_path_factory.mktemp("shared") / "data")


@pytest.fixture
def data_folder(shared_data, tmp_path):
    """The same, for a test to do with as it likes."""
    return shutil.copytree(shared_data, tmp_path / "data")


@pytest.fixture
def settings(run_settings, data_folder, tmp_path):
    """Dotted fields of a tiny run in `tmp_path / "run"`."""
    return {**run_settings, "data.path": str(data_folder), "train.out_dir": str(tmp_path / "run")}


@pytest.fixture
def make_config(settings):
    """Builds the configuration, with changes given as `section__field="text"`."""

    from minillm.config import load_config

    def make(**changes):
        named = {name.replace("__", "."): value for name, value in changes.items()}
        base = {"model": {"vocab_size": 257}}
        return load_config(model="nano", overrides={**settings, **named}, base=base)

    return make


def _weights_of(folder):
    """Weights, optimizer and generators of the newest checkpoint, and its step."""
    from minillm.checkpoint import latest_checkpoint

    checkpoint, _ = latest_checkpoint(folder)
    tensors = {name: checkpoint.tensors(name) for name in ("model", "optimizer", "rng")}
    return checkpoint.step, tensors


def _metrics_of(folder):
    """Metrics without what a clock measured."""
    from minillm.track.metrics import read_metrics

    return [
        {name: value for name, value in record.items() if name not in CLOCKS}
        for record in read_metrics(folder)
    ]


@pytest.fixture(scope="session")
def assert_equal_runs():
    """Compares two run folders bit for bit: weights, optimizer, generators, metrics, samples."""

    import torch

    def compare(left, right):
        left_step, left_tensors = _weights_of(left)
        right_step, right_tensors = _weights_of(right)
        assert left_step == right_step
        for kind, tensors in left_tensors.items():
            assert tensors.keys() == right_tensors[kind].keys()
            for name, tensor in tensors.items():
                assert torch.equal(tensor, right_tensors[kind][name]), (kind, name)
        assert _metrics_of(left) == _metrics_of(right)
        assert (left / "samples.txt").read_text() == (right / "samples.txt").read_text()

    return compare


def unpack(packed: Path, folder: Path) -> None:
    """Writes `NAME.txt.zst` as `NAME.txt`, and the members of `NAME.tar.zst`."""
    from pyarrow import input_stream

    with input_stream(str(packed), compression="zstd") as stream:
        if packed.stem.endswith(".tar"):
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                archive.extractall(folder, filter="data")
        else:
            with (folder / packed.stem).open("wb") as file:
                while block := stream.read(1 << 22):
                    file.write(block)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Fails a data test that skips although the data is there: else nobody would notice."""
    report = yield
    if report.skipped and item.get_closest_marker("data") and DATA_VARIABLE in os.environ:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} skipped although {DATA_VARIABLE} is set: {call.excinfo}"
    return report
