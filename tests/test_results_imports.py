"""The run's own process reads and writes results without pandas; the door of this room needs nothing to complain."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def heavy_after(code):
    """Returns which of these a fresh interpreter has loaded after `code`."""
    report = "import sys; print(*sorted({'pandas', 'numpy'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    "code",
    [
        "import results, results.record.row, results.record.journal, results.record.run",
        "import host.machine, results.record.read, results.record.csvfile",
        "import results.__main__; results.__main__.main(['table', 'absent'])",
    ],
)
def test_neither_pandas_nor_numpy_is_loaded_by(code):
    assert heavy_after(code) == []


def test_tables_load_pandas():
    assert heavy_after("import results.tables.table") == ["numpy", "pandas"]
