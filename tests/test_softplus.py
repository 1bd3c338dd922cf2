"""The logistic loss where it is small: a runtime that takes a difference of large numbers for it gives 0."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.fx.experimental.proxy_tensor import make_fx  # noqa: E402 - takes torch

from backends._softplus import Softplus  # noqa: E402 - takes torch

LOGITS = np.array([-90, -30, -16.5, -9, -1, -1e-4, 0, 0.5, 5, 9, 16.5, 30, 90], np.float32)
TINY = np.finfo(np.float32).tiny


def truth(x):
    return np.logaddexp(0, x.astype(np.float64))


@pytest.mark.parametrize("label", [0, 1])
def test_a_small_loss_is_as_near_as_a_large_one_in_jax(label):
    jax = pytest.importorskip("jax")
    from backends._jax_ops import JaxOps

    logits, labels = jax.numpy.asarray(LOGITS), jax.numpy.full(1, label)
    found = [float(JaxOps().binary_cross_entropy(logits[i : i + 1], labels)) for i in range(len(LOGITS))]
    np.testing.assert_allclose(
        found, np.logaddexp(0, (1 - 2 * label) * LOGITS.astype(np.float64)), rtol=3e-7, atol=TINY
    )


def test_the_derivative_is_the_sigmoid_at_0_too():
    x = torch.from_numpy(LOGITS).requires_grad_()
    (gradient,) = torch.autograd.grad(Softplus.apply(x).sum(), x)
    torch.testing.assert_close(gradient, torch.sigmoid(torch.from_numpy(LOGITS)))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch's exporter warns of itself
def test_an_exported_loss_is_accurate_on_every_runtime_of_graphs(tmp_path):
    ort, ov = pytest.importorskip("onnxruntime"), pytest.importorskip("openvino")
    pytest.importorskip("onnxscript")
    path = tmp_path / "softplus.onnx"

    class Module(torch.nn.Module):
        def forward(self, x):
            return Softplus.apply(x)

    torch.onnx.export(Module().eval(), (torch.from_numpy(LOGITS),), dynamo=True, verbose=False, opset_version=20).save(
        path
    )
    session = ort.InferenceSession(path)
    compiled = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for found in (session.run(None, {session.get_inputs()[0].name: LOGITS})[0], compiled([LOGITS])[0]):
        np.testing.assert_allclose(found, truth(LOGITS), rtol=1e-6, atol=TINY)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch's exporter warns of itself
def test_the_derivative_of_one_loss_is_no_swish_to_openvino(tmp_path):
    ov = pytest.importorskip("openvino")
    pytest.importorskip("onnxscript")
    path, x = tmp_path / "derivative.onnx", torch.tensor([-2.5])

    def step(x):
        return torch.func.grad(lambda x: Softplus.apply((1 - 2 * torch.ones(1)) * x).mean())(x)

    traced = make_fx(step, tracing_mode="fake")(x)
    exported = torch.export.export(traced, (x,), strict=False)
    torch.onnx.export(exported, dynamo=True, verbose=False, opset_version=20, optimize=False).save(path)
    (found,) = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([x.numpy()]).values()
    np.testing.assert_allclose(found, -torch.sigmoid(-x).numpy(), rtol=1e-6)
