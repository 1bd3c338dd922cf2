"""Twelve public architectures, run as users' own models: proven on each runtime, or refused with the operator's name.

Needs transformers: `tox run -e models`.
"""

import os

import pytest

pytest.importorskip("transformers")

from tests.fakes.own import own, proven
from tests.models.public import NAMES
from workloads.graph import UnsupportedOperator

pytestmark = [pytest.mark.alone, pytest.mark.filterwarnings("ignore")]
BACKENDS = ("torch_cpu", "jax_cpu", "onnxruntime_cpu", "openvino_cpu")
LEAST = 3
"""On so many runtimes each architecture runs, in each phase."""


@pytest.mark.parametrize("name", NAMES)
def test_a_public_architecture_is_proven_on_three_runtimes_in_both_phases(name, tmp_path, capsys):
    workload = own(f"tests.models.public:{name}", tmp_path / "model")
    assert workload.refused == {}
    passed = {}
    for phase in workload.programs:
        for backend in BACKENDS:
            said = _tried(backend, workload, phase, tmp_path / f"{phase}-{backend}")
            passed.setdefault(phase, []).extend([backend] if said.startswith("ok") else [])
            with capsys.disabled():
                print(f"\n{name:9} {phase:6} {backend:16} {said}", end="", flush=True)
    assert {phase: len(names) >= LEAST for phase, names in passed.items()} == dict.fromkeys(workload.programs, True)


def _tried(backend, workload, phase, folder):
    """Returns what came of it in words: only that an operator is missing is no failure."""
    try:
        columns = proven(backend, workload, phase, folder)
    except UnsupportedOperator as missing:
        return f"unsupported: {missing}"
    return f"ok, {columns['error_worst']:.1e} of {columns['error_tolerance']:.1e} in {columns['error_worst_of']}"


@pytest.mark.skipif("SAMESTEP_MINILM" not in os.environ, reason="SAMESTEP_MINILM names no folder with the package")
def test_published_weights_of_a_package_run_as_a_users_own_model(tmp_path, capsys):
    workload = own("tests.models.minilm:encoder", tmp_path / "model")
    assert workload.parameter_count == 22_565_376
    said = {backend: _tried(backend, workload, "infer", tmp_path / backend) for backend in BACKENDS}
    with capsys.disabled():
        print("", *(f"minilm    infer  {name:16} {one}" for name, one in said.items()), sep="\n")
    assert all(one.startswith("ok") for one in said.values()), said
