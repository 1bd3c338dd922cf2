"""Adapters with one bug each, in what resnet50 and bert_base add to the vocabulary; importing registers them."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from backends._torch_ops import TorchOps
from tests.planted import PlantedAdapter


class _InResnet(PlantedAdapter):
    """Bugs of what convolutional networks add: convolution, pooling, running statistics."""

    workload = "resnet50"


class RunningStatisticsFrozen(_InResnet):
    class Ops(TorchOps):
        def batch_norm(self, x, p, training):
            y, statistics = super().batch_norm(x, p, training)
            return y, {name: p[name] for name in statistics}


class RunningVarianceBiased(_InResnet):
    """The batch's variance enters the running one without n/(n-1)."""

    class Ops(TorchOps):
        def batch_norm(self, x, p, training):
            y, statistics = super().batch_norm(x, p, training)
            if training:
                biased = x.detach().var((0, 2, 3), correction=0)
                statistics["running_var"] = p["running_var"] + 0.1 * (biased - p["running_var"])
            return y, statistics


class MomentumOfRunningStatisticsReversed(_InResnet):
    class Ops(TorchOps):
        def batch_norm(self, x, p, training):
            y, statistics = super().batch_norm(x, p, training)
            return y, {name: p[name] + 9 * (new - p[name]) for name, new in statistics.items()}


class RunningStatisticsNormaliseInTraining(_InResnet):
    class Ops(TorchOps):
        def batch_norm(self, x, p, training):
            _, statistics = super().batch_norm(x, p, training)
            return super().batch_norm(x, p, False)[0], statistics


class BatchStatisticsNormaliseInInference(_InResnet):
    phase = "infer"

    class Ops(TorchOps):
        def batch_norm(self, x, p, training):
            return super().batch_norm(x, p, True)[0], {}


class BatchNormGradientIgnoresTheStatistics(_InResnet):
    """Mean and variance count as constants in the backward pass."""

    class Ops(TorchOps):
        def batch_norm(self, x, p, training):
            _, statistics = super().batch_norm(x, p, training)
            mean, variance = x.detach().mean((0, 2, 3)), x.detach().var((0, 2, 3), correction=0)
            return F.batch_norm(x, mean, variance, p["weight"], p["bias"], training=False, eps=1e-5), statistics


class PaddingOffByOne(_InResnet):
    """The zeros stand on one side only."""

    phase = "infer"

    class Ops(TorchOps):
        def conv2d(self, x, weight, stride, padding):
            return F.conv2d(F.pad(x, (2 * padding, 0, 2 * padding, 0)), weight, stride=stride)


class StrideInTheFirstConvolution(_InResnet):
    """Every second position of a downsampling convolution is the neighbour's: v1 for v1.5, of the same shapes."""

    phase = "infer"

    class Ops(TorchOps):
        def conv2d(self, x, weight, stride, padding):
            if stride == 2 and weight.shape[-1] == 3:
                return F.conv2d(x, weight, padding=padding)[:, :, 1::2, 1::2]
            return super().conv2d(x, weight, stride, padding)


class StridedConvolutionGradientShifted(_InResnet):
    """The input's gradient of strided convolutions lands one position off."""

    class Ops(TorchOps):
        def conv2d(self, x, weight, stride, padding):
            if stride == 2 and x.requires_grad:
                x = x.clone()
                x.register_hook(lambda gradient: gradient.roll(1, -1))
            return super().conv2d(x, weight, stride, padding)


class ConvolutionWeightGradientWithoutTheLastSample(_InResnet):
    class Ops(TorchOps):
        def conv2d(self, x, weight, stride, padding):
            y = F.conv2d(x[:-1], weight, stride=stride, padding=padding)
            return torch.cat([y, F.conv2d(x[-1:], weight.detach(), stride=stride, padding=padding)])


class MaximumPoolGradientSpreadOverTheWindow(_InResnet):
    """The forward pass is the maximum, the derivative that of the average."""

    class Ops(TorchOps):
        def max_pool2d(self, x, kernel, stride, padding):
            average = F.avg_pool2d(x, kernel, stride, padding)
            return average + (super().max_pool2d(x, kernel, stride, padding) - average).detach()


class WrongNextSentenceLoss(PlantedAdapter):
    """The labels of the next-sentence head are the other way round."""

    workload = "bert_base"

    class Ops(TorchOps):
        def cross_entropy(self, logits, labels):
            return super().cross_entropy(logits, 1 - labels if logits.shape[-1] == 2 else labels)


class NextSentenceLossLeftOut(PlantedAdapter):
    workload = "bert_base"

    class Ops(TorchOps):
        def cross_entropy(self, logits, labels):
            return super().cross_entropy(logits, labels) * (logits.shape[-1] != 2)


class IgnoredLabelsCountInTheMean(PlantedAdapter):
    workload = "bert_base"

    class Ops(TorchOps):
        def cross_entropy(self, logits, labels):
            return F.cross_entropy(logits, labels, reduction="sum") / len(labels)


class TokenTypesLeftOut(PlantedAdapter):
    workload = "bert_base"
    phase = "infer"

    class Ops(TorchOps):
        def embedding(self, table, ids):
            return super().embedding(table, ids * (len(table) != 2))
