"""The backward passes of the ONNX training graph equal torch's own derivatives."""

import pytest
import torch
import torch.nn.functional as F

from backends._decompositions import convolution_backward, max_pool2d_backward

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


@pytest.mark.parametrize("wrong", [{"groups": 2}, {"dilation": [2, 2]}, {"transposed": True}])
def test_convolutions_without_a_decomposition_are_refused(wrong):
    given = {"dilation": [1, 1], "transposed": False, "output_padding": [0, 0], "groups": 1} | wrong
    x, weight, gradient = torch.randn(1, 2, 4, 4), torch.randn(2, 2, 1, 1), torch.randn(1, 2, 4, 4)
    with pytest.raises(ValueError, match="no decomposition for transposed="):
        convolution_backward(gradient, x, weight, None, [1, 1], [0, 0], mask=[True] * 3, **given)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (2, 2, 0), (3, 1, 1)])
def test_maximum_pooling_with_overlapping_windows(kernel, stride, padding):
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64, requires_grad=True)
    y, indices = F.max_pool2d(x, kernel, stride, padding, return_indices=True)
    gradient = torch.randn_like(y)
    (expected,) = torch.autograd.grad(y, x, gradient)
    pairs = [[kernel] * 2, [stride] * 2, [padding] * 2, [1, 1]]
    torch.testing.assert_close(max_pool2d_backward(gradient, x, *pairs, False, indices), expected)
