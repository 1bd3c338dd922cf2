"""Results of other tools come in as theirs: the same quantity in its column, any other named, never renamed."""

import json

import pytest

from results.__main__ import main
from results.record.files import ResultsError
from results.record.services.csvfile import read_services
from results.record.services.imports import read_foreign

VLLM = {
    "date": "20261130-070000",
    "endpoint_type": "openai-chat",
    "model_id": "m",
    "num_prompts": 20,
    "request_rate": "inf",
    "burstiness": 1.0,
    "max_concurrency": 4,
    "duration": 5.0,
    "completed": 19,
    "failed": 1,
    "total_input_tokens": 19 * 128,
    "total_output_tokens": 600,
    "request_throughput": 3.8,
    "request_goodput": None,
    "output_throughput": 120.0,
    "total_token_throughput": 606.4,
    "mean_ttft_ms": 41.0,
    "median_ttft_ms": 40.0,
    "p99_ttft_ms": 90.0,
    "median_tpot_ms": 11.0,
    "p99_tpot_ms": 12.0,
    "median_itl_ms": 10.5,
    "median_e2el_ms": 400.0,
    "p99_e2el_ms": 470.0,
}
AIPERF = {
    "schema_version": "1.5",
    "aiperf_version": "0.14.0",
    "start_time": "2026-11-30T07:00:00Z",
    "input_config": {
        "endpoint": {"model_names": ["m"], "urls": ["http://user:sk-secret@h:8000/v1?key=sk-secret"], "type": "chat"},
        "loadgen": {"request_rate": 2.5, "request_rate_mode": "poisson"},
    },
    "request_count": {"unit": "requests", "avg": 20.0},
    "error_request_count": {"unit": "requests", "avg": 2.0},
    "request_throughput": {"unit": "requests/sec", "avg": 1.45},
    "output_token_throughput": {"unit": "tokens/sec", "avg": 46.4},
    "benchmark_duration": {"unit": "sec", "avg": 13.8},
    "time_to_first_token": {"unit": "ms", "avg": 51.0, "p50": 50.0, "p90": 70.0, "p99": 99.0, "count": 20},
    "request_latency": {"unit": "ms", "avg": 2620.0, "p50": 2568.0, "p90": 3000.0, "p99": 3371.0, "count": 20},
    "inter_token_latency": {"unit": "ms", "avg": 80.0, "p50": 79.0, "count": 20},
    "inter_chunk_latency": {"unit": "ms", "avg": 81.0, "p50": 80.5, "p99": 120.0},
    "input_sequence_length": {"unit": "tokens", "min": 128, "max": 128},
    "output_sequence_length": {"unit": "tokens", "min": 30, "max": 32},
}


def of_guidellm(strategy):
    def distribution(median, **more):
        percentiles = {"p50": median, "p90": 2 * median, "p99": 3 * median}
        return {"successful": {"mean": median, "median": median, "count": 9, "percentiles": percentiles, **more}}

    return {
        "config": {"strategy": strategy},
        "start_time": 1_796_000_000.0,
        "duration": 30.0,
        "metrics": {
            "request_totals": {"successful": 9, "errored": 1, "incomplete": 2, "total": 12},
            "requests_per_second": {"successful": {"mean": 0.3}},
            "output_tokens_per_second": {"successful": {"mean": 9.6}},
            "time_to_first_token_ms": distribution(60.0),
            "inter_token_latency_ms": distribution(12.0),
            "time_per_output_token_ms": distribution(13.5),
            "request_latency": distribution(0.5),
        },
    }


GUIDELLM = {
    "metadata": {"version": 1, "guidellm_version": "0.5.2"},
    "args": {"target": "http://h:8000", "model": "m"},
    "benchmarks": [
        of_guidellm({"type_": "synchronous"}),
        of_guidellm({"type_": "concurrent", "streams": 8}),
        of_guidellm({"type_": "poisson", "rate": 1.5}),
        of_guidellm({"type_": "constant", "rate": 1.5}),
    ],
}


@pytest.fixture
def file(tmp_path):
    def of(report):
        path = tmp_path / "report.json"
        path.write_text(report if isinstance(report, str) else json.dumps(report))
        return path

    return of


def values(row, *names):
    return tuple(row[name] for name in names)


def test_vllm_bench(file):
    (row,) = read_foreign(file(VLLM))
    assert values(row, "source", "scenario", "kind", "status") == ("vllm bench serve", "concurrency:4", "chat", "ok")
    assert values(row, "n_requests", "n_failed", "prompt_tokens_asked") == (20, 1, 128)
    assert values(row, "requests_per_s", "output_tokens_per_s", "duration_s") == (3.8, 120.0, 5.0)
    assert values(row, "e2e_s_p50", "e2e_s_p99", "e2e_s_p90") == (pytest.approx(0.4), pytest.approx(0.47), None)


def test_vllms_ttft_tpot_and_itl_are_not_ours(file):
    """Its TTFT ends at a role, its TPOT has the time to the first token out and all of its tokens but one in."""
    (row,) = read_foreign(file(VLLM))
    assert row["first_event_s_p50"] == pytest.approx(0.04)
    assert values(row, "ttft_s_p50", "tpot_s_p50", "tpot_first_one_s_p50", "itl_s_p50", "icl_s_p50") == (None,) * 5
    assert "its TPOT 11 ms at p50 = (E2E − TTFT) / (n − 1)" in row["notes"]
    assert "its ITL 10.5 ms at p50 = gaps between chunks" in row["notes"]


