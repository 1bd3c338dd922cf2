"""Adapters with one bug each. Every one of them computes something else than its workload, or lies about it.

Here are those of what every model has, on `mlp` and `gpt2`; `planted_models.py` has what other models add.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from backends._torch import TorchStep
from backends._torch_ops import TorchOps
from backends.base import Adapter, Probe

BUGS: dict[str, type[PlantedAdapter]] = {}
CPU = torch.device("cpu")


class PlantedAdapter(Adapter):
    """A correct adapter; subclasses plant one bug each and register themselves in `BUGS`, but for `_bases`."""

    device_kind = "cpu"
    workload = "mlp"
    size = "tiny"
    phase = "train"

    Step: type[TorchStep] = TorchStep
    Ops: type[TorchOps] = TorchOps

    def __init_subclass__(cls) -> None:
        if not cls.__name__.startswith("_"):
            BUGS[cls.__name__] = cls

    def probe(self):
        return Probe("usable", "planted")

    def load(self, setting):
        """The test process has torch already."""

    def prepare(self, request):
        step = self.Step(self.wrong(request), CPU)
        step.ops = self.Ops()
        return step

    def wrong(self, request):
        """Returns what the step is told to do, which a bug may change."""
        return request


def with_rule(request, **changes):
    program = request.program
    rule = replace(program.update.rule, **changes)
    wrong = replace(program, update=replace(program.update, rule=rule))
    return replace(request, workload=replace(request.workload, programs={request.phase: wrong}))


class DroppedBiasGradient(PlantedAdapter):
    class Ops(TorchOps):
        def linear(self, x, weight, bias=None, layout="oi"):
            return super().linear(x, weight, bias if bias is None else bias.detach() + 0 * bias, layout)


class SumForMeanInTheLoss(PlantedAdapter):
    class Ops(TorchOps):
        def cross_entropy(self, logits, labels):
            return F.cross_entropy(logits, labels, reduction="sum")


class WrongActivationDerivative(PlantedAdapter):
    """The forward pass is the tanh form, the derivative that of the exact one."""

    workload = "gpt2"

    class Ops(TorchOps):
        def gelu(self, x, approximate):
            exact = F.gelu(x)
            return exact + (F.gelu(x, approximate="tanh") - exact).detach()


class AllGradientsOnePercentTooLargeUnderAdamW(PlantedAdapter):
    workload = "gpt2"

    class Step(TorchStep):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            for parameter in self.parameters.values():
                parameter.register_hook(lambda gradient: 1.01 * gradient)


class OneLayersGradientOnePercentTooLargeUnderSGD(PlantedAdapter):
    class Step(TorchStep):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.parameters["layers.1.weight"].register_hook(lambda gradient: 1.01 * gradient)


class StaleWeights(PlantedAdapter):
    """Gradients are taken at the weights of the step before."""

    workload = "gpt2"

    class Step(TorchStep):
        def step(self, i):
            current = {name: p.detach().clone() for name, p in self.parameters.items()}
            stale = getattr(self, "stale", current)
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(stale[name])
            self.optimizer.zero_grad()
            loss, _ = self.loss(self.parameters, self.batches[i % 2])
            loss.backward()
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(current[name])
            self.optimizer.step()
            self.stale, self.last = current, {"loss": loss.detach()}


class StateNotCarriedFromStepToStep(PlantedAdapter):
    class Step(TorchStep):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.initial = {name: p.detach().clone() for name, p in self.parameters.items()}

        def step(self, i):
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(self.initial[name])
            self.optimizer.state.clear()
            super().step(i)


class MomentumNotCarriedFromStepToStep(PlantedAdapter):
    class Step(TorchStep):
        def step(self, i):
            self.optimizer.state.clear()
            super().step(i)


class WeightDecayLeftOut(PlantedAdapter):
    workload = "gpt2"

    def wrong(self, request):
        return with_rule(request, weight_decay=0.0)


class LearningRateTwoPerMilleTooLarge(PlantedAdapter):
    workload = "gpt2"

    def wrong(self, request):
        return with_rule(request, learning_rate=1.002e-4)


class FirstMomentsDecayInBfloat16(PlantedAdapter):
    workload = "gpt2"

    def wrong(self, request):
        return with_rule(request, beta1=torch.tensor(0.9, dtype=torch.bfloat16).item())


class WrongSecondMomentsDecay(PlantedAdapter):
    """Bias correction hides it from the first step."""

    workload = "gpt2"

    def wrong(self, request):
        return with_rule(request, beta2=0.99)


class NoCausalMask(PlantedAdapter):
    workload = "gpt2"
    phase = "infer"

    class Ops(TorchOps):
        def attention(self, query, key, value, causal):
            return super().attention(query, key, value, causal=False)


class CausalMaskOffByOne(PlantedAdapter):
    workload = "gpt2"

    class Ops(TorchOps):
        def attention(self, query, key, value, causal):
            n = query.shape[-2]
            return F.scaled_dot_product_attention(query, key, value, attn_mask=torch.ones(n, n).tril(1).bool())


class Tf32DeclaredAsFp32(PlantedAdapter):
    """Operands of products are rounded to 10 bits of mantissa, as tensor cores do."""

    workload = "gpt2"
    phase = "infer"

    class Ops(TorchOps):
        dropped_bits = 13

        def rounded(self, x):
            bits, half = x.detach().contiguous().view(torch.int32), 1 << (self.dropped_bits - 1)
            return ((bits + half) & -(1 << self.dropped_bits)).view(torch.float32)

        def linear(self, x, weight, bias=None, layout="oi"):
            return super().linear(self.rounded(x), self.rounded(weight), bias, layout)


class FinerThanTf32DeclaredAsFp32(Tf32DeclaredAsFp32):
    """14 bits: it hardly moves norm, sum or scale of an output."""

    class Ops(Tf32DeclaredAsFp32.Ops):
        dropped_bits = 9


class Unsynced(PlantedAdapter):
    """Work goes on behind `sync()`, which does nothing; only reading waits."""

    class Step(TorchStep):
        def step(self, i):
            self.wait()
            self.worker = threading.Thread(target=self.late, args=(i,))
            self.worker.start()

        def late(self, i):
            time.sleep(0.01)
            super().step(i)

        def wait(self):
            if hasattr(self, "worker"):
                self.worker.join()

        def touch(self):
            self.wait()
            super().touch()

        def outputs(self):
            self.wait()
            return super().outputs()


class OutputComputedOnce(PlantedAdapter):
    phase = "infer"

    class Step(TorchStep):
        def step(self, i):
            if not self.last:
                super().step(i)


class SameBatchForEver(PlantedAdapter):
    class Step(TorchStep):
        def step(self, i):
            super().step(0)


class LossReportedTooLarge(PlantedAdapter):
    class Step(TorchStep):
        def outputs(self):
            return {"loss": super().outputs()["loss"] * np.float32(1.001)}


class NotANumber(PlantedAdapter):
    phase = "infer"

    class Step(TorchStep):
        def outputs(self):
            outputs = {name: array.copy() for name, array in super().outputs().items()}
            outputs["logits"].reshape(-1)[0] = np.nan
            return outputs


class StateTensorMissing(PlantedAdapter):
    class Step(TorchStep):
        def state(self):
            return [(name, array) for name, array in super().state() if name != "first_moment.layers.0.bias"]


class OutputTransposed(PlantedAdapter):
    phase = "infer"

    class Step(TorchStep):
        def outputs(self):
            return {"logits": np.ascontiguousarray(super().outputs()["logits"].T)}


class OtherPrecision(PlantedAdapter):
    class Step(TorchStep):
        def effective(self):
            return replace(super().effective(), precision="bf16")


class OtherDevice(PlantedAdapter):
    class Step(TorchStep):
        def effective(self):
            return replace(super().effective(), device="null")


class _ElementsThatAreNotKept(PlantedAdapter):
    """A tensor of more elements than are kept, wrong in some that are not."""

    size = "wide"

    class Step(TorchStep):
        def state(self):
            from workloads.summary import chosen

            for name, array in super().state():
                if name == "first_moment.layers.0.weight":
                    flat = array.copy().reshape(-1)
                    left = np.setdiff1d(np.arange(flat.size), chosen(flat.size))
                    flat[left] = self.spoil(flat[left])
                    yield name, flat.reshape(array.shape)
                else:
                    yield name, array


class UnkeptElementsOfTheOtherSign(_ElementsThatAreNotKept):
    """The norm is right."""

    class Step(_ElementsThatAreNotKept.Step):
        def spoil(self, left):
            return np.where(left > 0, -left, left)


class UnkeptElementsSpreadOut(_ElementsThatAreNotKept):
    """The sum is right."""

    class Step(_ElementsThatAreNotKept.Step):
        def spoil(self, left):
            half = len(left) // 2
            shift = np.full(half, np.abs(left).mean(), np.float32)
            return np.concatenate([left[:half] + shift, left[half : 2 * half] - shift, left[2 * half :]])
