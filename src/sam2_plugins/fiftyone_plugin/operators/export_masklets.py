"""The operator that writes masklets to a folder."""

from pathlib import Path
from typing import Any

import fiftyone.operators.types as types

from sam2_plugins.fiftyone_plugin.exporting import FORMATS, MANIFEST, check_target, write_folder
from sam2_plugins.fiftyone_plugin.masklet_reading import read_video
from sam2_plugins.fiftyone_plugin.masklet_video import MaskletVideo, unique_names
from sam2_plugins.fiftyone_plugin.matching import media_names
from sam2_plugins.fiftyone_plugin.operators.choices import (
    DEFAULT_FIELD,
    FormOperator,
    add_choice,
    add_masks_field,
    choice_param,
    field_param,
    refuse_unless,
    target_units,
    with_progress,
)
from sam2_plugins.fiftyone_plugin.reviewing import current_verdicts
from sam2_plugins.fiftyone_plugin.sources import Unit, by_video
from sam2_plugins.fiftyone_plugin.store import UnitLabels
from sam2_plugins.fiftyone_plugin.tracks import check_masks_field, read_tracks

WHICH = ("not_rejected", "accepted", "all")
_LABELS = (
    "SA-V (JSON)",
    "DAVIS (palette PNGs)",
    "YouTube-VOS (palette PNGs)",
    "COCO (run lengths)",
)


class ExportMasklets(FormOperator):
    """Masks of a field as SA-V, DAVIS, YouTube-VOS or COCO, whole or not at all."""

    NAME = "export_masklets"
    LABEL = "SAM 2: export masklets"
    DESCRIPTION = "Writes masks as SA-V, DAVIS, YouTube-VOS or COCO"

    def resolve_input(self, ctx: Any) -> types.Property:
        """The form."""
        inputs = types.Object()
        add_masks_field(inputs, ctx, "field")
        add_choice(inputs, "format", FORMATS, labels=_LABELS, label="Format")
        folder = inputs.str(
            "export_dir",
            label="Folder",
            description="On the App's server; is made, its parent must exist",
        )
        refuse_unless(folder, lambda: _target_folder(ctx))
        add_choice(
            inputs,
            "which",
            WHICH,
            labels=("all but those rejected", "only those accepted", "all"),
            label="Tracks",
        )
        inputs.bool(
            "overwrite",
            default=False,
            label="Replace",
            description="Replace an earlier export in that folder",
        )
        return types.Property(inputs, view=types.View(label=self.LABEL))

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Write the folder.

        Returns:
            `num_videos`, `num_tracks` and `export_dir`.

        Raises:
            ValueError: No folder, something else is there, or there is nothing to export.
        """
        field = field_param(ctx, "field", DEFAULT_FIELD)
        which, name = choice_param(ctx, "which", WHICH), choice_param(ctx, "format", FORMATS)
        target = _target_folder(ctx)
        dataset, units = target_units(ctx)
        check_masks_field(dataset, field, is_video=units[0].is_video)
        names = unique_names(media_names(units), reserved=[Path(MANIFEST).stem])
        num_tracks = 0

        def videos() -> Any:
            nonlocal num_tracks
            for unit, title in zip(with_progress(ctx, units), names, strict=True):
                video = _read(dataset, unit, field, name=title, which=which)
                if video is not None:
                    num_tracks += len(video.masklets)
                    yield video

        num_videos = write_folder(
            target, videos(), name=name, replace=bool(ctx.params.get("overwrite"))
        )
        return {"num_videos": num_videos, "num_tracks": num_tracks, "export_dir": target}

    def resolve_output(self, ctx: Any) -> types.Property:
        """What was written."""
        outputs = types.Object()
        outputs.int("num_videos", label="Videos")
        outputs.int("num_tracks", label="Tracks")
        outputs.str("export_dir", label="Folder")
        return types.Property(outputs, view=types.View(label="Exported"))


def _target_folder(ctx: Any) -> str:
    """The folder to write, which can be written as far as can be told before.

    Raises:
        ValueError: It was not named, or something else is there.
    """
    target = str(ctx.params.get("export_dir") or "").strip()
    if not target:
        raise ValueError("export_dir must name the folder to write")
    path = Path(target).expanduser().absolute()
    check_target(
        path, choice_param(ctx, "format", FORMATS), replace=bool(ctx.params.get("overwrite"))
    )
    return str(path)


def _read(dataset: Any, unit: Unit, field: str, *, name: str, which: str) -> MaskletVideo | None:
    if not UnitLabels(dataset, unit).has_masks(field):
        return None
    ((whole, numbers),) = by_video([unit]).items()
    tracks = read_tracks(dataset, whole, field)
    verdicts = current_verdicts(
        dataset[unit.sample_ids[0]], tracks.values(), field, frame_numbers=numbers
    )
    left_out = {key for key, verdict in verdicts.items() if verdict == "reject"}
    if which == "accepted":
        left_out = {key for key in tracks if verdicts.get(key) != "accept"}
    return read_video(dataset, unit, field, name=name, left_out=() if which == "all" else left_out)
