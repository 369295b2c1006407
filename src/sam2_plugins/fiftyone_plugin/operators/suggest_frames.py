"""The operator that finds the frames most worth correcting."""

from pathlib import Path
from typing import Any

import fiftyone.operators.types as types

from sam2_plugins.fiftyone_plugin.assessing import last_index
from sam2_plugins.fiftyone_plugin.labels import to_frame_index, to_frame_number
from sam2_plugins.fiftyone_plugin.operators.choices import (
    DEFAULT_FIELD,
    FormOperator,
    add_masks_field,
    add_whole,
    field_param,
    target_units,
    whole_param,
    with_progress,
)
from sam2_plugins.fiftyone_plugin.quality import Suggestion, suggest_frames
from sam2_plugins.fiftyone_plugin.reviewing import (
    Assessment,
    assess,
    declare_fields,
    open_part,
    save_review_view,
    store_assessment,
)
from sam2_plugins.fiftyone_plugin.sources import by_video

DEFAULT_COUNT = 5
_MOST_ROWS = 200
"""In the result, which the App shows whole; the samples have all."""


class SuggestFrames(FormOperator):
    """Judges every track, tags videos with doubtful ones, and names the frames to correct."""

    NAME = "suggest_frames"
    LABEL = "SAM 2: suggest frames to correct"
    DESCRIPTION = "Judges the masks by their scores, and puts the worst frames first"

    def resolve_input(self, ctx: Any) -> types.Property:
        """The form."""
        inputs = types.Object()
        add_masks_field(inputs, ctx, "field")
        add_whole(
            *(inputs, ctx, "num_frames", DEFAULT_COUNT),
            label="Frames per video",
            description="How many frames to suggest at most",
        )
        return types.Property(inputs, view=types.View(label=self.LABEL))

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Judge, store and tag.

        Returns:
            `suggestions`, the worst 200 first: sample id, filepath, its last part as `video`, frame
            number, track, doubt, reason; `num_videos`; `flagged`, how many have a flag; `view`, the
            saved view's name. Of clips, these are of their frames; samples get what is known of
            whole videos.
        """
        field = field_param(ctx, "field", DEFAULT_FIELD)
        count = whole_param(ctx, "num_frames", DEFAULT_COUNT)
        dataset, units = target_units(ctx)
        declare_fields(dataset, field)
        rows: list[dict[str, Any]] = []
        flagged, videos = 0, by_video(units)
        for unit in with_progress(ctx, list(videos)):
            numbers = videos[unit]
            assessment = assess(dataset, unit, field, last_frame=last_index(numbers))
            flagged += bool(assessment.quality.flags)
            found = store_assessment(dataset, assessment, field, num_suggestions=count)
            if numbers is not None:
                wanted = {to_frame_index(number) for number in numbers}
                part = open_part(dataset, assessment, field)
                found = suggest_frames(part, count, frame_indices=wanted)
            rows += [_row(assessment, suggestion) for suggestion in found]
        rows.sort(key=lambda row: -row["doubt"])
        view = save_review_view(dataset, field, is_video=units[0].is_video)
        ctx.trigger("reload_dataset")
        return {
            "suggestions": rows[:_MOST_ROWS],
            "num_videos": len(videos),
            "flagged": flagged,
            "view": view,
        }

    def resolve_output(self, ctx: Any) -> types.Property:
        """The table of frames."""
        outputs = types.Object()
        outputs.int("num_videos", label="Videos")
        outputs.int("flagged", label="With doubtful tracks")
        outputs.str("view", label="Saved view")
        table = types.TableView()
        for key, label in (
            ("video", "Video"),
            ("frame_number", "Frame"),
            ("track", "Track"),
            ("doubt", "Doubt"),
            ("reason", "Why"),
        ):
            table.add_column(key, label=label)
        outputs.list("suggestions", types.Object(), label="Frames to correct", view=table)
        return types.Property(outputs, view=types.View(label="Frames most worth correcting"))


def _row(assessment: Assessment, suggestion: Suggestion) -> dict[str, Any]:
    unit = assessment.unit
    # In an ordered group every frame is a sample of its own.
    index = 0 if unit.is_video else suggestion.frame_index
    return {
        "sample_id": unit.sample_ids[index],
        "filepath": unit.paths[index],
        "video": Path(unit.paths[index]).name,
        "frame_number": to_frame_number(suggestion.frame_index),
        "track": assessment.tracks[suggestion.track].name,
        "doubt": round(suggestion.doubt, 3),
        "reason": suggestion.reason,
    }
