"""Fine-tuning on one's own data: what is read, what is kept apart, and when it is called better."""

import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from tiny import make_tiny

from sam2_plugins.cli import main
from sam2_plugins.core.checkpoints import save_checkpoint
from sam2_plugins.core.training import finetune, finetune_plan, measuring, verdict
from sam2_plugins.core.training.labelled import LabelledStack
from sam2_plugins.core.training.measuring import Score
from sam2_plugins.core.training.own_data import OwnData, keep_apart, load_own_data
from sam2_plugins.core.training.packing import pack
from sam2_plugins.core.training.sources import load_training_data
from sam2_plugins.core.training.verdict import compare
from sam2_plugins.core.weights import list_models, load_model


def discs(num_frames: int = 1, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Two discs that drift: (T, S, S) uint8 and (T, S, S) uint8."""
    y, x = np.mgrid[:size, :size]
    labels = np.zeros((num_frames, size, size), np.uint8)
    for t in range(num_frames):
        labels[t][(y - 20) ** 2 + (x - 18 - t) ** 2 < 90] = 1
        labels[t][(y - 44) ** 2 + (x - 40 + t) ** 2 < 90] = 2
    return np.where(labels > 0, 60 + 70 * labels, 20).astype(np.uint8), labels


def write_images(folder: Path, count: int) -> Path:
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for index in range(count):
        image, labels = discs()
        Image.fromarray(np.roll(image[0], index, 1)).save(folder / f"images/{index:02d}.png")
        Image.fromarray(np.roll(labels[0], index, 1)).save(folder / f"labels/{index:02d}.png")
    return folder


def write_davis(folder: Path, names: str) -> Path:
    frames, labels = discs(3)
    for name in names:
        for part in ("JPEGImages", "Annotations"):
            (folder / part / name).mkdir(parents=True)
        for t in range(3):
            Image.fromarray(frames[t]).save(folder / f"JPEGImages/{name}/{t:05d}.jpg")
            Image.fromarray(labels[t]).save(folder / f"Annotations/{name}/{t:05d}.png")
    return folder


def write_session(folder: Path, *, confirmed: list[int]) -> Path:
    """An autosave of a propagated stack of twelve slices, as the napari plugin leaves it."""
    folder.mkdir()
    _, labels = discs(12)
    plane = [[12, 64, 64], 0, 1, 2, []]
    header = {
        "format": "sam2-plugins autosave",
        "version": 1,
        "signature": "x",
        "confirmed": [[plane, 1, confirmed]] if confirmed else [],
        "prompts": [{"plane": plane, "frame": 0, "object": 2}],
    }
    (folder / "prompts.json").write_text(json.dumps(header))
    with (folder / "slices.log").open("wb") as file:
        for t in range(12):
            note = {"plane": plane, "frame": t, "window": [4, 2, 60, 62], "dtype": "uint8"}
            text = json.dumps({**note, "scores": {}}).encode()
            pixels = np.ascontiguousarray(labels[t, 4:60, 2:62]).tobytes()
            body = zlib.compress(struct.pack("<I", len(text)) + text + pixels)
            file.write(struct.pack("<4sII", b"SAM2", len(body), zlib.crc32(body)) + body)
        file.write(b"SAM2 cut sh")
    return folder


def test_images_volumes_and_videos_are_read(tmp_path: Path):
    images = load_own_data(write_images(tmp_path / "a", 3))
    assert [(i.name, len(i.instances)) for i in images.images] == [
        (name, 2) for name in ("00", "01", "02")
    ]
    assert images.images[0].image.shape == (64, 64, 3)
    videos = load_own_data(write_davis(tmp_path / "b", "pq"), max_side=32)
    assert [(s.name, s.frames.shape, s.is_volume) for s in videos.stacks] == [
        (name, (3, 32, 32, 3), False) for name in "pq"
    ]
    volume, labels = discs(9)
    (tmp_path / "c/v").mkdir(parents=True)
    tifffile.imwrite(tmp_path / "c/v/volume.tif", volume.astype(np.uint16) * 100)
    tifffile.imwrite(tmp_path / "c/v/labels.tif", labels)
    (stack,) = load_own_data(tmp_path / "c").stacks
    assert stack.is_volume
    assert np.array_equal(stack.labels, labels)


def test_a_napari_session_gives_what_the_user_has_looked_at(tmp_path: Path):
    frames, labels = discs(12)
    tifffile.imwrite(tmp_path / "stack.tif", frames)
    everything = write_session(tmp_path / "all", confirmed=[])
    (stack,) = load_own_data(everything, image=tmp_path / "stack.tif").stacks
    assert np.array_equal(stack.labels, labels)
    looked_at = write_session(tmp_path / "some", confirmed=[3, 7])
    (stack,) = load_own_data(looked_at, image=tmp_path / "stack.tif").stacks
    assert len(stack.frames) == 3
    assert np.array_equal(stack.labels[0], np.where(labels[0] == 2, 2, 0))  # prompted
    assert np.array_equal(stack.labels[1], np.where(labels[3] == 1, 1, 0))  # confirmed
    with pytest.raises(ValueError, match="name the image they are of with --image"):
        load_own_data(everything)
    tifffile.imwrite(tmp_path / "other.tif", frames[:, :32])
    with pytest.raises(ValueError, match=r"frames of \(32, 64\), the autosave of \(64, 64\)"):
        load_own_data(everything, image=tmp_path / "other.tif")


def test_what_is_kept_apart_is_fixed_and_never_learnt_from(tmp_path: Path):
    data = load_own_data(write_images(tmp_path / "a", 11))
    learnt, apart = keep_apart(data)
    assert [image.name for image in apart.images] == ["00", "05", "10"]
    assert len(learnt.images) == 8
    assert not {i.name for i in learnt.images} & {i.name for i in apart.images}
    frames, labels = discs(12)
    stack = LabelledStack("s", np.repeat(frames[..., None], 3, -1), labels.astype(np.uint16), True)
    learnt, apart = keep_apart(OwnData((), (stack,)))
    assert np.array_equal(learnt.stacks[0].labels, labels[:9])
    assert np.array_equal(apart.stacks[0].labels, labels[9:])
    with pytest.raises(ValueError, match="s has objects on 4 frames"):
        keep_apart(OwnData((), (stack.part(slice(0, 4), "s"),)))
    with pytest.raises(ValueError, match="at least two are needed"):
        keep_apart(OwnData(data.images[:1], ()))


def test_clips_are_of_ones_own_data_and_repeat_with_the_seed(tmp_path: Path):
    data = load_own_data(write_davis(tmp_path, "p"))
    clips = [data.clip((1, s), size=32, num_frames=4, num_objects=3) for s in (0, 0, 1)]
    assert clips[0].frames.shape == (4, 32, 32, 3)
    assert clips[0].masks.shape == (3, 4, 32, 32)
    assert clips[0].masks[:, 0].any((1, 2)).all()
    assert np.array_equal(clips[0].frames, clips[1].frames)
    assert not np.array_equal(clips[0].frames, clips[2].frames)
    image = data.clip((2,), size=32, num_frames=1, num_objects=1)
    assert image.frames.shape == (1, 32, 32, 3)


def scores(values: list[float]) -> list[Score]:
    return [Score(f"unit {i}", 1, "click", value) for i, value in enumerate(values)]


def test_better_is_what_chance_does_not_explain():
    rng = np.random.default_rng(0)
    before = rng.uniform(0.3, 0.7, 40)
    (same,) = compare(scores(before), scores(before + rng.normal(0, 0.05, 40)))
    assert not same.is_better
    (better,) = compare(scores(before), scores(before + rng.normal(0.05, 0.05, 40)))
    assert better.is_better
    mean, low, high = better.change
    assert low < mean < high
    assert mean == pytest.approx(0.05, abs=0.02)
    # The bootstrap's interval is that of the mean of 40 differences.
    assert high - low == pytest.approx(2 * 1.96 * 0.05 / 40**0.5, rel=0.3)
    (worse,) = compare(scores(before), scores(before - 0.1))
    assert worse.change == pytest.approx((-0.1, -0.1, -0.1))


def test_objects_of_one_image_belong_together_in_the_bootstrap():
    # Six images of 50 objects that all change alike: six numbers, not three hundred.
    shift = np.repeat([0.1, -0.08, 0.09, -0.05, 0.07, 0.02], 50)
    before = [Score(f"unit {i // 50}", i, "click", 0.5) for i in range(300)]
    after = [
        Score(s.unit, s.object_id, "click", 0.5 + d) for s, d in zip(before, shift, strict=True)
    ]
    assert not compare(before, after)[0].is_better


def test_measuring_is_bounded_and_says_how_far_it_is(tmp_path: Path, monkeypatch):
    data = load_own_data(write_images(tmp_path / "a", 3))
    model, said = make_tiny(), []
    assert len(measuring.measure(model, data, say=said.append)) == 3 * 2 * 2
    assert said == []  # it took no time
    monkeypatch.setattr(measuring, "MAX_IMAGE_OBJECTS", 3)
    monkeypatch.setattr(measuring, "WORD_EVERY_S", 0.0)
    scores = measuring.measure(model, data, say=said.append)
    assert [(s.unit, s.prompt) for s in scores] == [
        (name, prompt) for name in ("00", "01", "02") for prompt in ("click", "box")
    ]
    assert said == [f"measured {done} of 3 images" for done in (0, 1, 2)]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny network in a file, and a folder for models."""
    monkeypatch.setenv("SAM2_PLUGINS_MODELS", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    save_checkpoint(make_tiny(), tmp_path / "start.safetensors")
    return tmp_path / "start.safetensors"


def tune(data: Path, start: Path, out: str, *options: str) -> int:
    arguments = ["--data", str(data), "--model", str(start), "--out", out, "--processes", "1"]
    return main(["train", "finetune", *arguments, "--steps", "2", *options])


def test_a_model_that_has_learnt_nothing_is_not_called_better(
    tmp_path: Path, start: Path, capsys, monkeypatch
):
    stage = finetune_plan.finetune_stage
    monkeypatch.setattr(
        finetune_plan,
        "finetune_stage",
        lambda *known: replace(stage(*known), learning_rate=0.0, final_learning_rate=0.0),
    )
    data = write_images(tmp_path / "data", 11)  # of which 3 with 2 discs are kept apart
    assert tune(data, start, "discs") == 1
    shown = capsys.readouterr().out
    assert "intervals over 6 objects" in shown
    assert "not better: nothing changed. No model was made" in shown
    assert "+0.000 [+0.000, +0.000]" in shown
    run = tmp_path / "models" / "discs.run"
    assert (run / "candidate.safetensors").is_file()
    assert not json.loads((run / "report.json").read_text())["is_better"]
    assert not (tmp_path / "models" / "discs.safetensors").exists()


def test_a_better_model_loads_by_its_name(tmp_path: Path, start: Path, capsys, monkeypatch):
    spreads = (0.5, 0.4, 0.6), (0.7, 0.6, 0.8), (0.2, 0.1, 0.3)
    better = verdict.Comparison("all", 8, *spreads, num_units=8, unit="images")
    monkeypatch.setattr(finetune, "compare", lambda before, after: [better])
    data = write_davis(tmp_path / "data", "abc")
    assert tune(data, start, "discs", "--adapt", "lora") == 0
    assert "better: the change is more than chance. Load it as discs" in capsys.readouterr().out
    assert [m.name for m in list_models() if m.where == "own"] == ["discs"]
    assert load_model("discs", device="cpu").config.stages == make_tiny().config.stages


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--out", "nano"], "'nano' is the name of a model that exists"),
        (["--out", "my model"], "a model cannot be called 'my model'"),
        (["--out", "x", "--model", "none"], "unknown model 'none'"),
        (["--out", "x", "--minutes", "0"], "minutes must be positive"),
        (["--out", "x", "--data", "/none"], "there is no folder /none"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, start, capsys, options, words):
    assert main(["train", "finetune", "--data", str(tmp_path), *options]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line


def test_a_packed_file_is_read_as_the_folder_is(tmp_path: Path):
    root = tmp_path / "train"
    write_images(root / "dsb2018", 11)
    volume, labels = discs(8)
    (root / "plant_nuclei_3d/1135_mini").mkdir(parents=True)
    tifffile.imwrite(root / "plant_nuclei_3d/1135_mini/volume.tif", volume)
    tifffile.imwrite(root / "plant_nuclei_3d/1135_mini/labels.tif", labels)
    pair = load_training_data(root), load_training_data(root, held_out=True)
    packed = pack(*pair, tmp_path / "train.zip")
    assert packed.num_images == 11
    assert packed.size_bytes < 2**20
    for is_held_out, expected in enumerate(pair):
        read = load_training_data(tmp_path / "train.zip", held_out=bool(is_held_out))
        for one, other in zip(expected.images["dsb2018"], read.images["dsb2018"], strict=True):
            assert (one.name, one.instances) == (other.name, other.instances)
            assert np.array_equal(one.labels, other.labels)
            assert np.abs(one.image.astype(int) - other.image).mean() < 3  # JPEG
        (volume_in,), (volume_out,) = (data.volumes["plant_nuclei_3d"] for data in (expected, read))
        assert np.array_equal(volume_in.volume, volume_out.volume)
        assert np.array_equal(volume_in.labels, volume_out.labels)
    with pytest.raises(ValueError, match=r"MiB in the lowest quality, more than 0\.001"):
        pack(*pair, tmp_path / "small.zip", max_mib=0.001)
    assert not list(tmp_path.glob("small*"))
    (tmp_path / "text").write_text("no zip")
    with pytest.raises(ValueError, match="no packed training data"):
        load_training_data(tmp_path / "text")