@pytest.mark.parametrize(
    ("load", "scenario"),
    [
        ({"request_rate": "inf", "max_concurrency": None}, "offline"),
        ({"request_rate": 2.0, "max_concurrency": None}, "server:2"),
        ({"request_rate": 2.0, "max_concurrency": 8}, "server:2, at most 8 in flight"),
        ({"request_rate": 2.0, "max_concurrency": None, "burstiness": 0.5}, "gamma arrivals, burstiness 0.5,:2"),
    ],
)
def test_vllms_arrivals(file, load, scenario):
    assert read_foreign(file(VLLM | load))[0]["scenario"] == scenario


def test_aiperf(file):
    (row,) = read_foreign(file(AIPERF))
    assert values(row, "source", "scenario", "model") == ("aiperf 0.14.0", "server:2.5", "m")
    assert values(row, "n_requests", "n_failed", "ttft_s_n") == (22, 2, 20)
    assert values(row, "ttft_s_p50", "e2e_s_p99", "icl_s_p50") == tuple(map(pytest.approx, (0.05, 3.371, 0.0805)))
    assert values(row, "prompt_tokens_asked", "output_tokens_asked") == (128, None)
    assert values(row, "itl_s_p50", "tpot_s_p50") == (None, None)
    assert "its inter-token latency 79 ms at p50 = (E2E − TTFT) / (n − 1)" in row["notes"]


def test_a_key_in_an_aiperf_url_is_left_out(file):
    (row,) = read_foreign(file(AIPERF))
    assert row["service"] == "http://h:8000/v1"
    assert "sk-secret" not in json.dumps(row)


def test_aiperfs_unit_is_what_it_says(file):
    latency = AIPERF["request_latency"] | {"unit": "us"}
    assert read_foreign(file(AIPERF | {"request_latency": latency}))[0]["e2e_s_p50"] == pytest.approx(2568e-6)


def test_guidellm_has_a_row_for_each_rate(file):
    rows = read_foreign(file(GUIDELLM))
    assert [row["scenario"] for row in rows] == ["single_stream", "concurrency:8", "server:1.5", "constant:1.5"]
    assert {row["source"] for row in rows} == {"guidellm 0.5.2"}
    assert values(rows[0], "n_requests", "n_failed", "duration_s") == (10, 1, 30.0)
    assert values(rows[0], "ttft_s_p50", "e2e_s_p90") == (pytest.approx(0.06), pytest.approx(1.0))


def test_guidellms_itl_is_our_tpot_of_a_first_chunk_of_one_and_its_tpot_is_nothing_of_ours(file):
    row = read_foreign(file(GUIDELLM))[0]
    assert row["tpot_first_one_s_p50"] == pytest.approx(0.012)
    assert values(row, "itl_s_p50", "tpot_s_p50") == (None, None)
    assert "its TPOT 13.5 ms at p50 = (last token − start) / n" in row["notes"]


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ("no JSON", "is no JSON: "),
        ("[1]", "is no JSON object; expected aiperf's"),
        ({"mean": 3}, "is of no known tool; expected aiperf's profile_export_aiperf.json, guidellm's"),
        (VLLM | {"median_ttft_ms": "fast"}, "median_ttft_ms is 'fast'; expected a finite number"),
        (VLLM | {"completed": 3.5}, "completed is 3.5; expected a whole number"),
        (VLLM | {"median_e2el_ms": -4.0}, "e2e_s_p50 is -0.004; expected 0 or more"),
        (AIPERF | {"time_to_first_token": {"unit": "tokens", "p50": 3}}, "time_to_first_token.unit is 'tokens'"),
        (GUIDELLM | {"benchmarks": []}, "cannot be read: benchmarks is empty"),
        ({"benchmarks": [{"metrics": {}}]}, "metrics.request_totals is missing"),
        ({"benchmarks": [{"metrics": 3}]}, "benchmarks[0].metrics is 3; expected an object"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line(file, report, said):
    with pytest.raises(ResultsError) as refused:
        read_foreign(file(report))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (json.dumps(VLLM)[:-9], "since the file ends too early: copy it whole"),
        (json.dumps(VLLM)[:-1], "since the file ends too early: copy it whole"),
        ("", "is no JSON: Expecting value"),
        ("[" * 100_000, "is no JSON: maximum recursion depth"),
        ('{"a": 1}\n{"a": 2}', "Extra data"),
        (json.dumps(VLLM | {"duration": 10**400}), "cannot be read"),
        ("service_format,service,scenario", "is no JSON"),
        ("\0\1\2", "is no JSON"),
    ],
    ids=["cut in a name", "cut behind a number", "empty", "deep", "lines", "a huge number", "our own", "bytes"],
)
def test_a_file_that_is_cut_or_none_is_said_in_a_line(tmp_path, capsys, content, said):
    path = tmp_path / "report.json"
    path.write_text(content)
    assert main(["import", str(path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_where_nothing_was_answered_there_is_a_row_without_latencies(file):
    zeros = {name: 0.0 for name in VLLM if name.endswith("_ms")}
    (row,) = read_foreign(file(VLLM | {"completed": 0, "failed": 20} | zeros))
    assert values(row, "status", "n_failed", "reason") == ("broken", 20, "no request was answered whole")


def test_imported_rows_are_in_the_table_and_travel_as_csv(file, tmp_path, capsys):
    csv = tmp_path / "theirs.csv"
    assert main(["import", str(file(GUIDELLM)), "--csv", str(csv)]) == 0
    first = capsys.readouterr().out
    assert "guidellm 0.5.2" in first
    assert "verification none: a service" in first
    assert read_services(csv) == read_foreign(tmp_path / "report.json")
    assert main(["table", str(csv)]) == 0
    assert capsys.readouterr().out == first


def test_an_unknown_file_is_an_error_of_the_command(file, capsys):
    assert main(["import", str(file({"a": 1}))]) == 2
    assert capsys.readouterr().err.startswith("error: ")
