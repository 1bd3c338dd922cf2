"""A dimension is one entry of the list: in a scratch copy of the tree one is added, and nothing else is edited."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("duckdb")

ROOT = Path(__file__).resolve().parents[1]
END = """    ),
)
IN_ORDER ="""

ADDED = {
    "queued": ('Dimension("queued", "integer", "Requests in the queue.", mark="d")', "8", "d8"),
    "scenario": ('Dimension("scenario", "text", "How requests come.", default="single")', '"server"', "server"),
    "replicas": ('Dimension("replicas", "integer", "How many.", default=1, mark="r", may_cross=True)', "4", "r4"),
}
"""An entry of the list, a value of it as JSON, and how that stands in a name."""
CHECK = """
import sys
from runpy import run_module

sys.path.insert(0, sys.argv.pop(1))
run_module("tests.dimension_added", run_name="__main__")
"""


@pytest.fixture
def tree(tmp_path):
    """A copy of what is needed of the tree; its list of dimensions is there to be edited."""
    for room in ("backends", "bench", "host", "results", "samestep", "tests", "workloads"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.parametrize("name", ADDED)
def test_one_entry_is_enough(tree, name):
    entry, value, marked = ADDED[name]
    file = tree / "results" / "record" / "dimensions.py"
    text = file.read_text()
    assert text.count(END) == 1
    file.write_text(text.replace(END, END.replace(")\nIN", f"    {entry},\n)\nIN")))
    command = [sys.executable, "-P", "-c", CHECK, str(tree), name, value, marked]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["all as it should be"], done.stdout + done.stderr
