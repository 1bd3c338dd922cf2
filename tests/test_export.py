"""What other tools get: verified numbers only, in their units, under names that stay."""

import json
import math
import re

import jsonschema
import pytest

from results import __main__ as door
from results.record.csvfile import write_csv
from results.tables.export import export_bencher, export_github, name_of, name_with_machine
from tests.fakes.rows import LATER_RUN_ID, RUN_ID, idle_row, row_of

NAME = "mlp/tiny/infer/b4/fp32/t2/torch_cpu"
INTERVAL = {"latency_ci_low_s": 0.9e-3, "latency_ci_high_s": 1.2e-3}
ROWS = [row_of(**INTERVAL), row_of(backend="jax_cpu", latency_p50_s=2e-3, quality="degraded", flags="other_load steal")]
THERE = {"machine": "gpu-box", "machine_id": "ba9876543210"}
NOT_EXPORTED = {
    "wrong: no device here": row_of("wrong", phase="train"),
    "unavailable: no device here": row_of("unavailable", phase="train"),
    "nothing could be verified": idle_row(phase="train"),
    "its measurement is invalid: throttled": row_of(phase="train", quality="invalid", flags="throttled"),
}

BMF = {
    "$id": "https://bencher.dev/bmf.json",
    "$schema": "http://json-schema.org/draft-07/schema",
    "type": "object",
    "patternProperties": {
        ".+": {
            "type": "object",
            "patternProperties": {
                ".+": {
                    "type": "object",
                    "properties": {
                        "value": {"type": "number"},
                        "lower_value": {"type": "number"},
                        "upper_value": {"type": "number"},
                    },
                    "required": ["value"],
                }
            },
        }
    },
}
"""As published on https://bencher.dev/docs/reference/bencher-metric-format (read 2026-11-26)."""


def strictly(text):
    """Returns the JSON as a strict reader takes it: no NaN, no infinity."""

    def refuse(constant):
        raise ValueError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def benches_of(text):
    """Returns the benches, held against `BenchmarkResult` in src/extract.ts of github-action-benchmark 1.22."""
    benches = strictly(text)
    assert isinstance(benches, list)
    for bench in benches:
        assert {"name", "unit", "value"} <= set(bench) <= {"name", "unit", "value", "range", "extra"}
        assert {type(bench[key]) for key in set(bench) - {"value"}} == {str}
        assert isinstance(bench["value"], int | float)
        assert math.isfinite(bench["value"])
        if "range" in bench:  # src/extractRangeInfo.ts
            found = re.search(r"(?P<prefix>(\+-|±)\s*)(?P<value>\d.+)", bench["range"])
            assert math.isfinite(float(found["value"]))
    return {bench["name"]: bench for bench in benches}


def test_a_name_is_the_cell():
    assert name_of(row_of()) == NAME
    assert name_with_machine(row_of()) == f"{NAME}@machine"
    assert name_of(row_of(workload="gpt2", sequence=128, batch=2, device_index=1, backend="torch_cuda")) == (
        "gpt2/tiny/infer/b2/s128/fp32/t2/torch_cuda:1"
    )
    assert name_of(row_of(variant="B: threads=1,python=/x y/<b>")) == f"{NAME}/B:-threads=1-python=-x-y-b-"
    assert name_of(row_of(size=None, batch=None, threads=None, precision_requested=None)) == "mlp/infer/fp32/torch_cpu"


def test_a_name_is_the_same_another_night():
    later = row_of(run_id=LATER_RUN_ID, latency_p50_s=9e-3, quality="degraded", software_id="ffffffffffff")
    assert name_with_machine(later) == name_with_machine(row_of())
    alone = export_github([row_of()], "latency_p50_s").text
    beside = export_github([row_of(), row_of(**THERE), row_of("wrong", phase="train")], "latency_p50_s").text
    assert set(benches_of(alone)) <= set(benches_of(beside))


def test_latencies_for_github():
    made = export_github(ROWS, "latency_p50_s")
    benches = benches_of(made.text)
    assert (list(benches), made.benchmarks, made.notes) == (
        ["mlp/tiny/infer/b4/fp32/t2/jax_cpu@machine", f"{NAME}@machine"],
        2,
        (),
    )
    assert [(bench["unit"], bench["value"]) for bench in benches.values()] == [("s", 2e-3), ("s", 1e-3)]
    assert float(benches[f"{NAME}@machine"]["range"].removeprefix("± ")) == pytest.approx(0.2e-3)
    first, second = (bench["extra"].splitlines() for bench in benches.values())
    assert first[0] == "quality: degraded (other_load steal)"
    assert second[:2] == ["quality: unknown", "95 % interval: 0.0009 to 0.0012 s"]
    assert f"run: {RUN_ID}" in second


def test_throughputs_for_github():
    made = export_github([row_of(), row_of(phase="train", throughput_samples_per_s=None)], "throughput_samples_per_s")
    (bench,) = benches_of(made.text).values()
    assert (bench["unit"], bench["value"], "range" in bench) == ("samples/s", 4000.0, False)
    assert made.notes == (
        "mlp/tiny/train/b4/fp32/t2/torch_cpu@machine is left out: it has no throughput_samples_per_s",
    )


