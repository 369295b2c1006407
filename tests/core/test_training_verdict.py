"""When a model is called better: how many independent units that takes, and what is said."""

import numpy as np
import pytest
from tiny import make_tiny

from sam2_plugins.core.training.labelled import LabelledStack
from sam2_plugins.core.training.measuring import Score, measure
from sam2_plugins.core.training.own_data import OwnData, keep_apart
from sam2_plugins.core.training.verdict import MIN_UNITS, Comparison, compare, explain, spread


def of_images(ious: np.ndarray, prompt: str = "click") -> list[Score]:
    """One object on each image."""
    return [Score(f"image {i}", 1, prompt, float(iou)) for i, iou in enumerate(ious)]


def by_two_prompts(click: np.ndarray, box: np.ndarray) -> list[Comparison]:
    before = np.full(len(click), 0.5)
    return compare(
        of_images(before) + of_images(before, "box"),
        of_images(before + click) + of_images(before + box, "box"),
    )


@pytest.mark.parametrize("count", [1, 2, MIN_UNITS - 1])
def test_few_objects_cannot_show_that_it_is_better(count: int):
    gain = np.full(count, 0.2)
    comparisons = by_two_prompts(gain, gain)
    decides = comparisons[-1]
    assert (decides.num_objects, decides.num_units, decides.unit) == (2 * count, count, "objects")
    assert not decides.is_better
    assert decides.change == pytest.approx((0.2, -1, 1))
    assert explain(comparisons) == (
        f"{count} objects kept apart cannot show it, at least 6 are needed: label more"
    )


def test_six_objects_that_all_gain_can():
    gain = np.linspace(0.05, 0.1, MIN_UNITS)
    comparisons = by_two_prompts(gain, gain)
    assert comparisons[-1].is_better
    assert comparisons[-1].unit == "images"
    assert explain(comparisons) == "the change is more than chance"


@pytest.mark.parametrize("count", [6, 12])
def test_chance_alone_is_called_better_one_time_in_forty(count: int):
    rng = np.random.default_rng(0)
    before = of_images(np.full(count, 0.5))
    called = [
        compare(before, of_images(0.5 + rng.normal(0, 0.05, count)))[0].is_better
        for _ in range(300)
    ]
    # Plain percentiles would say so one time in twelve to twenty.
    assert np.mean(called) < 0.045


def test_a_change_that_does_not_show_is_none():
    comparisons = compare(of_images(np.full(10, 0.5)), of_images(np.full(10, 0.5004)))
    assert not comparisons[-1].is_better
    assert spread(comparisons[-1].change) == "+0.000 [+0.000, +0.000]"
    assert explain(comparisons) == "nothing changed"
    assert spread((-0.0004, -0.02, 0.0)) == "+0.000 [-0.020, +0.000]"


def test_what_one_kind_of_prompt_loses_is_told():
    rng = np.random.default_rng(0)
    comparisons = by_two_prompts(rng.normal(0.2, 0.01, 10), rng.normal(-0.05, 0.01, 10))
    assert comparisons[-1].is_better
    assert explain(comparisons).startswith("the change is more than chance; box is worse, -0.05")
    worse = by_two_prompts(np.full(10, -0.1), np.full(10, -0.1))
    assert explain(worse).startswith("it is worse; click is worse, -0.100 [-0.100, -0.100]; box")


def organ(first: int, last: int, *, num_frames: int = 20) -> LabelledStack:
    """A disc on some of the frames of a stack."""
    y, x = np.mgrid[:64, :64]
    labels = np.zeros((num_frames, 64, 64), np.uint16)
    labels[first : last + 1] = (y - 32) ** 2 + (x - 30) ** 2 < 200
    frames = np.repeat((labels * 150 + 40).astype(np.uint8)[..., None], 3, -1)
    return LabelledStack("organ", frames, labels, True)


def test_both_parts_of_a_stack_have_some_of_the_organ_in_its_middle():
    learnt, apart = keep_apart(OwnData((), (organ(2, 11),)))
    assert learnt.stacks[0].labels.any((1, 2)).sum() == 7
    assert apart.stacks[0].labels.any((1, 2)).sum() == 3
    assert apart.stacks[0].labels[0].any()
    assert len(learnt.stacks[0].frames) + len(apart.stacks[0].frames) == 20
    (score,) = measure(make_tiny(), apart)
    assert (score.prompt, score.object_id) == ("track", 1)
    with pytest.raises(ValueError, match="organ has objects on 5 frames; with fewer than three"):
        keep_apart(OwnData((), (organ(2, 6),)))


def test_a_stack_is_measured_from_where_its_objects_begin():
    late = organ(70, 75, num_frames=80)
    assert len(measure(make_tiny(), OwnData((), (late,)))) == 1
    only_last = organ(19, 19)
    assert measure(make_tiny(), OwnData((), (only_last,))) == []
