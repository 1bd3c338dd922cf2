"""Precisions by name: what products take, how finely results are rounded, and what a step stores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FLOAT32 = "float32"
CODES_TYPE = "int8"
E4M3 = "float8_e4m3fn"
LARGEST_CODE = {CODES_TYPE: 127.0, E4M3: 448.0}
"""The largest number of each type of 8 bits that codes are of."""
ROUNDOFF = 2.0**-24
"""Unit roundoff of float32: half of the distance from 1 to the next number."""


@dataclass(frozen=True)
class Precision:
    """A named recipe. `compute` is NumPy's name of the type of activations, `unit` its unit roundoff.

    Parameters and floating inputs are rounded to `compute` once, where the loss or the inference begins. Products take
    and give it and sum in float32; norms, softmax, activations and the loss are computed in float32, and every
    operation of the vocabulary rounds once. What training keeps (masters, moments, running statistics), the optimiser,
    the loss and all outputs are float32.
    """

    name: str
    compute: str = FLOAT32
    unit: float = ROUNDOFF
    operands: float = 0.0
    """The unit roundoff to which products round their operands, where that is coarser than `unit`; else 0."""
    smallest: float = 0.0
    """The distance between the smallest numbers of `compute`, where a step can meet them; else 0."""
    loss_scale: float = 1.0
    """By what the loss is multiplied before it is differentiated, and its gradients divided after."""
    codes: tuple[str, ...] = field(default=(), repr=False)
    """What products read as codes of 8 bits: `weights`, `activations` (`workloads.recipes.int8`)."""
    codes_type: str = field(default=CODES_TYPE, repr=False)
    """NumPy's name of the type of the codes, or that of `ml_dtypes`."""

    @property
    def is_reduced(self) -> bool:
        """Whether activations are shorter than float32."""
        return self.compute != FLOAT32

    @property
    def is_quantized(self) -> bool:
        """Whether it is another model than the float32 one: that of the codes."""
        return bool(self.codes)

    @property
    def is_lower(self) -> bool:
        """Whether it is anything but float32, in what is stored."""
        return self.is_reduced or self.is_quantized

    @property
    def multiplied(self) -> str:
        """NumPy's name of the type that most products multiply."""
        return self.codes_type if self.reads_codes else self.compute

    @property
    def reads_codes(self) -> bool:
        """Whether products read activations in codes too."""
        return "activations" in self.codes

    @property
    def stored(self) -> frozenset[str]:
        """NumPy's names of the types in which a step keeps its constants; NumPy has no float8, so its bits are kept."""
        codes = {"uint8" if self.codes_type == E4M3 else self.codes_type} if self.is_quantized else set()
        return frozenset({FLOAT32, *codes})

    @property
    def bytes_each(self) -> int:
        """Bytes of one parameter that products read, where nothing is trained."""
        return 1 if self.is_quantized else 2 if self.is_reduced else 4


FP32 = Precision("fp32")
TF32 = Precision("tf32", operands=2.0**-11)
"""Products of NVIDIA's tensor cores: float32 whose operands are rounded to 10 bits of mantissa."""
BF16 = Precision("bf16", "bfloat16", unit=2.0**-8)
FP16 = Precision("fp16", "float16", unit=2.0**-11, smallest=2.0**-24, loss_scale=1024.0)
INT8 = Precision("int8", codes=("weights", "activations"))
W8 = Precision("w8", codes=("weights",))
FP8 = Precision("fp8", codes=("weights", "activations"), codes_type=E4M3)
PRECISIONS: Mapping[str, Precision] = {one.name: one for one in (FP32, TF32, BF16, FP16, INT8, W8, FP8)}
DEFAULT = FP32


def precision_of(name: str) -> Precision:
    """Returns the precision called `name`. Raises ValueError for an unknown one."""
    if name not in PRECISIONS:
        raise ValueError(f"unknown precision {name!r}; known: {', '.join(PRECISIONS)}")
    return PRECISIONS[name]
