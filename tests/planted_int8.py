"""Steps in 8 bits with one bug each."""

from __future__ import annotations

import torch

from backends._torch import TorchStep
from backends._torch_int8 import EagerInt8Ops, codes_of
from tests.planted import BUGS, CPU, PlantedAdapter


class _In8Bits(PlantedAdapter):
    precisions = ("fp32", "int8", "w8")
    precision = "int8"

    Ops: type[EagerInt8Ops] = EagerInt8Ops

    def prepare(self, request):
        step = TorchStep(request, CPU)
        step.ops = self.Ops()
        return step


class StepTwiceAsLarge(_In8Bits):
    class Ops(EagerInt8Ops):
        def int8_linear(self, x, codes, scale, step, bias, layout):
            return super().int8_linear(x, codes, scale, 2 * step, bias, layout)

        def int8_conv2d(self, x, codes, scale, step, bias, stride, padding):
            return super().int8_conv2d(x, codes, scale, 2 * step, bias, stride, padding)


class ScaleTwiceAsLarge(_In8Bits):
    class Ops(EagerInt8Ops):
        def int8_linear(self, x, codes, scale, step, bias, layout):
            return super().int8_linear(x, codes, 2 * scale, step, bias, layout)


class ZeroPointOffByOne(_In8Bits):
    class Ops(EagerInt8Ops):
        def int8_linear(self, x, codes, scale, step, bias, layout):
            return super().int8_linear(x + step, codes, scale, step, bias, layout)

        def int8_conv2d(self, x, codes, scale, step, bias, stride, padding):
            return super().int8_conv2d(x + step, codes, scale, step, bias, stride, padding)


class OneScaleForTheWholeWeight(_In8Bits):
    class Ops(EagerInt8Ops):
        def int8_linear(self, x, codes, scale, step, bias, layout):
            return super().int8_linear(x, *_of_one_scale(codes, scale, 0 if layout == "oi" else 1), step, bias, layout)

        def int8_conv2d(self, x, codes, scale, step, bias, stride, padding):
            return super().int8_conv2d(x, *_of_one_scale(codes, scale, 0), step, bias, stride, padding)


class TowardsZeroInsteadOfNearest(_In8Bits):
    class Ops(EagerInt8Ops):
        def int8_linear(self, x, codes, scale, step, bias, layout):
            return super().int8_linear(torch.trunc(x / step) * step, codes, scale, step, bias, layout)

        def int8_conv2d(self, x, codes, scale, step, bias, stride, padding):
            return super().int8_conv2d(torch.trunc(x / step) * step, codes, scale, step, bias, stride, padding)


class NoCodesOfActivations(_In8Bits):
    """w8 sold as int8."""

    class Ops(EagerInt8Ops):
        def int8_linear(self, x, codes, scale, step, bias, layout):
            return self.w8_linear(x, codes, scale, bias, layout)

        def int8_conv2d(self, x, codes, scale, step, bias, stride, padding):
            return self.w8_conv2d(x, codes, scale, bias, stride, padding)


class CodesOfActivationsUnderW8(_In8Bits):
    """What ONNX Runtime and OpenVINO do by their defaults."""

    precision = "w8"

    class Ops(EagerInt8Ops):
        def w8_linear(self, x, codes, scale, bias, layout):
            step = x.abs().amax(-1, keepdim=True) / 127
            return super().w8_linear(codes_of(x, step) * step, codes, scale, bias, layout)


class NormFoldedWithoutItsMean(_In8Bits):
    workloads = ("resnet50",)

    class Ops(EagerInt8Ops):
        def int8_conv2d(self, x, codes, scale, step, bias, stride, padding):
            return super().int8_conv2d(x, codes, scale, step, 0.9 * bias, stride, padding)


def _of_one_scale(codes, scale, axis):
    shape = [1] * codes.dim()
    shape[axis] = -1
    weight = codes * scale.reshape(shape)
    one = weight.abs().max() / 127
    return torch.round(weight / one).to(torch.int8).contiguous(), one.expand(scale.shape)


IN_8_BITS = {name: bug for name, bug in BUGS.items() if issubclass(bug, _In8Bits)}
for _name in IN_8_BITS:
    del BUGS[_name]
