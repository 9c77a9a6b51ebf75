"""The sections of the tree that do not shape the model: data, optimizer, loop, sampling."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from minillm.config.section import Section

Beta = Annotated[float, Field(ge=0, lt=1)]
IdKey = Annotated[int, Field(ge=0, strict=False)]
"""A token id as the key of a mapping; JSON has only text for keys."""
IGNORED = -100
"""A target that asks for no prediction: padding, or the prompt in fine-tuning. PyTorch's own."""
FORBIDDING = -1e9
"""The least bias: a token that has it is never drawn."""
Bias = Annotated[float, Field(ge=FORBIDDING, le=-FORBIDDING)]


Weight = Annotated[float, Field(gt=0)]


class DataConfig(Section):
    """Where the tokens are."""

    path: Path = Field(Path("data"), strict=False)
    """folder that holds train.bin, val.bin and tokenizer.json; for sft a .jsonl of conversations"""
    train: Path | None = Field(None, strict=False)
    """training shard, instead of path/train.bin"""
    mixture: dict[str, Weight] = Field({})
    """training shards instead, as {wiki.bin: 7, books.bin: 3}: files, relative to path, and rows of
    each for so many of the others; each has epochs of its own"""
    rows: Literal["windows", "documents"] = "windows"
    """where rows of seq_len tokens begin: every stride tokens, or with documents (what the end of a
    row cuts begins the next one)"""
    stride: PositiveInt | None = None
    """tokens from the start of one window to the next, at most seq_len; seq_len when absent"""
    val: Path | None = Field(None, strict=False)
    """validation shard, instead of path/val.bin"""


class OptimConfig(Section):
    """The optimizer, its learning rate over time, and gradient clipping."""

    name: Literal["adamw", "sgd", "muon", "normuon"] = "adamw"
    """muon and normuon update matrices and leave the rest to adamw"""
    learning_rate: PositiveFloat = 1e-3
    """highest learning rate of the schedule"""
    adamw_learning_rate: PositiveFloat = Field(default_factory=lambda given: given["learning_rate"])
    """highest learning rate of what muon leaves to adamw (embeddings, head, vectors); learning_rate
    when absent"""
    schedule: Literal["cosine", "wsd", "linear", "constant"] = "cosine"
    """after the warm-up: half a cosine, flat then linear decay, linear decay, flat"""
    warmup_steps: NonNegativeInt = 100
    """steps of linear warm-up from 0"""
    decay_fraction: NonNegativeFloat = Field(0.7, le=1)
    """wsd only: share of all steps that the final linear decay takes"""
    min_learning_rate_ratio: NonNegativeFloat = Field(0.1, le=1)
    """final learning rate over the highest (but for constant)"""
    weight_decay: NonNegativeFloat = 0.1
    """decay of matrices, per step and unit of learning rate; for sgd part of the gradient, else
    decoupled from it"""
    betas: tuple[Beta, Beta] = Field((0.9, 0.95), strict=False)
    """adamw: decay per step of the mean and of the mean square of the gradient; normuon takes the
    second for its rows"""
    eps: PositiveFloat = 1e-8
    """adamw: added to the root of the mean square"""
    fused: bool = False
    """adamw by PyTorch's one kernel; rounds differently"""
    momentum: NonNegativeFloat = Field(0.95, lt=1)
    """sgd, muon: decay per step"""
    grad_clip: NonNegativeFloat = 1.0
    """largest global norm of the gradient; 0 does not clip"""


