"""What noise makes of each tensor of our own workloads, as data in `workloads/predicted`: a file per workload and size.

Each entry is of one shape, phase and precision, under a digest of all that it was made from: the workload, the
reference, the noise. The digest is of what the code does, so that comments, imports and layout change nothing.
`python -m bench.predict` makes the files; a test remakes those of the tiny sizes.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from workloads.catalog import CATALOG, DECODING
from workloads.generate import GENERATE
from workloads.precision import Precision
from workloads.tolerance import Predicted, Tolerance
from workloads.tuning import TUNED
from workloads.workload import Workload

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "workloads" / "predicted"
MADE_BY = (
    "backends/_torch_experts.py",
    "backends/_torch_int8.py",
    "backends/_torch_noise.py",
    "backends/_torch_ops.py",
    "bench/child/checks/choices.py",
    "bench/child/expected.py",
    "bench/child/noise.py",
    "workloads/deviation.py",
    "workloads/recipes/e4m3.py",
    "workloads/recipes/int8.py",
    "workloads/recipes/mixed.py",
    "workloads/ops.py",
    "workloads/optim.py",
    "workloads/program.py",
    "workloads/summary.py",
    "workloads/vocabulary/images.py",
    "workloads/vocabulary/scoped.py",
    "workloads/models/{name}.py",
)
"""The code that a prediction is made by, beside the workload's description."""
OF_DECODING = (
    "bench/child/checks/caches.py",
    "workloads/models/_decoder.py",
    "workloads/models/_rotary.py",
    "workloads/recipes/rope.py",
)
"""The same of what decodes."""
OF_LAYERS = ("workloads/models/_layers.py",)
"""The same of what is made of named layers."""
OF_GENERATING = ("bench/child/checks/greedy.py", "workloads/generate.py")
"""The same of what generates, beside that."""
OF_TUNING = ("workloads/tuning/distill.py", "workloads/tuning/lora.py", "workloads/tuning/policies.py")
"""The same of what is tuned."""
SHAPE = {"depth": "d", "generated_tokens": "g", "lora_rank": "r"}
OPTIONS = {"accumulate": "a", "checkpoint": ""}
"""What names an entry beside its batch, of the workload and of its program, and what stands before it."""
DIGITS = 3


def path_of(workload: Workload) -> Path:
    """Returns the file that has the predictions of a workload at its size."""
    return FOLDER / f"{workload.name}-{workload.size}.json"


def entry_of(workload: Workload, phase: str, precision: Precision) -> str:
    """Returns the name of an entry in its file: phase, shape, precision."""
    shape = f"b{workload.batch}" if workload.sequence is None else f"b{workload.batch}-s{workload.sequence}"
    for names, of in ((SHAPE, workload.hyperparameters), (OPTIONS, workload.programs[phase].details)):
        shape += "".join(f"-{mark}{of[name]}" for name, mark in names.items() if name in of)
    return f"{phase}-{shape}-{precision.name}"


def key_of(workload: Workload, precision: Precision) -> str:
    """Returns the digest of all that a prediction is made from."""
    running = hashlib.sha256(f"{workload.canonical()} {precision}".encode())
    decoding = OF_DECODING if workload.name in DECODING else ()
    generating = OF_GENERATING if GENERATE in workload.programs else ()
    tuning = OF_TUNING if any(phase in workload.programs for phase in TUNED) else ()
    layers = OF_LAYERS if hasattr(CATALOG.get(workload.name), "Layers") else ()
    for name in (*MADE_BY, *decoding, *layers, *generating, *tuning):
        running.update(code_of(ROOT / name.format(name=workload.name)).encode())
    return running.hexdigest()[:16]


@cache
def code_of(path: Path) -> str:
    """Returns what the file does, as text: without imports, comments, docstrings and layout."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            body[:] = [one for one in body if not _does_nothing(one)] or [ast.Pass()]
    return ast.dump(tree)


def _does_nothing(node: ast.AST) -> bool:
    """Returns whether the node is an import, also for checkers alone, or a string by itself, as docstrings are."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return True
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return True
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def find(workload: Workload, phase: str, precision: Precision) -> tuple[Predicted | None, str]:
    """Returns what is stored for this very computation, or None and why it is not there."""
    path, entry = path_of(workload), entry_of(workload, phase, precision)
    title = f"{workload.name} {workload.size} {entry}"
    try:
        stored = json.loads(path.read_text()).get(entry)
        if stored is None:
            return None, f"nothing is predicted for {title} in the repository"
        if stored["key"] != key_of(workload, precision):
            return None, f"what is predicted for {title} in the repository is of other code, or of other weights"
        return from_json(stored["predicted"]), ""
    except FileNotFoundError:
        return None, f"nothing is predicted for {title} in the repository"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return None, f"what is predicted in {path.name} cannot be read ({error}): `git checkout` it"


def to_json(predicted: Predicted) -> dict[str, list[float]]:
    """Returns predictions in a form that JSON can hold: [error, scale] by tensor."""
    return {key: [_short(one.error), _short(one.scale)] for key, one in predicted.items()}


def from_json(stored: Mapping[str, Any]) -> dict[str, Tolerance]:
    """Returns the predictions that `to_json` gave."""
    return {key: Tolerance(*pair) for key, pair in stored.items()}


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
