"""Bad input and bad disks: one clear line, and nothing left behind."""

import errno
import os
import stat

import numpy as np
import pytest
import tifffile
from PIL import Image

from sam2_plugins.core.formats import load_masks, save_masks, stack
from sam2_plugins.core.formats.registry import FORMATS, check_output
from sam2_plugins.core.masks import FrameMasks

SIZE = (40, 56)
PATHS = {
    "tiff": "out.tif",
    "ome-zarr": "out.zarr",
    "sa-v": "out.json",
    "coco": "out.coco.json",
    "davis": "out",
    "youtube-vos": "out",
    "ctc": "01_RES",
}


def frame(frame_index, ids=(1, 7), size=SIZE):
    masks = np.zeros((len(ids), *size), bool)
    for row in range(len(ids)):
        masks[row, frame_index : frame_index + 20, 3 + 9 * row : 25 + 9 * row] = True
    scores = np.full(len(ids), 0.5, np.float32)
    return FrameMasks(frame_index, np.array(ids, np.int64), masks, scores, scores)


def save(path, frames, name=None, **options):
    return save_masks(path, frames, frame_size=SIZE, format=name, **options)


def test_unknown_ending_lists_those_that_exist(tmp_path):
    with pytest.raises(ValueError, match=r"unknown ending '.avi'.*\.tif.*\.zarr.*\.json.*folder"):
        save(tmp_path / "x.avi", [frame(0)])
    with pytest.raises(ValueError, match=r"unknown mask format 'gif'; formats are tiff, "):
        save(tmp_path / "x", [frame(0)], "gif")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", PATHS)
def test_nothing_is_left_when_the_frames_fail(name, tmp_path):
    def frames():
        yield frame(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / PATHS[name], frames(), name)
    assert not list(tmp_path.iterdir())


def test_errors_of_the_source_are_not_called_write_errors(tmp_path):
    def frames():
        raise FileNotFoundError("no frame 3")
        yield

    with pytest.raises(FileNotFoundError, match=r"^no frame 3$"):
        save(tmp_path / "x.tif", frames())


@pytest.mark.parametrize("name", PATHS)
def test_an_earlier_output_survives_a_failure_and_is_replaced_by_a_success(name, tmp_path):
    path = tmp_path / PATHS[name]
    save(path, [frame(0), frame(1)], name)

    def broken():
        yield frame(2)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        save(path, broken(), name)
    assert len(load_masks(path)) == 2
    save(path, [frame(0), frame(1), frame(2)], name)
    assert len(load_masks(path)) == 3
    assert [child.name for child in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", [n for n in PATHS if FORMATS[n].is_folder])
def test_a_folder_with_other_files_is_never_replaced(name, tmp_path):
    path = tmp_path / PATHS[name]
    path.mkdir()
    (path / "thesis.docx").write_text("years of work")
    with pytest.raises(ValueError, match="is a folder that holds something else; choose"):
        save(path, [frame(0)], name)
    assert (path / "thesis.docx").read_text() == "years of work"


def test_folders_that_this_package_did_not_write_are_never_replaced(tmp_path):
    pictures = tmp_path / "frames"
    pictures.mkdir()
    Image.new("L", (4, 4)).save(pictures / "00000.png")
    results = tmp_path / "01_RES"
    results.mkdir()
    (results / "res_track.txt").write_text("1 0 0 0\n")
    tifffile.imwrite(results / "mask000.tif", np.ones((4, 4), np.uint16))
    image = tmp_path / "image.zarr"
    (image / "0").mkdir(parents=True)
    (image / ".zattrs").write_text('{"multiscales": []}')
    (image / ".zgroup").write_text('{"zarr_format": 2}')
    before = sorted(tmp_path.rglob("*"))
    for path in (pictures, results, image):
        with pytest.raises(ValueError, match="holds something else; choose another output"):
            save(path, [frame(0)])
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", PATHS)
def test_what_is_read_is_not_written_over(name, tmp_path):
    path = tmp_path / PATHS[name]
    save(path, [frame(0)], name)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for source in (path, tmp_path / "." / path.name):
        with pytest.raises(ValueError, match="is what is read; choose another output"):
            save(path, [frame(0), frame(1)], name, sources=[source])
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_store_that_is_read_is_not_written_into(tmp_path):
    store = tmp_path / "image.zarr"
    (store / "labels").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"lies in .*, which is read"):
        save(store / "labels" / "cells.zarr", [frame(0)], sources=[store])
    assert not list((store / "labels").iterdir())


def test_file_and_folder_are_not_exchanged(tmp_path):
    (tmp_path / "x.tif").mkdir()
    (tmp_path / "out").write_text("")
    with pytest.raises(ValueError, match="choose another output"):
        save(tmp_path / "x.tif", [frame(0)])
    with pytest.raises(ValueError, match="exists and is a file"):
        save(tmp_path / "out", [frame(0)])


def test_a_missing_folder_is_found_before_the_work_starts(tmp_path):
    def frames():
        pytest.fail("work has started")
        yield

    with pytest.raises(FileNotFoundError, match=r"cannot write .*x\.tif: there is no folder .*no"):
        save(tmp_path / "no" / "x.tif", frames())


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes everywhere"
)
def test_a_folder_that_cannot_be_written(tmp_path):
    folder = tmp_path / "sealed"
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(PermissionError, match=r"cannot write .*x\.tif: Permission denied"):
            save(folder / "x.tif", [frame(0)])
        assert not list(folder.iterdir())
    finally:
        folder.chmod(stat.S_IRWXU)


