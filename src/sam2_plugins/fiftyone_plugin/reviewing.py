"""What is kept on samples for reviewers: quality, verdicts, tags, and the saved view.

For masks in field `masks`, a sample's `masks_quality` has the figures, `masks_suggestions` the
frames most worth correcting, and `masks_review` every verdict ever given. The sample's tags tell of
all fields with masks together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.assessing import (
    QUALITY,
    Assessment,
    assess,
    quality_document,
    quality_field,
    suggestions_field,
)
from sam2_plugins.fiftyone_plugin.labels import to_frame_number
from sam2_plugins.fiftyone_plugin.quality import (
    FLAGS,
    Suggestion,
    VideoQuality,
    suggest_frames,
)
from sam2_plugins.fiftyone_plugin.schema import declare, document_field, value_field
from sam2_plugins.fiftyone_plugin.sources import all_slices, flat_samples
from sam2_plugins.fiftyone_plugin.store import known_fields
from sam2_plugins.fiftyone_plugin.tracks import read_tracks
from sam2_plugins.fiftyone_plugin.verdicts import (
    SENT_BACK,
    VERDICTS,
    WITHDRAW,
    current_verdicts,
    is_settled,
    make_entry,
    review_field,
)

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence, Set

    from sam2_plugins.fiftyone_plugin.sources import Unit

__all__ = [
    "REVIEW_VIEW",
    "SENT_BACK",
    "VERDICTS",
    "WITHDRAW",
    "Assessment",
    "assess",
    "current_verdicts",
    "declare_fields",
    "give_verdict",
    "make_fields",
    "open_part",
    "quality_field",
    "review_field",
    "save_review_view",
    "store_assessment",
    "suggestions_field",
]

REVIEW_VIEW = "review"
_DESCRIPTION = "SAM 2: samples with masks to check, those most worth a look first"


def make_fields(field: str) -> list[Any]:
    """The fields, which are made known once, so that the App can filter and sort by them."""
    figures = [value_field(name, kind) for name, kind in QUALITY.items()]
    return [
        document_field(quality_field(field), fo.DynamicEmbeddedDocument, figures),
        value_field(suggestions_field(field), fo.IntField, listed=True),
        document_field(review_field(field), fo.DynamicEmbeddedDocument, listed=True),
    ]


def declare_fields(dataset: Any, field: str) -> None:
    """Makes the fields known."""
    declare(dataset, make_fields(field))


def store_assessment(
    dataset: Any, assessment: Assessment, field: str, *, num_suggestions: int
) -> list[Suggestion]:
    """Writes figures, suggestions and tags onto the video's sample.

    Returns:
        The frames most worth correcting, first first.
    """
    suggestions = suggest_frames(open_part(dataset, assessment, field), num_suggestions)
    sample = dataset[assessment.unit.sample_ids[0]]
    sample[quality_field(field)] = quality_document(assessment)
    numbers = dict.fromkeys(to_frame_number(entry.frame_index) for entry in suggestions)
    sample[suggestions_field(field)] = list(numbers)
    _set_tags(dataset, sample, assessment, field)
    sample.save()
    return suggestions


def give_verdict(
    dataset: Any,
    assessment: Assessment,
    field: str,
    *,
    keys: Sequence[str],
    verdict: str,
    note: str | None = None,
    frame_numbers: Set[int] | None = None,
) -> None:
    """Keeps a verdict on tracks, and tags their labels and the sample by it.

    Args:
        dataset: That the video belongs to.
        assessment: Of the video.
        field: Of the masks.
        keys: Tracks.
        verdict: A key of `VERDICTS`, or `WITHDRAW`.
        note: Why.
        frame_numbers: On the labels of these frames; None for all.
    """
    sample = dataset[assessment.unit.sample_ids[0]]
    name = review_field(field)
    entries = [
        make_entry(assessment.tracks[key], verdict, note=note, frame_numbers=frame_numbers)
        for key in keys
    ]
    sample[name] = [*(sample[name] or []), *entries]
    sample[quality_field(field)] = quality_document(assessment)
    _set_tags(dataset, sample, assessment, field)
    sample.save()
    label_ids = [
        (number, label_id)
        for key in keys
        for number, label_id in assessment.tracks[key].label_ids
        if frame_numbers is None or number in frame_numbers
    ]
    _tag_labels(dataset, assessment.unit, field, label_ids=label_ids, verdict=verdict)


def _tag_labels(
    dataset: Any, unit: Unit, field: str, *, label_ids: Sequence[tuple[int, str]], verdict: str
) -> None:
    path = f"frames.{field}" if unit.is_video else field
    labels = []
    for number, label_id in label_ids:
        sample_id = unit.sample_ids[0 if unit.is_video else number - 1]
        label = {"label_id": label_id, "sample_id": sample_id, "field": path}
        labels.append(label | ({"frame_number": number} if unit.is_video else {}))
    samples = flat_samples(dataset, unit.sample_ids, is_video=unit.is_video)
    chosen = samples.select_labels(labels=labels)
    chosen.untag_labels([*VERDICTS.values()], label_fields=path)
    if verdict != WITHDRAW:
        chosen.tag_labels(VERDICTS[verdict], label_fields=path)


def open_part(dataset: Any, assessment: Assessment, field: str) -> VideoQuality:
    """The tracks that no reviewer has accepted or rejected."""
    sample = dataset[assessment.unit.sample_ids[0]]
    verdicts = current_verdicts(sample, assessment.tracks.values(), field)
    return VideoQuality(
        tuple(
            track
            for track in assessment.quality.tracks
            if not is_settled(verdicts.get(track.track))
        )
    )


def _set_tags(dataset: Any, sample: Any, assessment: Assessment, field: str) -> None:
    """Flags of tracks that are open, and whether one was sent back; other tags stay."""
    flags = {track.track: track.flags for track in assessment.quality.tracks}
    verdicts = current_verdicts(sample, assessment.tracks.values(), field)
    tags = _open_tags(flags, verdicts)
    unit = assessment.unit
    for other in _judged_fields(dataset, is_video=unit.is_video):
        if other != field:
            tracks = read_tracks(dataset, unit, other)
            verdicts = current_verdicts(sample, tracks.values(), other)
            tags |= _open_tags(_kept_flags(sample, other, tracks), verdicts)
    sample.tags = [tag for tag in sample.tags if tag not in (*FLAGS, SENT_BACK)] + sorted(tags)


def _open_tags(flags: Mapping[str, Sequence[str]], verdicts: Mapping[str, str]) -> set[str]:
    tags = {flag for key, row in flags.items() if not is_settled(verdicts.get(key)) for flag in row}
    return tags | ({SENT_BACK} if "send_back" in verdicts.values() else set())


def _judged_fields(dataset: Any, *, is_video: bool) -> list[str]:
    """Fields with masks that were judged, or on which there are verdicts."""
    named = [
        name.removesuffix(ending)
        for name in dataset.get_field_schema()
        for ending in (quality_field(""), review_field(""))
        if name.endswith(ending)
    ]
    return known_fields(dataset, dict.fromkeys(named), is_video=is_video)


def _kept_flags(sample: Any, field: str, tracks: Container[str]) -> dict[str, Sequence[str]]:
    """Flags of a field's tracks as they were judged last, of those that are still there."""
    name = quality_field(field)
    kept = sample[name] if sample.has_field(name) else None
    return {
        entry.track: entry.flags
        for entry in getattr(kept, "tracks", None) or ()
        if entry.track in tracks
    }


def save_review_view(dataset: Any, field: str, *, is_video: bool) -> str:
    """Saves the view of samples to check; a view of that name that a person made is kept.

    Where groups have videos and images, a view can have only either: the images get their own.

    Args:
        dataset: That the samples belong to.
        field: Of the masks.
        is_video: Whether the masks are those of videos.

    Returns:
        Its name.
    """
    description = f"{_DESCRIPTION} ({field})"
    has_both = "video" in (dataset.group_media_types or {}).values() and not is_video
    usual = f"{REVIEW_VIEW} (images)" if has_both else REVIEW_VIEW
    for name in (usual, f"{usual} (SAM 2)"):
        found = dataset.get_saved_view_info(name) if dataset.has_saved_view(name) else None
        if found is not None and found["description"] == description:
            return name  # it is a question, not an answer: it need not be saved again
        if found is None or found["description"].startswith(_DESCRIPTION):
            break
    samples = all_slices(dataset, is_video=is_video)
    view = samples.match_tags([*FLAGS, SENT_BACK]).sort_by(
        f"{quality_field(field)}.greatest_doubt", reverse=True
    )
    dataset.save_view(name, view, description=description, overwrite=True)
    return name
