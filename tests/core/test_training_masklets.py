"""Training data as masklets: SA-V's own folders, and exports that name their videos."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco
from tiny import make_tiny

from sam2_plugins.cli import main
from sam2_plugins.core.checkpoints import save_checkpoint
from sam2_plugins.core.training.checkpoints import load_checkpoint
from sam2_plugins.core.training.own_data import keep_apart, load_own_data

SIZE = 64
STEP = 4  # of SA-V: 24 frames per second, 6 annotated


def discs(num_frames: int) -> np.ndarray:
    """(T, 2, S, S) bool: two discs that drift; the second is gone on frames 8 to 11."""
    y, x = np.mgrid[:SIZE, :SIZE]
    masks = np.zeros((num_frames, 2, SIZE, SIZE), bool)
    for t in range(num_frames):
        masks[t, 0] = (y - 20) ** 2 + (x - 14 - t) ** 2 < 90
        if t not in range(8, 12):
            masks[t, 1] = (y - 44) ** 2 + (x - 46 + t) ** 2 < 90
    return masks


def write_video(path: Path, masks: np.ndarray) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=24, options={"crf": "12"})
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for first, second in masks:
            image = np.full((SIZE, SIZE, 3), 40, np.uint8)
            image[first], image[second] = 210, 130
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)


def masklets(masks: np.ndarray, name: str) -> dict:
    """As SA-V has them: ids from 0, compressed run lengths, every object on every frame."""
    rles = [
        [
            {**rle, "counts": rle["counts"].decode("ascii")}
            for rle in (coco.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in frame)
        ]
        for frame in masks
    ]
    return {
        "video_id": name,
        "video_height": float(SIZE),
        "video_width": float(SIZE),
        "video_frame_count": STEP * len(masks),
        "masklet": rles,
        "masklet_id": list(range(masks.shape[1])),
        "masklet_num": masks.shape[1],
    }


def write_sav(folder: Path, count: int) -> Path:
    """Videos with masklets made by people and, of the same videos, made without them."""
    for index in range(count):
        name, masks = f"sav_{index:06d}", discs(18 + index)
        part = folder / f"sav_{index % 2:03d}"
        part.mkdir(parents=True, exist_ok=True)
        write_video(part / f"{name}.mp4", masks)
        told = masklets(masks[::STEP], name)
        (part / f"{name}_manual.json").write_text(json.dumps(told))
        (part / f"{name}_auto.json").write_text(
            json.dumps(masklets(np.ones_like(masks[::STEP]), ""))
        )
    return folder


def test_a_folder_of_sa_v_is_read_by_what_people_made(tmp_path: Path):
    data = load_own_data(write_sav(tmp_path, 3))
    # 18, 19 and 20 frames have 5 annotated ones each
    assert str(data) == "3 stacks of 15 frames"
    assert [stack.name for stack in data.stacks] == ["sav_000000", "sav_000002", "sav_000001"]
    assert not any(stack.is_volume for stack in data.stacks)
    stack = data.stacks[0]
    truth = discs(18)[::STEP]
    expected = truth[:, 0] * 1 + truth[:, 1] * 2
    np.testing.assert_array_equal(stack.labels, expected)
    # the pictures are those of the annotated frames: the discs are where the labels are
    shown = [(stack.labels == i) & (np.abs(stack.frames[..., 0] - v) < 30) for i, v in SHOWN]
    assert sum(np.count_nonzero(part) for part in shown) > 0.95 * np.count_nonzero(stack.labels)
    assert np.count_nonzero(stack.frames[..., 0] > 90) < 1.05 * np.count_nonzero(stack.labels)


SHOWN = ((1, 210.0), (2, 130.0))


def test_what_was_made_without_people_counts_where_there_is_nothing_else(tmp_path: Path):
    folder = write_sav(tmp_path, 1)
    (folder / "sav_000/sav_000000_manual.json").unlink()
    (stack,) = load_own_data(folder).stacks
    assert stack.labels.min() > 0  # all of it, as the automatic file says


def test_videos_of_sa_v_are_learnt_from(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setenv("SAM2_PLUGINS_MODELS", str(tmp_path / "models"))
    save_checkpoint(make_tiny(), tmp_path / "start.safetensors")
    data = write_sav(tmp_path / "sav", 3)
    learnt, apart = keep_apart(load_own_data(data))
    assert [s.name for s in apart.stacks] == ["sav_000000"]
    assert not {s.name for s in learnt.stacks} & {s.name for s in apart.stacks}
    code = main(
        [
            *("train", "finetune", "--data", str(data), "--out", str(tmp_path / "out") + "/"),
            *("--model", str(tmp_path / "start.safetensors"), "--steps", "2", "--processes", "1"),
        ]
    )
    assert code in (0, 1)
    assert "1 stack of 5 frames kept apart" in capsys.readouterr().err
    assert load_checkpoint(tmp_path / "out/checkpoint.pt")["progress"]["step"] == 2


def write_export(folder: Path, kind: str, videos: list[dict]) -> Path:
    folder.mkdir(exist_ok=True)
    manifest = {"software": "sam2-plugins", "version": 1, "format": kind, "videos": videos}
    (folder / "sam2-export.json").write_text(json.dumps(manifest))
    return folder


def test_an_export_names_its_videos_wherever_they_lie(tmp_path: Path):
    masks = discs(8)
    write_video(tmp_path / "walk.mp4", masks)
    told = masklets(masks, "walk")
    # frames 0 and 5 have labels; of the others the file says nothing, not even absence
    scores = [[5.0, 5.0] if t in (0, 5) else [None, None] for t in range(8)]
    told |= {"masklet_predicted_iou": scores, "masklet_object_score_logit": scores}
    entry = {"name": "a", "source": str(tmp_path / "walk.mp4")}
    root = write_export(tmp_path / "export", "sa-v", [entry])
    (root / "a.json").write_text(json.dumps(told))
    (stack,) = load_own_data(root).stacks
    assert stack.name == "a"
    np.testing.assert_array_equal(stack.labels > 0, masks[[0, 5]].any(1))
    # as palette images, of images in order
    paths = []
    for t in range(8):
        paths.append(str(tmp_path / f"picture{t}.png"))
        Image.fromarray(np.where(masks[t].any(0), 200, 20).astype(np.uint8)).save(paths[-1])
    entry = {"name": "b", "source": paths[0], "paths": paths}
    root = write_export(tmp_path / "pngs", "davis", [entry])
    (root / "Annotations/b").mkdir(parents=True)
    for t in range(8):
        labels = (masks[t, 0] * 1).astype(np.uint8)
        Image.fromarray(labels).save(root / f"Annotations/b/{t:05d}.png")
    (stack,) = load_own_data(root).stacks
    np.testing.assert_array_equal(stack.labels == 1, masks[:, 0])


def test_what_is_wrong_with_masklets_is_said(tmp_path: Path):
    entry = {"name": "a", "source": str(tmp_path / "gone.mp4")}
    root = write_export(tmp_path / "export", "sa-v", [entry])
    told = masklets(discs(8), "a")
    (root / "a.json").write_text(json.dumps(told))
    with pytest.raises(FileNotFoundError, match=r"a\.json holds masks of .*gone\.mp4, which is no"):
        load_own_data(root)
    write_video(tmp_path / "gone.mp4", discs(6))
    with pytest.raises(ValueError, match=r"a\.json has masks of 8 frames, its video 6"):
        load_own_data(root)
    write_export(root, "coco", [entry])
    with pytest.raises(ValueError, match="an export as coco; export sa-v, davis or youtube-vos"):
        load_own_data(root)
