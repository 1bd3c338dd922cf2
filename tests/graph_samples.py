"""Arguments for every operator that JAX has a function for: tensors in float64, ids, numbers."""

from __future__ import annotations

import torch

from workloads.graph import Named

inf = float("inf")


def f(*shape):
    """Normal numbers."""
    return torch.randn(shape, dtype=torch.float64)


def u(*shape):
    """Numbers between 0.1 and 0.9."""
    return torch.rand(shape, dtype=torch.float64) * 0.8 + 0.1


def h(*shape):
    """Numbers between 0.1 and 0.9 for which PyTorch has no derivative."""
    held = u(*shape)
    held.is_held = True
    return held


def i(*shape, high=5):
    return torch.randint(0, high, shape)


def z(*shape):
    """Complex numbers."""
    return torch.randn(shape, dtype=torch.complex128)


def positive(*shape):
    """Symmetric matrices of positive eigenvalues."""
    x = f(*shape, shape[-1])
    return x @ x.mT + torch.eye(shape[-1])


def b(*shape):
    return torch.rand(shape) < 0.5


F32, I64 = Named("dtype", "float32"), Named("dtype", "int64")
UNIT = [
    "acos",
    "asin",
    "atanh",
    "erfinv",
    "log",
    "log10",
    "log1p",
    "log2",
    "rsqrt",
    "sqrt",
    "reciprocal",
    "lgamma",
    "digamma",
]
BEYOND = ["acosh"]
ANY = [
    "abs",
    "asinh",
    "atan",
    "ceil",
    "cos",
    "cosh",
    "elu",
    "erf",
    "erfc",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "gelu",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "isfinite",
    "isinf",
    "isnan",
    "leaky_relu",
    "log_sigmoid_forward",
    "mish",
    "neg",
    "relu",
    "round",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "sinh",
    "softplus",
    "square",
    "tan",
    "tanh",
    "trunc",
]
ARITHMETIC = ["add", "sub", "mul", "div", "rsub", "remainder", "fmod", "eq", "ne", "lt", "le", "gt", "ge"]
BITS = ["bitwise_and", "bitwise_or", "bitwise_xor"]

bn = (f(4, 3, 5), u(3), f(3), h(3), h(3))
rnn = lambda gates, n: [x for _ in range(n) for x in (f(gates * 4, 3), f(gates * 4, 4), f(gates * 4), f(gates * 4))]  # noqa: E731


def projected(width, n):
    """Parameters of `n` layers of an LSTM whose hidden states are projected to a width."""
    return [x for _ in range(n) for x in (f(16, 3), f(16, width), f(16), f(16), f(width, 4))]


conv = lambda *more: (f(2, 4, 7, 6), f(6, 2, 3, 2), f(6), *more)  # noqa: E731

