import numpy as np
import pytest
import tifffile
from frame_files import truncate
from frame_files import write_video as write_mp4
from PIL import Image

from sam2_plugins.core.evaluation import VosSequence, load_sequences
from sam2_plugins.core.formats.davis import write_png

SIZE = (24, 32)


def labels(frame_index):
    """Object 1 from the start, object 3 from frame 2 on and largest on frame 4."""
    image = np.zeros(SIZE, np.uint8)
    image[2:8, 2 + frame_index : 8 + frame_index] = 1
    if frame_index >= 2:
        side = 6 - abs(4 - frame_index)
        image[12 : 12 + side, 12 : 12 + side] = 3
    return image


def write_video(frames, masks, *, num_frames=6, every=1):
    frames.mkdir(parents=True)
    masks.mkdir(parents=True)
    for t in range(num_frames):
        Image.fromarray(np.full((*SIZE, 3), 10 * t, np.uint8)).save(frames / f"{t:05d}.jpg")
        if t % every == 0:
            write_png(masks / f"{t:05d}.png", labels(t))


def check(sequence, *, every=1):
    assert sequence.annotated_frames == tuple(range(0, 6, every))
    source = sequence.open()
    assert source.num_frames == 6
    assert source.frame_size == SIZE
    assert abs(int(source.read(4).mean()) - 40) <= 1
    source.close()
    np.testing.assert_array_equal(sequence.read_truth(4).to_labels(), labels(4))
    spans = sequence.spans()
    assert [span.object_id for span in spans] == [1, 3]
    assert [span.first_frame for span in spans] == [0, 2]
    assert [span.largest_frame for span in spans] == [0, 4]


@pytest.mark.parametrize("resolution", ["", "480p"])
def test_davis(resolution, tmp_path):
    for name in ("bear", "ant"):
        write_video(
            tmp_path / "JPEGImages" / resolution / name,
            tmp_path / "Annotations" / resolution / name,
        )
    (tmp_path / "JPEGImages" / resolution / "unannotated").mkdir()
    with pytest.warns(UserWarning, match="left out 1 of 3 sequences, without masks in Anno"):
        found = load_sequences(tmp_path)
    assert [sequence.name for sequence in found] == ["ant", "bear"]
    for sequence in found:
        check(sequence)
        assert not sequence.is_volume
    assert [s.name for s in load_sequences(tmp_path, names=["bear"])] == ["bear"]
    with pytest.raises(ValueError, match=r"no sequence 'cat' in .*; there are \['ant', 'bear'\]"):
        load_sequences(tmp_path, names=["cat"])


def test_youtube_vos_annotates_some_frames(tmp_path):
    write_video(tmp_path / "JPEGImages" / "v", tmp_path / "Annotations" / "v", every=2)
    (sequence,) = load_sequences(tmp_path)
    check(sequence, every=2)


def test_sav_has_a_folder_per_object(tmp_path):
    write_video(tmp_path / "JPEGImages_24fps" / "v", tmp_path / "whole")
    for name, object_id in (("000", 1), ("002", 3)):
        folder = tmp_path / "Annotations_6fps" / "v" / name
        folder.mkdir(parents=True)
        for t in range(0, 6, 2):
            write_png(folder / f"{t:05d}.png", labels(t) == object_id)
    (folder / "00002.png").unlink()
    (sequence,) = load_sequences(tmp_path)
    assert sequence.annotated_frames == (0, 2, 4)
    np.testing.assert_array_equal(sequence.read_truth(4).to_labels(), labels(4))
    assert sequence.read_truth(2).object_ids.tolist() == [1]


def test_folder_of_different_things(tmp_path):
    write_video(tmp_path / "clip" / "frames", tmp_path / "clip" / "masks")
    volume = tmp_path / "organs" / "case0"
    volume.mkdir(parents=True)
    stack = np.stack([labels(t) for t in range(6)])
    tifffile.imwrite(volume / "volume.tif", stack * 10, photometric="minisblack")
    tifffile.imwrite(volume / "labels.tif", stack, photometric="minisblack")
    clip, organs = load_sequences(tmp_path)
    assert (clip.name, organs.name) == ("clip", "organs/case0")
    assert organs.is_volume
    check(clip)
    np.testing.assert_array_equal(organs.read_truth(4).to_labels(), labels(4))
    (alone,) = load_sequences(volume)
    assert alone.name == "case0"


def test_from_arrays():
    stack = np.stack([labels(t) for t in range(6)])
    pictures = np.broadcast_to(10 * np.arange(6, dtype=np.uint8)[:, None, None], stack.shape)
    check(VosSequence.from_arrays("x", pictures, stack))


def test_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        load_sequences(tmp_path / "none")
    with pytest.raises(ValueError, match=r"no annotated sequence in .*; expected JPEGImages"):
        load_sequences(tmp_path)
    frames, masks = tmp_path / "clip" / "frames", tmp_path / "clip" / "masks"
    write_video(frames, masks)
    write_png(masks / "00009.png", labels(0))
    with pytest.raises(ValueError, match=r"the mask 00009\.png in .* has no frame in"):
        load_sequences(tmp_path)
    for file in masks.iterdir():
        file.unlink()
    with pytest.raises(ValueError, match=r"no PNG masks in .*; to evaluate the rest, remove that"):
        load_sequences(tmp_path)


def test_a_video_that_is_cut_short_is_not_scored(tmp_path):
    path = write_mp4(tmp_path / "a.mp4", 30, container_options={"movflags": "faststart"})
    stack = np.zeros((4, 48, 64), np.uint8)
    sequence = VosSequence.from_arrays("a", path, stack)
    sequence.open().close()
    truncate(path, 0.7)
    with pytest.raises(ValueError, match=r"a\.mp4: is truncated: \d+ of 30 frames can be read"):
        sequence.open()
