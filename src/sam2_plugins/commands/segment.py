"""`sam2-plugins segment`: objects of one image from points or boxes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.commands.console import json_result, say
from sam2_plugins.commands.options import (
    add_input,
    add_json,
    add_model,
    box,
    open_input,
    open_model,
    point,
    take_negative_numbers,
)

if TYPE_CHECKING:
    import argparse
    from argparse import _SubParsersAction

    import numpy as np
    from numpy.typing import NDArray

    from sam2_plugins.core.masks import FrameMasks
    from sam2_plugins.core.model.sam2 import SAM2
    from sam2_plugins.core.predictor import ImagePrediction


def add_parser(subparsers: _SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "segment",
        help="segment objects of one image",
        description="Points describe one object, with at most one box; each of several boxes is "
        "an object of its own, numbered from 1 in the order given.",
    )
    take_negative_numbers(parser)
    add_input(parser, "image")
    parser.add_argument("--frame", type=int, help="which frame of a stack or video")
    parser.add_argument(
        "--point",
        action="append",
        default=[],
        type=point,
        metavar="X,Y[,LABEL]",
        help="a click; label 1 (object, the default) or 0 (background)",
    )
    parser.add_argument(
        "--box", action="append", default=[], type=box, metavar="X0,Y0,X1,Y1", help="a box"
    )
    parser.add_argument(
        *("-o", "--output"),
        type=Path,
        required=True,
        metavar="OUT",
        help=".png: palette image; .tif, .zarr, .json or a folder: as in track",
    )
    parser.add_argument("--overlay", type=Path, metavar="PATH", help="picture of the result (.png)")
    add_model(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Segment and write."""
    if not arguments.point and not arguments.box:
        raise ValueError("segment needs a --point or a --box")
    if arguments.point and len(arguments.box) > 1:
        raise ValueError("points go with at most one --box; run several objects by boxes alone")
    with closing(open_input(arguments.image, arguments)) as frames:
        from sam2_plugins.commands.overlay import check_overlay, draw, write_overlay
        from sam2_plugins.commands.pictures import check_picture, write_masks
        from sam2_plugins.commands.weak_prompts import (
            warn_of_background_alone,
            warn_of_blank_frames,
        )
        from sam2_plugins.core.pixels import PixelPolicy
        from sam2_plugins.core.prompts import check_frame_index, make_box, make_points

        if arguments.frame is None and frames.num_frames > 1:
            last = frames.num_frames - 1
            raise ValueError(f"{arguments.image} has frames 0 to {last}: choose one with --frame")
        frame_index = check_frame_index(arguments.frame or 0, frames.num_frames)
        check_picture(arguments.output, [arguments.image])
        if arguments.overlay:
            check_overlay(arguments.overlay, [arguments.image, arguments.output])
        for corners in arguments.box:
            make_box(corners, size=frames.frame_size)
        if arguments.point:
            points = [(x, y) for x, y, _ in arguments.point]
            make_points(points, [label for *_, label in arguments.point], size=frames.frame_size)
        warn_of_blank_frames(frames, [frame_index])
        if not arguments.box and not any(label for *_, label in arguments.point):
            warn_of_background_alone([1])
        image = PixelPolicy.fit(frames).to_rgb(frames.read(frame_index))
        model = open_model(arguments)
        masks = _segment(model, image, arguments)
        write_masks(arguments.output, masks)
        if arguments.overlay:
            write_overlay(arguments.overlay, lambda _: draw(image, masks), 1)
    _report(arguments, masks, model.config.name)


def _segment(model: SAM2, image: NDArray[np.generic], arguments: argparse.Namespace) -> FrameMasks:
    from sam2_plugins.core.predictor import ImagePredictor

    predictor = ImagePredictor(model)
    predictor.set_rgb(image)
    if not arguments.point:
        return _as_frame(predictor.predict_boxes(arguments.box))
    prediction = predictor.predict(
        points=[(x, y) for x, y, _ in arguments.point],
        point_labels=[label for *_, label in arguments.point],
        box=arguments.box[0] if arguments.box else None,
        multimask=len(arguments.point) == 1 and not arguments.box,
    )
    return _as_frame([prediction])


def _as_frame(predictions: list[ImagePrediction]) -> FrameMasks:
    """The best mask of each object, as objects 1, 2, …."""
    import numpy as np

    from sam2_plugins.core.masks import FrameMasks

    masks = np.stack([prediction.best for prediction in predictions])
    return FrameMasks(
        frame_index=0,
        object_ids=np.arange(1, len(masks) + 1),
        masks=masks,
        predicted_iou=np.array([p.predicted_iou.max() for p in predictions], np.float32),
        object_score_logits=np.array([p.object_score_logit for p in predictions], np.float32),
    )


def _report(arguments: argparse.Namespace, masks: FrameMasks, model_name: str) -> None:
    areas = masks.masks.sum(axis=(1, 2)).tolist()
    scores = [round(float(score), 4) for score in masks.predicted_iou]
    for object_id, area, score in zip(masks.object_ids.tolist(), areas, scores, strict=True):
        say(f"object {object_id}: {area} pixels, predicted IoU {score:.2f}")
    say(f"wrote {arguments.output}")
    if arguments.json:
        json_result(
            command="segment",
            input=str(arguments.image),
            output=str(arguments.output),
            model=model_name,
            objects=[
                {"object": int(object_id), "area": area, "predicted_iou": score}
                for object_id, area, score in zip(masks.object_ids, areas, scores, strict=True)
            ],
        )
