"""What a child is given before it starts, equal for every framework: variables, and where Python modules are found."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from host.cpu import cpu_flags, highest_hz
from host.files import folder, read_text

ROOT = Path(__file__).resolve().parents[2]

WHOSE = ("HOME", "USER", "LOGNAME", "TMPDIR", "TEMP", "TMP", "XDG_*", "SAMESTEP_*")
"""Whose process it is, and where files of theirs lie."""
SEARCHED = (
    "PATH",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "DYLD_FALLBACK_LIBRARY_PATH",
    "PYTHONNOUSERSITE",
    "PYTHONUSERBASE",
)
"""Where programs, libraries and installed packages are found: the parent finds the same ones."""
LANGUAGE = ("LANG", "LANGUAGE", "LC_*", "TZ")
DEVICES = (
    "CUDA_VISIBLE_DEVICES",
    "CUDA_MPS_PIPE_DIRECTORY",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    "ZE_AFFINITY_MASK",
    "ZE_FLAT_DEVICE_HIERARCHY",
    "ONEAPI_DEVICE_SELECTOR",
    "HABANA_VISIBLE_*",
    "ASCEND_*VISIBLE_DEVICES",
    "TPU_VISIBLE_*",
    "TPU_*_BOUNDS",
    "NEURON_RT_VISIBLE_CORES",
    "NEURON_RT_NUM_CORES",
)
"""Which devices may be seen, and by which number: never what they compute, or how fast."""
ALLOWED = (*WHOSE, *SEARCHED, *LANGUAGE, *DEVICES)
"""What a child gets of the parent's variables, beside what its adapter asks for. A list of what may not pass would be
out of date with each release of each library: ATEN_CPU_CAPABILITY=default in an image made fused AdamW 16 times slower,
and no row said so. What deviates on purpose (`--ab env.NAME=VALUE`) stands in the row."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def child_environment(parent: Mapping[str, str], threads: int, asked: Sequence[str] = ()) -> dict[str, str]:
    """Returns the variables of a child: of the parent's those on the list and those `asked` for, and our own.

    `asked` are the names that its adapter declares (`Adapter.environment`). Our own are `threads` threads for every
    library, and what is the same in all children; nothing overrides them.
    """
    kept = {
        name: value
        for name, value in parent.items()
        if name in asked or any(fnmatchcase(name, pattern) for pattern in ALLOWED)
    }
    # CUDA's devices in the order in which NVML counts them: what a row calls its device is what was measured.
    fixed = {"PYTHONHASHSEED": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return kept | {name: str(threads) for name in THREAD_VARIABLES} | fixed


def job_paths(parent_path: Sequence[str] | None = None) -> tuple[str, ...]:
    """Returns where a child looks for modules behind its own places: what the parent's `sys.path` has beside them.

    That is what PYTHONPATH added, the current folder last: an adapter or a module of the user's that the parent found
    must load in the child, whose checkout and installed packages come first all the same. Left out are the
    interpreter's own places and our own checkout: a side of an A/B may have others in their stead.
    """
    listed = sys.path if parent_path is None else parent_path
    entries = dict.fromkeys(Path(entry or os.curdir).absolute() for entry in listed)
    own = {*_own_places(), ROOT}
    others = [entry for entry in entries if entry.exists() and entry not in own and entry.resolve() != ROOT]
    others.sort(key=lambda entry: entry == Path.cwd())
    return tuple(map(str, others))


def _own_places() -> set[Path]:
    """Returns where this interpreter looks by itself: its library, what is installed for it, and its scripts."""
    library = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    version = f"python{sys.version_info.major}{sys.version_info.minor}"
    library |= {path.parent / f"{version}.zip" for path in library} | {path / "lib-dynload" for path in library}
    packages = {Path(path) for path in (*site.getsitepackages(), site.getusersitepackages())}
    scripts = {Path(sysconfig.get_path("scripts"))}
    return library | packages | {path for place in packages for path in _named_by_pth(place)} | scripts


def _named_by_pth(packages: Path) -> set[Path]:
    """Returns the folders that the `.pth` files among installed packages add (https://docs.python.org/3/library/site.html)."""
    files = [path for path in folder(packages) or [] if path.suffix == ".pth"]
    lines = [line.strip() for path in files for line in (read_text(path) or "").splitlines()]
    return {packages / line for line in lines if line and not line.startswith(("#", "import ", "import\t"))}


MOST_HZ = 6.5e9
"""No x86 core that is sold clocks higher."""


def cpu_ceiling_flops_per_s(threads: int, root: Path = Path("/")) -> float | None:
    """Returns the float32 FLOP/s that so many x86 cores cannot exceed, None for other CPUs: an upper bound, no peak.

    Two fused multiply-adds a cycle of 8 lanes (AVX2) or 16 (AVX-512), which no x86 core exceeds (https://uops.info), at
    the highest clock that the kernel names for any of them.
    """
    flags = cpu_flags(root)
    lanes = 16 if "avx512f" in flags else 8 if {"avx2", "fma"} <= flags else None
    if lanes is None:
        return None
    return threads * (highest_hz(root) or MOST_HZ) * 2 * 2 * lanes
