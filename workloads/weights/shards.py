"""Where the files of a model lie: one safetensors file, a folder, or shards that an index joins.

The index is Hugging Face's `model.safetensors.index.json`: its `weight_map` names the shard of every tensor
(https://huggingface.co/docs/transformers/big_models).
"""

from __future__ import annotations

import json
import re
import stat
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workloads.weights.foreign import kind_of
from workloads.weights.tensor_files import Tensor, tensors

_SHARD = re.compile(r"-\d{5}-of-(\d{5})(?!\d)")
_INDEXES = "*.safetensors.index*.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_SHOWN = 3
_AGAIN = "fetch the index and its shards again, all of one release"


@dataclass(frozen=True)
class Source:
    """The files of a model: `path` is the one file or the index; `files` the one file, or the shards by name."""

    path: Path
    files: tuple[Path, ...]
    shard_of: Mapping[str, str] = field(default_factory=dict)
    """By the index, in which shard a tensor lies; empty without an index."""


def listed(names: list[str]) -> str:
    """Returns the first names, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def locate(path: Path) -> Source:
    """Returns the files that `path` means: a safetensors file, a shard of several, their index, or their folder.

    Links are followed where a file is opened, and not before: in Hugging Face's cache they have the names that an
    index speaks of, and what they lead to has not. Raises ValueError, with what to give in place of `path`.
    """
    path = path.absolute()
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        fault = "is a link to a file that does not exist" if path.is_symlink() else "does not exist"
        raise ValueError(f"{path} {fault}; give the path of a safetensors file") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}; give the path of a safetensors file") from error
    if stat.S_ISDIR(mode):
        path = _in_folder(path)
    elif not stat.S_ISREG(mode):
        raise ValueError(f"{path} is neither a file nor a folder; give the path of a safetensors file")
    if path.suffix == ".json":
        return _indexed(path)
    shard = _SHARD.search(path.name)
    if shard is None or path.suffix != ".safetensors":
        return Source(path, (path,))
    indexes = [index for index in sorted(path.parent.glob(_INDEXES)) if path.name in _weight_map(index).values()]
    if len(indexes) == 1:
        return _indexed(indexes[0])
    if not indexes and int(shard[1]) == 1:
        return Source(path, (path,))
    several = f"{listed([index.name for index in indexes])} name it; give one of them"
    missing = "no index beside it names it; fetch the model.safetensors.index.json of its release into that folder"
    raise ValueError(f"{path} is one shard of {int(shard[1])}, and {several if indexes else missing}")


def all_tensors(source: Source) -> list[Tensor]:
    """Returns what all files declare. Raises ValueError where one is not whole, or is not as the index says."""
    declared = [tensor for file in source.files for tensor in tensors(file)]
    if not source.shard_of:
        return declared
    shard_of: dict[str, str] = {}
    for tensor in declared:
        if tensor.name in shard_of:
            both = f"{shard_of[tensor.name]} and {tensor.file.name}"
            raise ValueError(f"{source.path}: {tensor.name} is in two shards, {both}, expected in one; {_AGAIN}")
        shard_of[tensor.name] = tensor.file.name
    for name, shard in source.shard_of.items():
        if name not in shard_of:
            raise ValueError(f"{source.path} has {name} in {shard}, and it is in no shard; {_AGAIN}")
        if shard_of[name] != shard:
            raise ValueError(f"{source.path} has {name} in {shard}, and it is in {shard_of[name]}; {_AGAIN}")
    if unnamed := [name for name in shard_of if name not in source.shard_of]:
        raise ValueError(f"{source.path} does not name {listed(unnamed)} of {shard_of[unnamed[0]]}; {_AGAIN}")
    return declared


def _in_folder(folder: Path) -> Path:
    """Returns the file or the index that a folder has for its model, chosen as transformers does."""
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise ValueError(f"{folder} cannot be read: {error.strerror}; give the path of a safetensors file") from error
    indexes = [path.name for path in sorted(folder.glob(_INDEXES))]
    files = [name for name in names if name.endswith(".safetensors")]
    for standard in ("model.safetensors", "model.safetensors.index.json"):
        if standard in names:
            return folder / standard
    whole = [name for name in files if not _SHARD.search(name)]
    choices = indexes + whole or files[:1]
    if len(choices) == 1:
        return folder / choices[0]
    if choices:
        raise ValueError(f"{folder} has {listed(choices)}; give the path of one")
    pickles = [name for name in names if name.endswith(_PICKLES)]
    for name in pickles:
        try:
            kind = kind_of(folder / name)
        except OSError as error:
            raise ValueError(f"{folder / name} cannot be read: {error.strerror}; give a safetensors file") from error
        if kind is not None:
            raise ValueError(f"{folder} has no safetensors file, and its {name} is {kind}")
    raise ValueError(
        f"{folder} has no safetensors file ({listed(names) or 'it is empty'}); give the folder that has it, or its path"
    )


def _weight_map(index: Path) -> dict[str, str]:
    """Returns the shard of every tensor by an index. Raises ValueError where it is none."""
    expected = "expected an object whose weight_map names the shard of every tensor"
    try:
        kind = kind_of(index)
        content = json.loads(index.read_text(encoding="utf-8"), object_pairs_hook=_each_once)
    except OSError as error:
        raise ValueError(f"{index} cannot be read: {error.strerror}; give the path of a safetensors file") from error
    except (ValueError, RecursionError) as error:
        wrong = kind or f"not the index of a model ({error}); {expected}; {_AGAIN}"
        raise ValueError(f"{index} is {wrong}") from error
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{index} is not the index of a model: {expected}; give the index, or a safetensors file")
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not shard or Path(shard).name != shard:
            raise ValueError(f"{index} has {name} in {shard!r}, expected the name of a file beside it; {_AGAIN}")
    return weight_map


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns an object of JSON; of a name that stands twice, `json` would keep the last. Raises ValueError."""
    if repeated := [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]:
        raise ValueError(f"it names {repeated[0]} twice")
    return dict(pairs)


def _indexed(index: Path) -> Source:
    weight_map = _weight_map(index)
    shards = sorted(set(weight_map.values()))
    if missing := [shard for shard in shards if not (index.parent / shard).is_file()]:
        raise ValueError(
            f"{index} names {len(shards)} shards, of which {listed(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not in {index.parent}; fetch what is missing"
        )
    return Source(index, tuple(index.parent / shard for shard in shards), weight_map)
