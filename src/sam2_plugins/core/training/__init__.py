"""Training: clips from images and volumes, simulated prompts, losses, the loop, the recipe."""

from sam2_plugins.core.training.held_out import write_held_out
from sam2_plugins.core.training.nano import export_nano, train_nano
from sam2_plugins.core.training.stages import TrainingConfig, nano_stages

__all__ = ["TrainingConfig", "export_nano", "nano_stages", "train_nano", "write_held_out"]
