"""What the panel shows of a video and of runs: pure functions from tracks and records."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sam2_plugins.fiftyone_plugin.labels import to_frame_number
from sam2_plugins.fiftyone_plugin.progress import in_words
from sam2_plugins.fiftyone_plugin.quality import SUSPECT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sam2_plugins.fiftyone_plugin.quality import Suggestion
    from sam2_plugins.fiftyone_plugin.records import RunRecord
    from sam2_plugins.fiftyone_plugin.tracks import Track

__all__ = [
    "NO_RUN",
    "describe_frame",
    "describe_runs",
    "describe_suggestions",
    "follow_pace",
    "run_key",
    "timeline_layout",
    "timeline_traces",
]

_COLOURS = ("#4e9af1", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#9c755f", "#edc948", "#76b7b2")
_SHOWN_ERRORS = 3
NO_RUN = "No run yet."


def timeline_traces(
    tracks: Iterable[Track], suggestions: Sequence[Suggestion] = ()
) -> list[dict[str, Any]]:
    """Plotly traces of the predicted IoU over the frames, one line per track, with gaps.

    Args:
        tracks: Of one video.
        suggestions: Frames to mark.
    """
    traces: list[dict[str, Any]] = []
    scores: dict[tuple[str, int], float] = {}
    for number, track in enumerate(tracks):
        x: list[int] = []
        y: list[float | None] = []
        for frame in sorted(track.frames, key=lambda frame: frame.frame_index):
            frame_number = to_frame_number(frame.frame_index)
            if x and frame_number > x[-1] + 1:
                x.append(x[-1] + 1)
                y.append(None)
            iou = None if math.isnan(frame.predicted_iou) else round(frame.predicted_iou, 4)
            x.append(frame_number)
            y.append(iou)
            scores[track.key, frame.frame_index] = iou or 0.0
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": track.name,
                "x": x,
                "y": y,
                "connectgaps": False,
                "line": {"color": _COLOURS[number % len(_COLOURS)], "width": 2},
            }
        )
    if suggestions:
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "worth a look",
                "x": [to_frame_number(entry.frame_index) for entry in suggestions],
                "y": [scores.get((entry.track, entry.frame_index), 0.0) for entry in suggestions],
                "text": [entry.reason for entry in suggestions],
                "marker": {"symbol": "circle-open", "size": 11, "color": "#d62728"},
            }
        )
    return traces


def timeline_layout() -> dict[str, Any]:
    """The plot's axes, and a line below which scores are flagged."""
    return {
        "height": 240,
        "margin": {"l": 50, "r": 10, "t": 40, "b": 40},
        "xaxis": {"title": {"text": "frame"}, "rangemode": "nonnegative"},
        "yaxis": {"title": {"text": "predicted IoU"}, "range": [0, 1.02]},
        "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        "hovermode": "closest",
        "shapes": [
            {
                "type": "line",
                "xref": "paper",
                "x0": 0,
                "x1": 1,
                "y0": SUSPECT,
                "y1": SUSPECT,
                "line": {"dash": "dot", "width": 1, "color": "#999999"},
            }
        ],
    }


def describe_runs(
    records: Sequence[RunRecord],
    *,
    field: str | None = None,
    seconds_left: Mapping[str, float] | None = None,
) -> str:
    """Markdown: how many videos are how far, who is at work, and what went wrong.

    Args:
        records: Of a dataset.
        field: Of the masks on show; of others only who is at work. None for all.
        seconds_left: By `run_key`, where it is known.
    """
    own = [record for record in records if field in (None, record.output_field)]
    counts: dict[str, int] = {}
    for record in own:
        state = record.state
        if state == "running" and not record.is_alive:
            state = "left unfinished by a worker that is gone"
        counts[state] = counts.get(state, 0) + 1
    states = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    lines = [f"**Runs** over {len(own)} videos: {states}"] if own else [NO_RUN]
    for record in records:
        if record.is_alive:
            is_own = field in (None, record.output_field)
            where = "" if is_own else f", masks in {record.output_field}"
            left = (seconds_left or {}).get(run_key(record))
            left_words = "" if left is None else f", {in_words(left)} left"
            done = f"step {record.frames_done} of {record.frames_total}"
            lines.append(f"- {record.worker}: {done}{left_words}{where}")
    errors = [record.error for record in own if record.error]
    lines += [f"- {error}" for error in errors[:_SHOWN_ERRORS]]
    if len(errors) > _SHOWN_ERRORS:
        lines.append(f"- and {len(errors) - _SHOWN_ERRORS} more")
    return "\n".join(lines)


def run_key(record: RunRecord) -> str:
    """Tells the runs of a dataset apart."""
    return f"{record.unit_id}/{record.output_field}/{record.run_id}"


def follow_pace(
    records: Iterable[RunRecord], seen: Mapping[str, Sequence[float]], *, now: float
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """How long what runs will still take, by how far it came since it was first seen.

    Args:
        records: Of a dataset.
        seen: What this has returned the last time, or nothing.
        now: In seconds.

    Returns:
        By `run_key`, how many steps were done at which time, first and last, for the next time;
        and seconds that are left, where something was done since.
    """
    known: dict[str, list[float]] = {}
    left: dict[str, float] = {}
    for record in records:
        # A run that goes on where another was interrupted begins at 0, and is there at once.
        if not record.is_alive or not record.frames_done:
            continue
        key = run_key(record)
        first, since, last, at = seen.get(key, (record.frames_done, now) * 2)
        if record.frames_done != last:
            last, at = record.frames_done, now
        known[key] = [first, since, last, at]
        if last > first:
            pace = (at - since) / (last - first)
            left[key] = max(pace * (record.frames_total - last) - (now - at), 0.0)
    return known, left


def describe_frame(frame_index: int, frame_rate: float | None) -> str:
    """The number of a frame, and when it is shown."""
    number = to_frame_number(frame_index)
    return f"{number} ({frame_index / frame_rate:.2f} s)" if frame_rate else str(number)


def describe_suggestions(
    suggestions: Sequence[Suggestion],
    tracks: Mapping[str, Track],
    verdicts: Mapping[str, str],
    *,
    frame_rate: float | None = None,
) -> str:
    """Markdown: the frames to correct, and what reviewers said; empty without tracks.

    Args:
        suggestions: First first.
        tracks: Of one video, by key.
        verdicts: Track key -> what was said.
        frame_rate: In frames per second, to tell the time that the App's player shows; None if
            it is not known.
    """
    if not tracks:
        return ""
    lines = [
        f"- frame {describe_frame(entry.frame_index, frame_rate)}, "
        f"{tracks[entry.track].name}: {entry.reason}"
        for entry in suggestions
    ]
    lines = ["**Worth a look**\n", *lines] if lines else ["Nothing stands out."]
    said = [f"{tracks[key].name}: {verdict.replace('_', ' ')}" for key, verdict in verdicts.items()]
    if said:
        lines.append(f"\n**Verdicts**: {', '.join(said)}")
    return "\n".join(lines)