def test_several_machines_for_github_are_in_the_names():
    benches = benches_of(export_github([row_of(), row_of(**THERE)], "latency_p50_s").text)
    assert list(benches) == [f"{NAME}@gpu-box", f"{NAME}@machine"]
    with pytest.raises(ValueError, match="several machines are called machine; export each by itself"):
        export_github([row_of(), row_of(machine_id="ba9876543210", phase="train")], "latency_p50_s")


def test_bencher_gets_nanoseconds_and_steps_per_second():
    made = export_bencher(ROWS)
    content = strictly(made.text)
    jsonschema.validate(content, BMF)
    assert content[NAME] == {
        "latency": {"value": 1e6, "lower_value": pytest.approx(0.9e6), "upper_value": pytest.approx(1.2e6)},
        "throughput": {"value": 1000.0},
    }
    assert made.notes == (
        "mlp/tiny/infer/b4/fp32/t2/jax_cpu is degraded (other_load steal), and the format has no place to say so",
    )


def test_bencher_without_what_was_not_measured():
    made = export_bencher([row_of(throughput_samples_per_s=None, latency_ci_low_s=1.1e-3, latency_ci_high_s=1.2e-3)])
    assert strictly(made.text) == {NAME: {"latency": {"value": 1e6, "upper_value": pytest.approx(1.2e6)}}}
    assert made.notes == (f"{NAME} has no throughput",)


def test_bencher_has_one_machine_per_file():
    message = r"a file of Bencher's is of one machine, and there are gpu-box \(ba9876543210\), machine \(0123456789ab\)"
    with pytest.raises(ValueError, match=message):
        export_bencher([row_of(), row_of(**THERE)])


EXPORTS = {
    "smaller": lambda rows: export_github(rows, "latency_p50_s"),
    "bigger": lambda rows: export_github(rows, "throughput_samples_per_s"),
    "bencher": export_bencher,
}


@pytest.mark.parametrize("export", EXPORTS.values(), ids=EXPORTS)
@pytest.mark.parametrize("reason", NOT_EXPORTED)
def test_only_verified_numbers_go_out(export, reason):
    left_out = NOT_EXPORTED[reason]
    made = export([row_of(), left_out])
    assert made.text == export([row_of()]).text
    (note,) = made.notes
    assert note.startswith(name_of(left_out))
    assert f" is left out: {reason}" in note
    with pytest.raises(ValueError, match=f"nothing to export, no row has a verified number: .*{reason}"):
        export([left_out])


@pytest.mark.parametrize("export", EXPORTS.values(), ids=EXPORTS)
def test_two_rows_of_one_name_are_an_error_that_says_which(export):
    message = (
        rf"two rows would be {NAME}.*: .*backend=torch_cpu.* of run {RUN_ID}, and .* of run {LATER_RUN_ID}; export"
    )
    with pytest.raises(ValueError, match=message):
        export([row_of(), row_of(run_id=LATER_RUN_ID)])
    with pytest.raises(ValueError, match=r"variant=A: x=# of run .*, and .*variant=A: x=% of run"):
        export([row_of(variant="A: x=#"), row_of(variant="A: x=%")])


def output_of(capsys, *arguments):
    """Returns status, output and complaints of the command."""
    status = door.main(["export", *map(str, arguments)])
    return status, *capsys.readouterr()


@pytest.mark.parametrize(
    ("form", "reader"),
    [
        ("github-action-benchmark-smaller", benches_of),
        ("github-action-benchmark-bigger", benches_of),
        ("bencher", strictly),
        ("pytest-benchmark", lambda text: strictly(text)["benchmarks"]),
    ],
)
def test_the_command_writes_the_file_and_says_what_is_not_in_it(tmp_path, capsys, form, reader):
    write_csv([*ROWS, row_of("timeout", phase="train")], tmp_path / "run.csv")
    output = tmp_path / "out.json"
    status, said, complaints = output_of(capsys, tmp_path / "run.csv", "--format", form, "--output", output)
    assert (status, said) == (0, f"{output}: 2 benchmarks for {form}\n")
    assert re.search(
        r"note: mlp/tiny/train/b4/fp32/t2/torch_cpu(@machine)? is left out: timeout: no device", complaints
    )
    assert len(reader(output.read_text(encoding="utf-8"))) == 2
    again = output.read_bytes()
    output_of(capsys, tmp_path / "run.csv", "--format", form, "--output", output)
    assert output.read_bytes() == again


def test_the_command_leaves_an_older_file_alone_where_there_is_nothing(tmp_path, capsys):
    write_csv([row_of("timeout")], tmp_path / "run.csv")
    (tmp_path / "out.json").write_text("of yesterday")
    arguments = (tmp_path / "run.csv", "--format", "bencher", "--output", tmp_path / "out.json")
    status, said, complaints = output_of(capsys, *arguments)
    assert (status, said) == (2, "")
    assert complaints.startswith("error: nothing to export, no row has a verified number: mlp/tiny/infer")
    assert (tmp_path / "out.json").read_text() == "of yesterday"
