"""Adapters with one bug each, in what the other model families add to the vocabulary; importing registers them."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from backends._torch_ops import TorchOps
from tests.planted import PlantedAdapter


class _InDsCnn(PlantedAdapter):
    """Bugs of convolutions by groups, with biases, padded unevenly."""

    workload = "ds_cnn"


class GroupsReadTheirNeighbours(_InDsCnn):
    class Ops(TorchOps):
        def conv2d(self, x, weight, stride, padding, *, bias=None, groups=1):
            x = x.roll(1, 1) if groups > 1 else x
            return super().conv2d(x, weight, stride, padding, bias=bias, groups=groups)


class GroupedConvolutionNotTrained(_InDsCnn):
    class Ops(TorchOps):
        def conv2d(self, x, weight, stride, padding, *, bias=None, groups=1):
            weight = weight.detach() + 0 * weight if groups > 1 else weight
            return super().conv2d(x, weight, stride, padding, bias=bias, groups=groups)


class BiasOfConvolutionLeftOut(_InDsCnn):
    """In training the norm behind takes it out again, so that no loss tells: in inference it counts."""

    phase = "infer"

    class Ops(TorchOps):
        def conv2d(self, x, weight, stride, padding, *, bias=None, groups=1):
            return super().conv2d(x, weight, stride, padding, groups=groups)


class OddZeroOnTheOtherSide(_InDsCnn):
    """As other frameworks pad than the one that the model comes from."""

    class Ops(TorchOps):
        def pad2d(self, x, rows, columns):
            return super().pad2d(x, rows[::-1], columns[::-1])


class NormOverSamplesLeavesOneOut(PlantedAdapter):
    workload = "autoencoder"

    class Ops(TorchOps):
        def batch_norm(self, x, p, training):
            y, statistics = super().batch_norm(x, p, training)
            return (torch.cat([y[:-1], super().batch_norm(x[:-1], p, training)[0][-1:]]), statistics)


class _InUnet(PlantedAdapter):
    """Bugs of what goes up again."""

    workload = "unet"


class TransposedKernelMirrored(_InUnet):
    class Ops(TorchOps):
        def conv_transpose2d(self, x, weight, bias):
            return super().conv_transpose2d(x, weight.flip(2, 3), bias)


class SkipConnectionBehind(_InUnet):
    class Ops(TorchOps):
        def concatenate(self, parts, *, axis=-1):
            return super().concatenate(parts[::-1], axis=axis)


class NoGradientThroughTheSkipConnection(_InUnet):
    class Ops(TorchOps):
        def concatenate(self, parts, *, axis=-1):
            return super().concatenate([parts[0].detach(), *parts[1:]], axis=axis)


class _InDlrm(PlantedAdapter):
    """Bugs of products in pairs and of the loss of a click."""

    workload = "dlrm"


class PairsOfTheOtherTriangle(_InDlrm):
    """The products are as many, in another order."""

    class Ops(TorchOps):
        def split(self, x, parts):
            if isinstance(parts, int):
                return super().split(x, parts)
            pieces = list(super().split(x, parts))
            return [piece.flip(-1) for piece in pieces]


class ClicksTheOtherWayRound(_InDlrm):
    class Ops(TorchOps):
        def binary_cross_entropy(self, logits, labels):
            return super().binary_cross_entropy(logits, 1 - labels)


class LogitsTakenForProbabilities(_InDlrm):
    class Ops(TorchOps):
        def binary_cross_entropy(self, logits, labels):
            return F.binary_cross_entropy_with_logits(torch.sigmoid(logits), labels.to(logits.dtype))


class _InDit(PlantedAdapter):
    """Bugs of norms that have their weights from elsewhere."""

    workload = "dit"


class NormWithoutWeightsAtAnotherEpsilon(_InDit):
    """The usual one, in the place of the one of this model: norms of narrow activations show it."""

    phase = "infer"

    class Ops(TorchOps):
        def layer_norm(self, x, weight, bias, epsilon):
            return super().layer_norm(x, weight, bias, 1e-5)


class ConditionNotTrained(_InDit):
    class Ops(TorchOps):
        def silu(self, x):
            return super().silu(x.detach() + 0 * x)


class _InVit(PlantedAdapter):
    """Bugs of a token that is every image's."""

    workload = "vit_b16"


class ClassTokenOfTheFirstImageAlone(_InVit):
    class Ops(TorchOps):
        def broadcast(self, x, shape):
            return torch.cat([super().broadcast(x, shape)[:1], x.new_zeros(shape)[1:]])


class ClassTokenBehind(_InVit):
    class Ops(TorchOps):
        def concatenate(self, parts, *, axis=-1):
            return super().concatenate(parts[::-1], axis=axis)
