"""Operators that a runtime lacks: named beforehand by what `check-model` asks, and by the maker of the graph."""

import pytest

import backends
from backends._graph_lacks import in_jax, in_onnx
from backends._onnx_lacks import missing_in, named_as_ours
from tests.fakes.own import own
from tests.fakes.steps import setting
from workloads.graph import UnsupportedOperator

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
SAID = "No ONNX function found for <OpOverload(op='aten.linalg_pinv', overload='atol_rtol_tensor')>. Failure message"


@pytest.fixture(scope="module")
def normed(tmp_path_factory):
    return own("tests.models.norm:normed", tmp_path_factory.mktemp("own") / "model")


@pytest.fixture(scope="module")
def inverse(tmp_path_factory):
    return own("tests.models.zoo:inverse", tmp_path_factory.mktemp("own") / "model")


@pytest.mark.parametrize("phase", ["infer", "train"])
def test_a_model_of_usual_operators_lacks_none(normed, phase):
    pytest.importorskip("jax")
    pytest.importorskip("onnxscript")
    assert in_jax(setting(normed, phase)) == ()
    assert in_onnx(setting(normed, phase)) == ()


def test_what_writes_into_its_argument_is_looked_up_by_what_stands_for_it(tmp_path):
    pytest.importorskip("onnxscript")
    assert in_onnx(setting(own("tests.models.zoo:upsampled", tmp_path / "model"), "train")) == ()


@pytest.mark.parametrize("phase", ["infer", "train"])
def test_what_the_exporter_decomposes_or_writes_in_place_is_not_missing(phase, tmp_path):
    pytest.importorskip("onnxscript")
    assert in_onnx(setting(own("tests.models.zoo:batch_first", tmp_path / "model"), phase)) == ()


def test_what_has_a_translation_but_for_complex_numbers_is_named_as_it_is_called(tmp_path):
    pytest.importorskip("onnxscript")
    names = in_onnx(setting(own("tests.models.zoo:rotary", tmp_path / "model"), "train"))
    assert names
    assert all(name.startswith("aten.") and name.endswith(" of complex numbers") for name in names), names


def test_what_is_missing_is_named_in_jax(inverse):
    pytest.importorskip("jax")
    (name, *_) = in_jax(setting(inverse, "infer"))
    assert name.startswith("aten.")
    assert backends.get("jax_cpu").missing_operators(setting(inverse, "infer"))[0] == name
    assert backends.get("torch_cpu").missing_operators(setting(inverse, "infer")) == ()


def test_what_is_missing_is_named_in_onnx(inverse):
    pytest.importorskip("onnxscript")
    names = in_onnx(setting(inverse, "infer"))
    assert any("linalg" in name for name in names), names


def test_the_exporters_error_is_told_as_ours():
    outer = RuntimeError("Failed to convert")
    outer.__cause__ = ValueError(SAID)
    assert missing_in(outer) == ["aten.linalg_pinv.atol_rtol_tensor"]
    with (
        pytest.raises(UnsupportedOperator, match=r"operator aten.linalg_pinv.* has no translation to ONNX"),
        named_as_ours(),
    ):
        raise outer
    with pytest.raises(ValueError, match="something else"), named_as_ours():
        raise ValueError("something else")


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (("Det", ["x"], ["y"]), r"^operator Det-20 of the ONNX graph is not converted by OpenVINO$"),
        (("Gemm", ["x", "x"], ["y"]), r"^operator Gemm-20 of .* OpenVINO: .*matmul_shape"),
    ],
)
def test_what_openvino_does_not_convert_is_named(node, said, tmp_path):
    onnx, openvino = pytest.importorskip("onnx"), pytest.importorskip("openvino")
    from backends._openvino_lacks import read

    kinds = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, 3]) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node(*node)], "graph", kinds[:1], kinds[1:])
    opset = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "model.onnx")
    with pytest.raises(UnsupportedOperator, match=said):
        read(openvino.Core(), str(tmp_path / "model.onnx"))
    with pytest.raises(RuntimeError, match="no_such"):
        read(openvino.Core(), str(tmp_path / "no_such.onnx"))


def test_what_its_plugin_has_no_kernel_for_is_named():
    """As OpenVINO 2026.4 says it of a pooling that gives indices, in bf16."""
    from backends._openvino_lacks import compiled

    class Core:
        said = """Exception from src/inference/src/dev/plugin.cpp:54:
Check 'newNode' failed at src/plugins/intel_cpu/src/node.cpp:1626:
Unsupported operation of type: MaxPool name: node_max_pool2d
Details:
MaxPool from opset8 and opset14 is supported only with one output port
"""

        def compile_model(self, model, device, settings):
            raise RuntimeError(self.said)

    with pytest.raises(
        UnsupportedOperator, match=r"^operator MaxPool node_max_pool2d has no .* OpenVINO's CPU: .*one output port$"
    ):
        compiled(Core(), None, "CPU", {})
    Core.said = "out of memory"
    with pytest.raises(RuntimeError, match="out of memory"):
        compiled(Core(), None, "CPU", {})


def test_bags_of_maxima_are_named_in_onnx_and_run_in_jax(tmp_path):
    bags = own("tests.models.zoo:bags_of_maxima", tmp_path / "model")
    assert in_jax(setting(bags, "train")) == ()
    assert in_onnx(setting(bags, "infer")) == ("aten._embedding_bag.default with mode=2, scale_grad_by_freq=False",)
