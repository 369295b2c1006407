"""What forms say of themselves, asked as the App asks them, and on what a verdict is."""

import asyncio
from typing import Any
from unittest.mock import MagicMock

import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import resolve_type
from fiftyone.operators.registry import OperatorRegistry
from PIL import Image
from tracked import write_masks
from video_files import moving_discs

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.operators import propagate_masks
from sam2_plugins.fiftyone_plugin.propagating import Progress
from sam2_plugins.fiftyone_plugin.sources import Unit

REVIEW = "@sam2-plugins/sam2/review_masklets"
SUGGEST = "@sam2-plugins/sam2/suggest_frames"
PROPAGATE = "@sam2-plugins/sam2/propagate_masks"


@pytest.fixture
def tracked(video_dataset: Any) -> Any:
    """Masks of one, two and one discs."""
    for sample, count in zip(video_dataset, (1, 2, 1), strict=True):
        write_masks(sample, moving_discs(12, num_objects=count)[1])
    return video_dataset


def form(uri: str, dataset: Any, *, open_sample: str | None = None, **params: Any) -> Any:
    """The inputs of an operator's form, by name."""
    request = {
        "dataset_name": dataset.name,
        "current_sample": open_sample,
        "target": "inputs",
        "params": params,
    }
    resolved = asyncio.run(resolve_type(OperatorRegistry(), uri, request))
    return resolved.type.properties


def test_a_review_says_what_it_is_on(tracked: Any) -> None:
    sample = tracked.skip(1).first()
    assert form(REVIEW, tracked)["scope"].view.label == "All tracks of 3 videos"
    inputs = form(REVIEW, tracked, open_sample=sample.id, tracks="1, 2")
    assert inputs["scope"].view.label == "Tracks 1, 2 of clip1.mp4"


def test_a_verdict_is_on_the_video_that_is_open(tracked: Any) -> None:
    sample = tracked.skip(1).first()
    result = foo.execute_operator(
        REVIEW, dataset=tracked, current_sample=sample.id, params={"verdict": "reject"}
    ).result
    assert (result["num_tracks"], result["num_videos"]) == (2, 1)
    assert [len(kept or []) for kept in tracked.values("masks_review")] == [0, 2, 0]


@pytest.mark.parametrize(
    ("given", "name", "message"),
    [
        ({"num_frames": -3}, "num_frames", "num_frames must be a number from 1 on, not -3"),
        ({"field": "nope"}, "field", "'nope' is no field of detections in this dataset; those"),
    ],
)
def test_what_is_wrong_is_said_in_the_form(
    tracked: Any, given: dict[str, Any], name: str, message: str
) -> None:
    wrong = form(SUGGEST, tracked, **given)[name]
    assert wrong.invalid
    assert wrong.error_message.startswith(message)
    assert "\n" not in wrong.error_message


def test_prompt_fields_are_chosen_from_those_there_are(tracked: Any) -> None:
    tracked.add_frame_field("note", fo.StringField)
    prompts = form(PROPAGATE, tracked)["prompt_field"]
    # Last what a run wrote: of its masks only those are prompts that were made keyframes.
    choices = [choice.value for choice in prompts.view.choices]
    assert (set(choices[:-1]), choices[-1]) == ({"prompts", "truth"}, "masks")
    assert prompts.default == ["prompts"]
    assert not prompts.invalid
    tracked.delete_frame_field("prompts")
    assert form(PROPAGATE, tracked)["prompt_field"].default == ["truth"]


def test_a_dataset_on_which_nothing_was_drawn_says_so(dataset: Any, clips: Any) -> None:
    dataset.add_sample(fo.Sample(filepath=str(clips[0])))
    wrong = form(PROPAGATE, dataset)["prompt_field"]
    assert wrong.error_message.endswith("has no frame field 'prompts'; nothing was drawn yet")


def test_only_what_matters_is_asked(tracked: Any) -> None:
    plain = set(form(PROPAGATE, tracked))
    first = {"prompt_field", "output_field", "model", "direction", "engine", "more"}
    assert plain == first | {"view_target"}
    assert set(form(PROPAGATE, tracked, engine="ray")) - plain == {"num_workers"}
    assert set(form(PROPAGATE, tracked, engine="delegated")) - plain == {"videos_per_task"}
    more = set(form(PROPAGATE, tracked, more=True))
    assert {"start", "stop", "stride", "mask_storage"} < more
    assert "mask_dir" not in more
    assert "mask_dir" in form(PROPAGATE, tracked, mask_storage="path")


