"""The backward passes of the ONNX training graph equal torch's own derivatives."""

import pytest
import torch
import torch.nn.functional as F

from backends._convolution_backward import convolution_backward
from backends._decompositions import (
    attention,
    avg_pool_backward,
    diagonal_scatter,
    distances,
    max_pool_backward,
    trilinear,
)
from backends._lookup_backward import (
    adaptive_avg_pool2d_backward,
    adaptive_avg_pool3d_backward,
    embedding_bag,
    embedding_bag_backward,
    upsample_linear_backward,
    upsample_nearest_backward,
)
from workloads.graph import UnsupportedOperator

torch.manual_seed(0)


@pytest.mark.parametrize("kernel", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("side", [8, 9, 14])
def test_convolution(kernel, stride, side):
    padding = kernel // 2
    x = torch.randn(2, 3, side, side + 1, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 3, kernel, kernel, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(5, dtype=torch.float64, requires_grad=True)
    y = F.conv2d(x, weight, bias, stride, padding)
    gradient = torch.randn_like(y)
    expected = torch.autograd.grad(y, (x, weight, bias), gradient)
    pair = [stride, stride]
    mask = [True, True, True]
    found = convolution_backward(gradient, x, weight, [5], pair, [padding, padding], [1, 1], False, [0, 0], 1, mask)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_what_is_not_asked_for_is_not_computed():
    x, weight, gradient = torch.randn(1, 2, 4, 4), torch.randn(3, 2, 1, 1), torch.randn(1, 3, 4, 4)
    mask = [False, True, False]
    found = convolution_backward(gradient, x, weight, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, mask)
    assert [part is None for part in found] == [True, False, True]


CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


ADAPTIVE = [
    (F.adaptive_avg_pool2d, adaptive_avg_pool2d_backward),
    (F.adaptive_avg_pool3d, adaptive_avg_pool3d_backward),
]


def held(function, tensors, ours):
    """Holds `ours(gradient)` against torch's own derivatives of `function` for `tensors`, in float64."""
    given = [x.requires_grad_() for x in tensors]
    y = function(*given)
    gradient = torch.randn_like(y)
    expected = torch.autograd.grad(y, given, gradient)
    for found, theirs in zip(ours(gradient), expected, strict=True):
        torch.testing.assert_close(found, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("padding", [0, 1, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("is_transposed", [False, True])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_every_convolution(dims, is_transposed, groups, stride, padding, dilation):
    n_out = 8
    shape = (4, n_out // groups) if is_transposed else (n_out, 4 // groups)
    x = torch.randn(2, 4, *[7, 8, 9][:dims], dtype=torch.float64)
    weight = torch.randn(*shape, *[3, 2, 3][:dims], dtype=torch.float64)
    bias = torch.randn(n_out, dtype=torch.float64)
    beyond = [1 if is_transposed and stride > 1 else 0] * dims
    more = {"output_padding": beyond} if is_transposed else {}
    of = (TRANSPOSED if is_transposed else CONVOLUTIONS)[dims]
    each = [[one] * dims for one in (stride, padding, dilation)]

    def function(x, weight, bias):
        return of(x, weight, bias, *each[:2], dilation=dilation, groups=groups, **more)

    def ours(gradient):
        return convolution_backward(
            gradient, x, weight, [n_out], *each, is_transposed, beyond, groups, [True, True, True]
        )

    held(function, (x, weight, bias), ours)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 0), (3, 3, 1)])
@pytest.mark.parametrize(("counted", "divisor"), [(True, None), (False, None), (True, 5)])
def test_mean_pooling(dims, kernel, stride, padding, ceil, counted, divisor):
    x = torch.randn(2, 3, *[9, 8, 7][:dims], dtype=torch.float64)
    of = {2: F.avg_pool2d, 3: F.avg_pool3d}[dims]
    pooled = [[one] * dims for one in (kernel, stride, padding)]
    held(
        lambda x: of(x, kernel, stride, padding, ceil, counted, divisor),
        (x,),
        lambda gradient: [avg_pool_backward(gradient, x, *pooled, ceil, counted, divisor)],
    )


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("size", [4, 9, 13])
def test_interpolation(dims, align, size):
    x = torch.randn(2, 3, *[5, 6, 7][:dims], dtype=torch.float64)
    mode = ["linear", "bilinear", "trilinear"][dims - 1]
    held(
        lambda x: F.interpolate(x, size=[size] * dims, mode=mode, align_corners=align),
        (x,),
        lambda gradient: [upsample_linear_backward(gradient, [size] * dims, x.shape, align)],
    )


def test_interpolation_by_a_scale_that_the_size_does_not_tell():
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    held(
        lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear"),
        (x,),
        lambda gradient: [upsample_linear_backward(gradient, gradient.shape[2:], x.shape, False, 1.7, 1.7)],
    )


@pytest.mark.parametrize("size", [4, 10, 13])
@pytest.mark.parametrize("scale", [None, 2, 1.7])
def test_nearest_neighbours(size, scale):
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    scales = () if scale is None else (scale, scale)
    held(
        lambda x: F.interpolate(x, size=[size, size]) if scale is None else F.interpolate(x, scale_factor=scale),
        (x,),
        lambda gradient: [upsample_nearest_backward(gradient, gradient.shape[2:], x.shape, *scales)],
    )


@pytest.mark.parametrize(("of", "ours"), ADAPTIVE)
@pytest.mark.parametrize("size", [1, 3, 4])
def test_means_over_parts(of, ours, size):
    x = torch.randn(2, 3, *([6, 5, 7] if of is F.adaptive_avg_pool3d else [6, 7]), dtype=torch.float64)
    held(lambda x: of(x, size), (x,), lambda gradient: [ours(gradient, x)])


@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize("padding_idx", [None, 3])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_bags_of_embeddings(mode, padding_idx, is_weighted):
    if is_weighted and mode == "mean":
        pytest.skip("torch has weights for sums alone")
    table = torch.randn(10, 4, dtype=torch.float64)
    ids, offsets = torch.randint(0, 10, (12,)), torch.tensor([0, 3, 3, 8])
    weights = torch.rand(12, dtype=torch.float64) if is_weighted else None
    number, padding = {"sum": 0, "mean": 1}[mode], -1 if padding_idx is None else padding_idx
    y, bag, sizes, _ = embedding_bag(table, ids, offsets, False, number, False, weights, False, padding)

    def function(table):
        return F.embedding_bag(ids, table, offsets, mode=mode, per_sample_weights=weights, padding_idx=padding_idx)

    torch.testing.assert_close(y, function(table))
    more = (bag, sizes, sizes, 10, False, number)
    held(
        function,
        (table,),
        lambda gradient: [embedding_bag_backward(gradient, ids, offsets, *more, False, weights, padding)],
    )


def test_maxima_of_bags_are_refused():
    with pytest.raises(UnsupportedOperator, match="mode=2"):
        embedding_bag(torch.randn(4, 2), torch.tensor([0, 1]), torch.tensor([0]), mode=2)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (2, 2, 0), (3, 1, 1)])
def test_maximum_pooling_with_overlapping_windows(kernel, stride, padding):
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64, requires_grad=True)
    y, indices = F.max_pool2d(x, kernel, stride, padding, return_indices=True)
    gradient = torch.randn_like(y)
    (expected,) = torch.autograd.grad(y, x, gradient)
    pairs = [[kernel] * 2, [stride] * 2, [padding] * 2, [1, 1]]
    torch.testing.assert_close(max_pool_backward(gradient, x, *pairs, False, indices), expected)


