"""What modules of users' own are like: buffers, tied and frozen weights, masks, nested outputs, integers."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

import samestep


class Counted(nn.Module):
    """Moving averages and counters, written in forward in both ways."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("average", torch.zeros(6))
        self.register_buffer("scale", torch.full((6,), 1.5))

    def forward(self, x):
        y = self.layer(x) * self.scale
        if self.training:
            self.steps += 1
            self.average = 0.9 * self.average + 0.1 * y.detach().mean(0)
        return y - self.average


def counted(batch=8):
    return samestep.Model(Counted(), (torch.randn(batch, 6),), torch.randn(batch, 6), F.mse_loss)


class Tied(nn.Module):
    """A language model whose embedding is its head, with a mask of the user's, a frozen part, and several outputs."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 16)
        self.positions = nn.Embedding(12, 16).requires_grad_(False)
        self.block = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.table.weight
        self.unused = nn.Linear(3, 3)

    def forward(self, input_ids, attention_mask):
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.table(input_ids) + self.positions(places)
        x = self.block(x, src_key_padding_mask=~attention_mask)
        return {"logits": self.head(x), "hidden": (x, x.mean(1)), "name": "tied"}


def tied(batch=4):
    ids = torch.randint(0, 50, (batch, 10))
    mask = torch.arange(10) < torch.randint(5, 11, (batch, 1))
    inputs = {"input_ids": ids, "attention_mask": mask}
    module = Tied()
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-3)
    return samestep.Model(module, inputs, {"labels": ids.roll(-1, 1)}, by_token, optimizer)


def by_token(output, labels):
    return F.cross_entropy(output["logits"].flatten(0, 1), labels.flatten())


@dataclass
class Out:
    mean: torch.Tensor
    loss: torch.Tensor


class Own(nn.Module):
    """Returns a dataclass, and is its own loss; computes in float32 by itself."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 7)
        self.constant = torch.linspace(0.5, 1.5, 7)

    def forward(self, x, y):
        z = torch.tanh(self.layer(x)).to(torch.float32) * self.constant
        return Out(z.mean(1), ((z.sum(1) - y) ** 2).mean())


def own(batch=6):
    return samestep.Model(Own(), (torch.randn(batch, 5), torch.randn(batch)))


class Pixels(nn.Module):
    """A U-Net of two levels: transposed convolution, group norm, max pool, a skip."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.last = nn.Conv2d(16, 2, 1)

    def forward(self, x):
        x = F.silu(self.norm(self.first(x)))
        y = F.relu(self.second(F.max_pool2d(x, 2)))
        return self.last(torch.cat([x, self.up(y)], 1))


def pixels(batch=2):
    return samestep.Model(Pixels(), (torch.randn(batch, 3, 8, 8),), torch.randint(0, 2, (batch, 8, 8)), F.cross_entropy)


def recurrent(batch=3):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(4, 6, batch_first=True)
            self.head = nn.Linear(6, 2)

        def forward(self, x):
            return self.head(self.rnn(x)[0][:, -1])

    return samestep.Model(Last(), (torch.randn(batch, 5, 4),), torch.randint(0, 2, (batch,)), F.cross_entropy)


def no_loss(batch=2):
    return samestep.Model(nn.Linear(4, 4), (torch.randn(batch, 4),))


def spectrum(batch=2):
    class Spectrum(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x):
            return torch.fft.rfft(self.layer(x)).abs()

    return samestep.Model(Spectrum(), (torch.randn(batch, 8),), torch.randn(batch, 5), F.mse_loss)


def inverse(batch=2):
    class Inverse(nn.Module):
        """An operator that no table but torch's has."""

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return torch.linalg.pinv(self.layer(x).reshape(-1, 2, 2))

    return samestep.Model(Inverse(), (torch.randn(batch, 4),), torch.randn(batch, 2, 2), F.mse_loss)


class Upsampled(nn.Module):
    """Ends in a mean over places, so that every bias before it gets a sum of equal terms as its gradient."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16)
        self.up, self.attention = nn.ConvTranspose2d(16, 8, 2, stride=2), nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        h = self.up(F.silu(self.norm(self.conv(x)))).flatten(2).transpose(1, 2)
        return self.head((h + self.attention(h, h, h, need_weights=False)[0]).mean(1))


def upsampled(batch=4):
    x, labels = torch.randn(batch, 3, 16, 16), torch.randint(0, 10, (batch,))
    return samestep.Model(Upsampled(), (x,), labels, F.cross_entropy)


def bags_of_maxima(batch=4):
    class Bags(nn.Module):
        def __init__(self):
            super().__init__()
            self.bag, self.head = nn.EmbeddingBag(30, 8, mode="max"), nn.Linear(8, 2)

        def forward(self, ids):
            return self.head(self.bag(ids))

    return samestep.Model(Bags(), (torch.randint(0, 30, (batch, 3)),), torch.randint(0, 2, (batch,)), F.cross_entropy)


class Rotary(nn.Module):
    """Angles as a complex buffer, a complex weight, and a complex output, by a Fourier transform."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.filter = nn.Parameter(torch.randn(5, dtype=torch.complex64))
        angles = torch.outer(torch.arange(6.0), 0.1 ** torch.arange(4.0))
        self.register_buffer("turns", torch.polar(torch.ones_like(angles), angles))

    def forward(self, x):
        pairs = torch.view_as_complex(self.layer(x).unflatten(-1, (4, 2)))
        turned = torch.view_as_real(pairs * self.turns).flatten(-2)
        spectrum = torch.fft.rfft(turned, norm="ortho") * self.filter
        return torch.fft.irfft(spectrum, n=8, norm="ortho"), spectrum.conj()


