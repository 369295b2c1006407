"""The published sizes of SAM 2 and our own, as one table.

All published configurations agree on everything but the trunk and the version, so what they agree
on is a default here and the table rows hold only what differs.
"""

from dataclasses import dataclass
from typing import Literal

from sam2_plugins.core.presence import PresenceRule

Version = Literal["2.0", "2.1"]

STRIDES = 32
"""The deepest level of the image encoder has this stride; an input side is a multiple of it."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The numbers that make one network.

    Attributes:
        name: The name `load_model` takes.
        version: "2.0" or "2.1"; 2.1 adds time to object pointers and an embedding for absence.
        embed_dim: Channels of the trunk's first stage; doubled at each further stage.
        num_heads: Attention heads of the first stage; doubled likewise.
        stages: Blocks per stage.
        global_blocks: Indices of the blocks that attend over the whole image.
        window_sizes: Attention window of each stage, in cells.
        pos_embed_size: Side of the trunk's coarse position embedding, in cells.
        image_size: Default side of the square input, in pixels.
        model_dim: Channels after the neck (C in the shape legend).
        memory_dim: Channels of a memory map.
        feedforward_dim: Hidden units of the decoder's and memory attention's feed-forward layers.
        decoder_heads: Attention heads of the mask decoder.
        iou_hidden_dim: Hidden units of the head that predicts IoU.
        memory_attention_layers: Layers of memory attention.
        fuser_layers: ConvNeXt blocks of the memory encoder.
        num_memories: Memory maps a frame can attend to: one slot for prompts, the rest recent.
        max_pointers: Object pointers a frame can attend to.
        follows_motion: Whether it was trained to be given, on every tracked frame, the mask of the
            frame before, moved along with the picture; see `core.motion`.
        presence_inertia: How long an object that is seen but weakly is followed, see
            `PresenceRule`; 0 to believe every frame, as published.
        weak_presence: Likewise: which object scores are weak.
        closeup_size: Side of the square input for windows around small objects of an image, for
            models that were trained to see them so, see `core.closeups`; None for others.
        min_predicted_iou: Masks that nobody asked for are kept from this predicted IoU up, see
            `MaskGenerator`: a small network's good masks are less sure of themselves.
        min_stability: Likewise of their stability.
        max_known_share: Likewise: of those masks that better ones cover more of, none is kept. 1
            keeps wholes and their parts.
        licence: SPDX name of the weights' licence.
        checkpoint_url: Where the published weights are; None for weights inside the package.
    """

    name: str
    version: Version
    embed_dim: int
    num_heads: int
    stages: tuple[int, int, int, int]
    global_blocks: tuple[int, ...]
    window_sizes: tuple[int, int, int, int] = (8, 4, 14, 7)
    pos_embed_size: int = 7
    image_size: int = 1024
    model_dim: int = 256
    memory_dim: int = 64
    feedforward_dim: int = 2048
    decoder_heads: int = 8
    iou_hidden_dim: int = 256
    memory_attention_layers: int = 4
    fuser_layers: int = 2
    num_memories: int = 7
    max_pointers: int = 16
    follows_motion: bool = False
    presence_inertia: float = 0.0
    weak_presence: float = 0.0
    closeup_size: int | None = None
    min_predicted_iou: float = 0.8
    min_stability: float = 0.95
    max_known_share: float = 1.0
    licence: str = "Apache-2.0"
    checkpoint_url: str | None = None

    @property
    def has_pointer_time(self) -> bool:
        """Whether object pointers carry their signed distance in time (2.1)."""
        return self.version == "2.1"

    @property
    def presence(self) -> PresenceRule | None:
        """How it is judged whether a tracked object is still there; None to believe every frame."""
        if not self.presence_inertia:
            return None
        return PresenceRule(self.presence_inertia, self.weak_presence)

    @property
    def has_absence_embedding(self) -> bool:
        """Whether the memory of a frame without the object is marked (2.1)."""
        return self.version == "2.1"


_SITE = "https://dl.fbaipublicfiles.com/segment_anything_2"


def _published(version: Version, size: str) -> ModelConfig:
    file_size = size.replace("-", "_")
    name = {"2.0": "sam2", "2.1": "sam2.1"}[version]
    folder = {"2.0": "072824", "2.1": "092824"}[version]
    url = f"{_SITE}/{folder}/{name}_hiera_{file_size}.pt"
    name = f"{name}-{size}"
    if size == "tiny":
        return ModelConfig(name, version, 96, 1, (1, 2, 7, 2), (5, 7, 9), checkpoint_url=url)
    if size == "small":
        return ModelConfig(name, version, 96, 1, (1, 2, 11, 2), (7, 10, 13), checkpoint_url=url)
    if size == "base-plus":
        return ModelConfig(
            *(name, version, 112, 2, (2, 3, 16, 3), (12, 16, 20)),
            pos_embed_size=14,
            checkpoint_url=url,
        )
    return ModelConfig(
        *(name, version, 144, 2, (2, 6, 36, 4), (23, 33, 43)),
        window_sizes=(8, 4, 16, 8),
        checkpoint_url=url,
    )


NANO = ModelConfig(
    name="nano",
    version="2.1",
    embed_dim=32,
    num_heads=1,
    stages=(1, 2, 6, 1),
    global_blocks=(4, 6, 8),
    window_sizes=(8, 8, 8, 8),
    image_size=384,
    model_dim=128,
    feedforward_dim=512,
    decoder_heads=4,
    iou_hidden_dim=128,
    memory_attention_layers=2,
    follows_motion=True,
    presence_inertia=0.8,
    weak_presence=1.5,
    closeup_size=256,
    min_predicted_iou=0.55,
    min_stability=0.3,
    max_known_share=0.3,
)

SIZES = ("tiny", "small", "base-plus", "large")

MODELS: dict[str, ModelConfig] = {
    config.name: config
    for config in (
        NANO,
        *(_published("2.0", size) for size in SIZES),
        *(_published("2.1", size) for size in SIZES),
    )
}
"""Every model by name, the bundled one first."""


def nearest_image_size(side: float) -> int:
    """The side of a square input that is nearest to one that is wanted."""
    return max(round(side / STRIDES), 1) * STRIDES


def check_image_size(image_size: int) -> int:
    """Return the side of the square input, or say what is wrong with it.

    Raises:
        ValueError: `image_size` is not a positive multiple of 32.
    """
    if image_size < STRIDES or image_size % STRIDES:
        raise ValueError(f"image_size must be a positive multiple of {STRIDES}, not {image_size}")
    return image_size
