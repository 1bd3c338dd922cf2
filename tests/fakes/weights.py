"""Weights files for tests: how they are written, refused, and made by the advice of a refusal."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from workloads import data, weights
from workloads.catalog import load

TINY = load("gpt2", "tiny")


def random(workload=TINY):
    """Returns parameters that are not those of the workload's own seed."""
    return data.make_parameters(replace(workload, seed=7))


def saved(path, tensors):
    save_file(tensors, path)
    return path


def refused(path, *words, workload=TINY):
    """Returns why `path` is refused, which has its name and `words`."""
    with pytest.raises(ValueError, match=re.escape(str(path))) as refusal:
        weights.check(path, workload)
    for word in words:
        assert word in str(refusal.value)
    return str(refusal.value)


def follow(advice):
    """Returns the file that the lines of Python in `advice` write when they are run."""
    lines = [line.removeprefix("    ") for line in advice.splitlines() if line.startswith("    ")]
    assert len(lines) == 2, advice
    (target,) = re.findall(r", '([^']+)'\)$", lines[1])
    assert not Path(target).exists()
    exec("\n".join(lines), {})
    return Path(target)
