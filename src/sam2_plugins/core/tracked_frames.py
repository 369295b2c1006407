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
        self._visits = visits
        self._masks = masks
        self._found = self._follow(visited)

    def __next__(self) -> FrameMasks:
        """Track until a frame gets something new."""
        return next(self._found)

    def close(self) -> None:
        """End here. All that was found is kept."""
        self._found.close()

    def _follow(self, visited: Iterator[Visited]) -> Generator[FrameMasks, None, None]:
        for visit, news in visited:
            self.num_visited += visit in self._visits
            yield from map(self._masks, news)
