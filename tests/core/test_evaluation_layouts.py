"""Small folders as the data sets have them, from the files to the masks that are saved."""

import json
import shutil

import numpy as np
import pytest
import tifffile
from PIL import Image

from sam2_plugins.core.evaluation import evaluate_vos, load_sequences, seen_categories
from sam2_plugins.core.formats.davis import read_png, write_png
from sam2_plugins.core.formats.registry import save_masks
from sam2_plugins.core.masks import FrameMasks

SIZE, NUM_FRAMES = (64, 80), 10


def labels():
    """(T, H, W): 1 from the start, 2 from frame 5 on."""
    stack = np.zeros((NUM_FRAMES, *SIZE), np.uint8)
    for t in range(NUM_FRAMES):
        stack[t, 10:30, 5 + 3 * t : 25 + 3 * t] = 1
        if t >= 5:
            stack[t, 40:60, 40:70] = 2
    return stack


class Exact:
    """Answers with the truth, nothing before an object's prompt."""

    def __init__(self, stack):
        self.stack, self.starts = stack, {}

    def __call__(self, frames):
        return self

    def set_mask(self, frame_index, object_id, mask):
        self.starts[object_id] = frame_index

    def propagate(self, *, direction):
        for t, image in enumerate(self.stack):
            known = [i for i, start in self.starts.items() if start <= t]
            if known:
                yield FrameMasks.from_labels(t, np.where(np.isin(image, known), image, 0))


def write_frames(folder, names):
    folder.mkdir(parents=True)
    for name in names:
        Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(folder / f"{name}.jpg")


@pytest.fixture
def youtube(tmp_path):
    """YouTube-VOS, its training part: every fifth frame annotated, and a table of categories."""
    root = tmp_path / "train"
    names = [f"{5 * t:05d}" for t in range(NUM_FRAMES)]
    for video, objects in (("0a", {1: "ant", 2: "bee"}), ("0b", {1: "cat", 2: "ant"})):
        write_frames(root / "JPEGImages" / video, names)
        folder = root / "Annotations" / video
        folder.mkdir(parents=True)
        for t, image in enumerate(labels()):
            write_png(folder / f"{names[t]}.png", image)
        meta = root / "meta.json"
        videos = json.loads(meta.read_text())["videos"] if meta.exists() else {}
        videos[video] = {
            "objects": {str(i): {"category": c, "frames": names} for i, c in objects.items()}
        }
        meta.write_text(json.dumps({"videos": videos}))
    return root


def test_youtube_vos_reports_g_over_seen_and_unseen(youtube):
    wrong = labels()
    wrong[6:][wrong[6:] == 2] = 0
    result = evaluate_vos(Exact(wrong), youtube, baselines=())
    assert [row.attributes["category"] for row in result.rows] == ["ant", "bee", "cat", "ant"]
    found = result.with_seen({"ant", "cat"}).overall_g("sam2")
    # seen: objects 1 of both videos, right, and object 2 of the second, right on 1 of 4 frames
    assert found["j_seen"] == found["f_seen"] == pytest.approx((1 + 1 + 1 / 4) / 3)
    assert found["j_unseen"] == found["f_unseen"] == pytest.approx(1 / 4)
    assert found["g"] == pytest.approx(((1 + 1 + 1 / 4) / 3 + 1 / 4) / 2)
    assert seen_categories(youtube / "meta.json") == {"ant", "bee", "cat"}
    text = result.with_seen({"ant", "cat"}).to_markdown()
    assert "| method | g | j_seen | f_seen | j_unseen | f_unseen |" in text
    assert "| sam2 | 0.500 | 0.750 |" in text


def test_g_needs_categories(tmp_path, youtube):
    (youtube / "meta.json").unlink()
    result = evaluate_vos(Exact(labels()), youtube, baselines=())
    with pytest.raises(ValueError, match=r"no categories; expected meta\.json"):
        result.with_seen({"ant"})
    (tmp_path / "meta.json").write_text("{}")
    with pytest.raises(ValueError, match="has no `videos`"):
        seen_categories(tmp_path / "meta.json")


def test_validation_sets_show_only_where_objects_start(youtube):
    for folder in (youtube / "Annotations").iterdir():
        for t, file in enumerate(sorted(folder.iterdir())):
            if t not in (0, 5):
                file.unlink()
        # the file of a later frame shows the new object alone
        write_png(folder / "00025.png", np.where(labels()[5] == 2, 2, 0))
    saved = youtube / "saved"
    result = evaluate_vos(Exact(labels()), youtube, baselines=(), save_masks=saved)
    assert np.isnan(result.mean("sam2"))
    for video in ("0a", "0b"):
        files = sorted((saved / video).iterdir())
        assert [file.stem for file in files] == [f"{5 * t:05d}" for t in range(NUM_FRAMES)]
        for file, truth in zip(files, labels(), strict=True):
            np.testing.assert_array_equal(read_png(file), truth)