def rotary(batch=3):
    def loss(output, target):
        return F.mse_loss(output[0], target)

    return samestep.Model(Rotary(), (torch.randn(batch, 6, 8),), torch.randn(batch, 6, 8), loss)


def checked(batch=4):
    class Checked(nn.Module):
        """Operators that check values as they run: one_hot its classes, cholesky its matrix."""

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 5)

        def forward(self, ids):
            x = self.layer(F.one_hot(ids, 5).float())
            return torch.linalg.cholesky(x @ x.mT + torch.eye(x.shape[1]))

    return samestep.Model(Checked(), (torch.randint(0, 5, (batch, 5)),), torch.randn(batch, 5, 5), F.mse_loss)


def batch_first(batch=2):
    class First(nn.Module):
        """What the exporter to ONNX writes in place as it traces, and what it decomposes."""

        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(4, 4, batch_first=True)

        def forward(self, x):
            x = F.adaptive_avg_pool2d(x, (5, 3))
            y = self.rnn(x.flatten(2).transpose(1, 2))[0]
            return torch.diagonal(y @ y.mT, dim1=1, dim2=2) + y.var((1, 2))[:, None]

    return samestep.Model(First(), (torch.randn(batch, 4, 7, 7),), torch.randn(batch, 15), F.mse_loss)


def nearest(batch=4):
    class Nearest(nn.Module):
        """A code of a book by its distance, and a bilinear layer."""

        def __init__(self):
            super().__init__()
            self.encode, self.decode = nn.Linear(6, 4), nn.Bilinear(4, 4, 6)
            self.register_buffer("book", torch.randn(8, 4))

        def forward(self, x):
            code = self.encode(x)
            far = torch.cdist(code, self.book)
            found = F.embedding(far.argmin(-1), self.book)
            return self.decode(code + (found - code).detach(), code) + far.mean()

    return samestep.Model(Nearest(), (torch.randn(batch, 6),), torch.randn(batch, 6), F.mse_loss)


class Masked(nn.Module):
    """A block as users write one: rotary angles of a buffer, a mask of the least float32, a norm by hand."""

    def __init__(self, width=32, heads=4):
        super().__init__()
        self.table = nn.Embedding(40, width)
        self.scale = nn.Parameter(torch.ones(width))
        self.qkv, self.back = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.head = nn.Linear(width, 40)
        self.heads = heads
        self.register_buffer("angles", 1.0 / 100 ** (torch.arange(0, width // heads, 2) / (width // heads)))

    def turned(self, x):
        at = torch.arange(x.shape[-2], dtype=torch.float32)[:, None] * self.angles
        first, second = x.chunk(2, -1)
        return torch.cat([first * at.cos() - second * at.sin(), first * at.sin() + second * at.cos()], -1)

    def forward(self, ids, mask):
        x = self.table(ids)
        normed = x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-6) * self.scale
        q, k, v = self.qkv(normed).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        hidden = (1 - mask[:, None, None].float()) * torch.finfo(torch.float32).min
        own = F.scaled_dot_product_attention(self.turned(q), self.turned(k), v, attn_mask=hidden)
        scores = (q @ k.transpose(-1, -2)).masked_fill(mask[:, None, None] == 0, torch.finfo(torch.float32).min)
        x = x + self.back((own + scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        return self.head(F.gelu(x))


def masked(batch=4):
    mask = torch.ones(batch, 8, dtype=torch.int64)
    mask[0, 6:] = 0
    ids, labels = torch.randint(0, 40, (2, batch, 8))
    return samestep.Model(
        Masked(), {"ids": ids, "mask": mask}, labels.flatten(), lambda y, of: F.cross_entropy(y.flatten(0, 1), of)
    )


class Convolved(nn.Module):
    """Batch norm behind a convolution whose bias has no gradient but noise, and a pooling."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.SiLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3)
        )
        self.head = nn.Linear(8, 5)

    def forward(self, pixels):
        return self.head(self.layers(pixels).mean((-2, -1)))


def convolved(batch=8):
    return samestep.Model(
        Convolved(), (torch.randn(batch, 3, 12, 12),), torch.randint(0, 5, (batch,)), nn.CrossEntropyLoss()
    )
