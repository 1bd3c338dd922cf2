"""A pytest plugin, for `-p tests.fakes.plugin`: in that run `openvino_cpu` is the fake adapter."""

from __future__ import annotations

import backends
from backends.base import Adapter
from tests.fakes.faulty import Faulty

_load_adapter = backends.load_adapter


def load_adapter(module_name: str) -> Adapter:
    return Faulty() if module_name == "backends.openvino_cpu" else _load_adapter(module_name)


backends.load_adapter = load_adapter
