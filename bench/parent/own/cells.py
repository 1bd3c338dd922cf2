"""The cells of a user's own models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from bench.cell import Cell
from bench.parent.own.made import Made
from workloads.own.folder import SIZE


def cells_of(
    models: Iterable[Made],
    phase: str,
    backends: Sequence[str],
    precisions_of: Callable[[str], Sequence[str]],
    threads: int,
    device_of: Callable[[str], int],
) -> Iterator[Cell]:
    """Yields a cell for each model, precision and backend; `precisions_of` and `device_of` are by backend."""
    for made in models:
        for backend in backends:
            for precision in precisions_of(backend):
                yield Cell(
                    made.name,
                    SIZE,
                    phase,
                    backend,
                    made.batch,
                    None,
                    precision,
                    threads,
                    device_index=device_of(backend),
                    model_path=made.path,
                    model_failure=made.failure,
                )
