import json
import re

import pytest

from minillm.track.report import write_report

STEP = {"loss": 3.0, "learning_rate": 0.1, "tokens": 64, "tokens_per_s": 9.5, "elapsed_s": 1.5}
EVIL = "</pre><script>alert('&')</script>"


@pytest.fixture
def folder(tmp_path):
    """A run of one step in which everything is named as an attack."""
    records = [
        {"step": 1, **STEP, "mfu": 0.41, "mfu_of": "the peak"},
        {"step": 1, "val_loss": 3.0, "val_bits_per_byte": None, "val_tokens": 7, "final": True},
    ]
    run = tmp_path / "a<b>"
    run.mkdir()
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (run / "config.yaml").write_text(f"prompts: {EVIL}")
    (run / "samples.txt").write_bytes(EVIL.encode() + b" cut off: \xe2\x82")
    entry = {"started": "now", "command": EVIL, "commit": None, "machine": EVIL, "step": 0}
    entry |= {"versions": {"python": "3"}, "device": "cpu", "parameters": 5, "hashes": {EVIL: "0"}}
    entry["config"] = {"data": {"path": f"{EVIL} \udc80"}}
    (run / "run.json").write_text(json.dumps([entry]))
    return run


def test_page_is_complete_and_needs_nothing_from_elsewhere(folder):
    write_report(folder, max_age_s=0)
    page = (folder / "report.html").read_text()
    assert "41.0%" in page
    assert page.count("data:image/png;base64,iVBOR") == 2
    assert not re.search(r"https?:|//\w|url\(|<link|@import", re.sub('base64,[^"]*', "", page))


def test_nothing_that_a_run_holds_is_markup(folder):
    write_report(folder, max_age_s=0)
    page = (folder / "report.html").read_text()
    assert "<script" not in page
    assert "<title>a&lt;b&gt; - minillm" in page
    assert page.count("&lt;/pre&gt;&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;") == 6


def test_young_page_is_kept(folder):
    write_report(folder, max_age_s=0)
    (folder / "report.html").write_text("old")
    write_report(folder, max_age_s=60)
    assert (folder / "report.html").read_text() == "old"


def test_page_of_a_run_begun_before_there_was_a_run_json_is_written(folder):
    (folder / "run.json").unlink()
    (folder / "samples.txt").unlink()
    write_report(folder, max_age_s=0)
    assert "Validation" in (folder / "report.html").read_text()


def test_nothing_is_written_before_the_first_step(tmp_path):
    write_report(tmp_path, max_age_s=0)
    assert list(tmp_path.iterdir()) == []
