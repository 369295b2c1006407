"""Prompts drawn in CVAT, whose exports have a label on every frame, drawn or interpolated."""

from pathlib import Path
from typing import Any

import numpy as np
from propagation import SIZE, assert_same_masks, masks_of, tracked
from video_files import moving_discs, relative_box

import fiftyone as fo

NUM_FRAMES = 12
_DOCUMENT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><size>{size}</size>
    <original_size><width>{width}</width><height>{height}</height></original_size>
  </task></meta>
  {tracks}
</annotations>
"""
_TRACK = '<track id="{number}" label="disc" source="manual">{shapes}</track>'
_BOX = (
    '<box frame="{frame}" outside="0" occluded="0" keyframe="{keyframe}"'
    ' xtl="{x0}" ytl="{y0}" xbr="{x1}" ybr="{y1}" z_order="0"></box>'
)


def write_dataset(folder: Path, video: Path, tracks: list[dict[int, Any]]) -> fo.Dataset:
    """Import a video and the boxes drawn on it, as CVAT exports them for videos.

    Args:
        folder: For CVAT's file.
        video: Of `NUM_FRAMES` frames.
        tracks: Of each, (x0, y0, x1, y1) in pixels by the number of the frame they are drawn on.
    """
    height, width = SIZE
    shapes = []
    for number, drawn in enumerate(tracks):
        keys = sorted(drawn)
        boxes = []
        for frame_number in range(keys[0], NUM_FRAMES + 1):
            between = [np.interp(frame_number, keys, [drawn[k][i] for k in keys]) for i in range(4)]
            x0, y0, x1, y1 = (f"{value:.2f}" for value in between)
            facts = {"frame": frame_number - 1, "keyframe": int(frame_number in drawn)}
            boxes.append(_BOX.format(**facts, x0=x0, y0=y0, x1=x1, y1=y1))
        shapes.append(_TRACK.format(number=number, shapes="".join(boxes)))
    facts = {"size": NUM_FRAMES, "width": width, "height": height}
    labels = folder / f"{video.stem}.xml"
    labels.write_text(_DOCUMENT.format(**facts, tracks="".join(shapes)))
    return fo.Dataset.from_dir(
        dataset_type=fo.types.CVATVideoDataset, data_path=str(video.parent), labels_path=str(folder)
    )


def box_of(image: Any, index: int) -> list[float]:
    x, y, width, height = relative_box(image == index)
    rows, columns = SIZE
    return [x * columns, y * rows, (x + width) * columns, (y + height) * rows]


def test_what_is_between_keyframes_is_no_prompt(tmp_path, make_video, propagate):
    frames, labels = moving_discs(NUM_FRAMES, num_objects=2)
    video = make_video(tmp_path / "videos" / "discs.mp4", frames)
    drawn = [
        {1: box_of(labels[0], 1), 6: box_of(labels[5], 1)},
        {4: box_of(labels[3], 2)},
    ]
    (tmp_path / "labels").mkdir()
    dataset = write_dataset(tmp_path / "labels", video, drawn)
    try:
        assert dataset.count("frames.detections.detections") == 12 + 9
        propagate(dataset, prompt_field="detections", model="nano")
        sample = dataset.first()
        prompts = {
            index: {n: label for n in boxes for label in at(sample, n) if label.index == index}
            for index, boxes in enumerate(drawn)
        }
        assert {index: sorted(found) for index, found in prompts.items()} == {0: [1, 6], 1: [4]}
        expected = tracked(video, {index + 1: found for index, found in prompts.items()})
        for index in (0, 1):
            assert_same_masks(masks_of(sample, index), expected[index + 1])
    finally:
        dataset.delete()


def at(sample: Any, frame_number: int) -> list[Any]:
    return list(sample.frames[frame_number]["detections"].detections)
