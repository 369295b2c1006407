"""`sam2-plugins evaluate`: the paper's protocols on annotated data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.commands.console import json_result, result, say
from sam2_plugins.commands.options import add_json, add_model, open_model

if TYPE_CHECKING:
    import argparse
    from argparse import _SubParsersAction

    from sam2_plugins.core.evaluation import Evaluation
    from sam2_plugins.core.model.sam2 import SAM2


def add_parser(subparsers: _SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("evaluate", help="measure accuracy on annotated data")
    protocols = parser.add_subparsers(metavar="PROTOCOL", required=True)
    vos = protocols.add_parser(
        "vos",
        help="videos and volumes, from one prompted frame",
        description="DATA: a data set in the layout of DAVIS, YouTube-VOS or SA-V, or folders "
        "with volume.tif and labels.tif, or with frames/ and masks/.",
    )
    vos.add_argument("data", type=Path, metavar="DATA")
    vos.add_argument("--prompt", default="mask", help="mask, box, 1-click, 3-click or 5-click")
    vos.add_argument(
        "--prompt-frame",
        default="auto",
        help="first, largest, or auto: first of a video, largest of a volume",
    )
    vos.add_argument(
        "--baselines", default="copy", metavar="A,B", help="of copy and flow, or none (copy)"
    )
    vos.set_defaults(measure=_vos)
    image = protocols.add_parser(
        "image", help="labelled images, object by object", description="DATA: images/ and labels/."
    )
    image.add_argument("data", type=Path, metavar="DATA")
    image.add_argument(
        "--prompts", default="1-click,3-click,5-click,box", metavar="A,B", help="which prompts"
    )
    image.add_argument("--max-images", type=int, help="at most so many images, evenly spaced")
    image.add_argument("--max-objects", type=int, help="at most so many objects of one image")
    image.set_defaults(measure=_image)
    for protocol in (vos, image):
        protocol.add_argument("-o", "--output", type=Path, metavar="DIR", help="keep every score")
        add_model(protocol)
        add_json(protocol)
        protocol.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Measure, print the table, and keep the scores if asked."""
    if not arguments.data.is_dir():
        raise FileNotFoundError(f"there is no folder {arguments.data}")
    evaluation: Evaluation = arguments.measure(arguments, open_model(arguments))
    if arguments.output:
        say(f"wrote {evaluation.save(arguments.output)}")
    if arguments.json:
        content = json.loads(evaluation.to_json())
        del content["rows"]
        json_result(command="evaluate", data=str(arguments.data), **content)
    else:
        result(evaluation.to_markdown().rstrip())


def _vos(arguments: argparse.Namespace, model: SAM2) -> Evaluation:
    from sam2_plugins.core.evaluation import evaluate_vos

    return evaluate_vos(
        model,
        arguments.data,
        prompt=arguments.prompt,
        prompt_frame=arguments.prompt_frame,
        baselines=[] if arguments.baselines == "none" else arguments.baselines.split(","),
        progress=_say_progress,
    )


def _image(arguments: argparse.Namespace, model: SAM2) -> Evaluation:
    from sam2_plugins.core.evaluation import evaluate_image

    return evaluate_image(
        model,
        arguments.data,
        prompts=arguments.prompts.split(","),
        max_images=arguments.max_images,
        max_objects=arguments.max_objects,
        progress=_say_progress,
    )


def _say_progress(number: int, count: int, name: str) -> None:
    say(f"{number + 1} of {count}: {name}")
