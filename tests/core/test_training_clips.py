import cv2
import numpy as np
import pytest
import tifffile

from sam2_plugins.core.training.clip_kinds import BUILDERS
from sam2_plugins.core.training.clips import make_clip
from sam2_plugins.core.training.sources import TrainingData, load_image_set, load_training_data


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    """Twenty small images per set and one volume, laid out as the real data."""
    root = tmp_path_factory.mktemp("train")
    rng = np.random.default_rng(0)
    for name in ("dsb2018", "clothing"):
        (root / name / "images").mkdir(parents=True)
        (root / name / "labels").mkdir()
        for index in range(20):
            image = rng.integers(0, 60, (80, 90, 3), dtype=np.uint8)
            labels = np.zeros((80, 90), np.uint16)
            for label in (1, 2, 3):
                centre = (int(rng.integers(15, 75)), int(rng.integers(15, 65)))
                cv2.circle(labels, centre, 12, label, -1)
                image[labels == label] = 80 + 50 * label
            cv2.imwrite(str(root / name / "images" / f"{index:02d}.png"), image)
            cv2.imwrite(str(root / name / "labels" / f"{index:02d}.png"), labels)
    folder = root / "plant_nuclei_3d" / "1135_mini"
    folder.mkdir(parents=True)
    z, y, x = np.mgrid[:20, :40, :40]
    inside = (z - 8) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 < 120
    tifffile.imwrite(folder / "volume.tif", (inside * 180 + 20).astype(np.uint8))
    tifffile.imwrite(folder / "labels.tif", inside.astype(np.uint16))
    return root


@pytest.fixture(scope="module")
def data(data_root):
    return load_training_data(data_root)


@pytest.mark.parametrize("kind", sorted(BUILDERS))
def test_every_kind_makes_clips_whose_objects_are_there_on_the_first_frame(data, kind):
    clip = make_clip(data, 3, size=64, num_frames=4, num_objects=2, kinds={kind: 1.0})
    assert clip.frames.shape == (4, 64, 64, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.masks.shape == (2, 4, 64, 64)
    assert clip.masks.dtype == bool
    assert clip.masks[:, 0].any((1, 2)).all()


def test_a_kind_without_its_data_is_refused():
    with pytest.raises(ValueError, match=r"nothing to make a clip of the kinds \['volume'\]"):
        make_clip(
            TrainingData({}, {}), 0, size=64, num_frames=2, num_objects=1, kinds={"volume": 1}
        )


def test_the_same_seed_makes_the_same_clip_and_another_another(data):
    clips = [make_clip(data, (5, s), size=64, num_frames=3, num_objects=2) for s in (1, 1, 2)]
    assert np.array_equal(clips[0].frames, clips[1].frames)
    assert np.array_equal(clips[0].masks, clips[1].masks)
    assert not np.array_equal(clips[0].frames, clips[2].frames)


def test_objects_move_and_some_disappear(data):
    moved = vanished = 0
    for seed in range(30):
        clip = make_clip(data, seed, size=64, num_frames=6, num_objects=2)
        moved += (clip.masks[:, 0] != clip.masks[:, -1]).any()
        vanished += (~clip.masks.any((2, 3))).any()
    assert moved >= 25
    assert vanished >= 3


def test_held_out_images_and_slices_are_never_trained_on(data_root):
    trained = {image.name for image in load_image_set(data_root / "dsb2018")}
    held = {image.name for image in load_image_set(data_root / "dsb2018", held_out=True)}
    assert held == {"00", "10"}
    assert not trained & held
    train = load_training_data(data_root).volumes["plant_nuclei_3d"][0]
    test = load_training_data(data_root, held_out=True).volumes["plant_nuclei_3d"][0]
    assert (len(train.volume), len(test.volume)) == (15, 5)


def test_a_folder_without_data_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none of the training sets"):
        load_training_data(tmp_path)
