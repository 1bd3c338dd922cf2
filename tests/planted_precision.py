"""Steps in bf16 with one bug each: something else than bf16, or than what training keeps in float32."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F

from backends._torch import TorchStep
from backends._torch_ops import EagerTorchOps
from tests.planted import BUGS, CPU, PlantedAdapter


class _InBf16(PlantedAdapter):
    precisions = ("fp32", "bf16")
    workload = "gpt2"

    Step: type[TorchStep] = TorchStep
    Ops: type[EagerTorchOps] = EagerTorchOps

    def prepare(self, request):
        step = self.Step(self.wrong(request), CPU)
        step.ops = self.Ops()
        return step


class MomentsInBf16(_InBf16):
    class Step(TorchStep):
        def step(self, i):
            super().step(i)
            for native in self.optimizer.state.values():
                for name, held in native.items():
                    if name != "step":
                        held.copy_(held.bfloat16())


class NoMastersInFp32(_InBf16):
    class Step(TorchStep):
        def step(self, i):
            super().step(i)
            with torch.no_grad():
                for parameter in self.parameters.values():
                    parameter.copy_(parameter.bfloat16())


class LearningRateTwoPerMilleTooLargeInBf16(_InBf16):
    class Step(TorchStep):
        def step(self, i):
            for group in self.optimizer.param_groups:
                group["lr"] = 1.002e-4
            super().step(i)


class WrongEpsilonInBf16(_InBf16):
    class Step(TorchStep):
        def step(self, i):
            for group in self.optimizer.param_groups:
                group["eps"] = 1e-6
            super().step(i)


class LossInBf16(_InBf16):
    class Ops(EagerTorchOps):
        def cross_entropy(self, logits, labels):
            return F.cross_entropy(logits.bfloat16(), labels).float()


class Fp8OperandsSoldAsBf16(_InBf16):
    phase = "infer"

    class Ops(EagerTorchOps):
        def linear(self, x, weight, bias=None, layout="oi"):
            x, weight = (tensor.to(torch.float8_e4m3fn).to(tensor.dtype) for tensor in (x, weight))
            return super().linear(x, weight, bias, layout)


class OnlyWhatIsStoredIsRounded(_InBf16):
    """Parameters are bf16, and all that is computed is float32."""

    phase = "infer"

    class Step(TorchStep):
        def effective(self):
            return replace(super().effective(), precision="bf16")

    class Ops(EagerTorchOps):
        def cast(self, x, dtype):
            return x.float()


class Fp32SoldAsBf16(OnlyWhatIsStoredIsRounded):
    """Nothing is rounded, neither what is stored nor what is computed."""

    class Step(OnlyWhatIsStoredIsRounded.Step):
        def __init__(self, request, device):
            super().__init__(request, device)
            self.tensors = {name: torch.from_numpy(array.copy()) for name, array in request.parameters.items()}


class NoCausalMaskInBf16(_InBf16):
    phase = "infer"

    class Ops(EagerTorchOps):
        def attention(self, query, key, value, causal):
            return super().attention(query, key, value, causal=False)


class DroppedBiasGradientInBf16(_InBf16):
    class Ops(EagerTorchOps):
        def linear(self, x, weight, bias=None, layout="oi"):
            return super().linear(x, weight, bias if bias is None else bias.detach() + 0 * bias, layout)


IN_BF16 = {name: bug for name, bug in BUGS.items() if issubclass(bug, _InBf16)}
for _name in IN_BF16:
    del BUGS[_name]
