"""The operator that compares masks with true ones."""

from dataclasses import replace
from typing import Any

import fiftyone.operators.types as types

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.evaluating import (
    MATCHES,
    Comparison,
    TrackScore,
    VideoScore,
    evaluate_video,
    mean_score,
)
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
from sam2_plugins.fiftyone_plugin.schema import declare, document_field, value_field
from sam2_plugins.fiftyone_plugin.sources import Unit, flat_samples, join_clips
from sam2_plugins.fiftyone_plugin.store import clean_field, known_fields
from sam2_plugins.fiftyone_plugin.tracks import check_masks_field

DEFAULT_TRUTH = "ground_truth"
DEFAULT_PROMPTS = "prompts"
_NUMBERS = ("j", "f", "j_and_f")


class EvaluateMasklets(FormOperator):
    """J, F and J&F of every object, video and of all, kept on the samples and in the dataset."""

    NAME = "evaluate_masklets"
    LABEL = "SAM 2: evaluate masklets"
    DESCRIPTION = "J, F and J&F of masks against a field of true ones"

    def resolve_input(self, ctx: Any) -> types.Property:
        """The form."""
        inputs = types.Object()
        add_masks_field(inputs, ctx, "field")
        add_masks_field(
            *(inputs, ctx, "truth_field"),
            default=DEFAULT_TRUTH,
            label="Truth",
            description="Field of detections with the true masks",
        )
        add_choice(
            inputs,
            "match",
            MATCHES,
            labels=("the same instance or index", "where they overlap most"),
            label="Which tracks are compared",
        )
        inputs.str(
            "prompt_field",
            default=DEFAULT_PROMPTS,
            label="Prompts",
            description="Frames prompted in this field are not counted; 'none' to count all",
        )
        inputs.str(
            "eval_key",
            default="",
            label="Result",
            description="Name of the fields for the result; by default that of the masks and _eval",
        )
        return types.Property(inputs, view=types.View(label=self.LABEL))

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Compare and store.

        Returns:
            `j`, `f`, `j_and_f` over all objects, `num_tracks`, `num_missed`, `num_extra`,
            `num_videos` that have truth, `eval_key`, and `videos`, the same numbers for each. Of
            clips, these are of their frames; what is kept is of whole videos.

        Raises:
            ValueError: There is no truth in the samples that were chosen.
        """
        dataset, units = target_units(ctx)
        is_video = units[0].is_video
        comparison = _read_comparison(ctx, dataset, is_video=is_video)
        eval_key = clean_field(ctx.params.get("eval_key") or f"{comparison.field}_eval")
        check_masks_field(dataset, comparison.field, is_video=is_video)
        check_masks_field(dataset, comparison.truth_field, is_video=is_video)
        _check_key(dataset, eval_key, is_video=is_video)
        scores, kept = _evaluate(ctx, dataset, units, comparison)
        if not scores:
            raise ValueError(
                f"there is no truth in {comparison.truth_field!r} of the samples that were chosen: "
                "no label with a mask"
            )
        _declare(dataset, eval_key, is_video=is_video)
        for unit, score in kept.items():
            _store(dataset, unit, score, eval_key)
        videos = [{"filepath": unit.paths[0], **_numbers(score)} for unit, score in scores.items()]
        summary = _summary(list(scores.values()))
        dataset.info[eval_key] = {
            **_summary(list(kept.values())),
            "truth_field": comparison.truth_field,
        }
        dataset.save()
        ctx.trigger("reload_dataset")
        return {**summary, "eval_key": eval_key, "videos": videos}

    def resolve_output(self, ctx: Any) -> types.Property:
        """The table of videos."""
        outputs = types.Object()
        for name, label in zip(_NUMBERS, ("J", "F", "J&F"), strict=True):
            outputs.float(name, label=label)
        outputs.int("num_tracks", label="Objects")
        outputs.int("num_missed", label="Objects that were not found")
        outputs.int("num_extra", label="Tracks that are not in the truth")
        table = types.TableView()
        for key, label in (("filepath", "Video"), ("j", "J"), ("f", "F"), ("j_and_f", "J&F")):
            table.add_column(key, label=label)
        outputs.list("videos", types.Object(), label="Videos", view=table)
        return types.Property(outputs, view=types.View(label="Masks against the truth"))


def _read_comparison(ctx: Any, dataset: Any, *, is_video: bool) -> Comparison:
    prompts = field_param(ctx, "prompt_field", DEFAULT_PROMPTS)
    is_there = bool(known_fields(dataset, [prompts], is_video=is_video))
    if prompts != DEFAULT_PROMPTS and prompts != "none" and not is_there:
        raise ValueError(f"prompt_field: there is no field {prompts!r}; say none to count all")
    return Comparison(
        field_param(ctx, "field", DEFAULT_FIELD),
        field_param(ctx, "truth_field", DEFAULT_TRUTH),
        prompts if is_there and prompts != "none" else None,
        choice_param(ctx, "match", MATCHES),
    )


def _evaluate(
    ctx: Any, dataset: Any, units: list[Unit], comparison: Comparison
) -> tuple[dict[Unit, VideoScore], dict[Unit, VideoScore]]:
    """Scores on the frames that were chosen and on all frames, of videos with truth on the first.

    Both by whole video: its clips are compared together.
    """
    scores, of_all = {}, {}
    for unit in with_progress(ctx, join_clips(units)):
        score = evaluate_video(dataset, unit, comparison)
        if score.tracks:
            whole = replace(unit, frame_numbers=None)
            scores[whole] = score
            of_all[whole] = score if whole == unit else evaluate_video(dataset, whole, comparison)
    return scores, of_all


def _numbers(score: VideoScore) -> dict[str, Any]:
    missed = sum(track.found is None for track in score.tracks)
    return {
        **mean_score(score.tracks),
        "num_tracks": len(score.tracks),
        "num_missed": missed,
        "num_extra": score.num_extra,
    }


def _summary(scores: list[VideoScore]) -> dict[str, Any]:
    tracks = tuple(track for score in scores for track in score.tracks)
    everything = VideoScore(tracks, num_extra=sum(score.num_extra for score in scores))
    return {**_numbers(everything), "num_videos": len(scores)}


def _check_key(dataset: Any, eval_key: str, *, is_video: bool) -> None:
    """Refuse the names of fields that hold something else, before anything is compared.

    Raises:
        ValueError: There is such a field.
    """
    own = dataset.get_field_schema().get(eval_key)
    on_frames = dataset.get_frame_field_schema().get(eval_key) if is_video else None
    is_result = own is None or getattr(own, "document_type", None) is fo.DynamicEmbeddedDocument
    if not is_result or not isinstance(on_frames, fo.FloatField | None):
        raise ValueError(f"eval_key: the field {eval_key!r} holds something else; name another")


def _declare(dataset: Any, eval_key: str, *, is_video: bool) -> None:
    numbers = [value_field(name, fo.FloatField) for name in _NUMBERS]
    declare(dataset, [document_field(eval_key, fo.DynamicEmbeddedDocument, numbers)])
    if is_video:
        declare(dataset, [value_field(eval_key, fo.FloatField)], on_frames=True)


def _store(dataset: Any, unit: Unit, score: VideoScore, eval_key: str) -> None:
    documents = {
        sample_id: fo.DynamicEmbeddedDocument(
            **_numbers(score), tracks=[_track_document(track) for track in score.tracks]
        )
        for sample_id in unit.sample_ids
    }
    samples = flat_samples(dataset, unit.sample_ids, is_video=unit.is_video)
    samples.set_values(eval_key, documents, key_field="id")
    if unit.is_video and score.frames:
        values = {unit.sample_ids[0]: dict(score.frames)}
        samples.set_values(f"frames.{eval_key}", values, key_field="id")


def _track_document(track: TrackScore) -> Any:
    return fo.DynamicEmbeddedDocument(
        track=track.truth.key,
        index=track.truth.index,
        label=track.truth.label,
        found=track.found,
        num_frames=track.num_frames,
        **mean_score([track]),
    )
