"""Which axis of an array is walked, and how one frame is cut out of it."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from sam2_plugins.core.frames.source import Pixels, Selection

Index: TypeAlias = tuple[int | slice, ...]

_CALLER_AXES = "tzcyxs"
_MAX_CHOSEN_CHANNELS = 3


@dataclass(frozen=True, slots=True)
class FrameLayout:
    """How frame k is cut out of an array.

    `template` indexes every axis: fixed axes by an int, the others by a full slice. `walk` is the
    axis that takes the frame index, `colour` the one that takes each of `picks` in turn; either
    may be absent. `picks` is one slice (channels read together) or single channels. `is_time` says
    whether `walk` is the axis t; it has no part in what identifies a stack.
    """

    num_frames: int
    frame_size: tuple[int, int]
    is_rgb: bool
    template: Index
    rows: int
    columns: int
    walk: int | None
    colour: int | None
    picks: Index
    is_time: bool = field(default=False, repr=False)

    def cut(self, array: Any, frame_index: int) -> Pixels:
        """Read frame `frame_index` of `array`: (H, W) or (H, W, C) in the array's dtype."""
        if self.colour is None:
            return self._plane(array, frame_index, None)
        planes = [self._plane(array, frame_index, pick) for pick in self.picks]
        return planes[0] if len(planes) == 1 else np.stack(planes, axis=-1)

    def _plane(self, array: Any, frame_index: int, pick: int | slice | None) -> Pixels:
        index = list(self.template)
        if self.walk is not None:
            index[self.walk] = frame_index
        order = [self.rows, self.columns]
        if self.colour is not None and pick is not None:
            index[self.colour] = pick
            if isinstance(pick, slice):
                order.append(self.colour)
        plane = np.asarray(array[tuple(index)])
        kept = sorted(order)
        return plane.transpose([kept.index(axis) for axis in order])


def plan_layout(
    shape: Sequence[int],
    axes: str | None,
    *,
    selection: Selection,
    rgb_from_file: bool | None,
    name: str,
) -> FrameLayout:
    """Decide how frames are cut out of an array of this shape.

    Args:
        shape: The array's shape.
        axes: One letter per axis from the source's own metadata, or None when it has none. The
            caller's own, in `selection`, win.
        selection: What the caller chose.
        rgb_from_file: Whether the source's own metadata says its colour axis is RGB.
        name: What to call the source in messages.

    Raises:
        ValueError: When the shape is empty, or the axes do not fit it or leave a choice open.
    """
    stack = _Stack.named(tuple(int(length) for length in shape), axes, selection, name)
    fixed = stack.fixed(selection.at)
    walk = stack.walked(fixed)
    colour = stack.colour(fixed)
    is_rgb = _is_rgb(stack, colour, selection.rgb, rgb_from_file)
    rows, columns = stack.axes.index("y"), stack.axes.index("x")
    spread = {rows, columns, walk, colour}
    return FrameLayout(
        num_frames=1 if walk is None else stack.shape[walk],
        frame_size=(stack.shape[rows], stack.shape[columns]),
        is_rgb=is_rgb and selection.channels is None,
        template=tuple(
            slice(None) if axis in spread else fixed.get(axis, 0)
            for axis in range(len(stack.shape))
        ),
        rows=rows,
        columns=columns,
        walk=walk,
        colour=colour,
        picks=_picked_channels(stack, colour, selection.channels, is_rgb),
        is_time=walk is not None and stack.axes[walk] == "t",
    )


