"""An image that another program has handed over, and handing back what was said anew. No Qt.

The tracker knows only what is said here. Where it has nothing, the masks that came with the image
are shown, and a click on such a mask corrects that mask. What is handed back is where something
was said anew, and the masks that the tracker has.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from sam2_plugins.core import FrameMasks, HandedPrompt, Handover, read_handover, write_handover
from sam2_plugins.napari_plugin.document import Document, ObjectFacts, Step
from sam2_plugins.napari_plugin.frame_labels import FrameLabels, frame_labels
from sam2_plugins.napari_plugin.journal import Journal
from sam2_plugins.napari_plugin.layers import Plane, choose_plane
from sam2_plugins.napari_plugin.messages import Status
from sam2_plugins.napari_plugin.prompts import (
    Click,
    Drawing,
    MaskPixels,
    PromptKey,
    SlicePrompts,
    make_orders,
)

if TYPE_CHECKING:
    from napari.layers import Image

    from sam2_plugins.napari_plugin.viewer_session import ViewerSession

GIVEN, RETURNED, UNSENT, AUTOSAVE = "given", "returned", "unsent", "autosave"
"""In the session's folder: what came, what goes back, whether something waits, and the work."""


class HandedOver:
    """One image from elsewhere.

    Args:
        session: Of the viewer; nothing must have been opened in it yet.
        folder: Holds the handover.

    Attributes:
        handover: What came.
        controller: Of the viewer.

    Raises:
        FileNotFoundError: There is no handover in the folder.
        ValueError: It is damaged.
    """

    sent = Signal(int)

    def __init__(self, session: "ViewerSession", folder: Path) -> None:
        self.handover, self._given = read_handover(folder / GIVEN)
        self.folder = folder
        self._session = session
        self.controller = session.controller
        self.controller.autosave_folder = folder / AUTOSAVE
        self._given_ids = [frame.object_ids.tolist() for frame in self._given]
        self._tracked: dict[int, set[int]] = {}
        self._beneath: dict[PromptKey, MaskPixels] = {}
        self._hidden: frozenset[int] = frozenset()
        self._num_steps = 0
        self._exports = count()
        self._sending: tuple[Path, Handover, int] | None = None

    def show(self, layer: "Image") -> None:
        """Show the image with what is known of it.

        Args:
            layer: Of the handover's frames; (T, H, W), not in the viewer yet.
        """
        controller, handover = self.controller, self.handover
        self._session.viewer.add_layer(layer)
        self._session.choose([layer])
        binding = self._session.active
        assert binding is not None, self._session.problem
        self._binding = binding
        document = self._document = binding.document
        shape = document.stack.shape
        self._plane: Plane = choose_plane(shape, (1, 2), point=np.zeros(3))
        self.said = {
            PromptKey(self._plane, frame_index, object_id): said_of(prompt)
            for (frame_index, object_id), prompt in handover.prompts.items()
        }
        document.ours |= set(handover.names)
        document.objects |= {key: ObjectFacts(name) for key, name in handover.names.items()}
        for frame_index in range(handover.num_frames):
            self._draw(frame_index)
        controller.masks_changed.connect(self._on_masks)
        controller.objects_changed.connect(self._on_objects)
        controller.status_changed.connect(self._on_status)
        controller.failed.connect(self._on_failure)
        signature = document.stack.signature
        if Journal(self.folder / AUTOSAVE / signature, signature).num_objects:
            controller.restore()
        elif self.said:
            controller.set_prompts(self.said.items(), "handed over")
            document.done.clear()
            binding.controller.prompts_changed.emit()
        controller.stepped.connect(self._on_step)
        if handover.names:
            controller.select_object(min(handover.names))

    @property
    def anew(self) -> dict[PromptKey, SlicePrompts]:
        """What is said otherwise than when the image came; empty where it was taken back."""
        now = self._document.prompts
        changed = {key: said for key, said in now.items() if self.said.get(key) != said}
        return changed | {key: SlicePrompts() for key in self.said if key not in now}

    @property
    def is_sending(self) -> bool:
        """Whether something is on its way back."""
        return self._sending is not None

    def send_back(self) -> None:
        """Hand back what was said anew, as soon as all of it is computed; `sent` tells when.

        Raises:
            ValueError: Nothing was.
        """
        anew = self.anew
        if not anew:
            raise ValueError("nothing was changed: there is nothing to send back")
        prompts = {key: said for key, said in anew.items() if not said.is_empty}
        names = {key: facts.name for key, facts in self._document.objects.items()}
        back = replace(
            self.handover,
            names=names,
            prompts={(k.frame_index, k.object_id): handed(s, k) for k, s in prompts.items()},
            cleared=frozenset((k.frame_index, k.object_id) for k in anew.keys() - prompts.keys()),
        )
        path = self.folder / f".masks-{next(self._exports)}.json"
        self._sending = path, back, self._num_steps
        self.controller.export(str(path))

    # Inside

    def _on_status(self, status: Status) -> None:
        if self._sending is None or not self._sending[0].exists():
            return
        (path, back, num_steps), self._sending = self._sending, None
        try:
            write_handover(self.folder / RETURNED, back, path)
        except OSError as error:
            self.controller.failed.emit(str(error))
            return
        if num_steps == self._num_steps:
            (self.folder / UNSENT).unlink(missing_ok=True)
        self.sent.emit(len(back.prompts) + len(back.cleared))

    def _on_failure(self, message: str) -> None:
        self._sending = None

    def _on_step(self, step: Step) -> None:
        """A first click on a mask that came with the image is a correction of it."""
        if self.controller.document is not self._document:
            return
        changed = {}
        for key, said in step.after.items():
            beneath = self._mask_beneath(key)
            is_first = step.before.get(key, SlicePrompts()).is_empty
            if beneath is not None and is_first and is_correction(said):
                self._beneath[key] = beneath
                changed[key] = replace(said, mask=beneath)
            elif said == SlicePrompts(mask=self._beneath.get(key)):
                changed[key] = SlicePrompts()
        step.after |= changed
        self._document.set_prompts(changed)
        if step.after:
            self._num_steps += 1
            (self.folder / UNSENT).touch()

    def _mask_beneath(self, key: PromptKey) -> MaskPixels | None:
        """What is shown of an object on a frame, where the tracker has nothing of it."""
        frame_index, object_id = key.frame_index, key.object_id
        is_known = object_id in self._tracked.get(frame_index, ())
        if key.plane != self._plane or is_known or object_id not in self._given_ids[frame_index]:
            return None
        row = self._given_ids[frame_index].index(object_id)
        return MaskPixels.pack(self._given[frame_index].masks[row])

    def _on_masks(self, document: Document, found: FrameLabels) -> None:
        if document is self._document and found.plane == self._plane:
            self._tracked[found.frame_index] = set(found.scores)
            self._draw(found.frame_index, found)

    def _on_objects(self) -> None:
        """Masks of an object that was removed go with it, and come back with it."""
        prompted = {key.object_id for key in self._document.prompts}
        hidden = frozenset({key.object_id for key in self.said} - prompted)
        changed, self._hidden = hidden ^ self._hidden, hidden
        if not changed:
            return
        for frame_index, ids in enumerate(self._given_ids):
            if changed & set(ids) and not self._tracked.get(frame_index):
                self._draw(frame_index)
        self.controller.redraw(self._document)

    def _draw(self, frame_index: int, found: FrameLabels | None = None) -> None:
        """Show what came with the image of objects of which the tracker has nothing."""
        known = {} if found is None else found.scores
        missing = [i for i in self._given_ids[frame_index] if i not in {*known, *self._hidden}]
        if not missing and (found is not None or not self._given_ids[frame_index]):
            return
        given = self._given[frame_index]
        rows = np.isin(given.object_ids, missing)
        masks = [found.mask(object_id) for object_id in known] if found is not None else []
        scores = np.array([known[i][:2] for i in known], np.float32).reshape(-1, 2)
        joined = FrameMasks(
            frame_index,
            np.concatenate([np.array([*known], np.int64), given.object_ids[rows]]),
            np.concatenate([np.reshape(masks, (-1, *given.masks.shape[1:])), given.masks[rows]]),
            np.concatenate([scores[:, 0], given.predicted_iou[rows]]),
            np.concatenate([scores[:, 1], given.object_score_logits[rows]]),
        )
        labels = frame_labels(self._plane, replace(joined, masks=joined.masks.astype(bool)))
        self._document.take_scores(self._plane, frame_index, labels.scores)
        self._binding.masks.draw(labels)


