"""The operator that reads masklets from a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fiftyone.operators.types as types

from sam2_plugins.fiftyone_plugin.exporting import FORMATS
from sam2_plugins.fiftyone_plugin.folder_reading import read_folder
from sam2_plugins.fiftyone_plugin.matching import match_videos
from sam2_plugins.fiftyone_plugin.operators.choices import (
    FormOperator,
    add_choice,
    choice_param,
    field_param,
    refuse_unless,
    target_units,
    whole_param,
    with_progress,
)
from sam2_plugins.fiftyone_plugin.records import Records
from sam2_plugins.fiftyone_plugin.sources import Unit, join_clips
from sam2_plugins.fiftyone_plugin.store import declare_masks
from sam2_plugins.fiftyone_plugin.tracks import read_tracks
from sam2_plugins.fiftyone_plugin.transfer import (
    ImportOptions,
    check_fits,
    check_readable,
    write_videos,
)

DEFAULT_FIELD = "imported"
_ANY = "auto"


class ImportMasklets(FormOperator):
    """Masks of SA-V, DAVIS, YouTube-VOS or COCO files into a field of the dataset's samples."""

    NAME = "import_masklets"
    LABEL = "SAM 2: import masklets"
    DESCRIPTION = "Reads masks from SA-V, DAVIS, YouTube-VOS or COCO files"

    def resolve_input(self, ctx: Any) -> types.Property:
        """The form."""
        inputs = types.Object()
        ctx.target_view()
        folder = inputs.str(
            "import_dir", label="Folder", description="With the files, on the App's server"
        )
        refuse_unless(folder, lambda: _source_folder(ctx))
        add_choice(
            inputs, "format", (_ANY, *FORMATS), labels=("tell from the files", *FORMATS),
            label="Format",
        )  # fmt: skip
        inputs.str("output_field", default=DEFAULT_FIELD, label="Field", description="To write")
        inputs.str("label", default="object", label="Class", description="Where files tell none")
        inputs.int(
            "stride",
            default=1,
            label="Stride",
            description="Every how manyth frame of the video the masks are of: 4 for SA-V's own",
        )
        inputs.bool(
            "as_prompts",
            default=False,
            label="As prompts",
            description="Make them keyframes, from which masks can be propagated",
        )
        inputs.bool(
            "overwrite",
            default=False,
            label="Replace",
            description="Replace labels that are in the field already",
        )
        return types.Property(inputs, view=types.View(label=self.LABEL))

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Read the folder into the field.

        Returns:
            `num_videos`, `num_masks`, and `unknown`, the videos that no sample is of.

        Raises:
            ValueError: Nothing readable, a file is damaged, no sample fits, masks do not fit their
                video, or the field holds labels already. Nothing is written then.
            BusyError: Masks of a video are being written there. Nothing is written either.
            FileNotFoundError: There is no such folder.
        """
        source = _source_folder(ctx)
        name = choice_param(ctx, "format", (_ANY, *FORMATS))
        options = ImportOptions(
            field_param(ctx, "output_field", DEFAULT_FIELD),
            ctx.params.get("label") or "object",
            whole_param(ctx, "stride", 1),
            bool(ctx.params.get("as_prompts")),
        )
        videos = read_folder(source, name=None if name == _ANY else name)
        dataset, units = target_units(ctx)
        pairs = match_videos(videos, join_clips(units))
        records = Records(dataset)
        for video, unit in pairs:
            records.refuse_busy(unit.unit_id, options.field)
            check_fits(video, unit, options)
            check_readable(video)
        declare_masks(dataset, options.field, is_video=units[0].is_video)
        is_replaced = bool(ctx.params.get("overwrite"))
        if not is_replaced:
            _refuse_labelled(dataset, [unit for _, unit in pairs], options.field)
        by_unit: dict[Unit, list[Any]] = {}
        for video, unit in pairs:
            by_unit.setdefault(unit, []).append(video)
        num_masks = sum(
            write_videos(dataset, unit, by_unit[unit], options, is_replaced=is_replaced)
            for unit in with_progress(ctx, list(by_unit))
        )
        known = {video.name for video, _ in pairs}
        unknown = sorted(video.name for video in videos if video.name not in known)
        ctx.trigger("reload_dataset")
        return {"num_videos": len(by_unit), "num_masks": num_masks, "unknown": unknown}

    def resolve_output(self, ctx: Any) -> types.Property:
        """What was read."""
        outputs = types.Object()
        outputs.int("num_videos", label="Videos")
        outputs.int("num_masks", label="Masks")
        outputs.list("unknown", types.String(), label="Videos that no sample is of")
        return types.Property(outputs, view=types.View(label="Imported"))


def _source_folder(ctx: Any) -> str:
    """The folder to read.

    Raises:
        ValueError: It was not named.
        FileNotFoundError: It is not there.
    """
    source = str(ctx.params.get("import_dir") or "").strip()
    if not source:
        raise ValueError("import_dir must name the folder to read")
    if not Path(source).expanduser().is_dir():
        raise FileNotFoundError(f"there is no folder {source}")
    return source


def _refuse_labelled(dataset: Any, units: Sequence[Unit], field: str) -> None:
    for unit in units:
        if read_tracks(dataset, unit, field):
            raise ValueError(
                f"{field!r} of {unit.paths[0]} holds labels already; choose another field, or "
                "overwrite to replace them"
            )
