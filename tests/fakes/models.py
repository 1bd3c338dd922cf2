"""Which models tests of a mechanism go by: all that have something of their own, so that further ones take no time."""

from workloads.catalog import MODELS, SUITES

MECHANISMS = tuple(name for name in MODELS if name in SUITES["core"] or name in SUITES["llm"])
"""Between them these have every kind of layer, loss and state that a mechanism has to do with. The other families are
held in `tests/test_workloads.py` and `tests/test_model_families.py`.
"""
