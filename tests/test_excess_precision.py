"""XLA may leave roundings between operations out: which of them, is said by the numbers, and the flag by the row."""

import json
import os
import subprocess
import sys

import pytest

from tests.fakes.steps import make_in
from workloads.catalog import load
from workloads.precision import BF16

STEP = """
import json, sys
from pathlib import Path
from dataclasses import replace
import backends
from bench.child.checks import verify
from bench.child.expected import load_expected
from bench.child.settings import request_of
from tests.fakes.steps import allowed_in, setting
from workloads.catalog import load
from workloads.precision import BF16
workload, folder = load(sys.argv[1], "tiny"), Path(sys.argv[2])
adapter = backends.get("jax_cpu")
asked = replace(setting(workload, "infer", 1), precision=BF16, options=adapter.chosen_options({}))
adapter.load(asked)
made = {path.name: path for path in folder.iterdir()}
request = request_of(asked, adapter, made)
step = adapter.prepare(request)
step.compile()
observed, _ = verify.observe(step, request.program, request.parameters)
verification = verify.compare(observed, load_expected(made["expected"]), allowed_in(made, BF16))
try:
    verify.check_not_finer(verification, BF16)
    finer = ""
except verify.Refused as refused:
    finer = refused.code
print(json.dumps([len(verification.failures), finer, step.effective().more["xla_flags"]]))
"""
ALLOWED, FORBIDDEN = "--xla_allow_excess_precision=true", "--xla_allow_excess_precision=false"


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    folders = {}

    def of(name, flags):
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            make_in(folders[name], load(name, "tiny"), "infer", precision=BF16)
        command = [sys.executable, "-c", STEP, name, str(folders[name])]
        done = subprocess.run(
            command, env={**os.environ, "XLA_FLAGS": flags}, capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout.splitlines()[-1])

    return of


@pytest.mark.parametrize("flags", [ALLOWED, FORBIDDEN])
def test_a_model_rounds_as_its_precision_must_with_either_and_the_row_has_the_flag(flags, told):
    assert told("gpt2", flags) == [0, "", flags]


def test_of_a_lone_product_the_one_rounding_is_left_out_and_seen(told):
    assert told("matmul", ALLOWED) == [0, "effective_precision", ALLOWED]
