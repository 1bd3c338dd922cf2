"""`samestep` works from a folder that has rooms of the same names, and says so where it cannot."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import samestep
from samestep._rooms import ROOM_NAMES
from tests.test_house import ROOMS

ROOT = Path(__file__).resolve().parent.parent


def test_every_public_name_is_there():
    for name in samestep.__all__:
        assert getattr(samestep, name)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(AttributeError, match=r"no attribute 'nope'; it has: .*Adapter"):
        _ = samestep.nope


@pytest.fixture
def foreign(tmp_path):
    for room in ROOM_NAMES:
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text("MINE = True\n")
    return tmp_path


def test_every_room_is_known():
    """A folder of the wheel that is no room of ours by name could be another's."""
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {*packages["packages"], "conftest"} == {*ROOM_NAMES, "samestep"}
    assert {*ROOM_NAMES} == {*ROOMS, "conftest"}


def python(code, folder):
    path = f"import sys; sys.path.append({str(ROOT)!r})"
    return subprocess.run(
        [sys.executable, "-c", f"{path}\n{code}"], cwd=folder, capture_output=True, text=True, check=False
    )


def test_rooms_of_the_same_name_in_the_current_folder_are_not_taken(foreign):
    done = python("import samestep; print(samestep.Adapter.__module__, samestep.load.__module__)", foreign)
    assert (done.stdout.strip(), done.stderr) == ("backends.base results.tables.table", "")


def test_a_room_that_was_imported_before_is_named(foreign):
    done = python("import results; assert results.MINE; import samestep; samestep.load", foreign)
    assert done.returncode == 1
    assert "samestep needs its own package 'results'" in done.stderr
    assert str(foreign / "results" / "__init__.py") in done.stderr
