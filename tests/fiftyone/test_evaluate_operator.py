"""J, F and J&F against known answers, stored where they belong."""

from typing import Any

import fiftyone.operators as foo
import numpy as np
import pytest
from numpy.typing import NDArray
from tracked import unchanged, write_masks
from video_files import moving_discs

URI = "@sam2-plugins/sam2/evaluate_masklets"
ALL = {"truth_field": "truth", "prompt_field": "none"}


def run(dataset: Any, **params: Any) -> dict[str, Any]:
    view = params.pop("view", None)
    return foo.execute_operator(URI, dataset=dataset, view=view, params=params).result


def half(number: int, object_id: int, mask: NDArray[np.bool_]) -> Any:
    """Object 2 is found from frame 7 on only: half of its frames are right, half empty."""
    return (mask, 0.9) if object_id == 1 or number >= 7 else None


def track(dataset: Any, change: Any = unchanged) -> None:
    for sample, count in zip(dataset, (1, 2, 1), strict=True):
        write_masks(sample, moving_discs(12, num_objects=count)[1], change=change)


def test_right_masks_score_one(video_dataset: Any) -> None:
    track(video_dataset)
    result = run(video_dataset, **ALL)
    assert result["j"] == result["f"] == result["j_and_f"] == 1
    assert (result["num_tracks"], result["num_missed"], result["num_videos"]) == (4, 0, 3)


def test_scores_are_kept_by_object_frame_video_and_dataset(video_dataset: Any) -> None:
    track(video_dataset, half)
    result = run(video_dataset, **ALL)
    assert result["j_and_f"] == pytest.approx((3 + 0.5) / 4)
    assert [video["j_and_f"] for video in result["videos"]] == pytest.approx([1, 0.75, 1])
    sample = video_dataset.skip(1).first()
    assert sample.masks_eval.j_and_f == pytest.approx(0.75)
    assert [(t.index, t.num_frames, t.j) for t in sample.masks_eval.tracks] == [
        (1, 12, pytest.approx(1)),
        (2, 12, pytest.approx(0.5)),
    ]
    assert sample.frames[3].masks_eval == pytest.approx(0.5)
    assert sample.frames[8].masks_eval == pytest.approx(1)
    assert video_dataset.info["masks_eval"]["j_and_f"] == pytest.approx(result["j_and_f"])
    ordered = video_dataset.sort_by("masks_eval.j_and_f").values("id")
    assert ordered[0] == sample.id


def test_prompted_frames_are_not_counted(video_dataset: Any) -> None:
    track(video_dataset)
    run(video_dataset, truth_field="truth", eval_key="strict")
    counts = [[t.num_frames for t in sample.strict.tracks] for sample in video_dataset]
    assert counts == [[11], [11, 11], [11]]


def test_tracks_without_common_numbers_are_matched_by_overlap(video_dataset: Any) -> None:
    track(video_dataset)
    for sample in video_dataset:
        for frame in sample.frames.values():
            for label in frame.masks.detections:
                label.index += 10
        sample.save()
    with pytest.raises(Exception, match="choose match=overlap"):
        run(video_dataset, **ALL)
    result = run(video_dataset, **ALL, match="overlap")
    assert (result["j_and_f"], result["num_missed"], result["num_extra"]) == (1, 0, 0)


def test_what_is_missing_counts_as_nothing_found(video_dataset: Any) -> None:
    track(video_dataset, lambda number, object_id, mask: (mask, 1) if object_id == 1 else None)
    result = run(video_dataset, **ALL)
    assert (result["num_missed"], result["j_and_f"]) == (1, pytest.approx(0.75))


def test_bad_input_is_one_line(video_dataset: Any) -> None:
    track(video_dataset)
    with pytest.raises(Exception, match="'nope' is no field of detections in this dataset"):
        run(video_dataset, truth_field="nope")
    with pytest.raises(Exception, match="there is no field 'clicks'"):
        run(video_dataset, truth_field="truth", prompt_field="clicks")
    # Boxes are no masks, and nothing that holds something else is written over.
    with pytest.raises(Exception, match=r"no truth in 'prompts' .*: no label with a mask"):
        run(video_dataset, truth_field="prompts", prompt_field="none")
    with pytest.raises(Exception, match="the labels in 'prompts' have no masks"):
        run(video_dataset, truth_field="truth", field="prompts", prompt_field="none")
    for key in ("masks", "filepath"):
        with pytest.raises(Exception, match=f"eval_key: the field '{key}' holds something else"):
            run(video_dataset, truth_field="truth", eval_key=key)
    assert not video_dataset.has_sample_field("masks")
    empty = video_dataset.clone()
    empty.clear_frame_field("truth")
    with pytest.raises(Exception, match="there is no truth in 'truth'"):
        run(empty, truth_field="truth")
    empty.delete()
