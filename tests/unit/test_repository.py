"""What must hold for the repository as a whole: plain text, no addresses, no machine, a size."""

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "minillm"
CODE = {".py", ".pyi", ".rs", ".toml", ".yaml", ".sh"}

# Addresses are written as cargo writes them, and nowhere else (hence the escaped dots here).
REGISTRY = re.compile(
    r"https?://[^\s\"']*(?:pypi\.org|pythonhosted\.org|crates\.io|npmjs\.org|/simple/?(?=[\s\"']|$))"
    r"|registry\+https?:|--(?:extra-)?index-url[ =]|--find-links[ =]"
)
MACHINE_PATH = re.compile(r"(?<![\w.~/:-])/(?:home|root|Users|work|mnt|opt|srv)/[\w.-]+")

CORE = ("config", "model", "optim", "data", "train", "infer")
CORE_LINES = 5_000
PACKAGE_LINES = 9_000


def committed_files() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode != 0:
        pytest.skip("not a git checkout: nothing says which files are the project's")
    paths = (ROOT / name.decode() for name in listing.stdout.split(b"\0") if name)
    return [path for path in paths if path.is_file()]


def texts() -> dict[str, str]:
    """Each committed text file by its name in the repository; images have a NUL and stay out."""
    contents = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in committed_files()}
    return {
        name: raw.decode("utf-8", "surrogateescape")
        for name, raw in contents.items()
        if b"\0" not in raw
    }


def hits(pattern: re.Pattern[str], *, exempt: set[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in texts().items()
        if name not in exempt
        for number, line in enumerate(text.split("\n"), 1)
        if pattern.search(line)
    ]


def code_without_literals(name: str, source: str) -> str:
    """Tests may hold any text as data, so there only what stands outside of literals counts."""
    if not (name.startswith("tests/") and name.endswith(".py")):
        return source
    literals = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return " ".join(token.string for token in tokens if token.type not in literals)


def code_lines(path: Path) -> int:
    """Lines that hold code: no blank lines, comments or docstrings."""
    source = path.read_text()
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            docstrings.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    without_code = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    held: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in without_code:
            held.update(range(token.start[0], token.end[0] + 1))
    return len(held - docstrings)


def test_no_file_holds_the_address_of_a_package_registry() -> None:
    assert hits(REGISTRY, exempt={"Cargo.lock", "rust/fuzz/Cargo.lock"}) == []


@pytest.mark.parametrize(
    "line",
    [
        "https://" + "pypi.org/simple",
        "--find-" + "links /wheels",
        "--index-" + "url=https://host",
        "https://host/root/" + "pypi/simple/",
        "https://files." + "pythonhosted.org/packages/x.whl",
    ],
)
def test_an_address_of_a_package_registry_is_recognized(line: str) -> None:
    assert REGISTRY.search(line)


def test_no_file_holds_a_path_of_one_machine() -> None:
    assert hits(MACHINE_PATH, exempt=set()) == []


@pytest.mark.parametrize("folder", ["home", "root", "work"])
def test_a_path_of_one_machine_is_recognized(folder: str) -> None:
    assert MACHINE_PATH.search(f'path = "/{folder}/someone/minillm"')
    assert not MACHINE_PATH.search(f"https://example.com/{folder}/someone")


def test_code_and_comments_are_ascii() -> None:
    not_ascii = [
        name
        for name, text in texts().items()
        if (Path(name).suffix in CODE or name.startswith(".ci/"))
        and not code_without_literals(name, text).isascii()
    ]

    assert not_ascii == []


def test_every_python_file_says_what_it_is_for() -> None:
    silent = [
        name
        for name, text in texts().items()
        if name.endswith((".py", ".pyi"))
        and not name.startswith("tests/")  # there the names of the tests say it
        and not ast.get_docstring(ast.parse(text))
    ]

    assert silent == []


def test_every_rust_file_says_what_it_is_for() -> None:
    silent = [
        name
        for name, text in texts().items()
        if name.endswith(".rs") and not name.endswith("/tests.rs") and not text.startswith("//! ")
    ]

    assert silent == []


def test_the_package_can_be_read_whole() -> None:
    package = {path: code_lines(path) for path in PACKAGE.rglob("*.py")}
    core = {
        path: lines
        for path, lines in package.items()
        if path.relative_to(PACKAGE).parts[0].removesuffix(".py") in CORE
    }

    assert sum(core.values()) < CORE_LINES
    assert sum(package.values()) < PACKAGE_LINES


def test_code_lines_leave_out_what_is_not_code(tmp_path: Path) -> None:
    file = tmp_path / "sample.py"
    file.write_text('"""Header.\n\nMore.\n"""\n\n# note\nx = (\n    1,  # one\n)\n')

    assert code_lines(file) == 3


def test_locked_requirements_are_pinned_by_hash() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", lock, flags=re.MULTILINE).strip())

    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)


def test_locked_requirements_cover_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = project["dependencies"] + project["optional-dependencies"]["dev"]
    wanted = {re.match(r"[a-z0-9-]+", requirement).group() for requirement in listed}
    lock = (ROOT / "requirements.lock").read_text()
    locked = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))

    assert wanted - locked == set()


def test_links_in_documents_lead_somewhere() -> None:
    dead = [
        f"{name}: {target}"
        for name, text in texts().items()
        if name.endswith(".md")
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
        if "://" not in target and not (ROOT / name).parent.joinpath(target).exists()
    ]

    assert dead == []


def test_tables_of_the_readme_are_those_of_the_results() -> None:
    command = [sys.executable, "benchmarks/tables.py", "--check"]
    check = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert check.returncode == 0, check.stderr
