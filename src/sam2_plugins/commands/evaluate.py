"""`sam2-plugins evaluate`: the paper's protocols on annotated data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.commands.console import json_result, result, say
from sam2_plugins.commands.evaluate_ablations import add_ablations
from sam2_plugins.commands.evaluate_options import (
    Progress,
    add_run,
    add_sequences,
    add_tracker,
    check_page,
    choose_network,
    open_sequences,
    run_options,
    tracker_options,
    write_page,
)
from sam2_plugins.commands.options import add_generator, generator_options, open_model

if TYPE_CHECKING:
    import argparse
    from argparse import _SubParsersAction

    from sam2_plugins.core.evaluation import Evaluation
    from sam2_plugins.core.model.sam2 import SAM2


def add_parser(subparsers: _SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("evaluate", help="measure accuracy on annotated data")
    protocols = parser.add_subparsers(metavar="PROTOCOL", required=True)
    _add_vos(protocols)
    _add_interactive(protocols)
    _add_image(protocols)
    _add_everything(protocols)
    add_ablations(protocols)


def _add_vos(protocols: _SubParsersAction[Any]) -> None:
    vos = protocols.add_parser(
        "vos",
        help="videos and volumes, from one prompted frame or several",
        description="DATA: a data set in the layout of DAVIS, YouTube-VOS, MOSE, LVOS, SA-V or the "
        "Cell Tracking Challenge, or folders with volume.tif and labels.tif, or with frames/ and "
        "masks/.",
    )
    add_sequences(vos)
    vos.add_argument("--prompt", default="mask", help="mask, box, 1-click, 3-click or 5-click")
    vos.add_argument(
        "--prompt-frame",
        default="auto",
        help="first, largest, or auto: first of a video, largest of a volume",
    )
    vos.add_argument(
        "--keyframes",
        type=int,
        default=1,
        metavar="N",
        help="prompt on N frames, evenly spaced over those where the object is seen (1)",
    )
    vos.add_argument(
        "--scoring",
        default="auto",
        help="published (the official evaluators' frames), held-out, or auto: published for videos",
    )
    vos.add_argument(
        "--overlaps",
        default="auto",
        help="settled (as a label image shows the masks), kept (each object by itself), or auto: "
        "settled where the truth is label images",
    )
    vos.add_argument(
        "--baselines",
        metavar="A,B",
        help="of copy and flow, or none (copy, and none with several keyframes)",
    )
    vos.add_argument(
        "--save-masks",
        type=Path,
        metavar="DIR",
        help="write the masks as palette PNGs for the official evaluators",
    )
    vos.add_argument("--ctc", action="store_true", help="also SEG and DET, by py-ctcmetrics")
    vos.add_argument(
        "--seen",
        type=Path,
        metavar="META.json",
        help="YouTube-VOS: meta.json of the training set, to report G",
    )
    add_tracker(vos)
    add_run(vos)
    vos.set_defaults(run=run, measure=_vos, protocol="vos")


def _add_interactive(protocols: _SubParsersAction[Any]) -> None:
    interactive = protocols.add_parser(
        "interactive",
        help="videos and volumes, corrected frame after frame by a simulated annotator",
        description="DATA: as of `evaluate vos`, annotated on more than the first frame.",
    )
    add_sequences(interactive)
    interactive.add_argument(
        "--protocols",
        default="offline,online,suggested",
        metavar="A,B",
        help="which; offline takes the worst frame, online the next bad one, suggested the "
        "tracker's own",
    )
    interactive.add_argument("--clicks", type=int, default=3, help="at most, on a frame (3)")
    interactive.add_argument("--rounds", type=int, default=8, help="frames with clicks (8)")
    interactive.add_argument("--threshold", type=float, default=0.75, help="online: IoU (0.75)")
    interactive.add_argument(
        "--absent",
        default="clicks",
        help="on a frame without the object: clicks, or mask, an empty one for one click (clicks)",
    )
    add_tracker(interactive)
    add_run(interactive)
    interactive.set_defaults(run=run, measure=_interactive, protocol="interactive")


def _add_image(protocols: _SubParsersAction[Any]) -> None:
    image = protocols.add_parser(
        "image", help="labelled images, object by object", description="DATA: images/ and labels/."
    )
    image.add_argument("data", type=Path, metavar="DATA")
    image.add_argument(
        "--prompts", default="1-click,3-click,5-click,box", metavar="A,B", help="which prompts"
    )
    image.add_argument("--max-images", type=int, help="at most so many images, evenly spaced")
    image.add_argument("--max-objects", type=int, help="at most so many objects of one image")
    add_run(image)
    image.set_defaults(run=run, measure=_image, protocol="image")


def _add_everything(protocols: _SubParsersAction[Any]) -> None:
    everything = protocols.add_parser(
        "everything",
        help="labelled images, without prompts: what `auto` finds",
        description="DATA: images/ and labels/.",
    )
    everything.add_argument("data", type=Path, metavar="DATA")
    everything.add_argument("--max-images", type=int, help="at most so many images, evenly spaced")
    add_generator(everything)
    add_run(everything)
    everything.set_defaults(run=run, measure=_everything, protocol="everything")


def run(arguments: argparse.Namespace) -> None:
    """Measure, print the table, and keep the scores if asked."""
    if not arguments.data.is_dir():
        raise FileNotFoundError(f"there is no folder {arguments.data}")
    from sam2_plugins.core.evaluation import read_attributes

    check_page(arguments, arguments.protocol)
    table = read_attributes(arguments.attributes) if arguments.attributes else None
    evaluation: Evaluation = arguments.measure(arguments, open_model(arguments))
    by = arguments.by.split(",") if arguments.by else []
    if table is not None:
        evaluation = replace(evaluation, rows=table.add_to(evaluation.rows))
        by += [name for name in table.names if name not in by]
    for name in by:
        if name not in evaluation.attributes:
            known = ", ".join(evaluation.attributes)
            raise ValueError(f"--by {name}: there is no such attribute; there are {known}")
    evaluation = replace(evaluation, by=tuple(by), seed=arguments.seed)
    report(arguments, evaluation)


def report(arguments: argparse.Namespace, evaluation: Evaluation) -> None:
    """Print the table or the summary, and keep the scores if asked."""
    if arguments.output:
        say(f"wrote {evaluation.save(arguments.output)}")
    write_page(arguments, arguments.protocol, evaluation.to_markdown())
    if arguments.json:
        content = json.loads(evaluation.to_json())
        del content["rows"]
        # `data` is the folder here, in the file the signature of what was in it
        content["data_signature"] = content.pop("data")
        json_result(command="evaluate", data=str(arguments.data), **content)
    else:
        result(evaluation.to_markdown().rstrip())


def _vos(arguments: argparse.Namespace, model: SAM2) -> Evaluation:
    from sam2_plugins.core.evaluation import evaluate_vos, seen_categories
    from sam2_plugins.core.evaluation.saving import check_predictions

    if arguments.save_masks:
        check_predictions(arguments.save_masks, (), arguments.data)
    seen = seen_categories(arguments.seen) if arguments.seen else None
    baselines = arguments.baselines or ("copy" if arguments.keyframes == 1 else "none")
    evaluation = evaluate_vos(
        choose_network(arguments, model),
        open_sequences(arguments),
        prompt=arguments.prompt,
        prompt_frame=arguments.prompt_frame,
        keyframes=arguments.keyframes,
        scoring=arguments.scoring,
        overlaps=arguments.overlaps,
        baselines=[] if baselines == "none" else baselines.split(","),
        max_objects=arguments.max_objects,
        save_masks=arguments.save_masks,
        cell_tracking=arguments.ctc,
        tracker_options=tracker_options(arguments),
        run=run_options(arguments),
        progress=Progress(),
    )
    return evaluation if seen is None else evaluation.with_seen(seen)


def _interactive(arguments: argparse.Namespace, model: SAM2) -> Evaluation:
    from sam2_plugins.core.evaluation import evaluate_interactive

    return evaluate_interactive(
        choose_network(arguments, model),
        open_sequences(arguments),
        protocols=arguments.protocols.split(","),
        clicks_per_frame=arguments.clicks,
        num_frames=arguments.rounds,
        threshold=arguments.threshold,
        absent=arguments.absent,
        max_objects=arguments.max_objects,
        tracker_options=tracker_options(arguments),
        run=run_options(arguments),
        progress=Progress(),
    )


def _everything(arguments: argparse.Namespace, model: SAM2) -> Evaluation:
    from sam2_plugins.core.evaluation import evaluate_everything

    return evaluate_everything(
        model,
        arguments.data,
        max_images=arguments.max_images,
        generator=generator_options(arguments),
        run=run_options(arguments),
        progress=Progress(),
    )


def _image(arguments: argparse.Namespace, model: SAM2) -> Evaluation:
    from sam2_plugins.core.evaluation import evaluate_image

    return evaluate_image(
        model,
        arguments.data,
        prompts=arguments.prompts.split(","),
        max_images=arguments.max_images,
        max_objects=arguments.max_objects,
        run=run_options(arguments),
        progress=Progress(),
    )
