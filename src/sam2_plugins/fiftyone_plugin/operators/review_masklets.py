"""The operator by which a reviewer accepts, rejects or sends back tracks."""

from collections.abc import Iterable, Set
from pathlib import Path
from typing import Any

import fiftyone.operators.types as types

from sam2_plugins.fiftyone_plugin.assessing import last_index
from sam2_plugins.fiftyone_plugin.operators.choices import (
    DEFAULT_FIELD,
    FormOperator,
    add_choice,
    add_masks_field,
    choice_param,
    field_param,
    target_units,
    with_progress,
)
from sam2_plugins.fiftyone_plugin.reviewing import (
    VERDICTS,
    WITHDRAW,
    Assessment,
    assess,
    declare_fields,
    give_verdict,
    save_review_view,
)
from sam2_plugins.fiftyone_plugin.sources import Unit, by_video, source_samples
from sam2_plugins.fiftyone_plugin.tracks import Track

_CHOICES = (*VERDICTS, WITHDRAW)


class ReviewMasklets(FormOperator):
    """Keeps verdicts on tracks: of the labels selected, of tracks named, or of all."""

    NAME = "review_masklets"
    LABEL = "SAM 2: review masklets"
    DESCRIPTION = "Accept, reject or send back tracks, or take that back; verdicts are kept"
    MAY_BE_DELEGATED = False

    def resolve_input(self, ctx: Any) -> types.Property:
        """The form."""
        inputs = types.Object()
        add_masks_field(inputs, ctx, "field")
        inputs.view("scope", types.Notice(label=_describe_scope(ctx)))
        add_choice(
            inputs,
            "verdict",
            _CHOICES,
            labels=("Accept", "Reject", "Send back for correction", "Take back what was said"),
            label="Verdict",
        )
        inputs.str(
            "tracks",
            label="Tracks",
            default="",
            description="Indices or ids, such as 1, 3; empty for those of the labels that are "
            "selected, else for all",
        )
        inputs.str("note", label="Note", default="", description="Why, for whoever corrects it")
        return types.Property(inputs, view=types.View(label=self.LABEL))

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Keep the verdict.

        Returns:
            `num_tracks` and `num_videos` that got it, and the saved view's name as `view`.

        Raises:
            ValueError: Unknown verdict, or no such track.
        """
        field = field_param(ctx, "field", DEFAULT_FIELD)
        verdict = choice_param(ctx, "verdict", _CHOICES)
        dataset, units = target_units(ctx)
        wanted = _named_tracks(ctx.params.get("tracks"))
        selected = {label["label_id"] for label in ctx.selected_labels or ()}
        videos = by_video(_meant(ctx, units))
        declare_fields(dataset, field)
        assessments = [
            assess(dataset, unit, field, last_frame=last_index(videos[unit]))
            for unit in with_progress(ctx, list(videos))
        ]
        chosen = [
            _choose(_tracks_on(assessment, numbers), wanted, selected)
            for assessment, numbers in zip(assessments, videos.values(), strict=True)
        ]
        if not any(chosen):
            raise ValueError(_nothing_found(field, wanted, assessments))
        note = ctx.params.get("note") or None
        for assessment, keys in zip(assessments, chosen, strict=True):
            if keys:
                give_verdict(
                    *(dataset, assessment, field),
                    keys=keys,
                    verdict=verdict,
                    note=note,
                    frame_numbers=videos[assessment.unit],
                )
        view = save_review_view(dataset, field, is_video=units[0].is_video)
        ctx.trigger("reload_dataset")
        return {
            "num_tracks": sum(map(len, chosen)),
            "num_videos": sum(map(bool, chosen)),
            "view": view,
        }

    def resolve_output(self, ctx: Any) -> types.Property:
        """What was done."""
        outputs = types.Object()
        outputs.int("num_tracks", label="Tracks")
        outputs.int("num_videos", label="Videos")
        outputs.str("view", label="Saved view of what is left")
        return types.Property(outputs, view=types.View(label="Verdict kept"))


def _meant(ctx: Any, units: list[Unit]) -> list[Unit]:
    """Where labels are selected, their videos; else the video that is open; else all."""
    ids = {label["sample_id"] for label in ctx.selected_labels or ()}
    if not ids and ctx.current_sample and not ctx.selected:
        ids = {ctx.current_sample}
    of_dataset = set(source_samples(ctx.view, sorted(ids)))
    return [unit for unit in units if of_dataset.intersection(unit.sample_ids)] if ids else units


def _tracks_on(assessment: Assessment, frame_numbers: Set[int] | None) -> list[Track]:
    """The tracks with a label on some of the frames; None for all."""
    return [
        track
        for track in assessment.tracks.values()
        if frame_numbers is None or any(number in frame_numbers for number, _ in track.label_ids)
    ]


def _describe_scope(ctx: Any) -> str:
    """On what the verdict would be."""
    try:
        videos = by_video(_meant(ctx, target_units(ctx)[1]))
    except ValueError as error:
        return str(error)
    wanted = sorted(_named_tracks(ctx.params.get("tracks")))
    if wanted:
        which = f"Tracks {', '.join(wanted)}" if len(wanted) > 1 else f"Track {wanted[0]}"
    elif ctx.selected_labels:
        which = "The tracks of the labels that are selected"
    else:
        which = "All tracks"
    (first, numbers), *others = videos.items()
    if others:
        return f"{which} of {len(videos)} videos"
    part = "" if numbers is None else f", on {len(numbers)} frames of it"
    return f"{which} of {Path(first.paths[0]).name}{part}"


def _named_tracks(given: Any) -> set[str]:
    """Indices and ids as text, from text with commas or a list."""
    if given is None:
        return set()
    entries = given if isinstance(given, list | tuple) else str(given).split(",")
    return {str(entry).strip() for entry in entries} - {""}


def _choose(tracks: Iterable[Track], wanted: set[str], selected: set[str]) -> list[str]:
    if wanted:
        return [track.key for track in tracks if wanted & {track.key, str(track.index)}]
    if selected:
        return [
            track.key
            for track in tracks
            if selected & {label_id for _, label_id in track.label_ids}
        ]
    return [track.key for track in tracks]


def _nothing_found(field: str, wanted: set[str], assessments: Iterable[Any]) -> str:
    known = sorted({str(track.index) for entry in assessments for track in entry.tracks.values()})
    if not known:
        return f"there are no tracks in {field!r} of the samples that were chosen"
    return f"no track {', '.join(sorted(wanted)) or 'was selected'}; indices are {', '.join(known)}"
