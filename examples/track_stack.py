"""Track two objects through a stack, correct one, and save a label image."""

import sys

from sam2_plugins.core import VideoTracker, load_model, save_masks
from sam2_plugins.core.samples import nuclei_stack

sample = nuclei_stack((12, 96, 96), num_nuclei=8)
first, second = 1, 2  # object ids are yours to choose
tracker = VideoTracker(load_model(), sample.images)  # any (T, H, W[, C]) array, or a path


def box_of(frame_index: int, object_id: int) -> list[int]:
    """A box around a nucleus, as a person would draw it."""
    rows, columns = (sample.labels[frame_index] == object_id).nonzero()
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def middle_slice(object_id: int) -> int:
    """The slice where a nucleus is largest."""
    return int((sample.labels == object_id).sum(axis=(1, 2)).argmax())


for object_id in (first, second):
    frame_index = middle_slice(object_id)
    preview = tracker.set_box(frame_index, object_id, box_of(frame_index, object_id))
    print(f"object {object_id} on slice {frame_index}: {preview.masks[-1].sum()} pixels")

for frame in tracker.propagate():  # both ways from the prompts
    print(f"slice {frame.frame_index}: objects {frame.object_ids.tolist()}")

# The slice most worth a look; what is corrected there stays, and only what follows is redone.
doubtful = tracker.suggest_frame(first)
if doubtful is not None and (sample.labels[doubtful] == first).any():
    tracker.set_box(doubtful, first, box_of(doubtful, first))
    redone = [frame.frame_index for frame in tracker.propagate()]
    print(f"corrected slice {doubtful}; tracked again: {redone}")

output = sys.argv[1] if len(sys.argv) > 1 else "labels.tif"
frames = (tracker.masks(index) for index in range(tracker.num_frames))
save_masks(output, frames, frame_size=tracker.frame_size, num_frames=tracker.num_frames)
print(f"wrote {output}")
