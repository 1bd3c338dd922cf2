"""Every scenario through the one driver on a virtual clock: what is due when, what is lost, and who was late."""

import threading
from dataclasses import replace
from statistics import fmean

import pytest

from bench.serving import driver
from bench.serving.answer import Answer
from bench.serving.arrivals import Concurrency, MultiStream, Offline, Server, SingleStream
from bench.serving.driver import LateClient, RealClock, drive, latency_s, why_late
from bench.serving.virtual import QueueTarget, VirtualClock, gamma_service_s

SERVICE_S = 0.5


def served(scenario, queries, **more):
    clock = VirtualClock()
    names = ("lose", "late_s", "samples")
    target = QueueTarget(clock, lambda number: SERVICE_S, **{name: more.pop(name) for name in names if name in more})
    return drive(target, scenario, clock, queries, **more)


def test_single_stream_sends_the_next_when_the_last_is_done():
    answers = served(SingleStream(), 4)
    assert [answer.due_s for answer in answers] == [0.0, 0.5, 1.0, 1.5]
    assert [latency_s(answer) for answer in answers] == [SERVICE_S] * 4


def test_multi_stream_asks_for_eight_samples():
    assert [answer.samples for answer in served(MultiStream(), 3, samples=8)] == [8, 8, 8]


def test_other_samples_than_the_scenario_has_are_refused():
    with pytest.raises(ValueError, match="asked for 1 samples; the scenario has 8"):
        served(MultiStream(), 3)


def test_offline_is_due_at_once():
    answers = served(Offline(), 3)
    assert [(answer.due_s, answer.end_s) for answer in answers] == [(0.0, 0.5), (0.0, 1.0), (0.0, 1.5)]


