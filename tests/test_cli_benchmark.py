from collections.abc import Callable
from importlib.util import find_spec

import pytest

from command_line import Ran
from sam2_plugins.commands.benchmark import SUBJECTS

Run = Callable[..., Ran]
QUICK = ("--model", "nano", "--image-size", 64, "--frames", 4, "--rounds", 1)


def test_the_table_and_the_json_say_the_same(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam2_plugins.core.benchmark._MEMORY_FRAMES", (2, 5))
    ran = run("benchmark", "core", *QUICK, "--device", "cpu")
    assert ran.status == 0
    header, _, *rows = ran.out.splitlines()
    assert header.split("|")[1].strip() == "what"
    names = [row.split("|")[1].strip() for row in rows]
    summary = run("benchmark", "core", *QUICK, "--device", "cpu", "--json").summary
    assert [row["name"] for row in summary["measurements"]] == names
    assert names[0] == "peak memory, 5 frames tracked"
    assert all(row["value"] > 0 for row in summary["measurements"])


def test_only_what_is_there_is_offered(run: Run) -> None:
    offered = run("benchmark", "--help").out
    for subject in SUBJECTS:
        is_there = find_spec(f"sam2_plugins.commands.benchmark_{subject}") is not None
        assert (f"    {subject} " in offered) == is_there


def test_bad_input_is_one_line(run: Run) -> None:
    assert "unknown model 'huge'" in run("benchmark", "core", "--model", "huge").error
    assert "at least 4 frames" in run("benchmark", "core", "--frames", 2).error
    assert "multiple of 32" in run("benchmark", "core", "--image-size", 100).error
