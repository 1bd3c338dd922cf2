"""Local safetensors files of the public model in place of random parameters: checked whole before anything runs.

What is read are the values of the files, float32 numbers all of them: float16 and bfloat16 are widened, and float64
passes where every number is one of float32.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from workloads.specs import ParameterSpec, TableSpec, Weights
from workloads.weights.foreign import CONVERT, rewriting
from workloads.weights.published import wrappers_of
from workloads.weights.shards import Source, all_tensors, listed, locate
from workloads.weights.tensor_files import Tensor, as_float32, map_tensors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from workloads.workload import Workload

_READ = ("F32", "F16", "BF16", "F64")
_BLOCK = 1 << 20
_FEW = 8
"""Tensors to leave out that an advice names one by one."""


def check(path: Path, workload: Workload) -> Weights:
    """Returns the files that `path` means with their digest, if they hold every parameter and buffer of `workload`.

    `path` is a safetensors file, a folder, an index or one of its shards. Raises ValueError that names the file and
    the tensor, says what was got, what was expected, and what to do.
    """
    source = locate(path)
    by_name = _fitting(source, workload)
    if missing := [spec for spec in workload.stored if spec.name not in by_name]:
        raise ValueError(
            f"{source.path} lacks {listed([spec.name for spec in missing])} of {_called(workload)} "
            f"(expected F32 {list(missing[0].shape)}); {CONVERT}, or give all of its shards by their index"
        )
    for tensor in by_name.values():
        if tensor.dtype == "F64":  # the only one whose numbers may not be float32
            _values(tensor, source)
    return Weights(str(source.path), _sha256(source))


def read(workload: Workload) -> dict[str, NDArray[np.float32]]:
    """Returns the parameters and buffers in the workload's files by our names; float32 as read-only memory maps.

    Raises ValueError where the files are not those that were checked.
    """
    if workload.weights is None:
        raise ValueError(f"{_called(workload)} has no weights file")
    source = locate(Path(workload.weights.path))
    if (sha256 := _sha256(source)) != workload.weights.sha256:
        checked = workload.weights.sha256
        raise ValueError(f"{source.path} has changed since it was checked: sha256 {sha256}, was {checked}")
    by_name = _fitting(source, workload)
    stored = map_tensors(by_name.values())
    read = {spec.name: as_float32(by_name[spec.name], stored[by_name[spec.name].name]) for spec in workload.stored}
    return read | {spec.name: spec.values() for spec in workload.tensors if isinstance(spec, TableSpec)}


def _called(workload: Workload) -> str:
    return f"{workload.name} {workload.size}"


def _sha256(source: Source) -> str:
    """Returns the digest of the one file, or of all shards one after another in the order of their names."""
    running = hashlib.sha256()
    for path in source.files:
        try:
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    running.update(block)
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}; give the path of a safetensors file") from error
    return running.hexdigest()


def _fitting(source: Source, workload: Workload) -> dict[str, Tensor]:
    """Returns the tensors that are parameters or buffers by our names; every one fits. Raises ValueError."""
    specs = {spec.name: spec for spec in workload.stored}
    published = workload.published
    declared = all_tensors(source)
    wrappers = wrappers_of([tensor.name for tensor in declared])
    by_name: dict[str, Tensor] = {}
    copies: list[tuple[Tensor, str]] = []
    unexpected = []
    for tensor in declared:
        name = published.our_name(tensor.name.removeprefix(wrappers))
        original = published.tied.get(name, name)
        if published.ignores(name):
            continue
        if original not in specs:
            unexpected.append(tensor.name)
            continue
        _must_fit(tensor, specs[original], workload)
        if name != original:
            copies.append((tensor, original))
        elif name in by_name:
            raise ValueError(f"{source.path} has {name} twice, as {by_name[name].name} and {tensor.name}; remove one")
        else:
            by_name[name] = tensor
    if unexpected:
        whole = specs.keys() <= by_name.keys()
        cure = _without(unexpected, whole, source, lambda name: published.our_name(name) in specs)
        raise ValueError(
            f"{source.path} has {listed(unexpected)}, which {_called(workload)} does not have; expected names such as "
            f"{next(iter(specs))}; {cure}"
        )
    for copy, name in copies:
        if name in by_name and not _same_values(copy, by_name[name], source):
            raise ValueError(
                f"{source.path} has {copy.name} unlike {by_name[name].name}, to which {_called(workload)} ties it; "
                "a model with an output head of its own is not this one"
            )
    return by_name


def _without(unexpected: list[str], whole: bool, source: Source, ours: Callable[[str], bool]) -> str:
    """Returns what to do about tensors that are not ours, in a file that is `whole` with or without them."""
    prefix = unexpected[0].partition(".")[0] + "."
    if all(name.startswith(prefix) for name in unexpected) and ours(unexpected[0].removeprefix(prefix)):
        lines = rewriting(source.files, name=f"name.removeprefix({prefix!r})")
        return f"their names begin with {prefix!r} where ours do not: save them without it; {lines}"
    if whole and len(unexpected) <= _FEW:
        lines = rewriting(source.files, condition=f"name not in {unexpected!r}")
        return f"the model's own are all there: if the rest is a head for another task, save without it; {lines}"
    return CONVERT


def _must_fit(tensor: Tensor, spec: ParameterSpec, workload: Workload) -> None:
    where = f"{tensor.file}: {tensor.name}"
    if tensor.dtype not in _READ:
        raise ValueError(
            f"{where} has dtype {tensor.dtype}, expected F32, or F16, BF16 or F64 to take float32 from; give the "
            "file before it was quantised or cast, else convert its numbers with what wrote it"
        )
    if tensor.shape != spec.shape:
        transposed = ""
        if tensor.shape == spec.shape[::-1]:
            transposed = (
                "; if it lies transposed, as nn.Linear has it where this model does not, transpose the weights of all "
                "linear layers before they are saved, the square ones too"
            )
        raise ValueError(
            f"{where} has shape {list(tensor.shape)}, {_called(workload)} expects {list(spec.shape)}; give a file of "
            f"that size, or the preset that runs the file's{transposed}"
        )


def _values(tensor: Tensor, source: Source) -> NDArray[np.float32]:
    """Returns the numbers of a tensor in float32. Raises ValueError, with how to round those that are not."""
    stored = map_tensors([tensor])[tensor.name]
    try:
        return as_float32(tensor, stored)
    except ValueError as error:
        lines = rewriting(source.files, value="t.float() if t.is_floating_point() else t")
        raise ValueError(f"{error}; round them on purpose: {lines}") from None


def _same_values(one: Tensor, other: Tensor, source: Source) -> bool:
    """Returns whether two tensors hold the same float32 numbers, bit by bit, so that NaN is like itself."""
    import numpy as np

    return np.array_equal(_values(one, source).view(np.uint32), _values(other, source).view(np.uint32))
