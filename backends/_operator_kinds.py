"""From a runtime's own name of an operator to a kind that all runtimes share. Pure: it knows names and no runtime."""

from __future__ import annotations

import re
from functools import cache

_NAMES = {
    "convolution": """
        conv conv2d convtranspose fusedconv nhwcfusedconv convolution convolutionoverrideable convolutionbackpropdata
        groupconvolution cudnnconvolution mkldnnconvolution
    """,
    "matmul": """
        mm bmm addmm baddbmm matmul linear mkllinear mkldnnlinear linearpointwise mkldnnlinearpointwise dot dotgeneral
        gemm fusedgemm fusedmatmul fullyconnected
    """,
    "attention": """
        attention multiheadattention groupqueryattention scaleddotproductattention scaleddotproductflashattention
        scaleddotproductflashattentionforcpu scaleddotproductefficientattention scaleddotproductcudnnattention
        scaleddotproductattentionmath flashattention efficientattention
    """,
    "optimizer": "optimizer foreachadd fusedadam fusedadamw fusedsgd",
    "normalisation": """
        layernorm nativelayernorm batchnorm nativebatchnorm nativebatchnormlegit nativebatchnormlegitnotraining
        cudnnbatchnorm batchnormimplindex layernormalization skiplayernormalization batchnormalization mvn
    """,
    "softmax_loss": """
        softmax logsoftmax softmaxdata logsoftmaxdata nllloss nlllossforward nlllossnd crossentropy crossentropyloss
        softmaxcrossentropyloss logsumexp
    """,
    "activation": "relu gelu biasgelu fastgelu quickgelu tanh erf sigmoid silu threshold hardtanh leakyrelu clampmin",
    "reduction": """
        sum mean var max amax min amin argmax cumsum reduce reducewindow selectandscatter reducesum reducemean
        reducemax reducemin reduceprod maxpool maxpool2d maxpool2dwithindices averagepool avgpool avgpool2d
        globalaveragepool
    """,
    "elementwise": """
        add addn sub rsub mul multiply div divide neg negate abs sqrt rsqrt reciprocal pow power powerstatic square exp
        exponential expm1 exponentialminusone log log1p logplusone sign sin cos clamp clip where select maximum minimum
        subtract ne eq lt le gt ge equal less lessorequal lessequal greater greaterorequal greaterequal compare and or
        xor not logicaland logicalor logicalnot bitwiseand bitwiseor bitwisenot maskedfill addcmul addcdiv
        accumulategrad isnan isfinite floor ceil round mod eltwise subgraph
    """,
    "data_movement": """
        view reshape reshapealias unsafeview viewas t transpose permute expand expandas asstrided contiguous clone copy
        to tocopy cast convert convertelementtype cat concat concatenate stack split splitwithsizes unsafesplit
        splittosequence sequenceat variadicsplit chunk narrow slice stridedslice index indexselect indexput embedding
        embeddingdense gather gatherelements gathernd scatter scatteradd scatterelements scatternd
        scatterelementsupdate scatterndupdate squeeze unsqueeze pad constantpadnd flip reverse resize alias unbind
        identity flatten tile broadcast broadcastto bitcast iota arange range dynamicslice dynamicupdateslice reorder
        reorderinput reorderoutput empty emptylike emptystrided newempty newemptystrided zeros zero zeroslike ones
        oneslike newzeros full fulllike fill constantofshape resolveconj resolveneg detach liftfresh item
        localscalardense memcpyfromhost memcpytohost
    """,
    "other": "",
}
"""Names without case and punctuation. A fused operator is of the first of these kinds that it has a part of."""

KINDS = tuple(_NAMES)
_KIND = {name: kind for kind, names in _NAMES.items() for name in names.split()}

_WRAPPING = re.compile(
    r"^autograd::engine::evaluate_function: |^(aten|torch::autograd)::|(_?backward|(?<=\w)Backward)\d*$|\.\d+$"
)
"""What says by whom an operator is called, or that it is the backward half of one."""
_FUSED = re.compile(r"^(?:graph_\d+_)?(?:cpp|triton_[a-z]+)_fused_(?P<parts>\w+?)(?:_\d+)?$")
"""Inductor's names of its kernels: `cpp_fused_add_native_layer_norm_3`."""
_KERNELS = (
    ("attention", r"flash_(fwd|bwd)|fmha|attention"),
    ("convolution", r"convolve|wgrad|dgrad|fprop|implicit_con|winograd|cudnn.*conv"),
    ("matmul", r"gemm|gemv|cutlass|cublas|splitk"),
    ("optimizer", r"adam|multi_tensor_apply|sgd"),
    ("normalisation", r"layer_?norm|batch_?norm|bn_(fw|bw)|gammabeta"),
    ("softmax_loss", r"softmax|nll_loss|cross_entropy"),
    ("activation", r"gelu|threshold|relu|tanh"),
    ("reduction", r"reduce|max_?pool|avg_?pool"),
    (
        "data_movement",
        r"memcpy|memset|copy|catarray|index|embedding|gather|scatter|fill|nchwtonhwc|nhwctonchw|transpose",
    ),
    ("elementwise", r"elementwise"),
)
"""CUDA's kernels: their names are C++ with templates, in which these words occur; the first that does decides."""


@cache
def kind_of(name: str) -> str:
    """Returns the kind, of `KINDS`, of an operator by its runtime's name; forward and backward are of one kind.

    A fused one, whose parts stand behind each other with `+` or are in Inductor's name, is of the kind that weighs
    most. A name that is in no list here is `other`: a table shows how much that is.
    """
    if name.startswith("Optimizer."):
        return "optimizer"
    if "+" in name:
        return min((kind_of(part) for part in name.split("+")), key=KINDS.index)
    if fused := _FUSED.match(name):
        return min(_kinds_in(fused["parts"].split("_")), key=KINDS.index)
    if kind := _KIND.get(_plain(name)):
        return kind
    lower = name.lower()
    is_kernel = "(" in lower or "<" in lower or "kernel" in lower or "_" in lower
    return next((kind for kind, words in _KERNELS if is_kernel and re.search(words, lower)), "other")


def _plain(name: str) -> str:
    while (shorter := _WRAPPING.sub("", name)) != name:
        name = shorter
    return re.sub("[^a-z0-9]", "", name.lower())


def _kinds_in(words: list[str]) -> list[str]:
    """Returns the kinds of the longest known names in a row of words."""
    kinds, start = [], 0
    while start < len(words):
        ends = (end for end in range(len(words), start, -1) if _plain("_".join(words[start:end])) in _KIND)
        end = next(ends, None)
        if end is not None:
            kinds.append(_KIND[_plain("_".join(words[start:end]))])
        start = end or start + 1
    return kinds or ["other"]
