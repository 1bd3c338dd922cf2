"""Which models of their own somebody asks for, by `--model`: the one place that tells the kinds by their spelling."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.parent.own import files
from bench.parent.plans.parse import PlanError
from workloads.catalog import CATALOG

OPTIONS: dict[str, dict[str, Any]] = {
    "--model": {
        "metavar": "LIST",
        "help": "models of yours: package.module:factory, path/to/file.onnx; NAME=… for another name",
    },
    "--model-inputs": {"metavar": "FILE", "help": "their input values, as .npz: NAME=FILE, or FILE where there is one"},
    **files.OPTIONS,
}
NAMES = tuple(name.removeprefix("--") for name in OPTIONS)
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,59}", re.ASCII)
FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True)
class Asked:
    """A model that is asked for: its name, where it is, what makes its folder, and where its inputs lie."""

    name: str
    reference: str
    maker: str
    inputs: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What else its maker is told."""

    @property
    def module(self) -> str | None:
        """The user's module that it is in, None where it is a file."""
        return self.reference.partition(":")[0] if FACTORY.fullmatch(self.reference) else None


def kind_of(reference: str) -> tuple[str, str]:
    """Returns the name that a model has by itself, and what makes its folder. Raises PlanError for no kind we know."""
    if FACTORY.fullmatch(reference):
        return reference.partition(":")[2], "bench.child.own.module:make"
    if files.is_file(reference):
        return Path(reference).stem, files.MAKER
    raise PlanError(f"--model takes package.module:factory or path/to/file.onnx, comma-separated; got {reference!r}")


def asked_for(option: Callable[[str], Any]) -> tuple[Asked, ...]:
    """Returns the models that the options ask for. Raises PlanError, in one line, for what cannot be meant."""
    text = option("--model")
    if text is None:
        if beside := [name for name in OPTIONS if name != "--model" and option(name) is not None]:
            raise PlanError(f"{beside[0]} is for --model")
        return ()
    found: dict[str, Asked] = {}
    for part in _parts(text, "--model"):
        given, equals, reference = (word.strip() for word in part.partition("=")) if "=" in part else ("", "", part)
        own, maker = kind_of(reference)
        name = given if equals else own
        if not NAME.fullmatch(name):
            raise PlanError(f"--model: {name!r} is no name of a model; letters, digits, `.`, `_` and `-`, at most 60")
        if name in CATALOG:
            raise PlanError(f"--model: {name} is a workload of ours; NAME={reference} gives another name")
        if name in found:
            raise PlanError(f"--model has two called {name}; NAME={reference} gives another name")
        where = str(Path(reference).expanduser().absolute()) if files.is_file(reference) else reference
        found[name] = Asked(name, where, maker)
    return _with_inputs(_with_more(found, option), option("--model-inputs"))


def _with_more(found: dict[str, Asked], option: Callable[[str], Any]) -> dict[str, Asked]:
    """Returns the models, files with their shapes, and whether they may go unverified. Raises PlanError."""
    of_files = [name for name, one in found.items() if files.is_file(one.reference)]
    shapes = files.shapes_by_model(option("--model-shapes"), of_files)
    may = bool(option("--unverified"))
    more = {name: {"shapes": shapes.get(name), "unverified": may} if name in of_files else {} for name in found}
    return {name: replace(one, more=more[name]) for name, one in found.items()}


def _with_inputs(found: dict[str, Asked], text: str | None) -> tuple[Asked, ...]:
    """Returns the models with their files of inputs. Raises PlanError for one of nobody, or that is not there."""
    inputs: dict[str, str] = {}
    for part in () if text is None else _parts(text, "--model-inputs"):
        given, equals, path = (word.strip() for word in part.partition("=")) if "=" in part else ("", "", part)
        if not equals and len(found) > 1:
            raise PlanError(f"--model-inputs {path}: whose inputs? NAME=FILE, NAME of: {', '.join(found)}")
        name = given or next(iter(found))
        if name not in found:
            raise PlanError(f"--model-inputs for {name}, which is not asked for; there is {', '.join(found)}")
        file = Path(path).expanduser().absolute()
        if not file.is_file():
            raise PlanError(f"--model-inputs {path}: there is no such file")
        inputs[name] = str(file)
    return tuple(replace(one, inputs=inputs.get(name)) for name, one in found.items())


def _parts(text: str, option: str) -> list[str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise PlanError(f"{option} is empty")
    return parts