def test_maximum_pooling_of_volumes():
    x = torch.randn(2, 3, 6, 7, 8, dtype=torch.float64)
    _, indices = F.max_pool3d(x, 2, 2, return_indices=True)
    pairs = [[2] * 3, [2] * 3, [0] * 3, [1] * 3]
    held(
        lambda x: F.max_pool3d(x, 2, 2), (x,), lambda gradient: [max_pool_backward(gradient, x, *pairs, False, indices)]
    )


@pytest.mark.parametrize("places", [(), (1,), (-1, 2, 0), (0, -1, -2)])
def test_diagonals(places):
    x = torch.randn(3, 4, 5, dtype=torch.float64)
    source = torch.randn_like(x.diagonal(*places))
    assert torch.equal(diagonal_scatter(x, source, *places), torch.diagonal_scatter(x, source, *places))


def test_products_of_three_and_distances():
    x, weight, y = (torch.randn(shape, dtype=torch.float64) for shape in ((4, 2), (5, 2, 3), (4, 3)))
    found = trilinear(x, weight, y, [1, 3], [0], [1, 2], [2, 3], 1)
    torch.testing.assert_close(found, F.bilinear(x, y, weight), rtol=1e-12, atol=1e-12)
    for p in (1.0, 2.0, float("inf")):
        torch.testing.assert_close(distances(y, found[:, :3], p), torch.cdist(y, found[:, :3], p))


@pytest.mark.parametrize("mask", ["none", "boolean", "added", "causal", "groups"])
def test_attention_in_a_short_type_is_torchs(mask):
    """One place sees nothing: torch gives it zeros, and no gradient."""
    query, key, value = (torch.randn(2, heads, 6, 8) for heads in (4, *((2, 2) if mask == "groups" else (4, 4))))
    seen = torch.rand(6, 6) > 0.4
    seen[2] = False
    more = {
        "none": {},
        "boolean": {"attn_mask": seen},
        "added": {"attn_mask": torch.zeros(6, 6).masked_fill(~seen, float("-inf"))},
        "causal": {"is_causal": True, "scale": 0.5},
        "groups": {"enable_gqa": True},
    }[mask]
    short = [x.bfloat16().requires_grad_() for x in (query, key, value)]
    wide = [x.detach().double().requires_grad_() for x in short]
    found = attention(*short, **more)
    assert found.dtype == torch.bfloat16
    exact = {name: x.double() if name == "attn_mask" and x.is_floating_point() else x for name, x in more.items()}
    expected = F.scaled_dot_product_attention(*wide, **exact)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=0.03)
    gradient = torch.randn_like(expected)
    for ours, theirs in zip(
        torch.autograd.grad(found, short, gradient.bfloat16()),
        torch.autograd.grad(expected, wide, gradient),
        strict=True,
    ):
        torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=0.1)
