"""Encoded frames: each is encoded once; some stay in memory, more on disk if wanted."""

import hashlib
import os
import warnings
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sam2_plugins.core.mirrors import View, encode_mirrored
from sam2_plugins.core.model.sam2 import SAM2, ImageFeatures
from sam2_plugins.core.motion import measure_motion
from sam2_plugins.core.transforms import Resizer, image_to_tensor, tensor_to_grey

DEFAULT_CAPACITY = 32
"""Frames in memory: 512 MiB of the published models' float32 features, 16 MiB of nano's."""
_MIRRORED = 4
"""Frames whose mirror images are in memory: only prompts look at those."""
_PICTURES = 8
"""Grey pictures in memory: motion needs the last two, of every window that is looked through."""
_INPUTS = 8
"""Inputs in memory where they are small: what a click means is looked for in several windows."""
_SMALL_INPUT = 384


class FeatureStore:
    """Image features by frame index, encoded when first asked for.

    Args:
        model: Encodes.
        read_rgb: Gives the RGB image (H, W, 3) of a frame.
        capacity: How many frames stay in memory; the least recently used goes first.
        directory: Keeps every encoded frame on disk too, for later sessions.
        key: What the features depend on besides the input's size: data, pixel policy,
            weights. Features on disk are found again only under the same key.
        resizer: See `transforms`.
        side: Of the square input; the model's own if not given.
    """

    def __init__(
        self,
        model: SAM2,
        read_rgb: Callable[[int], NDArray[Any]],
        *,
        capacity: int = DEFAULT_CAPACITY,
        directory: Path | None = None,
        key: str = "",
        resizer: Resizer = "tensor",
        side: int | None = None,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"the feature cache must hold 1 frame or more, not {capacity}")
        self.model = model
        self._side = side
        self.capacity = capacity
        self.num_encoded = 0
        self._read_rgb = read_rgb
        self._resizer: Resizer = resizer
        self._features: OrderedDict[int, ImageFeatures] = OrderedDict()
        self._pictures: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._mirrored: OrderedDict[int, list[View]] = OrderedDict()
        self._images: OrderedDict[int, Tensor] = OrderedDict()
        self._prepared: tuple[int, Tensor] | None = None
        self._motion: tuple[tuple[int, int], Tensor] | None = None
        self._directory: Path | None = None
        if directory is not None:
            parts = (key, self.side, model.dtype, resizer)
            name = hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
            self._directory = Path(directory) / name
            self._directory.mkdir(parents=True, exist_ok=True)

    @property
    def side(self) -> int:
        """Of the square input, in pixels."""
        return self._side or self.model.image_size

    def __contains__(self, frame_index: int) -> bool:
        return self._place(frame_index) in self._features

    def __len__(self) -> int:
        return len(self._features)

    def get(self, frame_index: int) -> ImageFeatures:
        """The features of a frame, B = 1, from memory, from disk or from the model."""
        place = self._place(frame_index)
        features = self._features.get(place)
        if features is None:
            features = self._load(place)
        if features is None:
            features = self._encode(place)
            self._save(place, features)
        self._features[place] = features
        self._features.move_to_end(place)
        while len(self._features) > self.capacity:
            self._features.popitem(last=False)
        return features

    def read(self, frame_index: int) -> Tensor:
        """A frame as the model's input (3, S, S)."""
        return self._read(self._place(frame_index))

    def mirrored(self, frame_index: int) -> list[View]:
        """A frame and its mirror images, without memory."""
        features, place = self.get(frame_index), self._place(frame_index)
        if place not in self._mirrored:
            image = self._read(place).to(self.model.device)
            self._mirrored[place] = encode_mirrored(self.model, image)
            while len(self._mirrored) > _MIRRORED:
                self._mirrored.popitem(last=False)
        self._mirrored.move_to_end(place)
        plain = View(features, self.model.without_memory(features))
        return [plain, *self._mirrored[place]]

    def motion(self, frame_index: int, before: int) -> Tensor:
        """Where each stride-4 cell of a frame was on another, (1, h, w, 2); see `core.motion`."""
        places = self._place(frame_index), self._place(before)
        if self._motion is None or self._motion[0] != places:
            motion = measure_motion(*(self._picture(place) for place in places))
            self._motion = places, torch.from_numpy(motion)[None].to(self.model.device)
        return self._motion[1]

    def picture(self, frame_index: int) -> NDArray[np.uint8]:
        """A frame in grey as the model sees it, (S, S)."""
        return self._picture(self._place(frame_index))

    def prepared(self, frame_index: int) -> Tensor:
        """The first step of memory attention, shared by all objects of a frame: (1, L, C)."""
        place = self._place(frame_index)
        if self._prepared is None or self._prepared[0] != place:
            stride_16 = self.get(frame_index).stride_16
            self._prepared = (place, self.model.memory_attention.prepare(stride_16))
        return self._prepared[1]

    def _place(self, frame_index: int) -> int:
        """What a frame is kept under: windows of one frame are several places."""
        return frame_index

    @torch.inference_mode()
    def _encode(self, place: int) -> ImageFeatures:
        image = self._read(place)
        if self.model.config.follows_motion:
            self._keep_picture(place, image)
        self.num_encoded += 1
        return self.model.encode_image(image[None].to(self.model.device))

    def _read(self, place: int) -> Tensor:
        """A place as the model's input (3, S, S); those of the last ones are kept."""
        if place not in self._images:
            image = image_to_tensor(self._read_rgb(place), self.side, resizer=self._resizer)
            self._images[place] = image
            while len(self._images) > (_INPUTS if self.side <= _SMALL_INPUT else 1):
                self._images.popitem(last=False)
        self._images.move_to_end(place)
        return self._images[place]

    def _picture(self, place: int) -> NDArray[np.uint8]:
        """A place in grey as the model sees it, (S, S)."""
        if place not in self._pictures:
            self._keep_picture(place, self._read(place))
        self._pictures.move_to_end(place)
        return self._pictures[place]

    def _keep_picture(self, place: int, image: Tensor) -> None:
        self._pictures[place] = tensor_to_grey(image)
        while len(self._pictures) > _PICTURES:
            self._pictures.popitem(last=False)

    def _path(self, place: int) -> Path | None:
        return self._directory and self._directory / f"{place:06d}.safetensors"

    def _load(self, place: int) -> ImageFeatures | None:
        path = self._path(place)
        if path is None or not path.exists():
            return None
        try:
            tensors = load_file(path, device=str(self.model.device))
            return ImageFeatures(tensors["16"], tensors["8"], tensors["4"])
        except (SafetensorError, KeyError, OSError):
            # A cache that was cut short is only a cache: encode again.
            path.unlink(missing_ok=True)
            return None

    def _save(self, place: int, features: ImageFeatures) -> None:
        path = self._path(place)
        if path is None:
            return
        tensors = {
            "16": features.stride_16,
            "8": features.stride_8,
            "4": features.stride_4,
        }
        partial = path.with_suffix(f".{os.getpid()}.part")
        try:
            save_file({k: t.detach().cpu().contiguous() for k, t in tensors.items()}, partial)
            partial.replace(path)
        except (SafetensorError, OSError) as error:
            # A cache that cannot be written is no reason to stop tracking.
            self._directory = None
            warnings.warn(f"encoded frames are not kept on disk: {error}", stacklevel=2)
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
