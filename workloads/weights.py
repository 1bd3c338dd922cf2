"""A local safetensors file of the public model in place of random parameters: checked whole before anything runs.

Checking needs only the standard library and reads the header; NumPy is imported where values are read. Layout of the
file: https://huggingface.co/docs/safetensors#format (8 bytes of header size, JSON header, data).
"""

from __future__ import annotations

import hashlib
import json
import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.workload import Weights, Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ITEM_BYTES = 4
_LARGEST_HEADER = 100_000_000
"""Of the safetensors library itself (0.8.0, `MAX_HEADER_SIZE`)."""
_CHUNK = 1 << 20
_NAMES_SHOWN = 3
CONVERT = "save the model's float32 state dict with safetensors.torch.save_file"


@dataclass(frozen=True)
class Published:
    """How a model's published files name its tensors, where that is not how we do."""

    prefix: str = ""
    """Stands before every name in some releases, and is left out in others."""
    renamed: tuple[tuple[str, str], ...] = ()
    """Endings of old releases, and what they are called now."""
    ignored: tuple[str, ...] = ()
    """Patterns of tensors that are not parameters: masks, indices, counters."""
    tied: Mapping[str, str] = field(default_factory=dict)
    """Copies of a parameter under a second name; they must hold the same bytes."""


PUBLISHED: Mapping[str, Published] = {
    # https://huggingface.co/openai-community/gpt2 has no prefix, and the causal masks as `attn.bias`.
    "gpt2": Published(
        prefix="transformer.",
        ignored=(r"transformer\.h\.\d+\.attn\.(masked_)?bias",),
        tied={"lm_head.weight": "transformer.wte.weight"},
    ),
    # https://huggingface.co/google-bert/bert-base-uncased keeps the names of the TensorFlow release.
    "bert_base": Published(
        renamed=((".LayerNorm.gamma", ".LayerNorm.weight"), (".LayerNorm.beta", ".LayerNorm.bias")),
        ignored=(r"bert\.embeddings\.position_ids",),
        tied={
            "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        },
    ),
    # torchvision's state dict counts the batches of each batch norm.
    "resnet50": Published(ignored=(r".*\.num_batches_tracked",)),
}
"""By workload; one that is not here takes files with exactly its own names."""


@dataclass(frozen=True)
class _Tensor:
    """A tensor of the file: `start` and `end` are bytes from the beginning of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def check(path: Path, workload: Workload) -> Weights:
    """Returns `path` with its digest, if it holds every parameter and buffer of `workload` in float32.

    Raises ValueError that names the file and the tensor, says what was got, what was expected, and what to do.
    """
    found = _fitting(path, workload)
    if missing := [spec for spec in workload.parameters + workload.buffers if spec.name not in found]:
        raise ValueError(
            f"{path} lacks {_listed([spec.name for spec in missing])} of {_called(workload)} "
            f"(expected F32 {list(missing[0].shape)}); {CONVERT}"
        )
    return Weights(str(path.resolve()), _sha256(path))


def read(workload: Workload) -> dict[str, NDArray[np.float32]]:
    """Returns the parameters and buffers in the workload's file by our names, as read-only memory maps.

    Raises ValueError where the file is not the one that was checked.
    """
    import numpy as np

    if workload.weights is None:
        raise ValueError(f"{_called(workload)} has no weights file")
    path = Path(workload.weights.path)
    found = _fitting(path, workload)
    if (got := _sha256(path)) != workload.weights.sha256:
        raise ValueError(f"{path} has changed since it was checked: sha256 {got}, was {workload.weights.sha256}")
    raw = np.memmap(path, mode="r")
    return {
        spec.name: np.ndarray(spec.shape, np.dtype("<f4"), raw, found[spec.name].start)
        for spec in workload.parameters + workload.buffers
    }


def _called(workload: Workload) -> str:
    return f"{workload.name} {workload.size}"


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _header(path: Path) -> list[_Tensor]:
    """Returns what the file declares, every byte of it accounted for. Raises ValueError."""
    not_safetensors = f"{path} is not a safetensors file"
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(9)
            header_size = struct.unpack("<Q", start[:8])[0] if len(start) == 9 else 0
            if len(start) == 9 and (start[8:] != b"{" or header_size > _LARGEST_HEADER):
                raise ValueError(f"{not_safetensors}: no header at byte 8; {CONVERT}")
            if len(start) < 9 or 8 + header_size > size:
                raise ValueError(
                    f"{path} is truncated in its header: {size} bytes, expected at least {8 + header_size}; "
                    "fetch it again"
                )
            text = start[8:] + file.read(header_size - 1)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; give the path of a safetensors file") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}; give the path of a safetensors file") from error
    try:
        declared = json.loads(text)
        declared.pop("__metadata__", None)
        tensors = [_declared(name, entry, 8 + header_size) for name, entry in declared.items()]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{not_safetensors}: its header cannot be read ({error}); {CONVERT}") from error
    return _whole(path, tensors, 8 + header_size, size)


def _declared(name: str, entry: Mapping[str, Any], data: int) -> _Tensor:
    start, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if not all(isinstance(n, int) and n >= 0 for n in (start, end, *shape)):
        raise ValueError(f"{name}: shape {list(shape)}, data_offsets [{start}, {end}]")
    return _Tensor(name, str(entry["dtype"]), shape, data + start, data + end)


def _whole(path: Path, tensors: list[_Tensor], data: int, size: int) -> list[_Tensor]:
    """Returns `tensors` if they follow each other without gap from `data` to the file's end, `size`."""
    at = data
    for tensor in sorted(tensors, key=lambda tensor: (tensor.start, tensor.end)):
        if tensor.start != at or tensor.end < at:
            raise ValueError(
                f"{path} is not a safetensors file: {tensor.name} lies at bytes {tensor.start} to {tensor.end}, "
                f"expected to begin at {at}; {CONVERT}"
            )
        if tensor.end > size:
            raise ValueError(
                f"{path} is truncated in {tensor.name}: {size} bytes, expected at least {tensor.end}; fetch it again"
            )
        at = tensor.end
    if at != size:
        raise ValueError(f"{path} has {size} bytes, expected {at} by its header; fetch it again")
    return tensors


def _fitting(path: Path, workload: Workload) -> dict[str, _Tensor]:
    """Returns the tensors that are parameters or buffers by our names; every one fits. Raises ValueError."""
    specs = {spec.name: spec for spec in workload.parameters + workload.buffers}
    published = PUBLISHED.get(workload.name, Published())
    found: dict[str, _Tensor] = {}
    copies: list[tuple[_Tensor, str]] = []
    unexpected = []
    for tensor in _header(path):
        name = _our_name(tensor.name, published)
        meant = published.tied.get(name, name)
        if any(re.fullmatch(pattern, name) for pattern in published.ignored):
            continue
        if meant not in specs:
            unexpected.append(tensor.name)
            continue
        _must_fit(path, tensor, specs[meant].shape, workload)
        if name != meant:
            copies.append((tensor, meant))
        elif name in found:
            raise ValueError(f"{path} has {name} twice, as {found[name].name} and {tensor.name}; remove one")
        else:
            found[name] = tensor
    if unexpected:
        raise ValueError(
            f"{path} has {_listed(unexpected)}, which {_called(workload)} does not have; expected names such as "
            f"{next(iter(specs))}; {CONVERT}"
        )
    for copy, name in copies:
        if name in found and not _same_bytes(path, copy, found[name]):
            raise ValueError(
                f"{path} has {copy.name} unlike {found[name].name}, to which {_called(workload)} ties it; "
                "a model with an output head of its own is not this one"
            )
    return found


def _our_name(name: str, published: Published) -> str:
    for old, new in published.renamed:
        if name.endswith(old):
            name = name.removesuffix(old) + new
    return name if name.startswith(published.prefix) or name in published.tied else published.prefix + name


def _must_fit(path: Path, tensor: _Tensor, shape: tuple[int, ...], workload: Workload) -> None:
    where = f"{path}: {tensor.name}"
    if tensor.dtype != "F32":
        raise ValueError(f"{where} has dtype {tensor.dtype}, expected F32; {CONVERT}")
    if tensor.shape != shape:
        raise ValueError(
            f"{where} has shape {list(tensor.shape)}, {_called(workload)} expects {list(shape)}; give a file of that "
            "size, or the preset that runs the file's"
        )
    if tensor.end - tensor.start != _ITEM_BYTES * prod(shape):
        raise ValueError(
            f"{where} has {tensor.end - tensor.start} bytes, expected {_ITEM_BYTES * prod(shape)} for F32 "
            f"{list(shape)}; {CONVERT}"
        )


def _same_bytes(path: Path, one: _Tensor, other: _Tensor) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return all(
            data[one.start + at : min(one.start + at + _CHUNK, one.end)]
            == data[other.start + at : min(other.start + at + _CHUNK, other.end)]
            for at in range(0, one.end - one.start, _CHUNK)
        )
