"""What is to be computed again is: no compiler merges it with what was computed first, nor holds as much as without."""

import pytest

import backends
from backends._graphs import ONNX
from bench.artifacts import BATCHES, PARAMETERS
from tests.fakes.own import loaded
from tests.fakes.steps import make_in, request_in
from workloads.catalog import load
from workloads.tuning import TRAIN

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
BLOCKS, AGAIN = 2, 5
"""Blocks of the model, and products of each that are computed again: all but the last, which no gradient reads."""
TOKENS = {"batch": 8, "sequence": 32}
ARTIFACTS = (PARAMETERS, BATCHES, ONNX)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Returns workload and folders of a step that keeps its activations, and of one that computes them again."""
    workloads = [load("gpt2", "tiny", checkpoint=checkpoint, **TOKENS) for checkpoint in (None, "blocks")]
    return [(one, make_in(tmp_path_factory.mktemp("made"), one, TRAIN, ARTIFACTS)) for one in workloads]


def compiled(backend, made):
    """Yields the step of each, compiled."""
    adapter = backends.get(backend)
    for workload, folders in made:
        request = request_in(folders, adapter, workload, TRAIN)
        loaded(adapter, request)
        step = adapter.prepare(request)
        step.compile()
        yield step
        step.close()


def test_xla_computes_every_product_again_and_holds_less(made):
    products, held, options = [], [], []
    for step in compiled("jax_cpu", made):
        products.append(step.executable.as_text().count(" dot("))
        held.append(step.executable.memory_analysis().temp_size_in_bytes)
        options.append(step.effective().more.get("compiler_options"))
    assert products[1] - products[0] == BLOCKS * AGAIN
    assert held[1] < 0.7 * held[0]
    assert options == [None, "xla_disable_hlo_passes=cse_barrier_expander"]


def test_onnxruntime_computes_every_product_again(made):
    from backends._onnxruntime import products_of

    kept, again = (products_of(step.request, step.provider).total() for step in compiled("onnxruntime_cpu", made))
    assert again - kept == BLOCKS * AGAIN


def test_openvino_computes_every_product_again(made):
    from backends._openvino import products_of

    kept, again = (products_of(step.compiled).total() for step in compiled("openvino_cpu", made))
    assert again - kept == BLOCKS * AGAIN
