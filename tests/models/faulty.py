"""Factories with one fault each."""

import sys

import torch
import torch.nn.functional as F
from torch import nn

import samestep


def model(module, batch=4, **more):
    return samestep.Model(module, (torch.randn(batch, 6),), torch.randn(batch, 6), F.mse_loss, **more)


def raises(batch=4):
    raise RuntimeError("no such layer: 12")


def leaves(batch=4):
    sys.exit("no weights here")


def nonsense(batch=4):
    return {"module": nn.Linear(2, 2)}


def nothing(batch=4):
    """Forgets its return."""


def on_a_gpu(batch=4):
    return model(nn.Linear(6, 6).to("cuda:0"))


def no_module():
    return samestep.Model(len, (torch.zeros(2),))


def bare_tensor():
    return samestep.Model(nn.Linear(2, 2), torch.zeros(3, 2))


def dropping(batch=4):
    return model(nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.1)))


class Noisy(nn.Linear):
    def forward(self, x):
        return super().forward(x) + 0.01 * torch.randn_like(x)


def noisy(batch=4):
    return model(Noisy(6, 6))


class Selecting(nn.Linear):
    def forward(self, x):
        return super().forward(x)[x > 0].mean()


def selecting(batch=4):
    return samestep.Model(Selecting(6, 6), (torch.randn(batch, 6),))


class Aligning(nn.Linear):
    def forward(self, x):
        spread = super().forward(x).log_softmax(-1).unsqueeze(1).expand(-1, 3, -1)
        return F.ctc_loss(spread, torch.ones(3, 2, dtype=torch.int64), (4, 4, 4), (2, 2, 2))


def aligning(batch=4):
    return samestep.Model(Aligning(6, 6), (torch.randn(batch, 6),))


class Deciding(nn.Linear):
    def forward(self, x):
        if x.sum() > 0:
            return super().forward(x)
        return x


def deciding(batch=4):
    return model(Deciding(6, 6))


def vector_loss(batch=4):
    return samestep.Model(
        nn.Linear(6, 6),
        (torch.randn(batch, 6),),
        torch.randn(batch, 6),
        lambda a, b: F.mse_loss(a, b, reduction="none"),
    )


def frozen(batch=4):
    return model(nn.Linear(6, 6).requires_grad_(False))


def with_optimizer(kind, **more):
    module = nn.Linear(6, 6)
    return model(module, optimizer=kind(module.parameters(), lr=0.01, **more))


def nesterov(batch=4):
    return with_optimizer(torch.optim.SGD, momentum=0.9, nesterov=True)


def no_momentum(batch=4):
    return with_optimizer(torch.optim.SGD)


def adagrad(batch=4):
    return with_optimizer(torch.optim.Adagrad)


def no_batch():
    return model(nn.Linear(6, 6))


def ignores_batch(batch=4):
    return model(nn.Linear(6, 6), 4)


def raising_forward(batch=4):
    return model(nn.Linear(5, 6))


def one_number(batch=1):
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def forward(self, n):
            return self.weight * n

    return samestep.Model(Scale(), (torch.tensor(3),))


class Remembering(nn.Linear):
    """Counts its calls in inference too."""

    def __init__(self):
        super().__init__(6, 6)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return super().forward(x) * self.calls


def remembering(batch=4):
    return model(Remembering())


class _Straight(torch.autograd.Function):
    """Rounds, and passes the gradient as if it had not."""

    @staticmethod
    def forward(x):
        return torch.round(x * 4) / 4

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Keeps nothing."""

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class _Rounding(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x):
        return self.outer(_Straight.apply(self.inner(x)))


def differentiating(batch=4):
    """Has a backward pass of its own."""
    return model(_Rounding(), batch)


class _Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.calls = nn.Linear(6, 6), 0

    def forward(self, x):
        self.calls += 1
        return self.inner(x) * self.calls


def counting(batch=4):
    """Gives another output with each call."""
    return model(_Counting(), batch)
