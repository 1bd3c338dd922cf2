"""A weights file is an option of a run, part of what its work is, and checked before anything runs."""

from dataclasses import replace

import numpy as np
import pytest

import backends
from backends._graphs import ONNX
from bench.artifacts import BATCHES, EXPECTED, PARAMETERS
from bench.cell import Cell
from bench.parent.cache import Cache, entry_name
from bench.parent.plans.parse import PlanError
from bench.parent.plans.plan import cells, select
from bench.parent.suite import Suite
from tests.fakes.bench import EFFORT
from tests.fakes.door import bench, rows_of_work, run_in, statuses
from tests.fakes.weights import random, saved
from workloads.catalog import CATALOG, load
from workloads.precision import FP32
from workloads.specs import Weights
from workloads.weights import files as weights

GPT2, BERT, RESNET = (load(name, "tiny") for name in ("gpt2", "bert_base", "resnet50"))
WTE = "transformer.wte.weight"


@pytest.fixture
def path(tmp_path):
    return saved(tmp_path / "model.safetensors", random())


KINDS = {kind.name: kind for kind in (PARAMETERS, BATCHES, EXPECTED, ONNX)}


def keys(workload):
    return {name: entry_name(kind, workload, "infer", FP32) for name, kind in KINDS.items()}


def test_every_cache_key_has_the_content_and_not_the_place():
    one, moved, other = (
        keys(replace(GPT2, weights=Weights(*given))) for given in (("/a", "1"), ("/b", "1"), ("/a", "2"))
    )
    assert one == moved
    assert all(one[kind] != keys(GPT2)[kind] and one[kind] != other[kind] for kind in KINDS)


def selected(given, workloads="gpt2", preset="smoke"):
    options = {"--preset": preset, "--workloads": workloads, "--weights": given}
    return select(options.get, backends.names(), cores=4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "--weights takes WORKLOAD=PATH, comma-separated; got ''"),
        ("{path}", "--weights takes WORKLOAD=PATH"),
        ("gpt2=", "--weights takes WORKLOAD=PATH"),
        ("gpt2={path},", "--weights takes WORKLOAD=PATH, comma-separated; got ''"),
        ("gpt3={path}", f"unknown workload 'gpt3'; known: {', '.join(CATALOG)}"),
        ("bert_base={path}", "--weights for bert_base, which is not in this run; it has gpt2"),
        ("gpt2={path},gpt2={path}", "two files for gpt2"),
        ("gpt2=/no/such/file", "--weights gpt2: /no/such/file does not exist"),
    ],
)
def test_the_option_is_refused_where_it_cannot_be_meant(path, given, message):
    with pytest.raises(PlanError) as refusal:
        selected(given.format(path=path))
    assert message in str(refusal.value)


def test_several_files_reach_their_cells(tmp_path, path):
    other = saved(tmp_path / "bert.safetensors", random(BERT))
    selection = selected(f"gpt2={path}, bert_base={other}", workloads="mlp,gpt2,bert_base")
    files = {cell.workload: cell.load_workload().weights for cell in cells(selection, "infer", ("null",))}
    assert files == {"mlp": None, "gpt2": weights.check(path, GPT2), "bert_base": weights.check(other, BERT)}


RUN = ("--preset", "smoke", "--workloads", "gpt2", "--phases", "infer", "--backends", "torch_cpu,onnxruntime_cpu")


def test_a_run_with_a_file_is_verified_and_is_another_workload(tmp_path, path):
    digests = []
    for options in ((), ("--weights", f"gpt2={path.name}")):
        done = bench(*RUN, *options, "--results-dir", "runs", cwd=tmp_path, SAMESTEP_CACHE=str(tmp_path / "cache"))
        run = run_in(tmp_path / "runs")
        assert done.returncode == pytest.ExitCode.OK, done.stdout
        assert set(statuses(run).values()) == {"ok"}
        (digest,) = {row["workload_digest"] for row in rows_of_work(run)}
        digests.append(digest)
    assert digests[0] != digests[1]
    (made,) = (
        entry
        for entry in (tmp_path / "cache").glob("parameters-*")
        if (entry / "parameters.safetensors").read_bytes() == path.read_bytes()
    )
    assert made.is_dir()


@pytest.mark.parametrize(("phase", "of"), [("infer", "output.0.logits"), ("train", "loss.0")])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_reference_that_is_not_finite_is_our_error_and_no_backends(tmp_path, phase, of, value):
    tensors = random()
    tensors[WTE][3] = value
    saved(tmp_path / "model.safetensors", tensors)
    workload = replace(GPT2, weights=weights.check(tmp_path / "model.safetensors", GPT2))
    cell = Cell("gpt2", "tiny", phase, "torch_cpu", GPT2.batch, GPT2.sequence, "fp32", 1)
    cell = replace(cell, weights_path=workload.weights.path, weights_sha256=workload.weights.sha256)
    suite = Suite(Cache(tmp_path / "cache", lambda text: None), tmp_path, EFFORT)
    columns = suite.run(cell).columns
    assert (columns["status"], columns["stage"]) == ("error", "artifacts")
    assert f"the reference is not finite in {of}: check the weights file, or take more tokens" in columns["reason"]


def test_a_refusal_ends_pytest_before_anything_runs(tmp_path, path):
    path.write_bytes(path.read_bytes()[:-1])
    options = ("--weights", f"gpt2={path}", "--results-dir", "runs")
    done = bench(*RUN, *options, cwd=tmp_path, SAMESTEP_CACHE=str(tmp_path / "cache"))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "is truncated in transformer." in done.stderr
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "cache").exists()
