"""Evaluation by the protocols of the paper: metrics, data sets, baselines, tables."""

from sam2_plugins.core.evaluation.everything import evaluate_everything
from sam2_plugins.core.evaluation.groups import AttributeTable, read_attributes
from sam2_plugins.core.evaluation.intervals import Interval
from sam2_plugins.core.evaluation.layouts import load_sequences, seen_categories
from sam2_plugins.core.evaluation.metrics import (
    MaskletScore,
    boundary_f,
    dice,
    jaccard,
    score_frame,
    summarise,
)
from sam2_plugins.core.evaluation.protocols import (
    evaluate_image,
    evaluate_interactive,
    evaluate_vos,
)
from sam2_plugins.core.evaluation.results import Evaluation
from sam2_plugins.core.evaluation.rows import ScoreRow
from sam2_plugins.core.evaluation.runs import RunOptions
from sam2_plugins.core.evaluation.sequences import VosSequence
from sam2_plugins.core.evaluation.vos import VosProtocol

__all__ = [
    "AttributeTable",
    "Evaluation",
    "Interval",
    "MaskletScore",
    "RunOptions",
    "ScoreRow",
    "VosProtocol",
    "VosSequence",
    "boundary_f",
    "dice",
    "evaluate_everything",
    "evaluate_image",
    "evaluate_interactive",
    "evaluate_vos",
    "jaccard",
    "load_sequences",
    "read_attributes",
    "score_frame",
    "seen_categories",
    "summarise",
]
