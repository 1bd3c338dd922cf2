"""A multilayer perceptron with batch norm."""

import torch
from torch import nn

import samestep


def normed(batch=16):
    module = nn.Sequential(nn.Linear(12, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 5))
    inputs = (torch.randn(batch, 12),)
    return samestep.Model(module, inputs, torch.randint(0, 5, (batch,)), nn.functional.cross_entropy)
