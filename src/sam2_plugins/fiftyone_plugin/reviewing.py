"""What is kept on samples for reviewers: quality, verdicts, tags, and the saved view.

For masks in field `masks`, a sample's `masks_quality` has the figures, `masks_suggestions` the
frames most worth correcting, and `masks_review` every verdict ever given. A verdict is on what a
run made: when the track is made again, it is open again, and the old verdict stays as history.
"""

from __future__ import annotations

from datetime import datetime, timezone
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
from sam2_plugins.fiftyone_plugin.sources import all_slices, flat_samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sam2_plugins.fiftyone_plugin.tracks import Track

__all__ = [
    "REVIEW_VIEW",
    "SENT_BACK",
    "VERDICTS",
    "Assessment",
    "assess",
    "current_verdicts",
    "declare_fields",
    "give_verdict",
    "open_part",
    "quality_field",
    "review_field",
    "save_review_view",
    "store_assessment",
    "suggestions_field",
]

REVIEW_VIEW = "review"
SENT_BACK = "sam2:sent_back"
VERDICTS = {"accept": "sam2:accepted", "reject": "sam2:rejected", "send_back": SENT_BACK}
"""What a reviewer can say, and the tag that the track's labels get."""

_DESCRIPTION = "SAM 2: videos with masks to check, those most worth a look first"


def review_field(field: str) -> str:
    """The sample field with the verdicts."""
    return f"{field}_review"


def declare_fields(dataset: Any, field: str) -> None:
    """Makes the fields known, once, so that the App can filter and sort by them."""
    name = quality_field(field)
    document = {"embedded_doc_type": fo.DynamicEmbeddedDocument}
    dataset.add_sample_field(name, fo.EmbeddedDocumentField, **document)
    for part, kind in QUALITY.items():
        dataset.add_sample_field(f"{name}.{part}", kind)
    dataset.add_sample_field(suggestions_field(field), fo.ListField, subfield=fo.IntField)
    of_documents = {"subfield": fo.EmbeddedDocumentField, **document}
    dataset.add_sample_field(review_field(field), fo.ListField, **of_documents)


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
    _set_tags(sample, assessment, field)
    sample.save()
    return suggestions


def current_verdicts(sample: Any, tracks: Iterable[Track], field: str) -> dict[str, str]:
    """Track key -> verdict, of tracks that are still as they were when it was given."""
    name = review_field(field)
    given = (sample[name] or []) if sample.has_field(name) else []
    last = {entry.track: entry for entry in given}
    return {
        track.key: last[track.key].verdict
        for track in tracks
        if track.key in last and last[track.key].sam2_run == track.run
    }


def give_verdict(
    dataset: Any,
    assessment: Assessment,
    field: str,
    *,
    keys: Sequence[str],
    verdict: str,
    note: str | None = None,
) -> None:
    """Keeps a verdict on tracks, and tags their labels and the sample by it.

    Args:
        dataset: That the video belongs to.
        assessment: Of the video.
        field: Of the masks.
        keys: Tracks.
        verdict: A key of `VERDICTS`.
        note: Why.
    """
    unit = assessment.unit
    sample = dataset[unit.sample_ids[0]]
    name = review_field(field)
    now = datetime.now(timezone.utc)
    entries = [
        fo.DynamicEmbeddedDocument(
            track=key,
            index=track.index,
            label=track.label,
            verdict=verdict,
            sam2_run=track.run,
            note=note,
            at=now,
        )
        for key, track in ((key, assessment.tracks[key]) for key in keys)
    ]
    sample[name] = [*(sample[name] or []), *entries]
    _set_tags(sample, assessment, field)
    sample.save()
    _tag_labels(dataset, assessment, field, keys=keys, verdict=verdict)


def _tag_labels(
    dataset: Any, assessment: Assessment, field: str, *, keys: Sequence[str], verdict: str
) -> None:
    unit = assessment.unit
    path = f"frames.{field}" if unit.is_video else field
    labels = []
    for key in keys:
        for number, label_id in assessment.tracks[key].label_ids:
            sample_id = unit.sample_ids[0 if unit.is_video else number - 1]
            label = {"label_id": label_id, "sample_id": sample_id, "field": path}
            labels.append(label | ({"frame_number": number} if unit.is_video else {}))
    samples = flat_samples(dataset, unit.sample_ids, is_video=unit.is_video)
    chosen = samples.select_labels(labels=labels)
    chosen.untag_labels([*VERDICTS.values()], label_fields=path)
    chosen.tag_labels(VERDICTS[verdict], label_fields=path)


def open_part(dataset: Any, assessment: Assessment, field: str) -> VideoQuality:
    """The tracks that no reviewer has accepted or rejected."""
    sample = dataset[assessment.unit.sample_ids[0]]
    verdicts = current_verdicts(sample, assessment.tracks.values(), field)
    settled = {key for key, verdict in verdicts.items() if verdict != "send_back"}
    return VideoQuality(
        tuple(track for track in assessment.quality.tracks if track.track not in settled)
    )


def _set_tags(sample: Any, assessment: Assessment, field: str) -> None:
    """Flags of tracks that are open, and whether one was sent back; other tags stay."""
    verdicts = current_verdicts(sample, assessment.tracks.values(), field)
    settled = {key for key, verdict in verdicts.items() if verdict != "send_back"}
    tags = {
        flag
        for track in assessment.quality.tracks
        if track.track not in settled
        for flag in track.flags
    }
    if "send_back" in verdicts.values():
        tags.add(SENT_BACK)
    sample.tags = [tag for tag in sample.tags if tag not in (*FLAGS, SENT_BACK)] + sorted(tags)


def save_review_view(dataset: Any, field: str) -> str:
    """Saves the view of samples to check; a view of that name that a person made is kept.

    Returns:
        Its name.
    """
    description = f"{_DESCRIPTION} ({field})"
    for name in (REVIEW_VIEW, f"{REVIEW_VIEW} (SAM 2)"):
        found = dataset.get_saved_view_info(name) if dataset.has_saved_view(name) else None
        if found is not None and found["description"] == description:
            return name  # it is a question, not an answer: it need not be saved again
        if found is None or found["description"].startswith(_DESCRIPTION):
            break
    is_video = field in (dataset.get_frame_field_schema() or ())
    samples = all_slices(dataset, is_video=is_video)
    view = samples.match_tags([*FLAGS, SENT_BACK]).sort_by(
        f"{quality_field(field)}.greatest_doubt", reverse=True
    )
    dataset.save_view(name, view, description=description, overwrite=True)
    return name
