"""Everything in videos: only on the frames that are meant, done once, and not in others' way."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fiftyone.operators as foo
import numpy as np
import pytest
from propagation import boxed, masked, masks_of
from test_napari_session import answer
from video_files import moving_discs

import fiftyone as fo
from sam2_plugins.core import load_model
from sam2_plugins.fiftyone_plugin import automatic
from sam2_plugins.fiftyone_plugin.automatic import AutoOptions
from sam2_plugins.fiftyone_plugin.napari_process import find_unit
from sam2_plugins.fiftyone_plugin.napari_return import receive
from sam2_plugins.fiftyone_plugin.napari_session import write_session
from sam2_plugins.fiftyone_plugin.options import Options
from sam2_plugins.fiftyone_plugin.records import Records, RunRecord
from sam2_plugins.fiftyone_plugin.sources import list_units
from sam2_plugins.fiftyone_plugin.store import UnitLabels, declare_output

QUICK = {"image_size": 64, "device": "cpu"}
FEW = {"points_per_side": 2, "min_predicted_iou": 0, "min_stability": 0, "every": 12}
ALL = list(range(1, 13))


@pytest.fixture
def run(checkpoint: Path) -> Callable[..., dict[str, Any]]:
    """Run an operator quickly, with random weights that see every object."""

    def run(name: str, view: Any, **params: Any) -> dict[str, Any]:
        root = view._root_dataset
        given = {**QUICK, "model": str(checkpoint), **params}
        made: dict[str, Any] = foo.execute_operator(
            f"@sam2-plugins/sam2/{name}", dataset=root, view=view.view(), params=given
        ).result
        root.reload()
        return made

    return run


@pytest.fixture
def one_video(video_dataset: Any) -> Any:
    video_dataset.delete_samples(video_dataset.values("id")[1:])
    return video_dataset


@pytest.fixture
def with_bad_files(clips: list[Path], dataset: Any, tmp_path: Path) -> Any:
    """A video, one that cannot be read, one that is missing, another; all prompted."""
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"nothing")
    prompts = boxed(moving_discs(12)[1][0], 1)
    dataset.media_type = "video"
    for path in (clips[0], bad, tmp_path / "gone.mp4", clips[2]):
        sample = fo.Sample(filepath=str(path))
        sample.frames[1] = fo.Frame(prompts=prompts.copy())
        dataset.add_sample(sample)
    return dataset


def record_of(dataset: Any, field: str) -> RunRecord:
    (record,) = Records(dataset).find_all(field)
    return record


def labels_of(dataset: Any) -> UnitLabels:
    (unit,) = list_units(dataset)
    return UnitLabels(dataset, unit)


def frames_with_labels(dataset: Any, field: str) -> list[int]:
    found = dataset.first().frames
    return [number for number, frame in sorted(found.items()) if frame[field]]


def assert_told_apart(dataset: Any, field: str) -> None:
    """On no frame have two labels the same instance or index."""
    for frame in dataset.first().frames.values():
        labels = frame[field].detections if frame[field] else []
        for keys in ([lb.instance.id for lb in labels], [lb.index for lb in labels]):
            assert max(Counter(keys).values(), default=1) == 1


@pytest.mark.parametrize(
    ("operator", "field", "params"),
    [("auto_masklets", "auto_masks", FEW), ("segment_frames", "masks", {})],
)
def test_a_file_that_cannot_be_read_keeps_no_other_from_being_done(
    run: Any, with_bad_files: Any, operator: str, field: str, params: dict[str, Any]
) -> None:
    dataset = with_bad_files
    said = r"2 of 4 videos failed: .*bad\.mp4: is not a video.*; .*gone\.mp4: no such file"
    with pytest.raises(Exception, match=said):
        run(operator, dataset, **params)
    dataset.reload()
    is_done = [sample.frames[1][field] is not None for sample in dataset]
    assert is_done == [True, False, False, True]
    if operator == "auto_masklets":
        good = dataset.match(fo.ViewField("filepath").contains_str("clip"))
        assert run(operator, good, **params)["num_skipped"] == 2


def test_a_video_that_another_worker_has_is_told(run: Any, video_dataset: Any) -> None:
    sample_id = video_dataset.first().id
    claim = Records(video_dataset).claim(sample_id, "auto_masks", sample_id=sample_id)
    with pytest.raises(Exception, match=r"1 of 3 videos failed: .*is at work on it"):
        run("auto_masklets", video_dataset, **FEW)
    # Single frames go to the same field only when it is free.
    into = {"output_field": "auto_masks"}
    with pytest.raises(Exception, match=r"1 of 3 videos failed: .*is at work on it"):
        run("segment_frames", video_dataset, **into)
    claim.give_back()
    assert run("auto_masklets", video_dataset, **FEW)["num_skipped"] == 2
    assert run("segment_frames", video_dataset, **into)["num_masks"] == 4


def test_what_is_done_with_other_settings_is_done_anew(run: Any, one_video: Any) -> None:
    run("auto_masklets", one_video, **FEW)
    assert run("auto_masklets", one_video, **FEW)["num_skipped"] == 1
    assert run("auto_masklets", one_video, **FEW, label="cell")["num_videos"] == 1
    assert one_video.distinct("frames.auto_masks.detections.label") == ["cell"]
    assert run("auto_masklets", one_video, **FEW, label="cell")["num_skipped"] == 1
    other_size = {**FEW, "label": "cell", "image_size": 96}
    assert run("auto_masklets", one_video, **other_size)["num_videos"] == 1
    # Runs of earlier versions did not tell their settings: what they did is done.
    record = record_of(one_video, "auto_masks")
    claim = Records(one_video).claim(record.unit_id, "auto_masks", sample_id=record.sample_id)
    claim.finish(record.tracks, auto_run="auto-0123456789ab")
    assert run("auto_masklets", one_video, **FEW)["num_skipped"] == 1


def test_of_clips_their_frames_alone_are_done(run: Any, one_video: Any) -> None:
    clips = one_video.to_clips([[(1, 4), (9, 10)]])
    result = run("auto_masklets", clips, **FEW)
    assert result["num_videos"] == 2
    assert frames_with_labels(one_video, "auto_masks") == [1, 2, 3, 4, 9, 10]
    assert len(one_video.distinct("frames.auto_masks.detections.sam2_run")) == 2
    # Tracks of different clips are different, by index too.
    assert_told_apart(one_video, "auto_masks")
    indices = one_video.distinct("frames.auto_masks.detections.index")
    assert indices == list(range(1, result["num_tracks"] + 1))
    assert run("auto_masklets", clips, **FEW)["num_skipped"] == 2
    again = run("auto_masklets", clips, **FEW, overwrite=True)
    assert again["num_tracks"] == result["num_tracks"]
    assert one_video.distinct("frames.auto_masks.detections.index") == indices


def test_key_frames_of_clips_are_those_of_the_video(run: Any, one_video: Any) -> None:
    clips = one_video.to_clips([[(3, 6), (9, 10)]])
    said = "1 of 2 videos failed: .*none of the key_frames 4, 5 is one of the 2 frames from 9 to 10"
    with pytest.raises(Exception, match=said):
        run("auto_masklets", clips, **FEW, key_frames="4, 5")
    one_video.reload()
    assert frames_with_labels(one_video, "auto_masks") == [3, 4, 5, 6]
    assert AutoOptions(key_frames=(4, 12)).choose([3, 4, 5, 6], 12) == [1]
    assert AutoOptions(every=3).choose([3, 4, 5, 6], 12) == [0, 3]


def test_what_was_interrupted_is_done_again(
    run: Any, one_video: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("auto_masklets", one_video, **FEW)

    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("it broke")

    with monkeypatch.context() as patch:
        patch.setattr(automatic, "_write_tracked", fail)
        with pytest.raises(Exception, match="it broke"):
            run("auto_masklets", one_video, **FEW, overwrite=True)
    record = record_of(one_video, "auto_masks")
    assert (record.state, record.error, record.auto_run) == ("failed", "it broke", "")
    assert one_video.values("auto_masks_state") == ["failed"]
    assert run("auto_masklets", one_video, **FEW)["num_videos"] == 1
    assert run("auto_masklets", one_video, **FEW)["num_skipped"] == 1


def test_how_far_a_run_is_can_be_seen(
    run: Any, one_video: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(automatic, "_ADVANCE_S", 0)
    run("auto_masklets", one_video, **FEW)
    record = record_of(one_video, "auto_masks")
    assert (record.frames_done, record.frames_total) == (12, 12)


def test_a_run_that_a_person_ends_was_stopped_and_the_next_begins_anew(
    run: Any, one_video: Any, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, labels = load_model(checkpoint=checkpoint, **QUICK), labels_of(one_video)
    declare_output(one_video, "auto_masks", is_video=True)

    def press_keys(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    given = {"field": "auto_masks", "options": AutoOptions(points_per_side=2), "settings": "0" * 8}
    with monkeypatch.context() as patch:
        patch.setattr(automatic, "_write_tracked", press_keys)
        with pytest.raises(KeyboardInterrupt):
            automatic.find_masklets(model, labels, **given)
    record = record_of(one_video, "auto_masks")
    assert (record.state, record.error, record.is_alive) == ("stopped", "", False)
    assert one_video.values("auto_masks_state") == ["stopped"]
    assert automatic.find_masklets(model, labels, **given) is not None
    assert one_video.values("auto_masks_state") == ["done"]
    assert automatic.find_masklets(model, labels, **given) is None


def test_a_video_that_is_deleted_meanwhile_is_said_in_one_line(
    run: Any, video_dataset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = video_dataset.first().id

    def delete(*_: Any, **__: Any) -> None:
        video_dataset.delete_samples([first])
        raise RuntimeError("there is none")

    with monkeypatch.context() as patch:
        patch.setattr(automatic, "_write_tracked", delete)
        with pytest.raises(
            Exception, match=r"clip0\.mp4 .*: was deleted from the dataset meanwhile"
        ):
            run("auto_masklets", video_dataset.select(first), **FEW)


def test_what_was_found_is_not_found_anew_after_a_correction_in_napari(
    run: Any, one_video: Any
) -> None:
    run("auto_masklets", one_video, **FEW)
    before, sample_id = record_of(one_video, "auto_masks"), one_video.first().id
    options = Options(output_field="auto_masks", **QUICK)
    folder = write_session(one_video, find_unit(one_video, sample_id), options)
    square = np.zeros((64, 96), bool)
    square[10:30, 20:50] = True
    answer(folder, {(3, 1): square})
    received = receive(folder)
    assert received is not None
    assert received.num_prompts == 1
    shutil.rmtree(folder)
    after = record_of(one_video, "auto_masks")
    assert (after.state, after.tracks) == ("done", before.tracks)
    assert run("auto_masklets", one_video, **FEW)["num_skipped"] == 1


def test_a_claim_is_given_back_as_it_was_found(dataset: Any) -> None:
    records = Records(dataset)

    def claim() -> Any:
        return records.claim("unit", "masks", sample_id="sample")

    claim().give_back()
    assert record_of(dataset, "masks").state == "stopped"
    claim().stop("failed", "a reason")
    claim().give_back()
    assert (record_of(dataset, "masks").state, record_of(dataset, "masks").error) == (
        "failed",
        "a reason",
    )
    claim().finish([])
    claim().give_back()
    assert record_of(dataset, "masks").state == "done"


def test_a_field_of_tracked_prompts_may_have_everything_else_too(run: Any, one_video: Any) -> None:
    assert run("propagate_masks", one_video)["done"] == 1
    own = {n: label.sam2_run for n, label in masks_of(one_video.first(), 1).items()}
    (tracked,) = record_of(one_video, "masks").tracks
    for given in ({}, {"overwrite": True}):
        found = run("auto_masklets", one_video, output_field="masks", **FEW, **given)
        assert (found["num_videos"], found["num_skipped"]) == (1, 0)
        assert found["num_tracks"] > 0
        record = record_of(one_video, "masks")
        assert len(record.tracks) == 1 + found["num_tracks"]
        assert tracked in record.tracks
        assert {n: lb.sam2_run for n, lb in masks_of(one_video.first(), 1).items()} == own
        assert_told_apart(one_video, "masks")
        assert run("propagate_masks", one_video)["skipped"] == 1
        assert run("auto_masklets", one_video, output_field="masks", **FEW)["num_skipped"] == 1


def test_an_object_that_was_corrected_stays_itself_when_all_is_found_anew(
    run: Any, one_video: Any
) -> None:
    run("auto_masklets", one_video, **FEW)
    sample = one_video.first()
    first = sample.frames[1]["auto_masks"].detections[0]
    prompts = masked(moving_discs(12)[1][0], first.index)
    prompts.detections[0].instance = first.instance
    sample.frames[1]["prompts"] = prompts
    sample.save()
    assert run("propagate_masks", one_video, output_field="auto_masks")["done"] == 1
    assert run("auto_masklets", one_video, **FEW)["num_skipped"] == 1
    corrected = {n: lb.sam2_run for n, lb in masks_of(sample, first.index, "auto_masks").items()}
    assert run("auto_masklets", one_video, **FEW, overwrite=True)["num_videos"] == 1
    assert_told_apart(one_video, "auto_masks")
    after = {n: lb.sam2_run for n, lb in masks_of(sample, first.index, "auto_masks").items()}
    assert after == corrected
    ids = [track.instance_id for track in record_of(one_video, "auto_masks").tracks]
    assert len(set(ids)) == len(ids)
    assert run("propagate_masks", one_video, output_field="auto_masks")["skipped"] == 1
