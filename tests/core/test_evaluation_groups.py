"""Objects by group, tables and pictures."""

import csv
import io

import numpy as np
import pytest

from sam2_plugins.core.evaluation import Evaluation, ScoreRow, read_attributes
from sam2_plugins.core.evaluation.charts import Series, _Axis, bar_chart, line_chart
from sam2_plugins.core.evaluation.intervals import bootstrap

NAN = float("nan")


def evaluation(**options):
    rows = [
        ScoreRow("a", 1, "sam2", {"j_and_f": 0.2, "dice": 0.1}, {"size": "small"}),
        ScoreRow("a", 2, "sam2", {"j_and_f": 0.4, "dice": 0.2}, {"size": "large"}),
        ScoreRow("b", 1, "sam2", {"j_and_f": 0.9, "dice": 0.9}, {"size": "small"}),
        ScoreRow("b", 2, "sam2", {"j_and_f": NAN, "dice": NAN}, {"size": "small"}),
    ]
    return Evaluation("vos", tuple(rows), "j_and_f", {}, **options)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_groups_have_means_intervals_and_counts():
    groups = evaluation().by_group("size", "sam2")
    assert list(groups) == ["large", "small"]
    assert groups["small"].mean == pytest.approx(0.55)
    assert (groups["small"].low, groups["small"].high) == pytest.approx((0.2, 0.9))
    assert groups["small"].count == 2
    assert groups["large"].mean == groups["large"].low == groups["large"].high == 0.4
    assert evaluation().by_group("size", "sam2", "dice")["small"].mean == pytest.approx(0.5)
    with pytest.raises(KeyError, match=r"no attribute 'colour'; attributes are \['size'\]"):
        evaluation().by_group("colour", "sam2")


def test_a_table_of_attributes(tmp_path):
    path = write(
        tmp_path / "people.csv",
        "sequence,object,group,light\na,,,day\na,1,older,\nb,1,younger,night\nb,2,older,night\n",
    )
    table = read_attributes(path)
    assert table.names == ("group", "light")
    rows = table.add_to(evaluation().rows)
    assert [row.attributes for row in rows] == [
        {"size": "small", "light": "day", "group": "older"},
        {"size": "large", "light": "day"},
        {"size": "small", "group": "younger", "light": "night"},
        {"size": "small", "group": "older", "light": "night"},
    ]
    found = Evaluation("vos", rows, "j_and_f", {}, by=("group",))
    # the last object is of the group but has nothing to measure
    assert found.by_group("group", "sam2")["older"].count == 1
    text = found.to_markdown()
    assert "| group | method | j_and_f (95 % interval) | objects |" in text
    assert "| younger | sam2 | 0.900 (0.900-0.900) | 1 |" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,group\na,x\n", r"has columns \['video', 'group'\]; it needs `sequence`"),
        ("sequence,object\na,1\n", "it needs `sequence`, attributes"),
        ("sequence,group\na,x,y\n", "line 2: not 2 cells"),
        ("sequence,group,light\na,x\n", "line 2: not 3 cells"),
        ("sequence,object,group\na,1,x\na,one,x\n", "line 3: no object id: 'one'"),
    ],
)
def test_malformed_tables(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_attributes(write(tmp_path / "table.csv", text))


def test_a_table_of_something_else(tmp_path):
    table = read_attributes(write(tmp_path / "table.csv", "sequence,group\nc,x\n"))
    with pytest.raises(ValueError, match=r"names \['c'\], but the evaluation has \['a', 'b'\]"):
        table.add_to(evaluation().rows)
    with pytest.raises(FileNotFoundError):
        read_attributes(tmp_path / "none.csv")


def test_csv_holds_every_number(tmp_path):
    folder = evaluation().save(tmp_path)
    rows = list(csv.DictReader(io.StringIO((folder / "evaluation.csv").read_text())))
    assert rows[0] == {
        "sequence": "a",
        "object": "1",
        "method": "sam2",
        "size": "small",
        "j_and_f": "0.2",
        "dice": "0.1",
    }
    assert rows[3]["j_and_f"] == ""


def test_the_seed_decides_the_intervals():
    values = [("a", value) for value in np.random.default_rng(1).uniform(size=30)]
    assert bootstrap(values, seed=1) == bootstrap(values, seed=1)
    assert bootstrap(values, seed=1).low != bootstrap(values, seed=2).low


def test_volumes_show_dice_one_by_one():
    rows = [
        ScoreRow(name, 1, "sam2", {"visible_j_and_f": 0.5, "dice": dice}, {})
        for name, dice in (("heart", 0.75), ("liver", 0.25))
    ]
    text = Evaluation("vos", tuple(rows), "visible_j_and_f", {}).to_markdown()
    assert "| sequence | sam2 | sam2 dice |" in text
    assert "| heart | 0.500 | 0.750 |" in text


def colours(image):
    return {tuple(colour) for _, colour in image.getcolors(100_000)}


def column(image, x):
    """Heights at which the first series' colour is seen in one column of pixels."""
    pixels = np.asarray(image)[:, x]
    return np.flatnonzero((pixels == (0x00, 0x72, 0xB2)).all(axis=1))


def test_bars_are_as_high_as_their_values():
    image = bar_chart([Series("sam2", [0, 1], [1.0, 0.5])], ["one", "two"], title="t")
    plot = [x for x in range(image.width) if len(column(image, x)) > 100]
    full, half = column(image, plot[10]), column(image, plot[-10])
    assert len(half) == pytest.approx(len(full) / 2, abs=12)  # the number is written into the bar


def test_lines_rise_and_leave_out_what_is_unknown():
    image = line_chart([Series("a", [1, 2, 3], [0.1, NAN, 0.9])], title="t")
    left, right = column(image, 70), column(image, image.width - 25)
    assert left.mean() > right.mean() > 0
    nothing = line_chart([Series("a", [1.0], [NAN])], title="t")
    assert nothing.size == image.size
    assert len(colours(image)) > 3


def test_axes_have_round_numbers():
    assert _Axis(5.5, 29.2, 0, 1).ticks() == [10, 15, 20, 25]
    assert _Axis(1, 8, 0, 1).ticks() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert _Axis(0.2, 0.4, 0, 1).ticks()[:2] == [0.2, 0.25]
    assert _Axis(3, 3, 0, 1).ticks() == [3]
