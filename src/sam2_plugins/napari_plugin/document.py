"""What a person has said of one image, and what the window knows of the answers."""

from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from sam2_plugins.napari_plugin.frame_labels import Score
from sam2_plugins.napari_plugin.frames import ImageStack
from sam2_plugins.napari_plugin.layers import Plane
from sam2_plugins.napari_plugin.prompts import NEGATIVE, POSITIVE, PromptKey, SlicePrompts
from sam2_plugins.napari_plugin.session import Knowledge

if TYPE_CHECKING:
    from sam2_plugins.napari_plugin.messages import Restorable, Saving


class PlaneObject(NamedTuple):
    """One object in one plane's frames."""

    plane: Plane
    object_id: int


@dataclass(eq=False)
class Step:
    """One step of undo: prompts before and after, and the tracker's edits that made it.

    Attributes:
        what: In words.
        before: Prompts as they were; empty ones where there were none.
        after: Prompts as they became.
        edits: (plane, number of changes) in the order they were made; the worker's thread adds
            them.
        num_jobs: Of the worker, that may still add to it.
        replaced: Steps that could have been made again before; they can again if it comes to
            nothing.
    """

    what: str
    before: dict[PromptKey, SlicePrompts] = field(default_factory=dict)
    after: dict[PromptKey, SlicePrompts] = field(default_factory=dict)
    edits: list[tuple[Plane, int]] = field(default_factory=list)
    num_jobs: int = 0
    replaced: "list[Step]" = field(default_factory=list)

    @property
    def is_void(self) -> bool:
        """Whether there is nothing to be taken back."""
        return not self.after and not any(count for _, count in self.edits)


@dataclass
class ObjectFacts:
    """What a person says of an object besides prompts."""

    name: str = ""
    is_committed: bool = False


