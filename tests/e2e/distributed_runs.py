"""What `test_distributed.py` starts under `torchrun`: several runs, one after the other.

Each line of standard input's file is a run: its configuration and whether to resume. Importing
PyTorch in each process takes longer than all of them.
"""

import json
import sys
from pathlib import Path

from minillm.config import load_config
from minillm.pretrain import run
from minillm.train import join_world

if __name__ == "__main__":
    with join_world():
        for line in Path(sys.argv[1]).read_text().splitlines():
            job = json.loads(line)
            run(
                load_config(file=Path(job["config"])),
                resume=job["resume"],
                eval_only=False,
                quiet=True,
            )
