import numpy as np
import pytest
from frame_files import ramp

from sam2_plugins.core.frames import FrameSource, open_frames


class Computed:
    """The smallest thing that has frames."""

    num_frames = 4
    frame_size = (8, 9)
    is_rgb = False
    signature = "computed"

    def read(self, frame_index):
        return np.full(self.frame_size, frame_index, np.uint8)

    def close(self):
        pass


def test_frames_are_returned_as_they_are():
    source = Computed()
    assert isinstance(source, FrameSource)
    assert open_frames(source) is source
    with pytest.raises(ValueError, match="do not apply to opened frames"):
        open_frames(source, axes="zyx")


@pytest.mark.parametrize("name", ["a.tif", "a.mp4", "a.zarr", "folder/a.png"])
def test_missing_path(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        open_frames(tmp_path / name)


@pytest.mark.parametrize("name", ["a.tif", "a.mp4", "a.npy", "a.png", "a.weird"])
def test_empty_file(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"is empty \(0 bytes\)"):
        open_frames(str(tmp_path / name))


@pytest.mark.parametrize("name", ["a.docx", "noextension"])
def test_unknown_type(tmp_path, name):
    (tmp_path / name).write_text("x")
    with pytest.raises(ValueError, match=r"unknown file type .*; known are \.tif"):
        open_frames(tmp_path / name)


@pytest.mark.parametrize("source", [None, 3, [ramp((8, 9))], [], {"a": 1}])
def test_what_frames_cannot_be_read_from(source):
    with pytest.raises(TypeError, match=r"frames cannot be read from|must be image paths"):
        open_frames(source)


def test_suffixes_in_capitals(tmp_path):
    np.save(tmp_path / "a.npy", ramp((3, 8, 9)))
    (tmp_path / "a.npy").rename(tmp_path / "A.NPY")
    assert open_frames(tmp_path / "A.NPY").num_frames == 3