def test_concurrency_keeps_its_number_in_flight():
    answers = served(Concurrency(3), 9)
    assert [answer.due_s for answer in answers] == [0, 0, 0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    in_flight = [sum(one.due_s <= at.due_s < one.end_s for one in answers) for at in answers[3:]]
    assert in_flight == [3] * 6


def test_a_closed_loop_lasts_its_duration():
    """As LoadGen has it: the last is sent no earlier than the least duration."""
    assert served(SingleStream(), 1, duration_s=10)[-1].due_s == 10.0


def test_server_arrivals_are_exponential_and_the_same_each_time():
    due = Server(50.0, seed=3).due_s(20_000, 0)
    gaps = [after - before for before, after in zip([0.0, *due], due, strict=False)]
    mean = fmean(gaps)
    assert due == Server(50.0, seed=3).due_s(20_000, 0)
    assert due != Server(50.0, seed=4).due_s(20_000, 0)
    assert mean == pytest.approx(1 / 50, rel=0.03)
    assert fmean((gap - mean) ** 2 for gap in gaps) == pytest.approx(mean**2, rel=0.06)


def test_server_lasts_its_duration():
    assert Server(10.0).due_s(1, 60.0)[-1] >= 60.0


def waiting_md1(rate, service_s):
    """Returns the mean wait of M/D/1 (Pollaczek & Khinchine)."""
    load = rate * service_s
    return load * service_s / (2 * (1 - load))


def test_server_latency_counts_from_when_it_was_due():
    """The mean of M/D/1 comes out only where the wait in the queue is in it."""
    clock = VirtualClock()
    answers = drive(QueueTarget(clock, lambda number: 0.02), Server(30.0, seed=2), clock, 40_000)
    assert fmean(map(latency_s, answers)) == pytest.approx(0.02 + waiting_md1(30.0, 0.02), rel=0.03)


def test_a_late_sending_is_in_the_latency():
    answers = served(Server(0.01), 5, late_s=0.25)
    assert [latency_s(answer) for answer in answers] == pytest.approx([SERVICE_S + 0.25] * 5)


def test_latency_counted_from_sent_would_be_seen(monkeypatch):
    monkeypatch.setattr(driver, "latency_s", lambda answer: answer.end_s - answer.sent_s)
    answers = served(Server(0.01), 5, late_s=0.25)
    assert [driver.latency_s(answer) for answer in answers] != pytest.approx([SERVICE_S + 0.25] * 5)


def test_a_target_cannot_move_when_it_was_due():
    class Moving(QueueTarget):
        def start(self, number, due_s, done):
            super().start(number, due_s, lambda answer: done(replace(answer, due_s=answer.end_s)))

    clock = VirtualClock()
    answers = drive(Moving(clock, lambda number: SERVICE_S), Offline(), clock, 2)
    assert [answer.due_s for answer in answers] == [0.0, 0.0]


@pytest.mark.parametrize("scenario", [Server(10.0), Offline(), Concurrency(5)], ids=lambda one: type(one).__name__)
def test_no_request_is_lost(scenario):
    answers = served(scenario, 20, lose=lambda number: number in (3, 7), timeout_s=60)
    assert [number for number, answer in enumerate(answers) if answer.error == "timeout"] == [3, 7]
    assert len(answers) == 20


def test_a_lost_request_frees_its_place_at_its_deadline():
    """The one in flight is lost, and the next is due when it is given up: 60 s after it was due itself."""
    answers = served(SingleStream(), 6, lose=lambda number: number == 2, timeout_s=60)
    assert [answer.error for answer in answers] == ["", "", "timeout", "", "", ""]
    assert [answer.due_s for answer in answers] == [0.0, 0.5, 1.0, 61.0, 61.5, 62.0]
    assert answers[2].end_s == 61.0


def test_concurrency_is_kept_after_requests_were_lost():
    """Two of three are lost at once; after their deadline there are three in flight again."""
    answers = served(Concurrency(3), 60, lose=lambda number: number in (1, 2), timeout_s=5.0)
    later = [answer for answer in answers if answer.due_s > 6.5]
    in_flight = [sum(one.due_s <= at.due_s < one.end_s for one in answers) for at in later]
    assert len(later) > 10
    assert in_flight == [3] * len(later)
    assert [number for number, answer in enumerate(answers) if answer.error] == [1, 2]


def test_a_place_that_is_never_freed_would_be_seen(monkeypatch):
    monkeypatch.setattr(driver._Run, "give_up", lambda run, timeout_s: setattr(run, "lost_in_a_row", 99))
    answers = served(SingleStream(), 6, lose=lambda number: number == 2, timeout_s=60)
    assert len(answers) == 3


@pytest.mark.parametrize("clients", [1, 4])
def test_a_closed_loop_without_answers_ends(clients):
    answers = served(Concurrency(clients), 100, lose=lambda number: True, timeout_s=60)
    assert [answer.error for answer in answers] == ["timeout"] * driver.MOST_LOST * clients


def test_an_answer_after_its_deadline_stays_a_timeout():
    """It comes while the loop goes on, and is neither an answer nor a second one."""
    clock = VirtualClock()
    target = QueueTarget(clock, lambda number: 9.0 if number == 0 else 0.1)
    answers = drive(target, Concurrency(2), clock, 30, timeout_s=6.0)
    assert [answer.error for answer in answers[:2]] == ["timeout", "timeout"]
    assert len(answers) == 30


def test_a_lost_request_would_be_seen(monkeypatch):
    """A driver that leaves out what was not answered returns fewer."""
    close = driver._Run.close
    monkeypatch.setattr(driver._Run, "close", lambda run: [one for one in close(run) if not one.error])
    assert len(served(Offline(), 20, lose=lambda number: number == 3)) == 19


def test_an_answer_after_the_end_is_not_taken():
    answers = served(Offline(), 4, timeout_s=1.2)
    assert [answer.error for answer in answers] == ["", "", "timeout", "timeout"]


def test_an_answer_given_twice_is_an_error():
    class Twice(QueueTarget):
        def start(self, number, due_s, done):
            super().start(number, due_s, lambda answer: (done(answer), done(answer)))

    clock = VirtualClock()
    with pytest.raises(RuntimeError, match=r"requests \[0, 1\] twice"):
        drive(Twice(clock, lambda number: SERVICE_S), Offline(), clock, 2)


def test_a_run_with_a_late_client_is_refused():
    with pytest.raises(LateClient, match=r"sent late: the 99th percentile of its lag is 6 ms, above 5% of the bound"):
        served(Server(10.0), 200, late_s=0.006, bound_s=0.1)


def test_a_client_within_its_share_is_not_refused():
    assert len(served(Server(10.0), 200, late_s=0.004, bound_s=0.1)) == 200


def test_lag_is_that_of_requests_that_were_sent():
    answers = [Answer(0.0, 0.0, 9.0, error="timeout")] * 10 + [Answer(0.0, 0.5, 1.0)]
    assert why_late(answers, 1.0)


def test_gamma_service_times_have_their_mean_and_variation():
    service_s = gamma_service_s(0.02, 0.3, seed=1)
    times = [service_s(number) for number in range(50_000)]
    mean = fmean(times)
    assert mean == pytest.approx(0.02, rel=0.01)
    assert fmean((time - mean) ** 2 for time in times) ** 0.5 / mean == pytest.approx(0.3, rel=0.02)


@pytest.mark.parametrize("scenario", [Server(2_000.0), Offline(), Concurrency(4)], ids=lambda one: type(one).__name__)
def test_threads_deliver_on_the_real_clock(scenario):
    """Answers come from threads of their own; none is lost, and none was sent before it was due."""
    clock = RealClock()

    class Threads:
        def start(self, number, due_s, done):
            sent_s = clock.now()
            threading.Thread(target=lambda: done(Answer(due_s, sent_s, clock.now()))).start()

    answers = drive(Threads(), scenario, clock, 60, timeout_s=30)
    assert [answer.error for answer in answers] == [""] * 60
    assert all(answer.due_s <= answer.sent_s <= answer.end_s for answer in answers)
