import io

import pytest

from edgekws.core import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock of tqdm's that each step moves on by ten seconds."""
    now = [0.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    monkeypatch.setattr(progress._tqdm.tqdm, "monitor_interval", 0)
    return now


def steps(clock, number, file, monkeypatch):
    monkeypatch.setattr("sys.stderr", file)
    with progress.tqdm(total=number, desc="training", unit=" epochs", file=file) as bar:
        for _ in range(number):
            clock[0] += 10
            bar.update()
    return file.getvalue()


def test_a_log_gets_a_line_now_and_then(clock, monkeypatch):
    lines = steps(clock, 12, io.StringIO(), monkeypatch).splitlines()
    assert 3 <= len(lines) <= 5 and all(line.startswith("training:") for line in lines)
    assert "12/12" in lines[-1]


def test_short_work_writes_nothing_into_a_log(clock, monkeypatch):
    assert steps(clock, 2, io.StringIO(), monkeypatch) == ""


def test_a_terminal_gets_a_bar(clock, monkeypatch):
    shown = steps(clock, 12, Terminal(), monkeypatch)
    assert shown.count("\r") > 5
