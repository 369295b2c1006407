"""The pixels of image layers, read beside the window."""

import dask.array as da
import numpy as np
from dask.callbacks import Callback

from sam2_plugins.napari_plugin.frames import PlaneFrames, make_stack
from sam2_plugins.napari_plugin.layers import choose_plane

PIXELS = np.arange(4 * 30 * 40, dtype=np.uint16).reshape(4, 30, 40)


class Cache(Callback):
    """As napari's cache of dask arrays is, on which two threads at a time fail."""

    def __init__(self):
        super().__init__()
        self.num_uses = 0

    def _start(self, dsk):
        self.num_uses += 1


def test_lazy_pixels_are_read_past_the_cache_of_the_window():
    lazy = da.from_array(PIXELS, chunks=(1, 16, 16))
    stack, plain = make_stack([lazy]), make_stack([PIXELS])
    frames = PlaneFrames(stack, choose_plane(PIXELS.shape, (1, 2), point=(0, 0, 0)))
    with Cache() as cache:
        np.testing.assert_array_equal(frames.read(2), PIXELS[2])
        np.testing.assert_array_equal(frames.read_window(1, (4, 5, 20, 25)), PIXELS[1, 5:25, 4:20])
        assert stack.signature == plain.signature
        assert cache.num_uses == 0
        # That is what the window itself reads through.
        np.asarray(lazy[0])
        assert cache.num_uses == 1
