import pytest

from minillm.tokenizer.report import print_table, readable, size


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1_000, "1.0 kB"),
        (2_500_000, "2.5 MB"),
        (10**12, "1,000.0 GB"),
    ],
)
def test_sizes_have_the_unit_that_suits_them(n_bytes, text):
    assert size(n_bytes) == text


def test_tokens_are_readable():
    assert readable(b" a\n") == r"' a\n'"
    assert readable(b"\xff") == r"b'\xff'"
    assert readable(b"-" * 300) == "'" + "-" * 27 + "...'"


def test_a_table_names_units_and_leaves_out_what_is_unknown(monkeypatch, capsys):
    import sys

    monkeypatch.setenv("COLUMNS", "50")
    report = {
        "tokens": 1234567,
        "elapsed_s": 1.5,
        "bytes": 5_000_000,
        "stopped_early": None,
        "longest_tokens": ["' abcdefghij'", "' klm nop'", "'qrstuvwxyz'"],
        "sample_merges": [
            {"rank": 1000, "count": 5, "pair": "'a' + 'b'"},
            {"rank": 2, "count": None, "pair": "'" + "x" * 50 + "'"},
        ],
        "sizes": [],
    }
    print_table(report, sys.stdout)
    assert capsys.readouterr().out.splitlines() == [
        "tokens          1,234,567",
        "time            1.50 s",
        "text read       5.0 MB",
        "longest tokens  ' abcdefghij'  ' klm nop'",
        "                'qrstuvwxyz'",
        "sample merges",
        "  rank  count  pair",
        "  1000      5  'a' + 'b'",
        "     2      -  '" + "x" * 31 + "...",
    ]