class TrainConfig(Section):
    """The training loop. Intervals are in optimizer steps; 0 means never."""

    batch_size: PositiveInt = 16
    """sequences per micro-step"""
    seq_len: PositiveInt = 256
    """tokens per sequence; in a whole tree, context_length when absent"""
    gradient_accumulation_steps: PositiveInt = 1
    """micro-steps per step, of all processes together"""
    max_train_steps: PositiveInt = 2000
    """optimizer steps of the whole run"""
    eval_interval: NonNegativeInt = 200
    """steps between validations"""
    eval_batches: PositiveInt = 20
    """validation batches of one evaluation; the last one takes them all"""
    log_interval: PositiveInt = 10
    """steps between lines of metrics"""
    save_interval: NonNegativeInt = 200
    """steps between checkpoints"""
    generate_interval: NonNegativeInt = 200
    """steps between samples of text"""
    keep_checkpoints: PositiveInt = 2
    """newest checkpoints to keep"""
    keep_every: NonNegativeInt = 0
    """keep checkpoints of steps that are multiples of this, too"""
    keep_best: bool = True
    """keep the checkpoint with the lowest validation loss, too"""
    health_interval: NonNegativeInt = 100
    """logged steps that are multiples of this measure how far updates reach"""
    on_nonfinite: Literal["stop", "rewind"] = "stop"
    """when a loss or gradient is not finite: stop, or go back to the newest checkpoint and on
    behind the batch"""
    max_rewinds: PositiveInt = 3
    """after so many, a run stops"""
    auto_micro_batch: bool = True
    """where a batch does not fit into memory, halve batch_size and double
    gradient_accumulation_steps"""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """type of the matrix products; weights are float32 in any case"""
    mask_documents: bool = False
    """let tokens see their own document only: an end-of-text token begins another"""
    compile: bool = False
    """compile the model with torch.compile"""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """under torchrun: the whole model in each process, or spread over them"""
    activation_checkpointing: bool = False
    """compute each block again in the backward pass instead of keeping what it computed"""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """where to train"""
    seed: NonNegativeInt = 0
    """seed of weights, data order and dropout"""
    threads: NonNegativeInt = 0
    """CPU threads; 0 is one per physical core"""
    init_from: Path | None = Field(None, strict=False)
    """run or Hugging Face folder that a new run takes its shape and weights from"""
    out_dir: Path = Field(Path("runs/default"), strict=False)
    """folder of the run"""


class TrackConfig(Section):
    """Where the metrics go besides the run folder; needs the extra `track`."""

    wandb: bool = False
    """send them to Weights & Biases"""
    wandb_project: str = "minillm"
    """project there"""
    wandb_name: str | None = None
    """name of the run there; that of its folder when absent"""
    wandb_mode: Literal["online", "offline"] = "online"
    """offline writes into the run folder, for `wandb sync`"""
    tensorboard: bool = False
    """write TensorBoard's events into the run folder"""
    profile: NonNegativeInt = 0
    """steps to profile in each process, after its first ones; needs no extra"""


class SampleConfig(Section):
    """How text is sampled, during training and after it."""

    prompts: tuple[str, ...] = Field(("Once upon a time",), strict=False)
    """what the samples of a run begin with"""
    max_new_tokens: PositiveInt = 128
    """longest continuation, in tokens"""
    temperature: NonNegativeFloat = Field(0.8, le=1e6)
    """divides the logits, from 1e-6 on; 0 always takes the likeliest token"""
    top_k: NonNegativeInt = 0
    """sample from the k likeliest tokens; 0 from all"""
    top_p: PositiveFloat = Field(1.0, le=1)
    """sample from the likeliest tokens that hold this probability"""
    min_p: NonNegativeFloat = Field(0.0, le=1)
    """sample from the tokens at least this times as likely as the likeliest"""
    repetition_penalty: float = Field(1.0, ge=1e-6, le=1e6)
    """above 1, makes tokens of the text so far less likely, the prompt's too"""
    logit_bias: dict[IdKey, Bias] = Field({})
    """what is added to the logits of single token ids; -1e9 forbids one"""
    stop: tuple[str, ...] = Field((), strict=False)
    """strings that end a text and are not part of it"""
    stop_ids: tuple[NonNegativeInt, ...] = Field((), strict=False)
    """token ids that end a text, beside that of the end of text"""
    bos_id: NonNegativeInt | None = None
    """token id that a text begins with; without one, that of the end of text"""

    @model_validator(mode="after")
    def _check_temperature(self) -> Self:
        if 0 < self.temperature < 1e-6:
            raise ValueError(
                f"temperature ({self.temperature:g}) must be 0, which takes the likeliest token, or"
                " at least 1e-6"
            )
        return self
