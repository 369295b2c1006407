"""Folders of masklets: what is written is read back, in every format; bad input is one line."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam2_plugins.core import FrameMasks
from sam2_plugins.fiftyone_plugin.exporting import FORMATS, MANIFEST, write_folder
from sam2_plugins.fiftyone_plugin.folder_reading import read_folder
from sam2_plugins.fiftyone_plugin.masklet_video import Masklet, MaskletVideo, unique_names
from sam2_plugins.fiftyone_plugin.matching import match_videos
from sam2_plugins.fiftyone_plugin.sources import Unit

SIZE = (24, 32)


def make_video(
    name: str = "walk", *, num_frames: int = 5, ids: tuple[int, ...] = (1, 3)
) -> MaskletVideo:
    """Squares that move, without overlap; the last object is absent on frame 2."""

    def read() -> Iterator[FrameMasks]:
        for index in range(num_frames):
            present = [i for i in ids if not (index == 2 and i == ids[-1] and len(ids) > 1)]
            masks = np.zeros((len(present), *SIZE), bool)
            for row, object_id in enumerate(present):
                top = 10 * ids.index(object_id)
                masks[row, top : top + 8, index : index + 6] = True
            scores = np.full(len(present), 0.75, np.float32)
            yield FrameMasks(index, np.array(present), masks, scores, 4 * scores)

    masklets = tuple(Masklet(i, f"class{i}", f"{i:024x}") for i in ids)
    return MaskletVideo(name, f"/videos/{name}.mp4", num_frames, SIZE, masklets, read)


def masks_of(video: MaskletVideo) -> dict[tuple[int, int], bytes]:
    """Masks by frame and object; empty ones are as good as none."""
    return {
        (frame.frame_index, object_id): mask.tobytes()
        for frame in video.read()
        for object_id, mask in zip(frame.object_ids.tolist(), frame.masks, strict=True)
        if mask.any()
    }


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    videos = [make_video("walk"), make_video("run", num_frames=3, ids=(7,))]
    assert write_folder(tmp_path / "out", videos, name=name) == 2
    found = {video.name: video for video in read_folder(tmp_path / "out")}
    assert sorted(found) == ["run", "walk"]
    for video in videos:
        back = found[video.name]
        assert masks_of(back) == masks_of(video)
        assert back.masklets == video.masklets
        assert (back.source, back.frame_size) == (video.source, video.frame_size)
        assert back.num_frames == video.num_frames


@pytest.mark.parametrize("name", ["sa-v", "coco"])
def test_scores_and_overlaps_are_kept(tmp_path: Path, name: str) -> None:
    masks = np.zeros((2, *SIZE), bool)
    masks[0, :10, :10] = masks[1, 5:15, 5:15] = True
    scores = np.array([0.5, 0.25], np.float32)
    frame = FrameMasks(0, np.array([1, 2]), masks, scores, np.array([3.0, -1.0], np.float32))
    video = MaskletVideo("one", "", 1, SIZE, (Masklet(1), Masklet(2)), lambda: iter([frame]))
    write_folder(tmp_path / "out", [video], name=name)
    (back,) = read_folder(tmp_path / "out")
    (found,) = back.read()
    np.testing.assert_array_equal(found.masks, masks)
    np.testing.assert_allclose(found.predicted_iou, scores)
    np.testing.assert_allclose(found.object_score_logits, [3, -1])


def test_labels_survive_without_our_own_file(tmp_path: Path) -> None:
    for name in ("youtube-vos", "coco"):
        write_folder(tmp_path / name, [make_video()], name=name)
        (tmp_path / name / MANIFEST).unlink()
        (video,) = read_folder(tmp_path / name)
        assert [masklet.label for masklet in video.masklets] == ["class1", "class3"]


def test_what_the_formats_ask_for_is_there(tmp_path: Path) -> None:
    for name in FORMATS:
        write_folder(tmp_path / name, [make_video()], name=name)
    with Image.open(tmp_path / "davis" / "Annotations" / "walk" / "00002.png") as picture:
        assert picture.mode == "P"
        assert np.unique(np.asarray(picture)).tolist() == [0, 1]
    assert (tmp_path / "davis" / "ImageSets" / "all.txt").read_text() == "walk\n"
    meta = json.loads((tmp_path / "youtube-vos" / "meta.json").read_text())
    assert meta["videos"]["walk"]["objects"]["3"] == {
        "category": "class3",
        "frames": ["00000", "00001", "00003", "00004"],
    }
    coco = json.loads((tmp_path / "coco" / "annotations.json").read_text())
    assert len(coco["images"]) == 5
    assert {row["track_id"] for row in coco["annotations"]} == {1, 3}
    assert "masklet" in json.loads((tmp_path / "sa-v" / "walk.json").read_text())


def test_frames_of_a_sparse_folder_keep_their_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "Annotations" / "480p" / "dog"
    folder.mkdir(parents=True)
    for index in (0, 5, 10):
        Image.fromarray(np.full(SIZE, 2, np.uint8)).save(folder / f"{index:05d}.png")
    (video,) = read_folder(tmp_path)
    assert [frame.frame_index for frame in video.read()] == [0, 5, 10]
    pictures = tmp_path / "JPEGImages" / "480p" / "dog"
    pictures.mkdir(parents=True)
    (pictures / ".DS_Store").touch()
    for index in (0, 5, 10):
        (pictures / f"{index:05d}.jpg").touch()
    (video,) = read_folder(tmp_path)
    assert [frame.frame_index for frame in video.read()] == [0, 1, 2]


def test_a_file_that_two_samples_are_of_is_not_guessed() -> None:
    units = [Unit(key, (key,), ("/videos/walk.mp4",), is_video=True) for key in "ab"]
    with pytest.raises(ValueError, match=r"'walk' may be of 2 samples, such as .*walk.mp4"):
        match_videos([make_video()], units)
    assert [unit for _, unit in match_videos([make_video()], units[:1])] == units[:1]


def test_names_are_unique() -> None:
    assert unique_names(["x", "x", "x-2"]) == ["x", "x-2", "x-2-2"]
    assert unique_names(["x", "y"], reserved=["y"]) == ["x", "y-2"]


@pytest.mark.parametrize("name", FORMATS)
def test_what_somebody_put_into_an_export_is_not_replaced(tmp_path: Path, name: str) -> None:
    target, videos = tmp_path / "out", [make_video("walk"), make_video("walk_auto")]
    write_folder(target, videos, name=name)
    assert [video.name for video in read_folder(target)] == ["walk", "walk_auto"]
    (target / ".DS_Store").touch()
    write_folder(target, videos, name=name, replace=True)
    for place in (
        "notes.txt",
        "Annotations/other/00000.png",
        "JPEGImages/walk/00000.jpg",
        "b.json",
    ):
        mine = target / place
        mine.parent.mkdir(parents=True, exist_ok=True)
        mine.write_text("mine")
        with pytest.raises(ValueError, match=f"holds {place}, which is not of the earlier export"):
            write_folder(target, videos, name="sa-v", replace=True)
        assert mine.read_text() == "mine"
        mine.unlink()
    (target / MANIFEST).write_text("{")
    with pytest.raises(ValueError, match="is damaged; choose another folder"):
        write_folder(target, videos, name=name, replace=True)


def test_a_failure_leaves_nothing_and_keeps_what_was(tmp_path: Path) -> None:
    target = tmp_path / "out"
    write_folder(target, [make_video()], name="davis")

    def broken() -> Iterator[FrameMasks]:
        yield next(make_video().read())
        raise OSError("disk gone")

    bad = MaskletVideo("bad", "", 5, SIZE, (Masklet(1), Masklet(3)), broken)
    with pytest.raises(OSError, match="disk gone"):
        write_folder(target, [make_video(), bad], name="davis", replace=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert len(read_folder(target)) == 1
    write_folder(target, [make_video("new")], name="sa-v", replace=True)
    assert [video.name for video in read_folder(target)] == ["new"]


def test_what_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    video = make_video()
    with pytest.raises(ValueError, match="unknown format 'gif'; formats are sa-v, davis"):
        write_folder(tmp_path / "out", [video], name="gif")
    with pytest.raises(ValueError, match="there is no folder"):
        write_folder(tmp_path / "no" / "out", [video], name="coco")
    with pytest.raises(ValueError, match="object 300: davis holds ids up to 255"):
        write_folder(tmp_path / "out", [make_video(ids=(300,))], name="davis")
    with pytest.raises(ValueError, match="nothing to export"):
        write_folder(tmp_path / "out", [], name="coco")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    with pytest.raises(ValueError, match="holds something else"):
        write_folder(tmp_path / "full", [video], name="coco", replace=True)
    write_folder(tmp_path / "out", [video], name="coco")
    with pytest.raises(ValueError, match="earlier export"):
        write_folder(tmp_path / "out", [video], name="coco")


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        read_folder(tmp_path / "no")
    with pytest.raises(ValueError, match="holds no masks: expected Annotations"):
        read_folder(tmp_path)
    (tmp_path / "a.json").write_text('{"images": [{"id": 1}], "annotations": []}')
    with pytest.raises(ValueError, match="is not COCO: 'file_name' is missing"):
        read_folder(tmp_path)
    polygon = {"id": 4, "image_id": 1, "segmentation": [[0, 0, 1, 1]]}
    (tmp_path / "a.json").write_text(json.dumps({"images": [], "annotations": [polygon]}))
    with pytest.raises(ValueError, match="annotation 4 has polygons"):
        read_folder(tmp_path)
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        read_folder(tmp_path)
