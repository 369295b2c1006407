"""Groups of several media: every operator works on the slice that is meant, and on no other."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fiftyone.operators as foo
import numpy as np
import pytest
from PIL import Image
from propagation import boxed, masked
from tracked import write_masks
from video_files import moving_discs

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.napari_process import find_unit
from sam2_plugins.fiftyone_plugin.operators.choices import is_on_frames
from sam2_plugins.fiftyone_plugin.panel import SAM2Panel
from sam2_plugins.fiftyone_plugin.sources import images_in_order, list_units, view_of
from sam2_plugins.fiftyone_plugin.store import UnitLabels
from sam2_plugins.fiftyone_plugin.tracks import mask_fields

EVERYTHING = {"points_per_side": 2, "min_predicted_iou": 0, "min_stability": 0, "every": 12}


@pytest.fixture
def run(checkpoint: Path) -> Callable[..., dict[str, Any]]:
    """Run an operator quickly; `group_slice` is the one that the App shows."""
    quick = {"model": str(checkpoint), "image_size": 64, "device": "cpu"}

    def run(
        name: str, dataset: Any, *, view: Any = None, group_slice: str | None = None, **params: Any
    ) -> dict[str, Any]:
        made: dict[str, Any] = foo.execute_operator(
            f"@sam2-plugins/sam2/{name}",
            dataset=dataset,
            view=view,
            params={**quick, **params},
            **({} if group_slice is None else {"group_slice": group_slice}),
        ).result
        dataset.reload()
        return made

    return run


@pytest.fixture
def left_and_right(clips: list[Path], dataset: Any) -> Any:
    """A group of two videos with prompts and truth; the left is shown."""
    dataset.add_group_field("group", default="left")
    group, truth = fo.Group(), moving_discs(12)[1]
    for name, path in (("left", clips[0]), ("right", clips[2])):
        sample = fo.Sample(filepath=str(path), group=group.element(name))
        for number, image in enumerate(truth, 1):
            sample.frames[number] = fo.Frame(truth=masked(image, 1))
        sample.frames[1]["prompts"] = boxed(truth[0], 1)
        dataset.add_sample(sample)
    return dataset


@pytest.fixture
def images_and_video(clips: list[Path], dataset: Any, tmp_path: Path) -> Any:
    """A group of two images and a video; the first image is shown."""
    frames, truth = moving_discs(12)
    dataset.add_group_field("group", default="front")
    group = fo.Group()
    for number, name in enumerate(("front", "back")):
        path = tmp_path / f"{name}.png"
        Image.fromarray(frames[number]).save(path)
        sample = fo.Sample(filepath=str(path), group=group.element(name))
        sample["prompts"] = boxed(truth[number], 1)
        sample["truth"] = masked(truth[number], 1)
        dataset.add_sample(sample)
    sample = fo.Sample(filepath=str(clips[0]), group=group.element("video"))
    sample.frames[1] = fo.Frame(prompts=boxed(truth[0], 1))
    dataset.add_sample(sample)
    return dataset


@pytest.mark.parametrize("is_shown", [True, False])
@pytest.mark.parametrize("name", ["left", "right"])
def test_all_operators_work_on_a_slice_of_videos(
    run: Any, left_and_right: Any, tmp_path: Path, name: str, is_shown: bool
) -> None:
    dataset = left_and_right
    other = "left" if name == "right" else "right"

    def run_there(operator: str, **params: Any) -> dict[str, Any]:
        where = {"group_slice": name} if is_shown else {"view": dataset.select_group_slices(name)}
        return run(operator, dataset, **where, **params)

    assert run_there("propagate_masks")["done"] == 1
    assert run_there("suggest_frames")["num_videos"] == 1
    measured = run_there("evaluate_masklets", truth_field="truth")
    assert (measured["num_videos"], measured["num_tracks"]) == (1, 1)
    exported = run_there("export_masklets", export_dir=str(tmp_path / "out"), format="coco")
    assert (exported["num_videos"], exported["num_tracks"]) == (1, 1)
    assert run_there("import_masklets", import_dir=str(tmp_path / "out"))["num_masks"] == 12
    assert run_there("auto_masklets", **EVERYTHING)["num_tracks"] > 0
    assert run_there("review_masklets", verdict="send_back")["num_tracks"] == 1
    assert run_there("segment_frames", output_field="single")["num_masks"] == 1

    chosen, rest = dataset.select_group_slices(name), dataset.select_group_slices(other)
    assert chosen.count_values("frames.masks.detections.tags") == {"sam2:sent_back": 12}
    assert chosen.values("masks_eval.num_tracks") == [1]
    assert len([score for score in chosen.values("frames.masks_eval")[0] if score]) == 11
    for field in ("auto_masks", "imported", "single"):
        assert chosen.count(f"frames.{field}.detections") > 0
    for field in ("masks", "auto_masks", "imported", "single"):
        assert rest.count(f"frames.{field}.detections") == 0
    # To a reviewer it comes whatever slice is shown.
    assert dataset.load_saved_view("review").values("id") == chosen.values("id")


@pytest.mark.parametrize("name", ["front", "back"])
def test_images_beside_videos_are_segmented(
    run: Any, images_and_video: Any, tmp_path: Path, name: str
) -> None:
    dataset = images_and_video
    given = {"group_slice": name}
    assert run("segment_frames", dataset, **given) == {"num_samples": 1, "num_masks": 1}
    chosen = dataset.select_group_slices(name)
    assert chosen.count("masks.detections") == 1
    assert dataset.select_group_slices(media_type="image").count("masks.detections") == 1
    measured = run("evaluate_masklets", dataset, truth_field="truth", prompt_field="none", **given)
    assert (measured["num_videos"], measured["num_tracks"]) == (1, 1)
    # Of an image nothing is left out: it has no frame but the one on which it was prompted.
    assert run("evaluate_masklets", dataset, truth_field="truth", **given)["j"] == measured["j"]
    exported = run("export_masklets", dataset, export_dir=str(tmp_path / "out"), **given)
    assert exported["num_videos"] == 1
    assert run("review_masklets", dataset, **given)["num_tracks"] == 1
    assert chosen.count_values("masks.detections.tags") == {"sam2:accepted": 1}


def test_fields_are_those_of_the_slice(images_and_video: Any) -> None:
    dataset = images_and_video
    video = dataset.select_group_slices("video")
    assert mask_fields(dataset, is_video=False) == ["prompts", "truth"]
    assert mask_fields(dataset, is_video=True) == mask_fields(dataset) == ["prompts"]
    assert mask_fields(dataset.select_group_slices("front")) == ["prompts", "truth"]
    frames = video.to_frames(sample_frames="dynamic")
    assert is_on_frames(video)
    assert is_on_frames(frames)
    assert not is_on_frames(dataset.select_group_slices("front"))
    (unit,) = list_units(frames)
    assert (unit.is_video, len(unit.frame_numbers or ())) == (True, 12)


def test_images_of_a_slice_are_tracked_in_order(
    propagate: Any, dataset: Any, tmp_path: Path
) -> None:
    frames, truth = moving_discs(4)
    dataset.add_group_field("group", default="right")
    for number in (3, 1, 4, 2):
        group = fo.Group()
        for name in ("left", "right"):
            path = tmp_path / f"{name}{number}.png"
            Image.fromarray(frames[number - 1]).save(path)
            sample = fo.Sample(filepath=str(path), group=group.element(name), scene="a")
            sample["number"] = number
            if number == 2:
                sample["prompts"] = masked(truth[1], 1)
            dataset.add_sample(sample)
    left = dataset.select_group_slices("left")
    view = left.group_by("scene", order_by="number")
    (unit,) = list_units(view)
    assert propagate(view)["done"] == 1
    assert [*UnitLabels(dataset, unit).read("masks")] == [1, 2, 3, 4]
    right = dataset.select_group_slices("right")
    assert right.count("masks.detections") == 0
    assert images_in_order(dataset, unit.sample_ids) == unit
    assert list_units(view_of(view, [unit])) == [unit]


def test_the_sample_that_is_open_is_found_whatever_its_slice(images_and_video: Any) -> None:
    dataset = images_and_video
    front, back, video = (
        dataset.select_group_slices(name).first() for name in ("front", "back", "video")
    )
    write_masks(video, moving_discs(12)[1])
    dataset.reload()
    for sample in (front, back, video):
        unit = find_unit(dataset, sample.id)
        assert unit.sample_ids == (sample.id,)
        assert unit.is_video == (sample.id == video.id)
    with pytest.raises(ValueError, match="there is no sample"):
        find_unit(dataset, "0" * 24)

    state: dict[str, Any] = {}
    data: dict[str, Any] = {}

    def set_state(said: Any, *value: Any) -> None:
        state.update(said if isinstance(said, dict) else {said: value[0]})

    panel = SimpleNamespace(get_state=state.get, set_state=set_state, set_data=data.__setitem__)
    ctx = SimpleNamespace(
        dataset=dataset, view=None, panel=panel, current_sample=None, selected=[], params={}
    )
    shown = SAM2Panel()
    shown.on_load(ctx)
    assert state["field"] == "masks"
    ctx.current_sample = video.id
    shown.on_change_current_sample(ctx)
    assert data["timeline"][0]["x"] == list(range(1, 13))
    assert "clip0.mp4" in state["title"]
    ctx.current_sample = back.id
    shown.on_change_current_sample(ctx)
    assert state["field"] == "truth"
    assert "back.png" in state["title"]
    np.testing.assert_array_equal(data["timeline"][0]["x"], [1])


def test_images_beside_videos_have_a_review_view_of_their_own(
    run: Any, images_and_video: Any
) -> None:
    dataset = images_and_video
    run("propagate_masks", dataset, group_slice="video")
    run("segment_frames", dataset, group_slice="back")
    sent = run("review_masklets", dataset, group_slice="back", verdict="send_back")
    assert sent["view"] == "review (images)"
    waiting = dataset.load_saved_view("review (images)")
    assert waiting.values("id") == dataset.select_group_slices("back").values("id")
    assert run("review_masklets", dataset, group_slice="video")["view"] == "review"
    assert len(dataset.load_saved_view("review")) == 0
    run("review_masklets", dataset, group_slice="back", verdict="accept")
    assert len(dataset.load_saved_view("review (images)")) == 0
