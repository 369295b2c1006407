"""How a tracker sees frames: whole, or each object through a window of its own."""

from typing import Any

from sam2_plugins.core.closeup_segmenting import TRACKING_SIDE, CloseupSegmenter
from sam2_plugins.core.closeups import closeup_side, whole
from sam2_plugins.core.config import ModelConfig
from sam2_plugins.core.features import FeatureStore
from sam2_plugins.core.frame_results import FrameResult
from sam2_plugins.core.masklets import MaskletStore
from sam2_plugins.core.masks import FrameMasks
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.placed_masks import PlacedMasks, PlacedRow, crop_of
from sam2_plugins.core.rgb_frames import RGBFrames
from sam2_plugins.core.rules import Rules
from sam2_plugins.core.segmenting import Segmenter
from sam2_plugins.core.window_features import WindowFeatures
from sam2_plugins.core.window_segmenting import WindowSegmenter
from sam2_plugins.core.windows import Window

_READY = 4
"""Windows that `WindowSight.encode` makes ready."""


def default_window_side(config: ModelConfig, *, exact: bool) -> int | None:
    """Of the smallest window that a model looks through; None for one that sees frames whole."""
    return TRACKING_SIDE if sees_closeups(config, exact=exact) else None


def sees_closeups(config: ModelConfig, *, exact: bool) -> bool:
    """Whether a tracker looks as near as it can; not by the rules of the published one."""
    return config.closeup_size is not None and not exact


class Sight:
    """Sees frames whole.

    Args:
        model: In evaluation mode.
        rgb: The frames.
        options: Of `FeatureStore`.
    """

    name = ""
    """What a session says of it: one kind could not go on with what another remembers."""

    def __init__(self, model: SAM2, rgb: RGBFrames, **options: Any) -> None:
        self.model = model
        self.features = FeatureStore(model, rgb.read, **options)

    def make_segmenter(
        self, rules: Rules, frame_size: tuple[int, int], *, is_stream: bool
    ) -> Segmenter:
        """What segments the frames."""
        return Segmenter(
            self.model, self.features, rules=rules, frame_size=frame_size, is_stream=is_stream
        )

    def encode(self, frame_index: int, store: MaskletStore) -> None:
        """Make a frame ready for clicks."""
        self.features.get(frame_index)

    def masks(
        self, frame_index: int, store: MaskletStore, frame_size: tuple[int, int]
    ) -> FrameMasks:
        """What is known of a frame."""
        return store.frame_masks(frame_index, frame_size)

    def describe(self, store: MaskletStore) -> dict[str, Any]:
        """What a session must keep of it."""
        return {}

    def restore(self, header: dict[str, Any]) -> None:
        """Take up what a session has kept."""


class WindowSight(Sight):
    """Sees every object through a window of its own, which follows it.

    Args:
        model: In evaluation mode.
        rgb: The frames.
        side: Of the smallest window.
        exact: See `VideoTracker`.
        options: Of `FeatureStore`; what is kept in memory is counted in windows.
    """

    name = " in windows"

    def __init__(
        self, model: SAM2, rgb: RGBFrames, *, side: int, exact: bool, **options: Any
    ) -> None:
        self.model = model
        self.side = side
        self._sees_closeups = sees_closeups(model.config, exact=exact)
        if self._sees_closeups:
            near = closeup_side(model.config, model.image_size)
            # Where windows would be no finer than the whole plane, it is seen at full size.
            options |= {"side": near, "small_plane": side * model.image_size // near}
        self.features: WindowFeatures = WindowFeatures(model, rgb, **options)
        self._windows: dict[str, Window] = {}
        self._source = rgb.source

    def make_segmenter(
        self, rules: Rules, frame_size: tuple[int, int], *, is_stream: bool
    ) -> WindowSegmenter:
        """See `Sight.make_segmenter`."""
        kind = CloseupSegmenter if self._sees_closeups else WindowSegmenter
        return kind(
            *(self.model, self.features),
            rules=rules,
            plane=frame_size,
            side=max(frame_size) if self.features.has_small_planes else self.side,
            windows=self._windows,
            is_stream=is_stream,
        )

    def window_of(self, result: FrameResult) -> Window:
        """The window through which a result was seen; the whole plane if none is known."""
        return self._windows.get(result.version, whole(self._source.frame_size))

    def encode(self, frame_index: int, store: MaskletStore) -> None:
        """Encode what is seen of objects on a frame; all of it, where there are none."""
        found = [
            masklet.results[frame_index]
            for masklet in store.masklets.values()
            if frame_index in masklet.results
        ]
        windows = [self.window_of(result) for result in found[:_READY]]
        for window in windows or [whole(self._source.frame_size)]:
            with self.features.through(window):
                self.features.get(frame_index)

    def masks(
        self, frame_index: int, store: MaskletStore, frame_size: tuple[int, int]
    ) -> FrameMasks:
        """What is known of a frame; see `PlacedMasks`."""
        rows, within = [], store.shown_within
        for object_id, masklet in sorted(store.masklets.items()):
            result = masklet.results.get(frame_index)
            if result is not None:
                scores = result.predicted_iou, result.object_score_logit
                said = masklet.prompt_distance(frame_index), within.get(object_id, 0)
                placed = crop_of(result.mask, result.box)
                rows.append(PlacedRow(object_id, *scores, *said, *placed))
        return PlacedMasks(frame_index, frame_size, rows)

    def describe(self, store: MaskletStore) -> dict[str, Any]:
        """The windows through which results were seen, by version."""
        kept = {
            result.version
            for masklet in store.masklets.values()
            for result in (*masklet.results.values(), *(p.base for p in masklet.prompts.values()))
            if result is not None
        }
        return {"windows": {v: list(w) for v, w in self._windows.items() if v in kept}}

    def restore(self, header: dict[str, Any]) -> None:
        """Take up the windows of a session's results."""
        self._windows.update({v: Window(*w) for v, w in header.get("windows", {}).items()})


def check_window_side(side: int | None) -> int | None:
    """Return the side of the smallest window, or say what is wrong with it.

    Raises:
        ValueError: It is less than 1.
    """
    if side is not None and side < 1:
        raise ValueError(f"window_side must be 1 pixel or more, not {side}")
    return side


def make_sight(
    model: SAM2, rgb: RGBFrames, *, side: int | None, exact: bool, **options: Any
) -> Sight:
    """The sight through windows of at least `side` pixels, or, for None, of whole frames."""
    if side is None:
        return Sight(model, rgb, **options)
    return WindowSight(model, rgb, side=side, exact=exact, **options)
