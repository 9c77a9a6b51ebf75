"""`report.html`: all about a run on one page that needs nothing but a browser.

Made of what lies in the run folder alone, so that whoever has the folder can make it again.
"""

import time
from base64 import b64encode
from importlib import resources
from pathlib import Path

from jinja2 import Environment

from minillm.files import replace_file
from minillm.track.metrics import read_metrics
from minillm.track.plots import draw_plots
from minillm.track.processes import read_processes

NAME = "report.html"
PLOTS = ("loss.png", "lr.png")
SAMPLE_BYTES = 20_000
"""How much of the end of `samples.txt` is shown."""


def write_report(folder: Path, *, max_age_s: float) -> None:
    """Draws the plots of the run in `folder` and writes its page; nothing before the first step.

    A page that is no older than `max_age_s` stays: drawing takes as long as many small steps.
    """
    page, samples = folder / NAME, folder / "samples.txt"
    if page.exists() and time.time() - page.stat().st_mtime < max_age_s:
        return
    records = read_metrics(folder)
    training = [record for record in records if "loss" in record]
    if not training:
        return
    draw_plots(folder, records)
    template = resources.files("minillm.track").joinpath("report.html").read_text("utf-8")
    text = samples.read_bytes()[-SAMPLE_BYTES:] if samples.exists() else b""
    html = Environment(autoescape=True).from_string(template)
    content = html.render(
        name=folder.resolve().name,
        newest=training[-1],
        validation=[record for record in records if "val_loss" in record],
        images=[b64encode((folder / name).read_bytes()).decode() for name in PLOTS],
        samples=text.decode(errors="replace"),
        config=(folder / "config.yaml").read_text(encoding="utf-8"),
        processes=read_processes(folder),
    )
    replace_file(page, content.encode(errors="replace"))
