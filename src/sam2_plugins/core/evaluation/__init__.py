"""Evaluation by the protocols of the paper: metrics, data sets, baselines, tables."""

from sam2_plugins.core.evaluation.metrics import (
    MaskletScore,
    boundary_f,
    dice,
    jaccard,
    score_frame,
    summarise,
)
from sam2_plugins.core.evaluation.protocols import evaluate_image, evaluate_vos
from sam2_plugins.core.evaluation.results import Evaluation, Interval, ScoreRow
from sam2_plugins.core.evaluation.sequences import VosSequence, load_sequences

__all__ = [
    "Evaluation",
    "Interval",
    "MaskletScore",
    "ScoreRow",
    "VosSequence",
    "boundary_f",
    "dice",
    "evaluate_image",
    "evaluate_vos",
    "jaccard",
    "load_sequences",
    "score_frame",
    "summarise",
]
