"""Any dtype and number of channels to RGB, by one policy for a whole stack."""

import colorsys
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sam2_plugins.core.frames import FrameSource

Limits: TypeAlias = tuple[float, float] | Sequence[tuple[float, float]]

_PERCENTILES = (0.5, 99.5)
_SAMPLE_VALUES = 2**22
_SAMPLE_FRAMES = 32


@dataclass(frozen=True, slots=True)
class PixelPolicy:
    """How the frames of one stack become RGB: the same limits for every frame.

    Attributes:
        name: "rgb" (uint8 colours kept as they are), "percentiles", "limits" or "boolean".
        is_rgb: Whether frames are (H, W, 3) colours; else (H, W) or (H, W, C) channels.
        low: The value of each channel that becomes 0. One for (H, W) frames; none for "rgb".
        high: The value of each channel that becomes 1.
    """

    name: str
    is_rgb: bool
    low: tuple[float, ...]
    high: tuple[float, ...]
    # Which warnings were given: they come once per stack, not once per frame.
    _warned: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    @classmethod
    def fit(cls, source: "FrameSource", *, limits: Limits | None = None) -> "PixelPolicy":
        """Choose the limits of a stack: percentiles 0.5 and 99.5 per channel, over all frames.

        Large stacks are sampled, always at the same pixels. RGB colours share one pair of limits,
        so their hue stays. NaN and infinities do not count.

        Args:
            source: The stack.
            limits: Use these instead: (low, high) for every channel, or one pair per channel.

        Raises:
            ValueError: When a given limit is not finite, or low is not below high.
        """
        first = source.read(0)
        num_channels = 1 if first.ndim == 2 else first.shape[2]
        if limits is not None:
            low, high = _check_limits(limits, num_channels)
            return cls("limits", source.is_rgb, low, high)
        if source.is_rgb and first.dtype == np.uint8:
            return cls("rgb", True, (), ())
        if first.dtype == np.bool_:
            return cls("boolean", source.is_rgb, (0.0,) * num_channels, (1.0,) * num_channels)
        sample = _sample(source, first.shape)
        groups = [sample] if source.is_rgb else [sample[:, c] for c in range(num_channels)]
        pairs = [_percentile_limits(group) for group in groups]
        if source.is_rgb:
            pairs *= num_channels
        policy = cls(
            "percentiles", source.is_rgb, tuple(p[0] for p in pairs), tuple(p[1] for p in pairs)
        )
        if not np.isfinite(sample).all():
            policy._warn_not_finite()
        return policy

    @property
    def signature(self) -> str:
        """Name and limits in a short string, for cache keys and saved results."""
        kind = "rgb" if self.is_rgb else f"{len(self.low)} channels"
        pairs = " ".join(f"{a!r}..{b!r}" for a, b in zip(self.low, self.high, strict=True))
        return f"{self.name}; {kind}; {pairs}"

    def to_rgb(self, frame: NDArray[Any]) -> NDArray[Any]:
        """Turn one frame of the stack into RGB.

        One channel is repeated; two become red + blue (magenta) and green; three red, green and
        blue. More are given evenly spaced hues, and each colour is their weighted mean, so nothing
        is clipped that the limits did not clip.

        Args:
            frame: (H, W) or (H, W, C), as the stack's `read` returns it.

        Returns:
            (H, W, 3): the frame itself for uint8 colours, else float32 in [0, 1]. NaN and
            infinities become 0, with one warning per policy.

        Raises:
            ValueError: When the frame has other channels than the stack.
        """
        num_channels = 3 if self.name == "rgb" else len(self.low)
        shape = frame.shape if frame.ndim == 3 else (*frame.shape, 1)
        if len(shape) != 3 or shape[2] != num_channels:
            raise ValueError(
                f"frame of shape {frame.shape} does not have {num_channels} channels last"
            )
        if self.name == "rgb":
            if frame.dtype != np.uint8:
                raise ValueError(f"frame is {frame.dtype} but the stack is uint8 colours")
            return frame
        planes = frame.reshape(shape)
        rgb = np.zeros((*shape[:2], 3), np.float32)
        for channel, weights in enumerate(_channel_weights(num_channels)):
            scaled = self._scale(planes[..., channel], channel)
            for colour in np.flatnonzero(weights):
                rgb[..., colour] += scaled if weights[colour] == 1 else weights[colour] * scaled
        # Weights that add up to 1 may round to a little more.
        return np.minimum(rgb, 1, out=rgb)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON holds exactly, for `from_dict`."""
        return {
            "name": self.name,
            "is_rgb": self.is_rgb,
            "low": list(self.low),
            "high": list(self.high),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PixelPolicy":
        """Make the policy that `to_dict` wrote.

        Raises:
            ValueError: When the values are not those of a policy.
        """
        try:
            low = tuple(float(value) for value in values["low"])
            high = tuple(float(value) for value in values["high"])
            policy = cls(str(values["name"]), bool(values["is_rgb"]), low, high)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a pixel policy: {dict(values)}") from error
        if len(low) != len(high) or bool(low) == (policy.name == "rgb"):
            raise ValueError(f"not a pixel policy: {dict(values)}")
        return policy

    def _scale(self, plane: NDArray[Any], channel: int) -> NDArray[np.float32]:
        """Scale one channel (H, W) of any dtype to float32 in [0, 1]."""
        # float32 holds 16-bit values exactly; wider ones need float64 until they are small.
        precision = np.result_type(plane.dtype, np.float32).type
        low = precision(self.low[channel])
        span = precision(self.high[channel] - self.low[channel])
        if span == 0:
            # A constant stack has nothing to show; it is black.
            return np.zeros(plane.shape, np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            scaled = plane.astype(precision)
            scaled -= low
            scaled /= span
        if plane.dtype.kind == "f":
            finite = np.isfinite(plane)
            if not finite.all():
                self._warn_not_finite()
                scaled[~finite] = 0
        np.clip(scaled, 0, 1, out=scaled)
        return scaled.astype(np.float32, copy=False)

    def _warn_not_finite(self) -> None:
        if "not finite" not in self._warned:
            self._warned.add("not finite")
            warnings.warn(
                "pixels that are NaN or infinite are treated as the low limit", stacklevel=3
            )


def _check_limits(limits: Limits, num_channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    pairs = np.asarray(limits, dtype=np.float64)
    if pairs.shape == (2,):
        pairs = np.tile(pairs, (num_channels, 1))
    if pairs.shape != (num_channels, 2):
        raise ValueError(
            f"limits={limits!r} must be (low, high), or one such pair for each of "
            f"{num_channels} channels"
        )
    if not np.isfinite(pairs).all() or not (pairs[:, 0] < pairs[:, 1]).all():
        raise ValueError(f"limits={limits!r} must be finite, low below high")
    return tuple(pairs[:, 0].tolist()), tuple(pairs[:, 1].tolist())


def _sample(source: "FrameSource", frame_shape: tuple[int, ...]) -> NDArray[Any]:
    """Return (N, C) values: all of a small stack, else evenly spaced frames and pixels."""
    num_values = math.prod(frame_shape)
    num_frames = source.num_frames
    if num_frames * num_values > _SAMPLE_VALUES:
        num_frames = min(num_frames, _SAMPLE_FRAMES)
    step = math.ceil(math.sqrt(num_frames * num_values / _SAMPLE_VALUES))
    return np.concatenate(list(_sampled_planes(source, num_frames, step)))


def _sampled_planes(source: "FrameSource", num_frames: int, step: int) -> Iterator[NDArray[Any]]:
    for frame_index in np.linspace(0, source.num_frames - 1, num_frames).round().tolist():
        plane = source.read(int(frame_index))[::step, ::step]
        yield plane.reshape(plane.shape[0] * plane.shape[1], -1)


def _percentile_limits(values: NDArray[Any]) -> tuple[float, float]:
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)].astype(np.float64)
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(limit) for limit in np.percentile(values, _PERCENTILES))
    if low == high:
        # A few bright pixels on an even ground lie beyond the percentiles, yet are all there is.
        low, high = float(values.min()), float(values.max())
    return low, high


def _channel_weights(num_channels: int) -> NDArray[np.float32]:
    """Return (C, 3): how much of each channel goes into red, green and blue; columns sum to 1."""
    if num_channels == 1:
        return np.ones((1, 3), np.float32)
    if num_channels == 2:
        return np.array([[1, 0, 1], [0, 1, 0]], np.float32)
    if num_channels == 3:
        return np.eye(3, dtype=np.float32)
    hues = [colorsys.hsv_to_rgb(c / num_channels, 1, 1) for c in range(num_channels)]
    weights = np.array(hues, np.float32)
    return weights / weights.sum(axis=0)
