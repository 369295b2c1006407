"""What tracking finds, frame by frame, and how far it has come."""

from collections.abc import Callable, Generator, Iterator

from sam2_plugins.core.masks import FrameMasks
from sam2_plugins.core.propagation import Visits
from sam2_plugins.core.walking import Visited


class TrackedFrames(Iterator[FrameMasks]):
    """The masks of one run, as they are computed.

    Attributes:
        num_visits: Frames that are visited; those that are tracked from both sides count twice.
        num_visited: How many of them are behind it, whether they had anything new or not: at the
            end `num_visits`, and never less than before.
        share: How much of all is behind it, 0 to 1, some objects of a frame included.
        under_way: Frames of which some objects have got something new, and others are still to
            come; if it ends between them, nothing has told of these frames.

    Args:
        visited: Does the work.
        visits: What will be visited.
        masks: All that is known of a frame.
    """

    def __init__(
        self,
        visited: Iterator[Visited],
        visits: Visits,
        *,
        masks: Callable[[int], FrameMasks],
    ) -> None:
        self.num_visits = len(visits)
        self.num_visited = 0
        self.share = 0.0
        self.under_way: list[int] = []
        self._visits = visits
        self._masks = masks
        self._found = self._follow(visited)

    def __next__(self) -> FrameMasks:
        """Track until a frame gets something new."""
        return next(masks for masks in self._found if masks is not None)

    def steps(self) -> Iterator[FrameMasks | None]:
        """The same in smaller steps: None between two objects of a frame.

        For whoever has other things to do meanwhile: a frame with hundreds of objects takes long.
        """
        return self._found

    def close(self) -> None:
        """End here. All that was found is kept."""
        self._found.close()

    def _follow(self, visited: Iterator[Visited]) -> Generator[FrameMasks | None, None, None]:
        for visit, news, share in visited:
            is_counted = visit in self._visits
            is_whole = share == 1
            self.num_visited += is_counted and is_whole
            part = share if is_counted and not is_whole else 0.0
            self.share = (self.num_visited + part) / max(self.num_visits, 1)
            self.under_way = [] if is_whole else news
            if is_whole:
                yield from map(self._masks, news)
            else:
                yield None