@pytest.mark.skipif(not os.path.isdir("/sys/kernel"), reason="needs Linux")  # noqa: PTH112
def test_a_folder_that_not_even_root_can_write():
    with pytest.raises(OSError, match=r"^cannot write /sys/kernel/x\.tif: \w+"):
        save("/sys/kernel/x.tif", [frame(0)])


def test_a_folder_that_refuses(tmp_path, monkeypatch):
    def refuse(**_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(PermissionError, match=r"^cannot write .*x\.tif: Permission denied$") as e:
        check_output(tmp_path / "x.tif")
    assert e.value.errno == errno.EACCES


def test_a_parent_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        save(tmp_path / "file" / "x.json", [frame(0)])


@pytest.mark.parametrize("name", PATHS)
def test_a_disk_that_fills_up_while_writing(name, tmp_path, monkeypatch):
    entry = FORMATS[name]
    written = []

    def labels_until_full(self):
        for t in range(self.num_frames):
            if t == 2:
                written.extend(tmp_path.iterdir())
                raise OSError(errno.ENOSPC, "No space left on device")
            yield self[t].to_labels()

    def frames_until_full(self):
        for t in range(self.num_frames):
            if t == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            yield self[t]

    monkeypatch.setattr(stack.MaskStack, "labels", labels_until_full)
    monkeypatch.setattr(stack.MaskStack, "__iter__", frames_until_full)
    with pytest.raises(OSError, match=r"^cannot write .*: No space left on device$") as error:
        save(tmp_path / PATHS[name], map(frame, range(4)), name)
    assert error.value.errno == errno.ENOSPC
    assert entry.name == name
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_disk_that_is_full_while_frames_arrive():
    with open("/dev/full", "w+b", buffering=0) as full:  # noqa: PTH123
        spooled = stack.MaskStack(full, num_frames=2, frame_size=SIZE)
        with pytest.raises(OSError, match="No space left on device"):
            spooled.put(frame(0))


def test_ids_that_do_not_fit_are_refused_at_once(tmp_path):
    def frames(ids):
        yield frame(3, ids=ids)
        pytest.fail("went on after the object that does not fit")

    with pytest.raises(ValueError, match="object 300 on frame 3: the davis format holds ids up"):
        save(tmp_path / "out", frames((1, 300)))
    with pytest.raises(ValueError, match="object 70000 on frame 3: the ctc format"):
        save(tmp_path / "01_RES", frames((1, 70_000)))
    with pytest.raises(ValueError, match="object 0 on frame 3; object ids start at 1"):
        save(tmp_path / "x.json", frames((0,)))
    assert not list(tmp_path.iterdir())


def test_frames_that_are_not_of_the_stack(tmp_path):
    with pytest.raises(ValueError, match="masks for frame 4, but the stack has frames 0 to 3"):
        save(tmp_path / "x.tif", [frame(4)], num_frames=4)
    with pytest.raises(ValueError, match=r"masks of frame 1 have size \(9, 9\)"):
        save(tmp_path / "x.tif", [FrameMasks.from_labels(1, np.zeros((9, 9), int))], num_frames=4)
    with pytest.raises(ValueError, match="num_frames must be at least 1"):
        save(tmp_path / "x.tif", [], num_frames=0)


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    import tracemalloc

    def peak(num_frames):
        tracemalloc.start()
        save_masks(
            tmp_path / "x.tif",
            (frame(t % 9, size=(256, 256)) for t in range(num_frames)),
            num_frames=num_frames,
            frame_size=(256, 256),
        )
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    peak(5)
    few, many = peak(10), peak(100)
    assert many - few < 90 * 256 * 256 * 0.1  # of bytes that the packed masks alone would take


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", "{", "is not valid JSON: .* in line 1, column 2"),
        ("x.json", "[]", "holds a JSON list, not an object"),
        ("x.json", '{"a": 1}', "has no masklet and masklet_id"),
        ("x.json", '{"masklet": [[]], "masklet_id": []}', "neither masks nor video_height"),
        ("x.json", '{"images": [], "annotations": []}', "expected COCO run lengths"),
        ("x.json", '{"images": [{}], "annotations": []}', "is not COCO: 'height' is missing"),
        ("x.json", '{"images": [1], "annotations": []}', "is not COCO: "),
        ("x.tif", "text", "is not a readable TIFF"),
        ("x.tif", "", "is not a readable TIFF"),
        ("x.avi", "text", "unknown ending"),
    ],
)
def test_files_that_are_something_else(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        load_masks(tmp_path / name)


def test_folders_that_are_something_else(tmp_path):
    with pytest.raises(FileNotFoundError, match="no masks at"):
        load_masks(tmp_path / "none")
    with pytest.raises(ValueError, match="no PNG files in"):
        load_masks(tmp_path)
    Image.new("RGB", (4, 4)).save(tmp_path / "0.png")
    with pytest.raises(ValueError, match="has mode RGB; masks are palette or grey PNGs"):
        load_masks(tmp_path)
    (tmp_path / "0.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match="is not a readable picture"):
        load_masks(tmp_path)
