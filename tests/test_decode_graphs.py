"""Decode as a graph: each runtime's own form of it, in which a cache stays where it is."""

import numpy as np
import onnx
import pytest

import backends
from backends._graphs import ONNX, ONNX_IN_PLACE, graph_of
from bench.child.checks import verify
from bench.child.expected import load_expected
from tests.fakes.steps import MADE, allowed_in, make_in, request_in
from workloads.catalog import CATALOG, DECODING, load
from workloads.precision import FP32

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
RUNTIMES = {"onnxruntime_cpu": ONNX_IN_PLACE, "openvino_cpu": ONNX}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    made = {}

    def of(name, backend):
        if (name, backend) not in made:
            workload = load(name, "tiny", depth=CATALOG[name].SERVINGS["tiny"].depth)
            adapter = backends.get(backend)
            graphs = adapter.artifacts_of(workload.programs["decode"])
            folders = make_in(tmp_path_factory.mktemp("made"), workload, "decode", (*MADE, *graphs))
            request = request_in(folders, adapter, workload, "decode", 2)
            made[name, backend] = request, adapter.prepare(request), load_expected(folders["expected"]), folders
            made[name, backend][1].compile()
        return made[name, backend]

    return of


@pytest.mark.parametrize("backend", RUNTIMES)
@pytest.mark.parametrize("name", DECODING)
def test_two_laps_and_the_cache_are_right_and_again_from_the_start(name, backend, prepared):
    request, step, expected, folders = prepared(name, backend)
    for _ in range(2):
        step.restart(request.parameters)
        observed, _ = verify.observe(step, request.program, request.parameters)
        assert not verify.compare(observed, expected, allowed_in(folders, FP32)).failures


@pytest.mark.parametrize("name", DECODING)
def test_onnx_runtime_writes_where_its_cache_lies(name, prepared):
    request, step, *_ = prepared(name, "onnxruntime_cpu")
    assert set(request.artifacts) == {ONNX_IN_PLACE.name}
    nodes = [node.op_type for node in onnx.load(graph_of(request)).graph.node]
    assert nodes.count("TensorScatter") == len(request.program.state)
    assert "ScatterND" not in nodes
    step.restart(request.parameters)
    places = {name: value.data_ptr() for name, value in step.buffers[0].items()}
    before = {name: np.array(array) for name, array in step.state()}
    step.step(0)
    assert {name: value.data_ptr() for name, value in step.buffers[step.count & 1].items()} == places
    start = request.batches[0]["start"][0]
    for key, after in step.state():
        is_other = (after != before[key]).any(axis=(0, 1, 3))
        assert is_other.nonzero()[0].tolist() == [start]


def test_what_carries_no_cache_has_the_graph_that_all_take():
    adapter = backends.get("onnxruntime_cpu")
    for program in load("gpt2", "tiny").programs.values():
        assert adapter.artifacts_of(program) == (ONNX,)
