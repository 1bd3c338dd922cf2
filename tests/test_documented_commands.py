"""Every command that README.md and docs/ show is known, with its options, and runs in what the first command installs.

A page shows a command to be typed as it stands, with RUN, STORE, FILE … replaced: here by what was measured in docs/.
"""

import ast
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.fakes.door import environment

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^( *)```\w*\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`((?:samestep|python -m results|python -m backends|pytest bench/?) [^`]+)`")
SETTINGS = re.compile(r"^(\$ )?([A-Z_]+=\S+ )*")
DOORS = {
    "samestep": ("-m", "samestep"),
    "python -m results": ("-m", "samestep"),
    "python -m backends": ("-m", "samestep", "backends"),
    "pytest bench/": ("-m", "samestep", "run"),
    "pytest bench": ("-m", "samestep", "run"),
}
"""What a shown command begins with, and what it is; `tests/test_console.py` holds them to each other."""
MEASURED = ROOT / "docs" / "measured" / "runs"
RUNS = sorted(path for path in MEASURED.iterdir() if path.is_dir())
ELSEWHERE = {
    "ab": "reads the journal of a run with --ab",
    "operators": "reads the journal of a run with --operators",
    "--resume": "goes on with a run that was interrupted",
    "mybackend": "takes the package of the page, which tests/test_outside_adapter.py installs",
    "gated_mlp": "takes the package of the page, which tests/test_outside_workload.py installs",
    "mymodel:factory": "takes the module of the page; tests/test_own_model_plan.py has what comes of such",
    "mymodel:larger": "so too",
    "--model": "takes the module or the file of the page; tests/test_own_model_plan.py has what comes of such",
    "--check": "starts every runtime that is here",
    "import": "reads files of other tools, which tests/test_import.py writes",
    "theirs.csv": "reads what was imported from them",
    "service": "asks a server, which tests/test_service_command.py has",
    "--service-weights": "reads a model's weights, which tests/test_verified_services.py writes",
}
"""Words of commands that are parsed and not run here, and why."""


def shown(pattern):
    """Returns (page, command) of every command that the pages show, each once."""
    page_of = {}
    for page in PAGES:
        text = page.read_text()
        if pattern is FENCE:
            lines = [line for _, block in FENCE.findall(text) for line in block.splitlines()]
        else:
            lines = pattern.findall(FENCE.sub("", text))
        for line in lines:
            command = SETTINGS.sub("", line.strip())
            if any(f"{command} ".startswith(f"{door} ") for door in DOORS) and not command.endswith(" COMMAND"):
                page_of.setdefault(command, page.name)
    return [pytest.param(command, id=f"{page}: {command}") for command, page in page_of.items()]


def words_of(command):
    """Returns what Python is given for the command, and the command's own words."""
    door = next(door for door in DOORS if f"{command} ".startswith(f"{door} "))
    return DOORS[door], shlex.split(command.removeprefix(door), comments=True)


@cache
def options_of(*command):
    """Returns the options that a command's help names."""
    done = subprocess.run(
        [sys.executable, *command, "--help"], env=environment(), capture_output=True, text=True, check=True
    )
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", done.stdout))


@pytest.mark.parametrize("command", [*shown(FENCE), *shown(SPAN)])
def test_it_has_a_known_command_and_known_options(command):
    door, words = words_of(command)
    subcommand = [] if len(door) == 3 else words[:1]
    options = {word.strip("[]").partition("=")[0] for word in words if word.strip("[").startswith("--")}
    assert options <= options_of(*door, *subcommand)


@pytest.fixture
def stand_ins(tmp_path):
    """What stands for the words that a person replaces."""
    store = tmp_path / "store"
    shutil.copytree(MEASURED, store)
    first, _, again = map(str, RUNS)
    return {
        "RUN…": first,
        "RUN": first,
        "BEFORE": first,
        "AFTER": again,
        "STORE": str(store),
        "NAME": "two-threads",
        "MACHINE=0.12": "two-threads=0.12",
    }


@pytest.mark.parametrize("command", shown(FENCE))
def test_it_runs_as_it_stands(command, stand_ins, tmp_path):
    door, words = words_of(command)
    if elsewhere := ELSEWHERE.keys() & {part for word in words for part in word.split(",")}:
        pytest.skip(ELSEWHERE[elsewhere.pop()])
    # What is of the checkout, as the walk-through's runs, and what would be written outside of the test's folder.
    words = [str(ROOT / word) if word.startswith("docs/") else word.removeprefix("/tmp/") for word in words]
    words = [stand_ins.get(word, word) for word in words]
    if "run" in (*door, *words[:1]):
        words += ["--collect-only", "-q"]
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [sys.executable, *door, *words],
        cwd=tmp_path / "empty",
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_commands_are_found():
    fenced = {value for param in shown(FENCE) for value in param.values}
    assert {words_of(command)[1][0] for command in fenced if command.startswith("samestep ")} >= {
        *("run", "table", "compare", "phases", "cost", "plot", "report")
    }
    assert len(shown(SPAN)) > 10


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
ONLY_TOOLS = {"types"}
"""Extras that measure nothing and read nothing."""


def distributions(requirements):
    """Returns the names of the distributions that requirements name, extras of ours resolved."""
    names = set()
    for requirement in requirements:
        name, _, extras = re.match(r"([\w.-]+)(\[([\w,]+)\])?", requirement).groups()
        if name == "samestep":
            names |= {f"samestep[{extra}]" for extra in extras.split(",")}
            names |= distributions(line for extra in extras.split(",") for line in EXTRAS[extra])
        else:
            names.add(name)
    return names


@pytest.mark.parametrize("extra", sorted(EXTRAS.keys() - ONLY_TOOLS - {"reports"}))
def test_every_machines_extra_brings_what_reads_runs(extra):
    assert "samestep[reports]" in distributions(EXTRAS[extra])


def test_what_reads_runs_is_in_the_extra_that_says_so():
    files = [path for room in ("results", "host", "samestep") for path in (ROOT / room).rglob("*.py")]
    imported = set()
    for node in (node for path in files for node in ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])
    ours = {path.name for path in ROOT.iterdir() if path.is_dir()} | sys.stdlib_module_names
    providers = packages_distributions()
    needed = {min(providers[name]).lower() for name in imported - ours}
    assert needed <= distributions([*PROJECT["dependencies"], "samestep[reports]"])


def test_every_extra_that_a_page_or_an_error_names_exists():
    texts = [
        *PAGES,
        ROOT / "CONTRIBUTING.md",
        *(path for room in ("results", "backends") for path in (ROOT / room).rglob("*.py")),
    ]
    named = {
        extra
        for path in texts
        for extras in re.findall(r"pip install -e '?\.\[([\w,]+)\]", path.read_text())
        for extra in extras.split(",")
    }
    assert named <= EXTRAS.keys()
    assert {"cpu", "reports"} <= named
