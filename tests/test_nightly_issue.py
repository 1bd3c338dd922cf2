"""A regression is said in an issue, once, as long as GitHub takes it."""

import re

import pytest

from results.nights.alarms import NEAR
from results.nights.issue import is_named
from tests.fakes.nightly import command, nightly, report_of


@pytest.mark.parametrize(
    ("said", "number", "expected"),
    [
        ("", "", "issue create --title Confirmed regressions"),
        ("about 0f-latency-20261101", "7", "issue comment 7 --body-file"),
        ("about 0f-latency-20261123", "7", None),
        ("about 0f-latency-20261123", "", None),  # a person closed it
        ("about 0f-latency-20261120", "7", None),  # it is dated anew
        ("about 0f-throughput-20261123", "7", "issue comment 7 --body-file"),
    ],
)
def test_a_regression_is_said_once(tmp_path, said, number, expected):
    (tmp_path / "open-alarms.txt").write_text("0f-latency-20261123\n")
    (tmp_path / "regressions.md").write_text("What is slower.\n")
    answers = f'case "$*" in *state\\ all*) echo "{said}" ;; *state\\ open*) echo "{number}" ;; esac'
    text = f'echo "$@" >>"{tmp_path}/calls"\n{answers}'
    assert nightly("issue", tmp_path, path=command(tmp_path / "bin", "gh", text)).returncode == 0
    written = [
        line for line in (tmp_path / "calls").read_text().splitlines() if re.match("issue (create|comment)", line)
    ]
    assert [line.startswith(expected or "?") for line in written] == [True] * bool(expected)


def test_how_far_a_date_may_move_is_what_the_history_says():
    text = "about 0f-latency-20261115 and 0f-latency-20269999"
    assert [is_named("0f-latency-20261123", text, near) for near in (7, 8)] == [False, True]
    assert [is_named(f"0f-latency-202611{15 + NEAR + more}", text) for more in (0, 1)] == [True, False]
    assert not is_named("0f-throughput-20261115", text)


def test_a_gh_that_fails_is_said(tmp_path):
    (tmp_path / "open-alarms.txt").write_text("0f-latency-20261123\n")
    done = nightly("issue", tmp_path, path=command(tmp_path / "bin", "gh", "echo 'not logged in' >&2; exit 4"))
    assert done.returncode == 2
    assert "gh issue list ended with status 4: not logged in" in done.stderr


def test_an_issue_is_as_long_as_github_takes_and_says_the_rest_the_next_time(tmp_path):
    ids = [f"{number:016x}-throughput-20261123" for number in range(1200)]
    alarms = [{"alarm_id": one, "is_open": True, "is_new": True} for one in ids]
    text = "~~~~~~~~\n```\n\r</pre>\n\n" + "a row of a run é\n" * 3000
    assert report_of(tmp_path, alarms, 1, text=text).returncode == 1
    fakes, said, body = tmp_path / "bin", tmp_path / "said", tmp_path / "body"
    said.write_text("")
    answers = f'*state\\ all*) cat "{said}" ;; issue\\ create*) cp "${{@: -1}}" "{body}" ;;'
    command(fakes, "gh", f'case "$*" in {answers} esac')
    found = []
    for _ in range(2):
        assert nightly("issue", tmp_path / "out", path=fakes).returncode == 0
        written = body.read_text()
        assert len(written) < 65_536
        of_run = [line for line in written.splitlines() if re.search("~~~|```|pre>|a row", line)]
        assert {line[:4] for line in of_run} == {"    "}
        assert f"{3004 - 1 - len(of_run)} lines more are in `history.txt`" in written
        (comment,) = re.findall(r"<!-- alarms: (.*) -->", written)
        found.append(comment.split())
        assert f"{1200 - len(found[-1])} alarms more are in `open-alarms.txt`" in written
        said.write_text(said.read_text() + written)
    assert set(found[0]) | set(found[1]) == set(ids)
    body.unlink()
    assert nightly("issue", tmp_path / "out", path=fakes).returncode == 0
    assert not body.exists()


def test_no_regression_no_issue(tmp_path):
    (tmp_path / "open-alarms.txt").write_text("")
    gh = command(tmp_path / "bin", "gh", "exit 9")
    assert nightly("issue", tmp_path, path=gh).returncode == 0
    assert nightly("issue", tmp_path / "absent", path=gh).returncode == 2