@dataclass(frozen=True, slots=True)
class _Stack:
    """A shape with a letter per axis, and the name of its source for messages."""

    shape: tuple[int, ...]
    axes: str
    name: str

    @classmethod
    def named(
        cls, shape: tuple[int, ...], axes: str | None, selection: Selection, name: str
    ) -> "_Stack":
        if 0 in shape:
            raise ValueError(f"{name}: is empty; its shape is {shape}")
        if selection.axes is not None:
            return cls(shape, _check_axes(selection.axes, shape, name), name)
        if axes is None:
            axes = _default_axes(shape, bool(selection.rgb), name)
        return cls(shape, axes, name)

    def __str__(self) -> str:
        return f"axes {self.axes!r} with shape {self.shape}"

    def fixed(self, at: Mapping[str, int]) -> dict[int, int]:
        """Turn letters and positions into axes and positions."""
        fixed = {}
        for letter, position in at.items():
            if letter in "yx" or self.axes.count(letter) != 1:
                raise ValueError(
                    f"{self.name}: {letter}={position} names no axis of {self} to stay at; "
                    "name the axes, such as axes zyx"
                )
            axis = self.axes.index(letter)
            if not 0 <= position < self.shape[axis]:
                last = self.shape[axis] - 1
                raise ValueError(
                    f"{self.name}: {letter}={position} is outside; {letter} is 0 to {last}"
                )
            fixed[axis] = operator.index(position)
        return fixed

    def walked(self, fixed: Mapping[int, int]) -> int | None:
        """Return the axis to walk: the only free one that is longer than 1, else any free one."""
        free = [i for i, letter in enumerate(self.axes) if letter not in "yxcs" and i not in fixed]
        long = [i for i in free if self.shape[i] > 1]
        if len(long) > 1:
            letters = [self.axes[i] for i in long]
            known = set(letters) <= set(_CALLER_AXES)
            hint = (
                f"stay at one index of {letters[-1]}, such as at {letters[-1]}=0"
                if known
                else "name the axes, such as axes tyxc"
            )
            raise ValueError(
                f"{self.name}: {self} can be walked along {' or '.join(letters)}; {hint}"
            )
        return next(iter(long or free), None)

    def colour(self, fixed: Mapping[int, int]) -> int | None:
        """Return the axis of channels or colour samples, if one is longer than 1."""
        long = [
            i
            for i, letter in enumerate(self.axes)
            if letter in "cs" and i not in fixed and self.shape[i] > 1
        ]
        if len(long) > 1:
            raise ValueError(
                f"{self.name}: {self} has channels in both c and s; "
                "stay at one index of c, such as at c=0"
            )
        return long[0] if long else None


def _check_axes(axes: str, shape: tuple[int, ...], name: str) -> str:
    axes = axes.lower()
    for letter in axes:
        if letter not in _CALLER_AXES:
            raise ValueError(
                f"{name}: unknown axis {letter!r} in axes {axes!r}; "
                f"letters are {', '.join(_CALLER_AXES)}"
            )
    if len(set(axes)) != len(axes) or not {"y", "x"} <= set(axes):
        raise ValueError(f"{name}: axes {axes!r} must name y and x, and no letter twice")
    if len(axes) != len(shape):
        raise ValueError(
            f"{name}: {axes!r} names {len(axes)} axes but the shape {shape} has {len(shape)}"
        )
    return axes


def _default_axes(shape: tuple[int, ...], rgb: bool, name: str) -> str:
    choices = {2: "yx", 3: "yxs", 4: "tyxs"} if rgb else {2: "yx", 3: "tyx", 4: "tyxc"}
    if len(shape) not in choices:
        raise ValueError(
            f"{name}: the shape {shape} does not say which axis is which; "
            "name the axes, such as axes tzcyx"
        )
    return choices[len(shape)]


def _is_rgb(
    stack: _Stack, colour: int | None, rgb: bool | None, rgb_from_file: bool | None
) -> bool:
    can_be_rgb = colour is not None and stack.shape[colour] in (3, 4)
    if rgb and not can_be_rgb:
        raise ValueError(f"{stack.name}: rgb=True needs 3 or 4 colours last; found {stack}")
    if rgb is not None:
        return rgb
    if rgb_from_file is not None:
        return rgb_from_file and can_be_rgb
    # The letter s stands for the samples of a colour; c is for channels of any kind.
    return colour is not None and can_be_rgb and stack.axes[colour] == "s"


def _picked_channels(
    stack: _Stack, colour: int | None, channels: int | Sequence[int] | None, is_rgb: bool
) -> Index:
    num_channels = 1 if colour is None else stack.shape[colour]
    if channels is None:
        return (slice(0, 3 if is_rgb else num_channels),)
    chosen = np.atleast_1d(np.asarray(channels))
    if chosen.dtype.kind not in "ui" or not 1 <= chosen.size <= _MAX_CHOSEN_CHANNELS:
        raise ValueError(
            f"{stack.name}: channels {channels!r} must be 1 to {_MAX_CHOSEN_CHANNELS} indices"
        )
    for channel in chosen.tolist():
        if not 0 <= channel < num_channels:
            raise ValueError(
                f"{stack.name}: no channel {channel}; channels are 0 to {num_channels - 1}"
            )
    return tuple(chosen.tolist())
