"""What a step's products really ran in, in words; and what a chip has of its own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

SHORT = {
    "bfloat16": "bf16",
    "float16": "f16",
    "float32": "f32",
    "float64": "f64",
    "int8": "i8",
    "float8_e4m3fn": "f8",
    "f8e4m3fn": "f8",
    "uint8": "u8",
    "s8": "i8",
    "float": "f32",
}
"""The types of products, by any of the names that runtimes have for them."""
NO_PRODUCTS = "none"
"""The arithmetic of a step that multiplies no matrices."""
OF_CHIP: Mapping[str, tuple[str, ...]] = {
    "bfloat16": ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"),
    "float16": ("avx512_fp16", "amx_fp16", "asimdhp", "fphp"),
    "int8": ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"),
    "float8_e4m3fn": ("amx_fp8", "f8mm8"),
}
"""Which of a CPU's flags, as Linux names them, mean that it multiplies this type. (`f16c` only converts.)"""


def short(type_name: str) -> str:
    """Returns the short name of a type: `bf16` for `bfloat16`."""
    return SHORT.get(type_name.lower(), type_name.lower())


def in_words(products: Mapping[str, int]) -> str:
    """Returns the types of a step's products, with their counts where they are several: `bf16/f32 47:6`."""
    by_type: dict[str, int] = {}
    for name, n in products.items():
        by_type[short(name)] = by_type.get(short(name), 0) + n
    ordered = sorted(by_type, key=lambda name: (-by_type[name], name))
    if len(ordered) < 2:
        return ordered[0] if ordered else NO_PRODUCTS
    return f"{'/'.join(ordered)} {':'.join(str(by_type[name]) for name in ordered)}"


@cache
def cpu_flags() -> frozenset[str]:
    """Returns the flags of this machine's CPU, as Linux lists them; none elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    named = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(named, "").split())


def cpu_has(type_name: str) -> bool:
    """Returns whether this machine's CPU multiplies the type by itself; every one does float32."""
    return type_name not in OF_CHIP or not cpu_flags().isdisjoint(OF_CHIP[type_name])
