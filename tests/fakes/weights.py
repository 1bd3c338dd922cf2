"""Weights files for tests: how they are written, refused, and made by the advice of a refusal."""

import json
import re
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from workloads import data
from workloads.catalog import load
from workloads.weights import files as weights

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


def read_back(path):
    """Returns the parameters of `TINY` that are read from a file, which is not refused."""
    return weights.read(replace(TINY, weights=weights.check(path, TINY)))


def header_of(path):
    (size,) = struct.unpack("<Q", path.read_bytes()[:8])
    return json.loads(path.read_bytes()[8 : 8 + size]), path.read_bytes()[8 + size :]


def with_header(path, change):
    """Writes the file anew with its header changed by `change`, and the same data."""
    header, body = header_of(path)
    text = json.dumps(change(header)).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def changed(path, name, **entries):
    return with_header(path, lambda header: header | {name: header[name] | entries})


def follow(advice):
    """Returns the file that the lines of Python in `advice` write when they are run."""
    lines = [line.removeprefix("    ") for line in advice.splitlines() if line.startswith("    ")]
    assert len(lines) == 2, advice
    (target,) = re.findall(r", '([^']+)'\)$", lines[1])
    assert not Path(target).exists()
    exec("\n".join(lines), {})
    return Path(target)
