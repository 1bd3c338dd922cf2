"""The names that outside code may import: `samestep.load(path)`, `samestep.Adapter`, `samestep.Workload` …

The rooms `workloads`, `backends`, `bench`, `host` and `results` have plain names that a user's own folder may have too.
They are imported from this package's own checkout, whatever lies in the current folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from samestep._rooms import import_ours

__version__ = "0.1.0"

_PUBLIC = {
    "AdamW": "workloads.optim",
    "Adapter": "backends.base",
    "AdapterConformance": "bench.conformance",
    "Artifact": "backends.base",
    "compare": "results.tables.compare",
    "comparison": "results.tables.table",
    "costs": "results.tables.cost",
    "Demand": "results.tables.cost",
    "DeviceReading": "backends.base",
    "Effective": "backends.base",
    "EnergyCounter": "backends.base",
    "EnergyUnavailable": "backends.base",
    "Flow": "backends.base",
    "history": "results.nights.history",
    "inference": "workloads.program",
    "initial_state": "workloads.program",
    "InputSpec": "workloads.specs",
    "KnownFailure": "backends.base",
    "load": "results.tables.table",
    "means_of_ratios": "results.tables.means",
    "Model": "workloads.own.model",
    "ONNX": "backends._graphs",
    "Ops": "workloads.ops",
    "ParameterSpec": "workloads.specs",
    "phases": "results.tables.phases",
    "Probe": "backends.base",
    "Program": "workloads.program",
    "ratios": "results.tables.table",
    "read_prices": "results.tables.prices",
    "Request": "backends.base",
    "Setting": "backends.base",
    "SGD": "workloads.optim",
    "Step": "backends.base",
    "training": "workloads.program",
    "Work": "workloads.program",
    "Workload": "workloads.workload",
}
__all__ = ["__version__", *_PUBLIC]  # noqa: PLE0604 - names of _PUBLIC, given by __getattr__

if TYPE_CHECKING:
    from backends._graphs import ONNX as ONNX
    from backends.base import Adapter as Adapter
    from backends.base import Artifact as Artifact
    from backends.base import DeviceReading as DeviceReading
    from backends.base import Effective as Effective
    from backends.base import EnergyCounter as EnergyCounter
    from backends.base import EnergyUnavailable as EnergyUnavailable
    from backends.base import Flow as Flow
    from backends.base import KnownFailure as KnownFailure
    from backends.base import Probe as Probe
    from backends.base import Request as Request
    from backends.base import Setting as Setting
    from backends.base import Step as Step
    from bench.conformance import AdapterConformance as AdapterConformance
    from results.nights.history import history as history
    from results.tables.compare import compare as compare
    from results.tables.cost import Demand as Demand
    from results.tables.cost import costs as costs
    from results.tables.means import means_of_ratios as means_of_ratios
    from results.tables.phases import phases as phases
    from results.tables.prices import read_prices as read_prices
    from results.tables.table import comparison as comparison
    from results.tables.table import load as load
    from results.tables.table import ratios as ratios
    from workloads.ops import Ops as Ops
    from workloads.optim import SGD as SGD
    from workloads.optim import AdamW as AdamW
    from workloads.own.model import Model as Model
    from workloads.program import Program as Program
    from workloads.program import Work as Work
    from workloads.program import inference as inference
    from workloads.program import initial_state as initial_state
    from workloads.program import training as training
    from workloads.specs import InputSpec as InputSpec
    from workloads.specs import ParameterSpec as ParameterSpec
    from workloads.workload import Workload as Workload


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'samestep' has no attribute {name!r}; it has: {', '.join(__all__)}")
    value = getattr(import_ours(_PUBLIC[name]), name)
    globals()[name] = value
    return value
