"""The command `minillm-bpe`: train a tokenizer, look into it, encode text, decode token files.

Results for machines (`--json`, `show`, decoded text) go to stdout, everything for people to stderr.
Without files, `train`, `count` and `encode` read standard input. Each verb is a module with a
function of its name, imported when it is called.
"""

from cyclopts import App, Parameter

VERBS = {
    "train": "Learn a vocabulary from text.",
    "count": "Count the pre-tokens of text, for `train --from-counts`.",
    "encode": "Turn text into a token file, its index and its manifest.",
    "join": "Write the manifest that joins the parts of `encode --part` to one token file.",
    "show": "Print what a tokenizer is, and its first and last merges, on standard output.",
    "decode": "Write the text of a token file to standard output, byte for byte.",
    "convert": "Write a token file as nanoGPT, llm.c or numpy read it.",
}

app = App(
    name="minillm-bpe",
    help="Byte-level BPE: text to tokens and back.",
    default_parameter=Parameter(negative=()),
)
for verb, summary in VERBS.items():
    app.command(f"minillm.tokenizer.commands.{verb}:{verb}", name=verb, help=summary)