@dataclass(eq=False)
class Document:
    """Prompts, objects and scores of one image; only the thread of the window changes it.

    Attributes:
        stack: The image.
        prompts: As they are wanted.
        objects: By id.
        scores: By plane and object, by frame index.
        knowledge: By plane.
        done: Steps that can be undone.
        undone: Steps that can be made again.
        current_object: New prompts are of this object.
        polarity: "positive" or "negative", of new prompts.
        ours: Every id that was ever drawn: their pixels are ours to redraw.
        saving: Where all this is saved; None while that is not known.
        earlier: Work that can be restored; None while that is not known.
    """

    stack: ImageStack
    prompts: dict[PromptKey, SlicePrompts] = field(default_factory=dict)
    objects: dict[int, ObjectFacts] = field(default_factory=lambda: {1: ObjectFacts()})
    scores: dict[PlaneObject, dict[int, Score]] = field(default_factory=dict)
    knowledge: dict[Plane, Knowledge] = field(default_factory=dict)
    done: list[Step] = field(default_factory=list)
    undone: list[Step] = field(default_factory=list)
    current_object: int = 1
    polarity: str = POSITIVE
    ours: set[int] = field(default_factory=set)
    saving: "Saving | None" = None
    earlier: "Restorable | None" = None

    def snapshot(self) -> "Document":
        """A copy that stays as it is, for another thread to read."""
        return replace(
            self,
            prompts=dict(self.prompts),
            objects={i: replace(facts) for i, facts in self.objects.items()},
            knowledge=dict(self.knowledge),
            ours=set(self.ours),
        )

    def set_prompts(self, changes: dict[PromptKey, SlicePrompts]) -> None:
        """Take prompts over; empty ones remove."""
        for key, prompts in changes.items():
            if prompts.is_empty:
                self.prompts.pop(key, None)
            else:
                self.prompts[key] = prompts
                self.objects.setdefault(key.object_id, ObjectFacts())
                self.ours.add(key.object_id)

    def record(self, step: Step) -> None:
        """Make a step the last one."""
        self.done.append(step)
        step.replaced = [*self.undone]
        self.undone.clear()

    def extend(self, step: Step, said: dict[PromptKey, SlicePrompts]) -> None:
        """Say more in the last step; what was undone cannot be made again after that."""
        self.undone.clear()
        before = {key: self.prompts.get(key, SlicePrompts()) for key in said}
        # The worker may be reading: what it has must not change.
        step.before, step.after = {**before, **step.before}, {**step.after, **said}
        self.set_prompts(said)

    def drop(self, step: Step) -> None:
        """Forget a step that came to nothing; what it took the place of can be made again."""
        order = [*self.done, *reversed(self.undone)]
        later = order[order.index(step) + 1 :] if step in order else []
        if later:
            later[0].replaced = later[0].replaced or step.replaced
        elif step in self.undone:
            self.undone[:0] = step.replaced
        elif step in self.done:
            self.undone[:] = step.replaced
        self.done[:] = [other for other in self.done if other is not step]
        self.undone[:] = [other for other in self.undone if other is not step]

    def refuse(self, step: Step, key: PromptKey) -> None:
        """Forget what a step says of an object on a frame: what was said before is in force.

        Prompts that were said since, before it was known, have not been refused.
        """
        was = step.before.get(key, SlicePrompts())
        step.before = {other: said for other, said in step.before.items() if other != key}
        step.after = {other: said for other, said in step.after.items() if other != key}
        order = [*self.done, *reversed(self.undone)]
        # A step that cannot be undone came before all that can.
        since = order[order.index(step) + 1 :] if step in order else order
        later = next((other for other in since if key in other.after), None)
        if later is not None:
            later.before = {**later.before, key: was}
        if step not in self.undone and later not in self.done:
            self.set_prompts({key: was})

    def has_prompts(self, object_id: int) -> bool:
        """Whether anything is said of an object."""
        return any(key.object_id == object_id for key in self.prompts)

    def is_found_elsewhere(self, key: PromptKey) -> bool:
        """Whether another frame has prompts of an object, or a mask that a restart left locked."""
        known = self.knowledge.get(key.plane)
        locked = frozenset() if known is None else known.confirmed.get(key.object_id, frozenset())
        said = (other for other in self.prompts if other.object_id == key.object_id)
        return bool(locked - {key.frame_index}) or any(other != key for other in said)

    def is_committed(self, object_id: int) -> bool:
        """Whether an object is finished."""
        facts = self.objects.get(object_id)
        return facts is not None and facts.is_committed

    def planes(self) -> list[Plane]:
        """Planes with prompts, each once."""
        return list(dict.fromkeys(key.plane for key in self.prompts))

    def open_objects(self) -> list[int]:
        """Objects with prompts that are not committed; all with prompts where all are."""
        prompted = {key.object_id for key in self.prompts}
        return sorted(i for i in prompted if not self.is_committed(i)) or sorted(prompted)

    def shown_prompts(self) -> dict[PromptKey, SlicePrompts]:
        """Prompts that belong on the layers: those of objects that are not committed."""
        return {
            key: prompts
            for key, prompts in self.prompts.items()
            if not self.is_committed(key.object_id)
        }

    def next_object(self, at_least: int = 1) -> int:
        """An id that no object has."""
        return max([at_least - 1, *self.objects, *self.ours]) + 1

    def unused_object(self, at_least: int = 1) -> int:
        """The lowest id of which nothing is said or known, and which is not about to be used."""
        used = {key.object_id for key in self.prompts}
        for known in self.knowledge.values():
            used.update(known.prompted, known.confirmed)
        if self.prompts:
            used.add(self.current_object)
        return next(i for i in count(at_least) if i not in used)

    def frames_of(self, object_id: int) -> set[tuple[Plane, int]]:
        """Frames on which an object has a mask."""
        return {
            (plane, frame)
            for (plane, of), scores in self.scores.items()
            if of == object_id
            for frame, score in scores.items()
            if score.area
        }

    def take_scores(self, plane: Plane, frame_index: int, scores: dict[int, Score]) -> None:
        """Take over the scores of all objects on a frame."""
        for (of_plane, object_id), known in self.scores.items():
            if of_plane == plane and object_id not in scores:
                known.pop(frame_index, None)
        for object_id, score in scores.items():
            self.scores.setdefault(PlaneObject(plane, object_id), {})[frame_index] = score

    def is_confirmed(self, plane: Plane, object_id: int, frame_index: int) -> bool:
        """Whether a mask is locked."""
        known = self.knowledge.get(plane)
        return known is not None and frame_index in known.confirmed.get(object_id, frozenset())

    def flip_polarity(self) -> None:
        """New prompts are of the other polarity."""
        self.polarity = NEGATIVE if self.polarity == POSITIVE else POSITIVE
