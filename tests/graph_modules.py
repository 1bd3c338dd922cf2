"""Torch modules that are not ours, each its own loss, with example inputs: what graphs of PyTorch's operators hold."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


class Loss(nn.Module):
    """A module and a loss: forward returns the loss, and the output beside it."""

    def __init__(self, module, loss):
        super().__init__()
        self.module, self.of = module, loss

    def forward(self, *inputs):
        output = self.module(*inputs)
        return {"loss": self.of(output, *inputs), "output": output}


def square(output, *inputs):
    return (output * output).mean() + (output * torch.linspace(-1, 2, output.shape[-1])).sum()


def images(channels=3, side=12):
    return (torch.randn(2, channels, side, side + 2),)


def sequences(width=8):
    return (torch.randn(3, 6, width),)


def mlp():
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 5)), (torch.randn(12, 8),)


def convolutions():
    """Plain, strided, grouped, depthwise, dilated and transposed; maxima, means and adaptive means."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.SiLU(),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4),
        nn.Hardswish(),
        nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
        nn.ConvTranspose2d(8, 12, 3, stride=2, padding=1, output_padding=1, groups=2),
        nn.LeakyReLU(0.1),
        nn.Conv2d(12, 12, 3, padding="same", groups=12, bias=False),
        nn.ReLU6(),
        nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False, ceil_mode=True),
        nn.ELU(),
        nn.AdaptiveAvgPool2d((2, 3)),
        nn.Flatten(),
        nn.Linear(72, 5),
    ), images()


class Lstm(nn.Module):
    """Two layers, both directions, states of a width of their own where one is given."""

    def __init__(self, width=0):
        super().__init__()
        self.rnn = nn.LSTM(8, 6, num_layers=2, bidirectional=True, batch_first=True, proj_size=width)
        self.head = nn.Linear(2 * (width or 6), 5)

    def forward(self, x):
        y, (h, c) = self.rnn(x)
        return self.head(y) + c.sum() * h.mean()


class Gru(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(8, 6, num_layers=2), nn.Linear(6, 5)

    def forward(self, x):
        return self.head(self.rnn(x)[0])


class Attention(nn.Module):
    """With a mask of what is padded, a causal one, and a query that sees nothing."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x, seen):
        q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None, None] & causal)
        y = y + F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3)
        bias = torch.where(seen, 0.0, torch.finfo(torch.float32).min)[:, None, None]
        scores = (q @ k.transpose(-1, -2) / 2 + bias).masked_fill(~causal, -1e4)
        return self.out((y + scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class Dlrm(nn.Module):
    """Bags of ids, by rows and by offsets, and products of all pairs (arXiv:1906.00091)."""

    def __init__(self):
        super().__init__()
        self.by_row, self.by_offset = nn.EmbeddingBag(20, 4, mode="sum"), nn.EmbeddingBag(20, 4, mode="mean")
        self.dense, self.top = nn.Linear(6, 4), nn.Linear(7, 1)

    def forward(self, x, rows, ids, offsets):
        dense = torch.relu(self.dense(x))
        features = torch.stack([dense, self.by_row(rows), self.by_offset(ids, offsets)], 1)
        pairs = torch.bmm(features, features.transpose(1, 2))
        i, j = torch.tril_indices(3, 3, offset=-1)
        return self.top(torch.cat([dense, pairs[:, i, j]], 1))


class Unet(nn.Module):
    """One way down and up, with a transposed convolution, group norm and bilinear upsampling."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(4, 8), nn.SiLU())
        self.below = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, padding=1), nn.SiLU())
        self.up = nn.ConvTranspose2d(12, 8, 2, stride=2)
        self.last = nn.Conv2d(16 + 12, 3, 1)

    def forward(self, x):
        kept = self.first(x)
        below = self.below(kept)
        wide = F.interpolate(F.avg_pool2d(below, 2), size=kept.shape[2:], mode="bilinear", align_corners=False)
        return self.last(torch.cat([kept, self.up(below), wide], 1))


def upsampled():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.GroupNorm(2, 4),
        nn.SiLU(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(4, 4, 3, padding=1, bias=False),
        nn.InstanceNorm2d(4, affine=True),
        nn.GELU("tanh"),
        nn.PixelShuffle(2),
    ), images(side=6)


def volumes():
    return nn.Sequential(
        nn.Conv3d(2, 4, 3, stride=2, padding=1),
        nn.BatchNorm3d(4),
        nn.ReLU(),
        nn.MaxPool3d(2),
        nn.Conv3d(4, 4, 1),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    ), (torch.randn(2, 2, 8, 10, 8),)


def waves():
    """Weights of a direction and a size, in one dimension, as in vocoders."""
    return nn.Sequential(
        weight_norm(nn.Conv1d(2, 4, 5, padding=2)),
        nn.LeakyReLU(0.2),
        weight_norm(nn.ConvTranspose1d(4, 4, 4, stride=2, padding=1)),
        nn.Mish(),
        weight_norm(nn.Conv1d(4, 4, 3, groups=2, dilation=2)),
        nn.GLU(1),
        nn.AvgPool1d(2),
    ), (torch.randn(2, 2, 14),)


class Tied(nn.Module):
    """A language model whose head is its embedding; it counts its steps, and stops a gradient."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm, self.head = nn.Embedding(30, 8, padding_idx=0), nn.RMSNorm(8), nn.Linear(8, 30)
        self.head.weight = self.embed.weight
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("average", torch.zeros(8))

    def forward(self, ids):
        x = self.embed(ids)
        self.steps += 1
        self.average = 0.9 * self.average + 0.1 * x.detach().mean((0, 1))
        with torch.no_grad():
            frozen = torch.sin(x * 3)
        x = self.norm(x + frozen + self.average)
        x[:, 0] = x[:, 0] * 0.5
        x[:, 1] = 0
        return self.head(x)


def _transformer():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, activation="gelu")
    return nn.TransformerEncoder(layer, 2), sequences()


def _dlrm():
    return Dlrm(), (
        torch.randn(4, 6),
        torch.randint(0, 20, (4, 3)),
        torch.randint(0, 20, (9,)),
        torch.tensor([0, 2, 2, 6]),
    )


def _attention():
    return Attention(), (*sequences(), torch.arange(6)[None] >= torch.tensor([0, 2, 4])[:, None])


def _tied():
    return Loss(Tied(), lambda logits, ids: F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()))


MODULES = {
    "mlp": mlp,
    "convolutions": convolutions,
    "lstm": lambda: (Lstm(), sequences()),
    "lstm_projected": lambda: (Lstm(width=4), sequences()),
    "gru": lambda: (Gru(), sequences()),
    "transformer": _transformer,
    "attention": _attention,
    "dlrm": _dlrm,
    "unet": lambda: (Unet(), images(side=8)),
    "upsampled": upsampled,
    "volumes": volumes,
    "waves": waves,
    "tied": lambda: (_tied(), (torch.randint(1, 30, (3, 6)),)),
}
"""Each returns a module and its inputs."""


def made(name, seed=0):
    """Returns the module of that name as its own loss, in training, and its inputs."""
    torch.manual_seed(seed)
    module, inputs = MODULES[name]()
    module = module if isinstance(module, Loss) else Loss(module, square)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return module.train(), inputs
