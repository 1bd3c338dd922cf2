"""Against MLPerf's LoadGen: on the latencies that it logged itself, our percentiles and verdicts are those it prints.

Skipped without `mlperf_loadgen` (`pip install --no-deps mlcommons-loadgen`). Seen with 6.0.17.
"""

import array
import json
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from bench.serving.arrivals import Server
from bench.serving.definitions import percentile
from bench.serving.early_stopping import judge, percentile_estimate

loadgen = pytest.importorskip("mlperf_loadgen")
SAMPLES = 64


def settings(scenario, **more):
    made = loadgen.TestSettings()
    made.scenario, made.mode = scenario, loadgen.TestMode.PerformanceOnly
    for name, value in more.items():
        setattr(made, name, value)
    return made


def run(folder, made):
    """Returns LoadGen's summary and, by sample, what its trace holds: latency in ns, query, begin in µs."""
    output, logs = loadgen.LogOutputSettings(), loadgen.LogSettings()
    output.outdir, logs.log_output, logs.enable_trace = str(folder), output, True
    buffer = array.array("B", b"done")
    pointer, _ = buffer.buffer_info()
    draw = random.Random(1)

    def answer(number):
        time.sleep(draw.gammavariate(4, 0.0002))
        loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(number, pointer, len(buffer))])

    with ThreadPoolExecutor(2) as pool:
        target = loadgen.ConstructSUT(
            lambda samples: [pool.submit(answer, sample.id) for sample in samples], lambda: None
        )
        library = loadgen.ConstructQSL(SAMPLES, SAMPLES, lambda samples: None, lambda samples: None)
        loadgen.StartTestWithLogSettings(target, library, made, logs)
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(target)
    # Line by line: the trace as a whole is no JSON that a parser takes (6.0.17 puts quotes in quotes).
    begins, ends, queries = {}, {}, {}
    for line in (folder / "mlperf_log_trace.json").read_text().splitlines():
        if line.startswith('{"name":"Sample",'):
            event = json.loads(line.rstrip(","))
            if event["ph"] == "b":
                begins[event["id"]] = event["ts"]
                queries[event["id"]] = event["args"]["query_seq"]
            else:
                ends[event["id"]] = event["ts"]
    latencies = {number: round((ends[number] - begins[number]) * 1e3) for number in begins}
    return (folder / "mlperf_log_summary.txt").read_text(), latencies, queries, begins


def printed(summary, pattern):
    found = re.search(pattern, summary)
    assert found, summary
    return int(found[1])


def near(expected):
    """The trace is in µs with three digits: it is off by a ns where a float is."""
    return pytest.approx(expected, abs=2)


def test_single_stream(tmp_path):
    made = settings(loadgen.TestScenario.SingleStream, min_duration_ms=200, min_query_count=700, max_query_count=700)
    summary, by_sample, _, _ = run(tmp_path, made)
    latencies = list(by_sample.values())
    for share in (0.5, 0.9, 0.95, 0.97, 0.99, 0.999):
        assert printed(summary, rf"\n{100 * share:.2f} percentile latency \(ns\) +: (\d+)") == near(
            percentile(latencies, share)
        )
    for share in (0.9, 0.99):
        assert printed(summary, rf"Early stopping {share:.0%}"[:-1] + r"(?:\.0)?th percentile estimate: (\d+)") == near(
            percentile_estimate(latencies, share)
        )


def test_multi_stream(tmp_path):
    made = settings(
        loadgen.TestScenario.MultiStream,
        min_duration_ms=200,
        min_query_count=700,
        max_query_count=700,
        multi_stream_samples_per_query=8,
    )
    summary, latencies, queries, _ = run(tmp_path, made)
    slowest = {}
    for number, latency in latencies.items():
        slowest[queries[number]] = max(latency, slowest.get(queries[number], 0))
    assert printed(summary, r"99(?:\.0)?th percentile estimate: (\d+)") == near(
        percentile_estimate(list(slowest.values()), 0.99)
    )


@pytest.mark.parametrize(("queries", "bound_ns"), [(700, 10**10), (300, 10**10), (700, 1_500_000)])
def test_server(tmp_path, queries, bound_ns):
    made = settings(
        loadgen.TestScenario.Server,
        min_duration_ms=100,
        min_query_count=queries,
        max_query_count=queries,
        server_target_qps=1000,
        server_target_latency_ns=bound_ns,
    )
    summary, by_sample, _, _ = run(tmp_path, made)
    latencies = list(by_sample.values())
    verdict = judge(latencies, bound_ns)
    assert percentile(latencies, 0.99) == near(printed(summary, r"\n99.00 percentile latency \(ns\) +: (\d+)"))
    assert verdict.queries == len(latencies)
    assert verdict.passes == ("Run successful" in summary)
    if not verdict.passes:
        assert verdict.more == printed(summary, r"Would need to run at least (\d+) more queries")


def test_server_arrivals_have_the_same_law(tmp_path):
    """LoadGen's gaps and ours: the Kolmogorov-Smirnov distance of two samples of 2,000 at its 0.1 % limit."""
    made = settings(
        loadgen.TestScenario.Server,
        min_duration_ms=100,
        min_query_count=2000,
        max_query_count=2000,
        server_target_qps=4000,
        server_target_latency_ns=10**10,
    )
    _, _, _, begins = run(tmp_path, made)
    theirs = sorted(after - before for before, after in pairwise(sorted(begins.values())))
    due = Server(4000.0).due_s(2000, 0)
    ours = sorted((after - before) * 1e6 for before, after in pairwise(due))

    def below(gaps, limit):
        return sum(gap <= limit for gap in gaps) / len(gaps)

    assert max(abs(below(ours, gap) - below(theirs, gap)) for gap in ours[::20]) < 1.95 * (2 / 2000) ** 0.5
