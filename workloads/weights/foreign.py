"""What a file that is no safetensors file is, by its first bytes, and how to get one from it. Nothing is unpickled."""

from __future__ import annotations

import pickletools
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO

CONVERT = "save the model's state dict with safetensors.torch.save_file"

_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle in a file of torch.save before 1.6 (torch/serialization.py, `MAGIC_NUMBER`)."""
_NESTED_AS = ("state_dict", "model_state_dict", "model", "module")
"""Where Lightning, PyTorch's tutorials, nanoGPT and DeepSpeed keep the state dict, the optimiser's beside it."""
_MOST_OPCODES = 2_000_000
_BY_START = (
    (
        rb"version https://git-lfs\.github\.com/spec/",
        "a Git LFS pointer, not the file itself; fetch the content: `git lfs pull` in its repository",
    ),
    (rb"\x1f\x8b", "packed with gzip; unpack it and give what comes out"),
    (rb"\x28\xb5\x2f\xfd", "packed with zstd; unpack it and give what comes out"),
    (rb"\xfd7zXZ\0", "packed with xz; unpack it and give what comes out"),
    (rb"BZh", "packed with bzip2; unpack it and give what comes out"),
    (rb"\x89HDF\r\n", "an HDF5 file of Keras or h5py; fetch the model's release in safetensors"),
    (rb"GGUF", "a GGUF file of llama.cpp; fetch the safetensors that it was made from"),
    (
        rb"(?i)\s*<(!doctype html|html)",
        "a web page; fetch the file itself (on huggingface.co its address has /resolve/ where the page's has /blob/)",
    ),
    (
        rb"\0+\Z",
        "full of zero bytes, as an unfinished download is; fetch it again",
    ),
)
"""What a file is whose first 512 bytes match, and what helps."""


def kind_of(path: Path) -> str | None:
    """Returns what `path` is in place of a safetensors file and what helps, to stand after "is"; None if not known."""
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(b"PK\x03\x04"):
        return _archive(path)
    if re.match(rb"\x80[\x02-\x05]", start):
        return _bare_pickle(path)
    return next((kind for pattern, kind in _BY_START if re.match(pattern, start)), None)


def rewriting(files: Sequence[Path], name: str = "name", value: str = "t", condition: str = "") -> str:
    """Returns the Python that writes the tensors of safetensors files anew, into one, each under another name or value.

    `name`, `value` and `condition` are Python too, about the `name` and the tensor `t` as they are.
    """
    stem = re.sub(r"(-\d{5}-of-\d{5})?(\.safetensors)?$", "", files[0].name)
    paths = [str(file) for file in files]
    return (
        "where torch is installed, this does so:\n"
        "    from safetensors.torch import load_file, save_file\n"
        f"    save_file({{{name}: {value} for file in {paths!r} for name, t in load_file(file).items()"
        f"{condition and f' if {condition}'}}}, {str(files[0].with_name(f'{stem}-rewritten.safetensors'))!r})\n"
        "and give that file"
    )


def _archive(path: Path) -> str:
    """Returns what a ZIP archive is: torch.save and torch.jit.save write one, and so does numpy.savez."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            pickled = next((name for name in names if re.fullmatch(r"[^/]+/data\.pkl", name)), None)
            if pickled is not None and any(name.endswith("/constants.pkl") for name in names):
                loading = f"torch.jit.load({str(path)!r}, map_location='cpu').state_dict()"
                return f"TorchScript of torch.jit.save; {_conversion(path, loading)}"
            if pickled is not None:
                with archive.open(pickled) as file:
                    return _torch_pickle(path, file)
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        return (
            f"a ZIP archive that cannot be read ({error}); fetch it again, and if torch.save wrote it, load it with "
            f"torch.load and {CONVERT}"
        )
    if names and all(name.endswith(".npy") for name in names):
        return (
            "an archive of numpy.savez; where NumPy is installed:\n"
            "    import numpy; from safetensors.numpy import save_file\n"
            f"    save_file(dict(numpy.load({str(path)!r})), {_target(path)!r})\n"
            "and give that file"
        )
    return f"a ZIP archive without torch.save's tensors; unpack it if it holds one, else {CONVERT}"


def _bare_pickle(path: Path) -> str:
    with path.open("rb") as file:
        try:
            first = [argument for _, argument in _opcodes(file) if isinstance(argument, int)]
            if _TORCH_MAGIC in first:
                for _ in range(2):  # the protocol's version, and what the writing machine was
                    list(_opcodes(file))
                return _torch_pickle(path, file)
        except (ValueError, EOFError, UnicodeDecodeError):
            pass  # still a pickle by its first bytes, of a writer that is not torch.save
    return (
        "a pickle that torch.save did not write; load it with the library that wrote it, and save its arrays with "
        "safetensors.numpy.save_file"
    )


def _opcodes(file: IO[bytes]) -> Iterator[tuple[str, object]]:
    """Yields the opcodes of one pickle with their arguments. Reads only: running them is what makes pickles unsafe."""
    return ((code.name, argument) for code, argument, _ in islice(pickletools.genops(file), _MOST_OPCODES))


def _torch_pickle(path: Path, file: IO[bytes]) -> str:
    """Returns what to do with a file of torch.save, from its pickle: where its tensors are, and whether it is safe."""
    words, classes = set(), set()
    for name, argument in _opcodes(file):
        if name == "GLOBAL":
            classes.add(str(argument).replace(" ", "."))
        elif isinstance(argument, str):
            words.add(argument)
    others = sorted(name for name in classes if not _is_of_tensors(name))
    loading = f"torch.load({str(path)!r}, map_location='cpu', weights_only={not others})"
    warning = ""
    if any(name.startswith("torch.nn.modules.") for name in others):
        loading += ".state_dict()"
    elif nested := next((key for key in _NESTED_AS if key in words), None):
        loading += f"[{nested!r}]"
    if others:
        warning = (
            f"; it holds {', '.join(others[:3])} beside tensors, whose code runs when it is loaded: do so only if you "
            "trust where it is from"
        )
    return f"a pickle of torch.save{warning}; {_conversion(path, loading)}"


def _is_of_tensors(name: str) -> bool:
    """Returns whether torch.load takes a class or function with `weights_only=True`."""
    return name == "collections.OrderedDict" or (name.startswith("torch.") and not name.startswith("torch.nn.modules."))


def _target(path: Path) -> str:
    """Returns a path for the converted file that does not exist yet."""
    target = path.with_suffix(".safetensors")
    return str(path.with_name(f"{path.name}.safetensors") if target.exists() else target)


def _conversion(path: Path, loading: str) -> str:
    """Returns the Python that converts what `loading` gives; all shards together where `path` is one of several."""
    target, files = _target(path), ""
    if shard := re.search(r"-\d{5}-of-\d{5}", path.name):
        target = str(path.with_name(path.name[: shard.start()] + ".safetensors"))
        pattern = path.name[: shard.start()] + "-*" + path.name[shard.start() + 6 :]
        loading = loading.replace(repr(str(path)), "file")
        files = f"for file in glob.glob({str(path.with_name(pattern))!r}) "
    return (
        "where torch is installed, this makes one of it:\n"
        "    import glob, torch; from safetensors.torch import save_file\n"
        f"    save_file({{name: t.detach().clone(memory_format=torch.contiguous_format) {files}for name, t in "
        f"{loading}.items() if torch.is_tensor(t)}}, {target!r})\n"
        "and give that file"
    )
