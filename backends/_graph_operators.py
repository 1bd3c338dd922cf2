"""The operators that a graph keeps as they are; PyTorch decomposes the others where it can."""

# fmt: off
_NAMES = {
    "cross_entropy_loss.default", "detach.default", "einsum.default", "fill.Scalar", "fill.Tensor", "gelu.default",
    "group_norm.default", "gru.input", "layer_norm.default", "linear.default", "lstm.input", "matmul.default",
    "rms_norm.default", "rnn_relu.input", "rnn_tanh.input", "scaled_dot_product_attention.default", "silu.default",
}
# fmt: on
OPERATORS = frozenset(f"aten.{name}" for name in _NAMES)
