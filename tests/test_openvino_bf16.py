"""bf16 in OpenVINO: a graph of that type, for CPUs that multiply it; what another makes of it is seen."""

from dataclasses import replace

import pytest

pytest.importorskip("openvino")
pytest.importorskip("onnxscript")

import onnx
import torch

from backends import _listing, openvino_cpu
from backends._arithmetic import cpu_has
from backends._graphs import ONNX, ONNX_FILE
from backends._onnx_arithmetic import graph_products
from backends._onnx_export import ExportOps
from backends._torch_ops import TorchOps
from bench.artifacts import EXPECTED
from bench.child.expected import load_expected
from bench.child.settings import request_of
from tests.fakes.steps import MADE, allowed_in, make, make_in, setting, verdict
from workloads.catalog import load
from workloads.precision import BF16, FP32

ADAPTER = openvino_cpu.OpenVinoCpu()


@pytest.mark.parametrize(("precision", "missing"), [("bf16", "instructions for bf16"), ("int8", "VNNI")])
def test_it_is_for_chips_that_multiply_it(precision, missing, monkeypatch):
    monkeypatch.setattr(openvino_cpu, "cpu_has", lambda type_name: False)
    code, reason = ADAPTER.why_unsupported("infer", precision)
    assert code == "precision_not_supported"
    assert missing in reason
    monkeypatch.setattr(openvino_cpu, "cpu_has", lambda type_name: True)
    assert ADAPTER.why_unsupported("train" if precision == "bf16" else "infer", precision) is None


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch's exporter warns of itself
def test_a_chip_without_it_computes_in_float32_and_is_refused(tmp_path):
    workload, phase = load("mlp", "tiny"), "train"
    made = make_in(tmp_path, workload, phase, (*MADE, ONNX), BF16)
    products = graph_products(onnx.load(made[ONNX.name] / ONNX_FILE).graph)
    assert products["bfloat16"] == sum(products.values()) > 0
    (plain := tmp_path / "plain").mkdir()
    make(EXPECTED, workload, phase, plain, made, FP32)
    request = request_of(replace(setting(workload, phase), precision=BF16), ADAPTER, made)
    given = request, load_expected(made["expected"]), allowed_in(made, BF16), load_expected(plain)
    assert verdict(ADAPTER, given) == (None if cpu_has(BF16.compute) else "effective_precision")


@pytest.mark.parametrize(
    ("has", "told"),
    [
        (False, "no bf16 (it takes avx512_bf16 or amx_bf16) · no int8 (it takes avx512_vnni or avx_vnni)"),
        (True, "bf16 native · int8 native"),
    ],
)
def test_the_listing_says_what_this_chip_lacks(has, told, monkeypatch):
    for module in (openvino_cpu, _listing):
        monkeypatch.setattr(module, "cpu_has", lambda type_name: has)
    assert _listing.in_precisions(ADAPTER) == f"fp32 · {told} · w8"


@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_attention_of_a_short_type_serves_groups_of_heads(key_heads):
    heads = [torch.randn(2, n, 6, 8, generator=torch.manual_seed(n)) for n in (4, key_heads, key_heads)]
    expected = TorchOps().attention(*heads, causal=True)
    found = ExportOps().attention(*(one.bfloat16() for one in heads), causal=True)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.05)