SAMPLES = {
    **{f"{name}.default": [(u(3, 4),)] for name in UNIT},
    **{f"{name}.default": [(u(3, 4) + 1.1,)] for name in BEYOND},
    **{f"{name}.default": [(f(3, 4),)] for name in ANY},
    **{f"{name}.Tensor": [(f(3, 4), f(4) + 3), (i(3, 4), i(4) + 1)] for name in ARITHMETIC},
    **{f"{name}.Scalar": [(f(3, 4), 1.5), (i(3, 4), 2)] for name in ARITHMETIC},
    **{f"{name}.Tensor": [(i(3, 4), i(4)), (b(3, 4), b(4))] for name in BITS},
    **{f"{name}.Scalar": [(i(3, 4), 3)] for name in BITS},
    **{f"{name}.default": [(b(3), b(3))] for name in ("logical_and", "logical_or", "logical_xor")},
    **{f"{name}.default": [(f(3, 4),), (f(3, 4), [1], True)] for name in ("amax", "amin")},
    **{f"{name}.default": [(f(3, 4),), (f(3, 4), 1), (f(3, 4), 0, True)] for name in ("argmax", "argmin")},
    **{f"{name}.dim": [(f(3, 4), 1), (f(3, 4), 0, True)] for name in ("max", "min")},
    **{f"{name}.default": [(f(3, 4),)] for name in ("sum", "mean", "max", "min", "prod")},
    **{f"{name}.default": [(b(3, 4),)] for name in ("any", "all")},
    **{f"{name}.default": [(f(3, 4),)] for name in ("alias", "clone", "detach", "lift_fresh_copy")},
    "logical_not.default": [(b(3, 4),), (i(3, 4),)],
    "bitwise_not.default": [(i(3, 4),), (b(3),)],
    "threshold.default": [(f(3, 4), 0.2, -1.0)],
    "_prelu_kernel.default": [(f(2, 3), u(2, 3))],
    "add.Tensor": [(f(3, 4), f(4)), (i(3), f(3)), (b(3), b(3)), (f(3), f(), {"alpha": 0.5})],
    "sub.Tensor": [(f(3, 4), f(4)), (f(3), f(3), {"alpha": 2})],
    "atan2.default": [(f(3), f(3))],
    "digamma.default": [(u(3, 4),)],
    "hypot.default": [(f(3), f(3))],
    "bitwise_left_shift.Tensor": [(i(3), i(3))],
    "bitwise_right_shift.Tensor": [(i(3) * 8, i(3))],
    "clamp.default": [(f(3, 4), -0.5, 0.5), (f(3, 4), None, 0.1), (torch.tensor([0.5, -0.5, 0.2]).double(), -0.5, 0.5)],
    "clamp.Tensor": [(f(3, 4), -u(4), u(4))],
    "clamp_max.default": [(f(3, 4), 0.2)],
    "clamp_min.default": [(f(3, 4), 0.2)],
    "div.Scalar_mode": [(f(3), 0.3, {"rounding_mode": "floor"}), (i(3) - 3, 2, {"rounding_mode": "trunc"})],
    "div.Tensor_mode": [(f(3), u(3), {"rounding_mode": "trunc"}), (i(3) - 3, i(3) + 1, {"rounding_mode": "floor"})],
    "floor_divide.default": [(i(3) - 3, i(3) + 1)],
    "gelu.default": [(f(3, 4),), (f(3, 4), {"approximate": "tanh"})],
    "elu.default": [(f(3, 4),), (f(3, 4), 1.67, 1.05, 1)],
    "glu.default": [(f(3, 4),), (f(4, 3), 0)],
    "logaddexp.default": [(f(3), f(3))],
    "masked_fill.Scalar": [(f(3, 4), b(3, 4), -inf), (f(3, 4), b(4), 2.0)],
    "masked_fill.Tensor": [(f(3, 4), b(3, 4), f())],
    "maximum.default": [(f(3, 4), f(3, 4))],
    "minimum.default": [(f(3, 4), f(3, 4))],
    "pow.Scalar": [(2.0, f(3))],
    "pow.Tensor_Scalar": [(f(3), 2), (f(3), 3.0), (u(3), 0.5), (u(3), 1.7), (u(3), -1), (i(3), 2)],
    "pow.Tensor_Tensor": [(u(3), f(3))],
    "round.decimals": [(f(3), {"decimals": 1})],
    "where.self": [(b(3, 4), f(3, 4), f(4)), (b(3), i(3), f())],
    "_adaptive_avg_pool2d.default": [(f(2, 3, 6, 5), [3, 2]), (f(2, 3, 6, 5), [1, 1])],
    "_adaptive_avg_pool3d.default": [(f(2, 3, 6, 5, 4), [3, 2, 2])],
    "adaptive_max_pool2d.default": [(f(2, 3, 6, 5), [3, 2])],
    "adaptive_max_pool3d.default": [(f(2, 3, 6, 5, 4), [3, 2, 2])],
    "avg_pool1d.default": [(f(2, 3, 9), [3], [2], [1])],
    "avg_pool2d.default": [
        (f(2, 3, 9, 8), [3, 3], [2, 2], [1, 1], True, False),
        (f(2, 3, 9, 8), [3, 2], [2, 2], [1, 1], True, True),
        (f(2, 3, 9, 8), [2, 2], [], [0, 0], False, True, 3),
    ],
    "avg_pool3d.default": [(f(2, 3, 5, 6, 7), [2, 2, 2])],
    "convolution.default": [
        conv([2, 1], [1, 0], [1, 2], False, [0, 0], 2),
        (f(2, 4, 6, 5), f(4, 3, 3, 2), f(6), [2, 3], [1, 0], [1, 2], True, [1, 2], 2),
        (f(2, 4, 9), f(4, 3, 3), None, [2], [1], [1], True, [1], 1),
        (f(2, 2, 5, 5, 5), f(3, 2, 3, 3, 3), f(3), [1, 1, 1], [1, 1, 1], [1, 1, 1], False, [0, 0, 0], 1),
    ],
    "max_pool2d_with_indices.default": [
        (f(2, 3, 9, 8), [3, 3], [2, 2], [1, 1], [1, 1], True),
        (f(2, 3, 9, 8), [2, 2], [2, 2]),
    ],
    "max_pool3d_with_indices.default": [(f(2, 3, 5, 6, 7), [2, 2, 2])],
    "upsample_bicubic2d.default": [(f(2, 3, 5, 6), [9, 7], False)],
    "upsample_bicubic2d.vec": [(f(2, 3, 5, 6), [9, 7], True, None), (f(2, 3, 5, 6), None, False, [1.7, 2.0])],
    "upsample_bilinear2d.default": [(f(2, 3, 5, 6), [9, 7], False)],
    "upsample_bilinear2d.vec": [(f(2, 3, 5, 6), [9, 7], True, None), (f(2, 3, 5, 6), None, False, [1.7, 2.0])],
    "upsample_linear1d.default": [(f(2, 3, 5), [9], False)],
    "upsample_linear1d.vec": [(f(2, 3, 5), None, True, [2.0])],
    "upsample_nearest1d.default": [(f(2, 3, 5), [9])],
    "upsample_nearest1d.vec": [(f(2, 3, 5), None, [2.0])],
    "upsample_nearest2d.default": [(f(2, 3, 5, 6), [9, 12])],
    "upsample_nearest2d.vec": [(f(2, 3, 5, 6), None, [2.0, 1.7])],
    "upsample_nearest3d.default": [(f(2, 3, 2, 3, 4), [4, 5, 8])],
    "upsample_nearest3d.vec": [(f(2, 3, 2, 3, 4), None, [2.0, 2.0, 2.0])],
    "upsample_trilinear3d.default": [(f(2, 3, 2, 3, 4), [4, 5, 8], False)],
    "upsample_trilinear3d.vec": [(f(2, 3, 2, 3, 4), [4, 5, 8], True, None)],
    "_embedding_bag.default": [
        (f(5, 3), i(7), torch.tensor([0, 2, 2]), False, 1),
        (f(5, 3), i(7), torch.tensor([0, 3])),
        (f(5, 3), i(7), torch.tensor([0, 2, 2]), False, 2),
        (f(5, 3), i(7), torch.tensor([0, 3]), False, 2, False, None, False, 1),
    ],
    "_embedding_bag_forward_only.default": [(h(5, 3), i(7), torch.tensor([0, 2, 2]), False, 0)],
    "embedding.default": [(f(5, 3), i(2, 4)), (f(5, 3), i(2, 4), 2)],
    "gather.default": [(f(3, 5), 1, i(2, 4)), (f(5, 3), 0, i(2, 3))],
    "index.Tensor": [
        (f(4, 5, 6), [None, i(3, high=4)]),
        (f(4, 5), [i(3, high=4), i(3)]),
        (f(4, 5, 6), [i(2, high=4), None, i(2)]),
    ],
    "_unsafe_index.Tensor": [(f(4, 5), [i(3, high=4), i(3)])],
    "index_add.default": [(f(4, 5), 1, i(3), f(4, 3), {"alpha": 2})],
    "index_put.default": [(f(5, 3), [i(4)], f(4, 3), True), (f(5, 3), [torch.tensor([0, 2])], f(2, 3))],
    "_unsafe_index_put.default": [(f(5, 3), [i(4)], f(4, 3), True)],
    "index_select.default": [(f(4, 5), 1, i(3))],
    "scatter.src": [(f(3, 5), 1, torch.tensor([[0, 2], [1, 3]]), f(2, 2))],
    "scatter.value": [(f(3, 5), 1, torch.tensor([[0, 2], [1, 3]]), 1.5)],
    "scatter_reduce.two": [
        (f(3, 5), 1, i(3, 4), f(3, 4), reduce, {"include_self": is_included})
        for reduce in ("sum", "mean", "amax", "amin")
        for is_included in (True, False)
    ]
    + [
        (f(4), 0, torch.tensor([1, 1, 3]), h(3), "prod"),
        (u(4), 0, torch.tensor([1, 1, 3]), torch.ones(3).double(), "amax"),
    ],
    "scatter_add.default": [(f(3, 5), 1, i(2, 4), f(2, 4))],
    "select.int": [(f(3, 4), 1, 2), (f(3, 4), -1, -1)],
    "select_scatter.default": [(f(3, 4), f(3), 1, 2)],
    "slice.Tensor": [(f(3, 6), 1, 1, 2**63 - 1, 2), (f(3, 6), 0, -2, 9)],
    "slice_scatter.default": [(f(3, 6), f(3, 2), 1, 1, -3)],
    "_fused_rms_norm.default": [(f(3, 4), [4], u(4), 1e-5)],
    "_log_softmax.default": [(f(3, 4), 1, False)],
    "_native_batch_norm_legit.no_stats": [(f(4, 3, 5), u(3), f(3), True, 0.1, 1e-5)],
    "_native_batch_norm_legit_functional.default": [
        (*bn, True, 0.1, 1e-5),
        (f(6, 3), None, None, h(3), h(3), True, 0.3, 1e-5),
    ],
    "_native_batch_norm_legit_no_training.default": [(*bn, 0.1, 1e-5)],
    "_safe_softmax.default": [(f(3, 4), -1), (torch.full((2, 3), -inf).double(), -1)],
    "_softmax.default": [(f(3, 4), 0, False)],
    "_weight_norm_interface.default": [(f(3, 4, 2), u(3, 1, 1))],
    "addmm.default": [(f(4), f(3, 5), f(5, 4)), (f(4), f(3, 5), f(5, 4), {"beta": 0.5, "alpha": 2})],
    "baddbmm.default": [(f(2, 3, 4), f(2, 3, 5), f(2, 5, 4), {"alpha": 0.3})],
    "binary_cross_entropy_with_logits.default": [(f(3, 4), u(3, 4)), (f(3, 4), u(3, 4), h(4), h(4), 2)],
    "bmm.default": [(f(2, 3, 5), f(2, 5, 4))],
    "cross_entropy_loss.default": [
        (f(4, 5), i(4)),
        (f(4, 5), torch.tensor([1, -100, 2, 0]), h(5), 1, -100, 0.1),
        (f(4, 5, 3), i(4, 3), None, 2),
        (f(4, 5), torch.softmax(f(4, 5), 1), h(5)),
        (f(4, 5), i(4), None, 0),
    ],
    "dot.default": [(f(3), f(3))],
    "einsum.default": [("bij,bjk->bik", [f(2, 3, 4), f(2, 4, 5)]), ("i,j->ij", [f(3), f(4)])],
    "group_norm.default": [(f(2, 6, 3, 3), 3, u(6), f(6)), (f(2, 6, 4), 2)],
    "huber_loss.default": [(f(3), f(3)), (f(3), f(3), 2, 0.3)],
    "layer_norm.default": [(f(3, 4, 5), [4, 5], u(4, 5), f(4, 5)), (f(3, 4), [4])],
    "linear.default": [(f(3, 4), f(5, 4), f(5)), (f(2, 3, 4), f(5, 4))],
    "log_softmax.int": [(f(3, 4), 1)],
    "matmul.default": [(f(2, 3, 4), f(4, 5)), (f(4), f(4)), (f(3, 4), f(4)), (f(2, 1, 3, 4), f(5, 4, 2))],
    "mm.default": [(f(3, 4), f(4, 5))],
    "mse_loss.default": [(f(3), f(3)), (f(3), f(3), 0)],
    "mv.default": [(f(3, 4), f(4))],
    "native_group_norm.default": [(f(2, 6, 3, 3), u(6), f(6), 2, 6, 9, 3, 1e-5)],
    "native_layer_norm.default": [(f(3, 4), [4], u(4), f(4), 1e-5)],
    "nll_loss_forward.default": [(f(4, 5), torch.tensor([1, -100, 2, 0]), h(5), 1, -100)],
    "nll_loss2d_forward.default": [(f(4, 5, 2, 3), i(4, 2, 3), None, 2, -100)],
    "rms_norm.default": [(f(3, 4), [4], u(4), 1e-5)],
    "scaled_dot_product_attention.default": [
        (f(2, 4, 5, 3), f(2, 4, 6, 3), f(2, 4, 6, 3)),
        (f(2, 4, 5, 3), f(2, 2, 5, 3), f(2, 2, 5, 3), None, 0.0, True, {"enable_gqa": True}),
        (f(2, 4, 5, 3), f(2, 4, 6, 3), f(2, 4, 6, 3), torch.arange(6)[None] < torch.arange(1, 6)[:, None]),
        (f(2, 4, 5, 3), f(2, 4, 6, 3), f(2, 4, 6, 3), f(5, 6), 0.0, False, {"scale": 0.3}),
        (f(4, 5, 3), f(4, 5, 3), f(4, 5, 3), None, 0.0, True),
    ],
    "smooth_l1_loss.default": [(f(3), f(3)), (f(3), f(3), 2, 0.3)],
    "softmax.int": [(f(3, 4), 1)],
    "gru.input": [(f(6, 2, 3), f(1, 2, 4), rnn(3, 1), True, 1, 0.0, True, False, False)],
    "lstm.input": [
        (f(2, 6, 3), [f(2, 2, 4), f(2, 2, 4)], rnn(4, 2), True, 1, 0.0, True, True, True),
        (f(2, 6, 3), [f(2, 2, 2), f(2, 2, 4)], projected(2, 2), True, 1, 0.0, True, True, True),
    ],
    "rnn_relu.input": [(f(6, 2, 3), f(1, 2, 4), rnn(1, 1), True, 1, 0.0, True, False, False)],
    "rnn_tanh.input": [(f(6, 2, 3), f(1, 2, 4), rnn(1, 1), True, 1, 0.0, True, False, False)],
    "all.dim": [(b(3, 4), 1), (b(3, 4), 1, True)],
    "any.dim": [(b(3, 4), 1)],
    "any.dims": [(b(3, 4), [0, 1])],
    "argsort.default": [(f(3, 4),), (f(3, 4), 0, True)],
    "cumprod.default": [(u(3, 4), 1)],
    "cumsum.default": [(f(3, 4), 1), (i(3, 4), 0), (b(3, 4), 1)],
    "linalg_vector_norm.default": [
        (f(3, 4),),
        (f(3, 4), 1, [1]),
        (f(3, 4), inf, [0], True),
        (u(3, 4), 3.0),
        (f(3) * 0,),
    ],
    "logcumsumexp.default": [(f(3, 4), 1), (f(3, 4), -2)],
    "logsumexp.default": [(f(3, 4), [1]), (f(3, 4), [0, 1], True)],
    "mean.dim": [(f(3, 4, 5), [0, 2]), (f(3, 4), [-1], True), (i(3), [0], {"dtype": F32})],
    "prod.dim_int": [(f(3, 4), 1, True)],
    "sort.default": [(f(3, 4),), (f(3, 4), 0, True)],
    "sort.stable": [(f(3, 4), {"stable": True, "dim": 1, "descending": True})],
    "std.correction": [(f(3, 4), [1]), (f(3, 4), [1], {"correction": 0, "keepdim": True})],
    "sum.dim_IntList": [(f(3, 4, 5), [0, 2]), (f(3, 4), [], True), (b(3, 4), [1])],
    "topk.default": [(f(3, 6), 2), (f(6, 3), 2, 0, False)],
    "var.correction": [(f(3, 4), [1]), (f(3, 4), {"correction": 0})],
    "var_mean.correction": [(f(3, 4), [1], {"keepdim": True})],
    "_cdist_forward.default": [
        (f(3, 4), f(5, 4), 2.0, None),
        (f(2, 3, 4), f(2, 5, 4), 1.0, None),
        (f(3, 2), f(4, 2), inf, None),
    ],
    "_linalg_det.default": [(f(2, 3, 3),)],
    "_linalg_slogdet.default": [(f(2, 3, 3),)],
    "_linalg_solve_ex.default": [
        (f(2, 3, 3), f(2, 3, 4)),
        (f(3, 3), f(3)),
        (f(2, 3, 3), f(2, 3)),
        (f(3, 3), f(4, 3), {"left": False}),
    ],
    "_trilinear.default": [(f(4, 2), f(5, 2, 3), f(4, 3), [1, 3], [0], [1, 2], [2, 3])],
    "bucketize.Tensor": [(f(3, 4), h(4).sort().values), (u(5), torch.ones(1).double() / 2, {"right": True})],
    "linalg_cholesky_ex.default": [(positive(2, 3),), (positive(3), {"upper": True})],
    "linalg_inv_ex.default": [(positive(2, 3),)],
    "linalg_solve_triangular.default": [
        (f(2, 3, 3), f(3, 4), {"upper": True}),
        (f(3, 3), f(4, 3), {"upper": False, "left": False, "unitriangular": True}),
    ],
    "searchsorted.Tensor": [(h(4).sort().values, f(3)), (h(4).sort().values, f(3), {"side": "right"})],
    "cummax.default": [(f(3, 5), 1), (f(5, 3), -2), (torch.ones(2, 3).double(), 1)],
    "cummin.default": [(f(3, 5), 0)],
    "kthvalue.default": [(f(3, 5), 2), (f(3, 5), 3, 0, True)],
    "median.dim": [(f(3, 5), 1), (f(4, 3), 0, True)],
    "_conj.default": [(z(3),)],
    "_conj_physical.default": [(z(3),)],
    "_fft_c2c.default": [(z(3, 4), [0, 1], 0, True), (z(3, 4), [1], 1, False), (z(3, 4), [0], 2, True)],
    "_fft_c2r.default": [(z(3, 4), [1], 2, 6), (z(4, 3), [1, 0], 1, 7), (z(3, 4), [1], 0, 7)],
    "_fft_r2c.default": [(f(3, 6), [1], 0, True), (f(3, 5), [1, 0], 1, True), (f(3, 4), [0, 1], 2, False)],
    "angle.default": [(z(3),), (u(3),)],
    "complex.default": [(f(3), f(3))],
    "polar.default": [(u(3), f(3))],
    "resolve_conj.default": [(z(3),), (f(3),)],
    "view_as_complex.default": [(f(3, 2),)],
    "view_as_real.default": [(z(3),)],
    "_to_copy.default": [(f(3), {"dtype": F32}), (f(3) * 5, {"dtype": I64}), (b(3), {"dtype": F32})],
    "_unsafe_view.default": [(f(3, 4), [2, 6])],
    "arange.default": [(5,), (5.5,)],
    "arange.start": [(1, 5), (0, 4, {"dtype": F32})],
    "arange.start_step": [(1, 9, 3), (0.0, 1.0, 0.3)],
    "cat.default": [([f(3, 4), f(3, 2)], 1), ([f(3), i(2)],)],
    "constant_pad_nd.default": [(f(3, 4), [1, 2], 1.5), (f(3, 4), [-1, 1, 2, 0])],
    "diagonal.default": [(f(3, 4),), (f(2, 3, 4), 1, 1, 2)],
    "expand.default": [(f(3, 1), [2, 3, 4]), (f(3, 1), [-1, 4])],
    "eye.default": [(3,)],
    "eye.m": [(3, 4)],
    "fill.Scalar": [(f(3), 2.0)],
    "fill.Tensor": [(f(3), f())],
    "flip.default": [(f(3, 4), [0, 1])],
    "full.default": [([2, 3], 1.5), ([], 2), ([2], True), ([2], -inf, {"dtype": F32})],
    "full_like.default": [(f(3), 2), (i(3), 2**63 - 1)],
    "linspace.default": [(0.0, 1.0, 5)],
    "narrow.default": [(f(3, 6), 1, 2, 3)],
    "new_full.default": [(f(3), [2], 1.5)],
    "new_ones.default": [(f(3), [2])],
    "new_zeros.default": [(i(3), [2])],
    "ones.default": [([2, 3],), ([2], {"dtype": I64})],
    "ones_like.default": [(f(3),)],
    "zeros.default": [([2, 3],)],
    "zeros_like.default": [(i(3),)],
    "permute.default": [(f(2, 3, 4), [2, 0, 1])],
    "pixel_shuffle.default": [(f(2, 8, 3, 4), 2)],
    "reflection_pad1d.default": [(f(2, 3, 5), [2, 1])],
    "reflection_pad2d.default": [(f(2, 3, 5, 6), [2, 1, 0, 3])],
    "repeat.default": [(f(2, 3), [2, 1, 3])],
    "replication_pad1d.default": [(f(2, 3, 5), [2, 1])],
    "replication_pad2d.default": [(f(2, 3, 5, 6), [2, 1, 0, 3])],
    "reshape.default": [(f(3, 4), [2, -1])],
    "roll.default": [(f(3, 4), [1], [1]), (f(3, 4), [2])],
    "scalar_tensor.default": [(1.5,), (2, {"dtype": I64})],
    "split.Tensor": [(f(5, 4), 2), (f(3, 4), 2, 1)],
    "split_with_sizes.default": [(f(5, 4), [1, 4]), (f(3, 4), [3, 1], 1)],
    "squeeze.default": [(f(1, 3, 1),)],
    "squeeze.dim": [(f(1, 3, 1), 0), (f(1, 3, 1), 1)],
    "squeeze.dims": [(f(1, 3, 1), [0, 1])],
    "stack.default": [([f(3), f(3)], 1)],
    "t.default": [(f(3, 4),), (f(3),)],
    "transpose.int": [(f(2, 3, 4), 0, -1)],
    "tril.default": [(f(3, 4),), (f(3, 4), 1)],
    "tril_indices.default": [(3, 4, -1), (3, 3)],
    "triu.default": [(f(3, 4), -1)],
    "triu_indices.default": [(3, 4, 1)],
    "unbind.int": [(f(3, 4), 1)],
    "unfold.default": [(f(3, 7), 1, 3, 2)],
    "unsqueeze.default": [(f(3, 4), -1), (f(3), 0)],
    "view.default": [(f(3, 4), [4, 3])],
}
"""By PyTorch's name without `aten.`: lists of arguments, of which a last dictionary holds those by keyword."""
