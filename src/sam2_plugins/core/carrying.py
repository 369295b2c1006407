"""Masks of tracked objects carried from frame to frame."""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sam2_plugins.core.cell_following import CellFollower
from sam2_plugins.core.closeups import whole
from sam2_plugins.core.features import FeatureStore
from sam2_plugins.core.frame_results import FrameResult
from sam2_plugins.core.label_propagation import has_cells_enough
from sam2_plugins.core.looking_back import Look, look_back
from sam2_plugins.core.masklets import Masklet
from sam2_plugins.core.model.values import CERTAIN
from sam2_plugins.core.motion import carry, through_window
from sam2_plugins.core.object_appearance import Appearance, heed_appearance, learn_appearance
from sam2_plugins.core.rules import Rules
from sam2_plugins.core.window_features import WindowFeatures
from sam2_plugins.core.windows import Window

_REACH = 6
"""How many frames ago an object is looked back to at most: as far as memories reach, so that a
stream still has the frame."""
_NEAREST = 2
"""The frame before is what the mask is carried from anyway."""
_LEAST = 0.1
"""Logits: where a mask is nowhere surer, it is not made certain, lest its noise be."""
_PICTURES = _REACH + 2
"""Grey pictures kept of each object, so that earlier frames need not be read again."""


_SURE = 0.75
"""Predicted IoU of the mask where tracking set out, 1 of one that was given, from which on the
object is looked for where it was lost: else what a wrong mask holds is found over and over (from
one click, held-out clips had a J&F of 0.495, and 0.531 with this or without finding again)."""


class Carried(NamedTuple):
    """A mask where it is to be expected.

    Attributes:
        logits: (1, 1, 4 h, 4 w) low-res logits; None where there was nothing to carry.
        likeness: See `LookedBack`.
        is_unknown: The object is none that the networks know, and has cells enough to be told by:
            what they say of it counts less.
        is_found_again: It was lost, and is seen elsewhere.
    """

    logits: Tensor | None = None
    likeness: float = 0.0
    is_unknown: bool = False
    is_found_again: bool = False