def test_masks_saved_twice_replace_each_other(youtube):
    saved = youtube / "saved"
    for stack in (labels(), np.where(labels() == 1, 1, 0)):
        evaluate_vos(Exact(stack), youtube, baselines=(), save_masks=saved)
    assert read_png(saved / "0a" / "00045.png").max() == 1
    assert sorted(file.name for file in saved.iterdir()) == ["0a", "0b"]


def test_ids_that_no_palette_holds(tmp_path):
    stack = labels().astype(np.uint16)
    stack[stack == 2] = 300
    write_frames(tmp_path / "frames", [f"{t:05d}" for t in range(NUM_FRAMES)])
    (tmp_path / "masks").mkdir()
    for t, image in enumerate(stack):
        Image.fromarray(image).save(tmp_path / "masks" / f"{t:05d}.png")
    with pytest.raises(ValueError, match="a palette image holds ids up to 255, not 300"):
        evaluate_vos(Exact(stack), tmp_path, baselines=(), save_masks=tmp_path / "saved")


def test_sav_training_videos_have_run_lengths_at_six_frames_per_second(tmp_path):
    import av

    with av.open(str(tmp_path / "sav_000001.mp4"), "w") as file:
        stream = file.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = SIZE[1], SIZE[0], "yuv420p"
        for _ in range(4 * NUM_FRAMES):
            picture = av.VideoFrame.from_ndarray(np.full((*SIZE, 3), 90, np.uint8))
            file.mux(stream.encode(picture))
        file.mux(stream.encode())
    path = tmp_path / "sav_000001_manual.json"
    masks = [FrameMasks.from_labels(t, image) for t, image in enumerate(labels())]
    save_masks(path, masks, frame_size=SIZE, num_frames=NUM_FRAMES)
    (sequence,) = load_sequences(tmp_path)
    assert sequence.name == "sav_000001"
    assert sequence.annotated_frames == tuple(range(0, 40, 4))
    assert [span.first_frame for span in sequence.spans()] == [0, 20]
    saved = tmp_path / "saved"
    tracker = Exact(np.repeat(labels(), 4, axis=0))
    result = evaluate_vos(tracker, [sequence], baselines=(), save_masks=saved)
    assert result.mean("sam2") == 1
    # the first and the last of the annotated frames do not count, those between them do not exist
    assert [row.metrics["num_frames"] for row in result.rows] == [8, 4]
    folder = saved / "sav_000001"
    assert sorted(child.name for child in folder.iterdir()) == ["000", "001"]
    assert [f.stem for f in sorted((folder / "001").iterdir())][:3] == ["00000", "00004", "00008"]


def test_cell_tracking_challenge(tmp_path):
    for folder, name in (("01", "t"), ("01_GT/TRA", "man_track")):
        (tmp_path / folder).mkdir(parents=True)
        for t, image in enumerate(labels().astype(np.uint16)):
            tifffile.imwrite(tmp_path / folder / f"{name}{t:03d}.tif", image)
    (tmp_path / "01_GT" / "TRA" / "man_track.txt").write_text("1 0 9 0\n2 5 9 0\n")
    (sequence,) = load_sequences(tmp_path)
    assert sequence.name == "01"
    result = evaluate_vos(Exact(labels()), [sequence], baselines=())
    assert [row.metrics["num_frames"] for row in result.rows] == [8, 4]
    assert result.mean("sam2") == 1
    (tmp_path / "01" / "t009.tif").unlink()
    with pytest.raises(ValueError, match=r"has 9 pictures, .* 10 of tracks"):
        load_sequences(tmp_path)


def test_sequences_cut_short(youtube):
    sequence = load_sequences(youtube)[0].first(4)
    assert sequence.annotated_frames == (0, 1, 2, 3)
    with_frames = sequence.open()
    assert (with_frames.num_frames, with_frames.frame_size) == (4, SIZE)
    with pytest.raises(ValueError, match="frames are 0 to 3"):
        with_frames.read(4)
    assert [span.object_id for span in sequence.spans()] == [1]
    assert sequence.first(99).open().num_frames == NUM_FRAMES
    assert load_sequences(youtube)[0].signature() != load_sequences(youtube)[0].first(4).signature()
    with pytest.raises(ValueError, match="0a: none of the first 0 frames is annotated"):
        sequence.first(0)


def write_volume(folder, num_slices=NUM_FRAMES, *, labelled=NUM_FRAMES, size=SIZE):
    folder.mkdir(parents=True)
    tifffile.imwrite(
        folder / "volume.tif", np.zeros((num_slices, *size), np.uint8), photometric="minisblack"
    )
    tifffile.imwrite(folder / "labels.tif", labels()[:labelled], photometric="minisblack")


