"""What the axes of an image mean, by their names: pure functions.

The names are napari's own `axis_labels`. An axis has a role if its name says so; a person gives an
axis a role by naming it.
"""

from collections.abc import Sequence

ROLE_NAMES = {
    "time": ("t", "time", "frame", "frames"),
    "depth": ("z", "depth", "slice", "slices", "plane"),
    "channel": ("c", "channel", "channels"),
}
"""Names of each role; the first is the one that is given."""


def axis_role(label: str) -> str | None:
    """What an axis label says: "time", "depth", "channel" or None."""
    name = label.strip().lower()
    return next((role for role, names in ROLE_NAMES.items() if name in names), None)


def axis_with_role(labels: Sequence[str], role: str) -> int | None:
    """The first axis that has a role, if one has."""
    roles = [axis_role(label) for label in labels]
    return roles.index(role) if role in roles else None


def give_role(labels: Sequence[str], axis: int | None, role: str) -> tuple[str, ...]:
    """The labels after an axis was given a role; any other that had it is nameless then.

    Args:
        labels: One per axis.
        axis: None if no axis has that role.
        role: "time", "depth" or "channel".
    """
    ndim = len(labels)
    # Nameless axes are called as napari calls them: by their number from the end.
    found = [str(a - ndim) if axis_role(x) == role else x for a, x in enumerate(labels)]
    if axis is not None:
        found[axis] = ROLE_NAMES[role][0]
    return tuple(found)


def axis_title(labels: Sequence[str], axis: int) -> str:
    """What to call an axis: by its name, else by its number."""
    label = labels[axis].strip() if axis < len(labels) else ""
    is_nameless = not label or label.lstrip("-").isdigit()
    return f"axis {axis}" if is_nameless else label


def walkable_axes(
    shape: Sequence[int], displayed: Sequence[int], channel_axis: int | None = None
) -> list[int]:
    """Axes that could be walked: those not displayed, longer than 1, and not of channels."""
    held = {*displayed, channel_axis}
    return [axis for axis in range(len(shape)) if axis not in held and shape[axis] > 1]