class Carrier:
    """Carries masks along with the picture, and holds them against how the object looked.

    Args:
        features: Of the frames, which are seen whole.
        frame_size: (H, W) of the original frames.
        rules: Whether earlier looks and appearance are heeded, and whether things stay.
        knows: See `Redrawing.knows`.
    """

    def __init__(
        self,
        features: FeatureStore,
        frame_size: tuple[int, int],
        *,
        rules: Rules,
        knows: Callable[[Masklet, int | None], bool],
    ) -> None:
        self.features = features
        self._looks_back = rules.looks_back
        # From slice to slice of a stack an object may change its looks, and end beside its like.
        self._learns_appearance = rules.learns_appearance and bool(rules.keeps_alike)
        self._frame_size = frame_size
        self._knows = knows
        self._appearances: dict[str, Appearance | None] = {}
        self._pictures: dict[int, OrderedDict[tuple[int, Window], NDArray[np.uint8]]] = {}
        self._cells = CellFollower(self)

    def carry(
        self, object_id: int, masklet: Masklet, frame_index: int, *, step: int, window: range
    ) -> Carried:
        """The mask of the frame before, as it is to be expected on a frame.

        Args:
            object_id: The object.
            masklet: Its results so far.
            frame_index: The frame.
            step: 1 walking forward, -1 walking backward.
            window: The frames whose results may be remembered.
        """
        near = frame_index - step
        before = masklet.found_on_the_way(near, step=step, window=window)
        if before is None:
            return Carried()
        moved = self._moved(masklet, frame_index, near, before)
        start = masklet.vouched_start(frame_index, step=step) if self._learns_appearance else None
        appearance, is_unknown = None, False
        if start is not None:
            # While that frame is at hand, also of a stream.
            appearance = self._appearance(start, masklet.results[start])
            is_unknown = self._is_unknown(masklet, start)
            if is_unknown and masklet.results[start].predicted_iou >= _SURE:
                found = self._cells.find_again(object_id, masklet, moved, frame_index, start=start)
                if found is not None:
                    return Carried(found, 1.0, is_unknown, is_found_again=True)
        if not (moved > 0).any():
            return Carried(moved)
        likeness = 0.0
        if self._looks_back:
            # While the frame is at hand: it will be looked back to.
            self._picture(object_id, near, before)
            earlier = self._earlier(object_id, masklet, frame_index, step=step, window=window)
            if earlier is not None:
                now = Look(self.features.picture(frame_index), moved, self.window)
                moved, likeness = look_back(now, earlier)
        if start is None or appearance is None:
            return Carried(moved, likeness, is_unknown)
        if is_unknown:
            walk = frame_index, step, window
            moved = self._cells.relabel(object_id, masklet, moved, walk=walk, start=start)
        picture, features = self.features.read(frame_index), self.features.get(frame_index)
        scores = appearance.scores(picture, features)
        moved = heed_appearance(moved, scores, trust=appearance.trust, likeness=likeness)
        return Carried(moved, likeness, is_unknown)

    def forget(self, object_id: int) -> None:
        """Drop the pictures of an object."""
        self._pictures.pop(object_id, None)
        self._cells.forget(object_id)

    def _moved(self, masklet: Masklet, frame_index: int, near: int, before: FrameResult) -> Tensor:
        """The mask of the frame before, moved along with the picture."""
        logits = before.logits.read().to(self.features.model.device)
        if masklet.is_vouched_for(near):
            # However unsure the network was of it: doubts would grow from frame to frame.
            logits = _made_certain(logits)
        return carry(logits, self._motion(frame_index, near, before))

    def _appearance(self, frame_index: int, result: FrameResult) -> Appearance | None:
        """What the object of a result looks like.

        Remembered: of a stream, the frame is soon gone.
        """
        if result.version not in self._appearances:
            self._appearances[result.version] = self._learn(frame_index, result)
        return self._appearances[result.version]

    def _learn(self, frame_index: int, result: FrameResult) -> Appearance | None:
        """What the object of a result looks like on its frame."""
        with self.seen_through(result):
            picture, features = self.features.read(frame_index), self.features.get(frame_index)
            return learn_appearance(picture, features, result.logits.read())

    def _is_unknown(self, masklet: Masklet, start: int) -> bool:
        """Whether an object is none that the networks know, and has cells enough to be told by."""
        # What is known is remembered; the logits have to be unpacked.
        if self._knows(masklet, start):
            return False
        return has_cells_enough(masklet.results[start].logits.read())

    def _earlier(
        self, object_id: int, masklet: Masklet, frame_index: int, *, step: int, window: range
    ) -> Look | None:
        """The earliest look within reach that shows the object, since it was last prompted."""
        found: tuple[int, FrameResult] | None = None
        for age in range(_NEAREST, _REACH + 1):
            frame = frame_index - age * step
            if not masklet.is_tracked(frame + step):
                break
            result = masklet.found_on_the_way(frame, step=step, window=window)
            if result is None:
                break
            if any(result.box):
                found = frame, result
        if found is None:
            return None
        picture = self._picture(object_id, *found)
        return Look(picture, found[1].logits.read(), self.window_of(found[1]))

    def _picture(self, object_id: int, frame_index: int, result: FrameResult) -> NDArray[np.uint8]:
        """A frame in grey, as a result on it was seen."""
        key = (frame_index, self.window_of(result))
        pictures = self._pictures.setdefault(object_id, OrderedDict())
        if key not in pictures:
            with self.seen_through(result):
                pictures[key] = self.features.picture(frame_index)
            while len(pictures) > _PICTURES:
                pictures.popitem(last=False)
        return pictures[key]

    @property
    def window(self) -> Window:
        """What a frame is seen through now."""
        return whole(self._frame_size)

    def window_of(self, result: FrameResult) -> Window:
        """What a result was seen through."""
        return whole(self._frame_size)

    def seen_through(self, result: FrameResult) -> AbstractContextManager[None]:
        """Lets `features` look through what a result was seen through."""
        return nullcontext()

    def _motion(self, frame_index: int, before: int, result: FrameResult) -> Tensor:
        """Where each cell was on another frame, on the grid of the result there."""
        return self.features.motion(frame_index, before)


class WindowCarrier(Carrier):
    """Carries masks that were seen through windows.

    Args:
        features: Of windows.
        plane: (H, W).
        rules: See `Carrier`.
        knows: Likewise.
        window_of: What a result was seen through.
    """

    features: WindowFeatures

    def __init__(
        self,
        features: WindowFeatures,
        plane: tuple[int, int],
        *,
        rules: Rules,
        knows: Callable[[Masklet, int | None], bool],
        window_of: Callable[[FrameResult], Window],
    ) -> None:
        super().__init__(features, plane, rules=rules, knows=knows)
        self._find_window = window_of

    @property
    def window(self) -> Window:
        """See `Carrier.window`."""
        return self.features.window

    def window_of(self, result: FrameResult) -> Window:
        """See `Carrier.window_of`."""
        return self._find_window(result)

    def seen_through(self, result: FrameResult) -> AbstractContextManager[None]:
        """See `Carrier.seen_through`."""
        return self.features.through(self.window_of(result))

    def _motion(self, frame_index: int, before: int, result: FrameResult) -> Tensor:
        motion = super()._motion(frame_index, before, result)
        return through_window(motion, self.window, self.window_of(result))


def _made_certain(logits: Tensor) -> Tensor:
    """The same mask without doubts: (1, 1, h, w) logits of ±CERTAIN within it and around it.

    Cells at the outline are held against the surest beside them, so that it stays where it is
    between the cells: thin and small things are little else.
    """
    surest = functional.max_pool2d(logits.abs(), 3, stride=1, padding=1)
    return logits * (CERTAIN / surest.clamp(_LEAST, CERTAIN))
