import json

import numpy as np
import pytest

from sam2_plugins.core.evaluation import Evaluation, ScoreRow

NAN = float("nan")


def evaluation(values, *, method="sam2", headline="j_and_f"):
    """One row per (sequence, value)."""
    rows = tuple(
        ScoreRow(name, number, method, {"dice": 0.5, headline: value})
        for number, (name, value) in enumerate(values, start=1)
    )
    return Evaluation("vos", rows, headline, {"prompt": "box"}, "abc", {method: 1.5})


def test_mean_is_over_objects_and_skips_nan():
    result = evaluation([("a", 0.2), ("a", 0.4), ("b", 0.9), ("b", NAN)])
    assert result.mean("sam2") == pytest.approx(0.5)
    assert result.mean("sam2", "dice") == 0.5
    assert result.by_sequence("sam2") == pytest.approx({"a": 0.3, "b": 0.9})
    assert result.metrics == ["j_and_f", "dice"]


def test_nothing_to_average_is_nan():
    result = evaluation([("a", NAN)])
    assert np.isnan(result.mean("sam2"))
    interval = result.interval("sam2")
    assert interval.count == 0
    assert np.isnan([interval.mean, interval.low, interval.high]).all()


def test_interval_draws_objects_when_sequences_are_few():
    rng = np.random.default_rng(0)
    values = rng.normal(0.6, 0.1, 400)
    interval = evaluation([("a", value) for value in values]).interval("sam2")
    assert interval.unit == "object"
    assert interval.count == 400
    assert interval.mean == pytest.approx(values.mean())
    half_width = 1.96 * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - half_width, abs=0.002)
    assert interval.high == pytest.approx(values.mean() + half_width, abs=0.002)


def test_interval_draws_whole_sequences_when_there_are_many():
    rng = np.random.default_rng(0)
    levels = rng.uniform(0, 1, 12)
    values = [(f"s{number}", level) for number, level in enumerate(levels) for _ in range(50)]
    interval = evaluation(values).interval("sam2")
    assert interval.unit == "sequence"
    assert interval.high - interval.low > 0.2  # 600 rows, but only 12 independent ones
    assert interval == evaluation(values).interval("sam2")


def test_unknown_names():
    result = evaluation([("a", 1.0)])
    with pytest.raises(KeyError, match=r"no method 'flow'; methods are \['sam2'\]"):
        result.mean("flow")
    with pytest.raises(KeyError, match="no metric 'j'; metrics are"):
        result.mean("sam2", "j")


def test_json_and_markdown(tmp_path):
    result = evaluation([("nana", 0.2), ("b", NAN)])
    folder = result.save(tmp_path / "run")
    content = json.loads((folder / "evaluation.json").read_text())
    assert content["model"] == "abc"
    assert content["options"] == {"prompt": "box"}
    assert content["summary"]["sam2"]["j_and_f"]["mean"] == 0.2
    assert content["rows"][1] == {
        "sequence": "b",
        "object_id": 2,
        "method": "sam2",
        "dice": 0.5,
        "j_and_f": None,
    }
    text = (folder / "evaluation.md").read_text()
    assert "| sam2 | 0.200 (0.200-0.200) | 0.500 | 1 | 1.5 |" in text
    assert "| nana | 0.200 |" in text
    assert "| b | n/a |" in text
    assert sorted(file.name for file in folder.iterdir()) == [
        "evaluation.csv",
        "evaluation.json",
        "evaluation.md",
        "evaluation.png",
    ]