def is_correction(said: SlicePrompts) -> bool:
    """Whether there are only clicks and strokes, which say what to change and not what is there."""
    return said.mask is None and all(drawing.is_stroke for drawing in said.drawings)


def said_of(prompt: HandedPrompt) -> SlicePrompts:
    """A prompt as the layers have it: coordinates are as exact as those of napari's shapes."""
    points = np.asarray(prompt.points, np.float32).reshape(-1, 2).tolist()
    drawings: tuple[Drawing, ...] = ()
    if prompt.box is not None:
        x0, y0, x1, y1 = np.asarray(prompt.box, np.float32).tolist()
        drawings = (Drawing("rectangle", ((x0, y0), (x1, y0), (x1, y1), (x0, y1))),)
    return SlicePrompts(
        tuple(Click(x, y, int(k)) for (x, y), k in zip(points, prompt.point_labels, strict=True)),
        drawings,
        None if prompt.mask is None else MaskPixels.pack(prompt.mask),
    )


def handed(said: SlicePrompts, key: PromptKey) -> HandedPrompt:
    """What is said on a frame, as it is handed back."""
    orders = make_orders(said, key.plane)
    return HandedPrompt(
        tuple((click.x, click.y) for click in orders.clicks),
        tuple(click.label for click in orders.clicks),
        orders.box,
        None if orders.mask is None else orders.mask.unpack(),
    )


def describe(handover: Handover, changed: Mapping[PromptKey, SlicePrompts]) -> str:
    """What came, and what would go back, in words."""
    if not changed:
        return f"{handover.title}: nothing to send back yet"
    frames, objects = ({key[i] for key in changed} for i in (1, 2))
    return f"{handover.title}: {len(objects)} objects changed on {len(frames)} frames"