@pytest.mark.parametrize(
    ("given", "name", "message"),
    [
        ({"prompt_field": ["nope"]}, "prompt_field", "has no frame field 'nope'; it has masks, "),
        ({"prompt_field": "truth, nope"}, "prompt_field", "has no frame field 'nope'; it has "),
        ({"prompt_field": []}, "prompt_field", "prompt_field must name a field with prompts"),
        ({"output_field": "a b"}, "output_field", "'a b' is no name of a label field"),
        ({"model": "huge"}, "model", "model 'huge' is neither a file nor one of nano"),
        ({"start": 0}, "start", "start must be a whole number of 1 or more, not 0"),
        ({"start": 5, "stop": 2}, "stop", "stop (2) must not be before start (5)"),
        ({"stride": 1.5}, "stride", "stride must be a whole number of 1 or more, not 1.5"),
        ({"image_size": 100}, "image_size", "image_size must be a multiple of 32, not 100"),
        ({"device": "gpu"}, "device", "device must be auto, cpu, mps, cuda or cuda:N, not 'gpu'"),
        ({"direction": "up"}, "direction", "direction must be both, forward, backward, not 'up'"),
        ({"engine": "magic"}, "engine", "engine must be local, delegated, ray, not 'magic'"),
        ({"engine": "ray", "num_workers": -1}, "num_workers", "num_workers must be a whole number"),
    ],
)
def test_what_is_wrong_with_a_run_is_one_line_where_it_is_wrong(
    tracked: Any, given: dict[str, Any], name: str, message: str
) -> None:
    inputs = form(PROPAGATE, tracked, **given)
    assert [key for key, prop in inputs.items() if prop.invalid] == [name]
    assert message in inputs[name].error_message
    assert "\n" not in inputs[name].error_message


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (None, "2 of 3 videos failed: is empty; is cut"),
        (RuntimeError("no memory"), "RuntimeError: n"),
    ],
)
def test_what_fails_is_told_and_what_is_done_is_shown(
    monkeypatch: Any, error: Exception | None, told: str
) -> None:
    unit = Unit("a", ("a",), ("a.mp4",), is_video=True)

    def events(*_: Any) -> Any:
        yield 3
        if error is not None:
            raise error
        yield Progress(unit, "done")
        yield from (Progress(unit, "failed", message=why) for why in ("is empty", "is cut"))

    monkeypatch.setattr(propagate_masks, "start_engine", events)
    ctx = MagicMock(params={}, delegated=False, _delegated_operation_id=None)
    list(propagate_masks.shown(ctx, propagate_masks.run(ctx)))
    *_, (name, arguments, options) = ctx.ops.method_calls
    assert (name, options) == ("notify", {"variant": "error"})
    assert arguments[0].startswith(told)
    if error is None:
        ctx.ops.reload_dataset.assert_called_once()
        last = ctx.ops.set_progress.call_args.kwargs
        assert last == {"progress": 1.0, "label": "videos: 1 done, 2 failed"}


def test_a_queued_run_says_at_its_end_that_it_is_at_its_end(monkeypatch: Any) -> None:
    unit = Unit("a", ("a",), ("a.mp4",), is_video=True)

    def events(*_: Any) -> Any:
        yield 1
        yield Progress(unit, "tracking", 39, 40, 1)
        yield Progress(unit, "done")

    monkeypatch.setattr(propagate_masks, "start_engine", events)
    ctx = MagicMock(params={}, delegated=True, _delegated_operation_id=None)
    assert propagate_masks.exhaust(propagate_masks.run(ctx))["done"] == 1
    assert ctx.set_progress.call_args.kwargs == {"progress": 1.0, "label": "videos: 1 done"}


def test_images_without_an_order_and_empty_views_are_refused(dataset: Any, tmp_path: Any) -> None:
    def problem() -> str:
        return str(form(PROPAGATE, dataset)["problem"].error_message)

    assert problem().startswith("there is no sample")
    path = tmp_path / "image.png"
    Image.new("RGB", (32, 32)).save(path)
    dataset.add_sample(fo.Sample(filepath=str(path)))
    assert problem().startswith("masks are propagated through videos, not through images")
