"""Messages from the worker: what is said, in which order, and what is over too soon to be said."""

import pytest

from sam2_plugins.napari_plugin import messages
from sam2_plugins.napari_plugin.messages import Failure, Outbox, Progress, Status

WORKING, READY = Status("encoding slice", is_working=True), Status("ready")


def taken(outbox):
    return [message for _, message in iter(outbox.take, None)]


@pytest.fixture
def outbox():
    woken = []
    made = Outbox(lambda: woken.append(True))
    made.woken = woken
    return made


def test_what_is_over_in_a_moment_is_not_said(outbox):
    outbox.post(WORKING)
    assert outbox  # and yet somebody looks again
    assert outbox.woken
    assert taken(outbox) == []
    outbox.post(READY)
    assert taken(outbox) == [READY]
    assert not outbox


def test_what_takes_longer_is_said_however_often_its_words_change(outbox, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(messages.time, "monotonic", lambda: now[0])
    outbox.post(WORKING)
    for count in range(4):
        now[0] += 0.05
        outbox.post(Status(f"{count} objects found", is_working=True))
    assert taken(outbox) == [Status("3 objects found", is_working=True)]
    outbox.post(Status("4 objects found", is_working=True))
    assert taken(outbox) == [Status("4 objects found", is_working=True)]
    outbox.post(READY)
    outbox.post(WORKING)
    assert taken(outbox) == []  # something new has begun a moment ago
    now[0] += 0.2
    assert taken(outbox) == [WORKING]


def test_that_it_is_over_is_said_last(outbox):
    outbox.post(READY)
    outbox.post(Progress(1.0))
    assert taken(outbox) == [Progress(1.0), READY]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), PermissionError("no")])
def test_what_a_system_refuses_is_said_without_a_traceback(caplog, error):
    assert Failure.of(error).message == str(error)
    assert not caplog.records
    Failure.of(TypeError("a mistake of ours"))
    assert "unexpected error" in caplog.text
