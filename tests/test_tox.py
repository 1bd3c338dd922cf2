"""tox gives an environment what says which devices there are: else the one asked for is not the one measured."""

from configparser import ConfigParser
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from bench.parent.environment import DEVICES, WHOSE


@pytest.fixture
def passed():
    """Returns the patterns of variables that tox passes on."""
    ini = ConfigParser(interpolation=None)
    ini.read(Path(__file__).resolve().parent.parent / "tox.ini")
    return ini["testenv"]["pass_env"].split()


@pytest.mark.parametrize(
    "name",
    [
        *("CUDA_VISIBLE_DEVICES", "CUDA_HOME", "CUDA_MPS_PIPE_DIRECTORY", "NVIDIA_VISIBLE_DEVICES"),
        *("TPU_VISIBLE_CHIPS", "TPU_LIBRARY_PATH", "TPU_WORKER_ID", "NEURON_RT_VISIBLE_CORES", "LD_LIBRARY_PATH"),
        *("SAMESTEP_MACHINE", "XDG_CACHE_HOME", "CI"),
    ],
)
def test_what_says_which_devices_and_where_files_are_passes(passed, name):
    assert any(fnmatchcase(name, pattern) for pattern in passed)


def test_whatever_a_child_may_have_of_our_own_backends_passes_tox(passed):
    ours = [
        name for name in (*DEVICES, *WHOSE) if name.startswith(("CUDA_", "NVIDIA_", "TPU_", "NEURON_", "SAMESTEP_"))
    ]
    assert [name for name in ours if not any(fnmatchcase(name, pattern) for pattern in passed)] == []


def test_no_environment_passes_less():
    ini = ConfigParser(interpolation=None)
    ini.read(Path(__file__).resolve().parent.parent / "tox.ini")
    assert [name for name in ini.sections() if name != "testenv" and "pass_env" in ini[name]] == []
