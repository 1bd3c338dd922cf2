"""Where no home folder is known: one line that says what to set."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.parent.cache import UnsafeCache, check_owner, default_root
from bench.parent.plans.variant import parse
from host.home import NoHomeError, expanded
from tests.fakes.door import command, environment


@pytest.fixture
def homeless(monkeypatch):
    """This process has no HOME, and its user is in no list."""

    def nobody(*_):
        raise KeyError("getpwuid(): uid not found")

    import pwd

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", nobody)


def test_the_cache_says_what_to_set(homeless):
    with pytest.raises(NoHomeError, match=r"HOME is not set, .* set SAMESTEP_CACHE or HOME"):
        default_root({})
    with pytest.raises(NoHomeError, match="~/cache: the home folder is not known here; set HOME"):
        default_root({"SAMESTEP_CACHE": "~/cache"})


def test_a_cache_that_was_given_needs_no_home(homeless, tmp_path):
    assert default_root({"SAMESTEP_CACHE": str(tmp_path)}) == tmp_path
    assert default_root({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "samestep"


@pytest.mark.parametrize("text", ["~", "~/a", "~nobody-of-this-name/a"])
def test_a_home_that_is_not_known_is_named(homeless, text):
    with pytest.raises(NoHomeError, match=text):
        expanded(text)


@pytest.mark.parametrize("key", ["python", "tree"])
def test_a_side_of_an_ab_says_so(key):
    with pytest.raises(ValueError, match="~nobody-of-this-name/x: the home folder is not known here"):
        parse(f"{key}=~nobody-of-this-name/x")


def test_a_run_without_a_home_ends_in_one_line(tmp_path):
    code = (
        "import sys, runpy, pwd\n"
        "def nobody(*_): raise KeyError('uid not found')\n"
        "pwd.getpwuid = nobody\n"
        "sys.argv = ['pytest', *sys.argv[1:]]\n"
        "runpy.run_module('pytest', run_name='__main__')\n"
    )
    kept = {name: v for name, v in environment().items() if name not in ("HOME", "SAMESTEP_CACHE", "XDG_CACHE_HOME")}
    words = [sys.executable, "-c", code, *command("--preset", "smoke", "--backends", "null")[3:]]
    done = subprocess.run(words, cwd=tmp_path, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: no folder for the cache: HOME is not set" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_cache_that_cannot_be_looked_at_says_what_to_set(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr(Path, "stat", refused)
    with pytest.raises(UnsafeCache, match=r"the cache cannot be looked at: .*Permission denied.*; set SAMESTEP_CACHE"):
        check_owner(tmp_path)