def test_masks_without_frames_are_left_out_with_a_word(youtube):
    for video in ("0c", "0d", "0e", "0f"):
        shutil.copytree(youtube / "Annotations" / "0a", youtube / "Annotations" / video)
    told = r"train: left out 4 of 6 sequences, without frames in JPEGImages: 0c, 0d, 0e, …$"
    with pytest.warns(UserWarning, match=told):
        assert len(load_sequences(youtube)) == 2
    assert len(load_sequences(youtube, names=["0a"])) == 1
    with pytest.raises(ValueError, match=r"no sequence '0c' .*; found it without frames in JPEGIm"):
        load_sequences(youtube, names=["0a", "0c"])


def test_frames_without_masks_are_left_out_with_a_word(youtube):
    shutil.rmtree(youtube / "Annotations" / "0a")
    with pytest.warns(UserWarning, match="left out 1 of 2 sequences, without masks in Annotations"):
        load_sequences(youtube)


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("volume.tif", r"with labels\.tif but no volume\.tif: b"),
        ("labels.tif", r"with volume\.tif but no labels\.tif: b"),
    ],
)
def test_half_a_volume_is_left_out_with_a_word(tmp_path, missing, told):
    for name in ("a", "b"):
        write_volume(tmp_path / name)
    (tmp_path / "b" / missing).unlink()
    with pytest.warns(UserWarning, match=f"left out 1 of 2 sequences, {told}"):
        assert [sequence.name for sequence in load_sequences(tmp_path)] == ["a"]
    with pytest.raises(ValueError, match=f"no annotated sequence in .*; found b, {told[:-3]}"):
        load_sequences(tmp_path / "b")


@pytest.mark.parametrize(
    ("folders", "told"),
    [
        (["Annotations/a"], "with Annotations but no JPEGImages"),
        (["Annotations/a", "JPEGImages"], "found a, without frames in JPEGImages"),
        (["Annotations_6fps/a"], "with Annotations_6fps but no JPEGImages_24fps"),
        (["01_GT/TRA"], "found 01, with tracks but no pictures"),
        (["images", "labels"], "`evaluate image` takes them"),
        ([], r"expected JPEGImages .* \(SA-V\), .* \(Cell Tracking Challenge\), frames"),
    ],
)
def test_nothing_to_evaluate_says_what_is_missing(tmp_path, folders, told):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(ValueError, match=rf"no annotated sequence in .*; .*{told}"):
        load_sequences(tmp_path)


def test_run_lengths_without_their_video(tmp_path):
    (tmp_path / "sav_1_manual.json").write_text("{}")
    with pytest.raises(ValueError, match=r"found sav_1, with NAME_manual\.json but no NAME\.mp4"):
        load_sequences(tmp_path)


@pytest.mark.parametrize("sizes", [{"num_slices": 12}, {"labelled": 8}, {"size": (64, 81)}])
def test_a_volume_unlike_its_labels_is_refused_before_work_starts(tmp_path, sizes):
    write_volume(tmp_path / "a", **sizes)
    with pytest.raises(ValueError, match=r"volume\.tif has shape .*labels\.tif \(.*every slice"):
        load_sequences(tmp_path)


@pytest.mark.parametrize("layout", ["one folder", "a folder per object"])
def test_masks_unlike_their_frames_are_refused_before_work_starts(youtube, layout):
    folder = youtube / "Annotations" / "0b"
    if layout == "a folder per object":
        shutil.rmtree(folder)
        folder = folder / "000"
        folder.mkdir(parents=True)
    write_png(folder / "00000.png", labels()[0][:40])
    with pytest.raises(
        ValueError, match=r"0b/00000\.jpg has size \(64, 80\), its labels \(40, 80\)"
    ):
        load_sequences(youtube)


def test_tracks_unlike_their_pictures_are_refused_before_work_starts(tmp_path):
    for folder, name, width in (("01", "t", 90), ("01_GT/TRA", "man_track", 80)):
        (tmp_path / folder).mkdir(parents=True)
        tifffile.imwrite(tmp_path / folder / f"{name}000.tif", np.zeros((64, width), np.uint16))
    with pytest.raises(ValueError, match=r"has size \(64, 90\), its labels \(64, 80\)"):
        load_sequences(tmp_path)


def test_two_sequences_of_one_name_do_not_hide_each_other(youtube):
    shutil.copytree(youtube, youtube.parent / "valid")
    with pytest.raises(ValueError, match=r"two sequences in .* are named 0a; take one folder"):
        load_sequences(youtube.parent)
