"""Ordered groups of images and images in folders: what files call them, and finding them again."""

import json
import shutil
from pathlib import Path
from typing import Any

import fiftyone.operators as foo
import pytest
from PIL import Image
from propagation import masked
from video_files import moving_discs

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.exporting import FORMATS, MANIFEST

SCENES = ("bear", "cow.v2")


def run(name: str, dataset: Any, **params: Any) -> dict[str, Any]:
    view = params.pop("view", None)
    uri = f"@sam2-plugins/sam2/{name}"
    return foo.execute_operator(uri, dataset=dataset, view=view, params=params).result


@pytest.fixture
def scenes(tmp_path: Path, dataset: Any) -> Any:
    """Four frames of each scene in a folder of its own, as in DAVIS; `cow.v2` has no masks."""
    frames, labels = moving_discs(4)
    for scene in SCENES:
        (tmp_path / "images" / scene).mkdir(parents=True)
        for index, frame in enumerate(frames):
            path = tmp_path / "images" / scene / f"{index:05d}.png"
            Image.fromarray(frame).save(path)
            sample = fo.Sample(filepath=str(path), scene=scene, number=index)
            if scene == "bear":
                sample["masks"] = masked(labels[index], 1)
            dataset.add_sample(sample)
    return dataset


def masks_per_scene(dataset: Any, field: str) -> list[int]:
    dataset.reload()
    scenes = [dataset.match(fo.ViewField("scene") == scene) for scene in SCENES]
    return [scene.count(f"{field}.detections") for scene in scenes]


@pytest.mark.parametrize("name", FORMATS)
def test_groups_are_named_by_their_folder_and_found_by_it(
    scenes: Any, tmp_path: Path, name: str
) -> None:
    view = scenes.group_by("scene", order_by="number")
    out = tmp_path / "out"
    assert run("export_masklets", scenes, view=view, export_dir=str(out), format=name)
    (entry,) = json.loads((out / MANIFEST).read_text())["videos"]
    assert entry["name"] == "bear"
    (out / MANIFEST).unlink()
    result = run("import_masklets", scenes, view=view, import_dir=str(out), output_field="back")
    assert (result["num_videos"], result["num_masks"]) == (1, 4)
    assert masks_per_scene(scenes, "back") == [4, 0]


def test_coco_names_the_images_there_are(scenes: Any, tmp_path: Path) -> None:
    view = scenes.group_by("scene", order_by="number")
    for scene in scenes.match(fo.ViewField("scene") == "cow.v2"):
        scene["masks"] = masked(moving_discs(1)[1][0], 1)
        scene.save()
    out = tmp_path / "out"
    for given in (view, scenes.view()):
        run("export_masklets", scenes, view=given, export_dir=str(out), format="coco")
        content = json.loads((out / "annotations.json").read_text())
        files = [image["file_name"] for image in content["images"]]
        assert sorted(files) == [f"{scene}/{n:05d}.png" for scene in SCENES for n in range(4)]
        shutil.rmtree(out)


def test_images_of_one_name_in_two_folders_are_told_apart(scenes: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("export_masklets", scenes, export_dir=str(out), format="coco")
    (out / MANIFEST).unlink()
    content = json.loads((out / "annotations.json").read_text())
    assert len(content["annotations"]) == 4
    # Only images of the first scene have masks, so the common folder is its own.
    for image in content["images"]:
        image["file_name"] = f"bear/{image['file_name']}"
    (out / "annotations.json").write_text(json.dumps(content))
    run("import_masklets", scenes, import_dir=str(out), output_field="back")
    assert masks_per_scene(scenes, "back") == [4, 0]


def test_masks_of_another_tool_are_found_by_folder(scenes: Any, tmp_path: Path) -> None:
    folder = tmp_path / "davis" / "Annotations" / "480p" / "cow.v2"
    folder.mkdir(parents=True)
    for index, labels in enumerate(moving_discs(4)[1]):
        Image.fromarray(labels).save(folder / f"{index:05d}.png")
    view = scenes.group_by("scene", order_by="number")
    run("import_masklets", scenes, view=view, import_dir=str(tmp_path / "davis"))
    assert masks_per_scene(scenes, "imported") == [0, 4]


def test_groups_that_share_a_folder_are_named_by_their_first_image(
    tmp_path: Path, dataset: Any
) -> None:
    frames, labels = moving_discs(2)
    for scene in "ab":
        for index, frame in enumerate(frames):
            path = tmp_path / f"{scene}{index}.png"
            Image.fromarray(frame).save(path)
            dataset.add_sample(
                fo.Sample(
                    filepath=str(path), scene=scene, number=index, masks=masked(labels[index], 1)
                )
            )
    view = dataset.group_by("scene", order_by="number")
    run("export_masklets", dataset, view=view, export_dir=str(tmp_path / "out"), format="davis")
    written = (tmp_path / "out" / "Annotations").iterdir()
    assert sorted(path.name for path in written) == ["a0", "b0"]
    run("import_masklets", dataset, view=view, import_dir=str(tmp_path / "out"))
    dataset.reload()
    assert dataset.count("imported.detections") == 4


def test_two_files_of_one_name_are_refused(scenes: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    view = scenes.group_by("scene", order_by="number")
    run("export_masklets", scenes, view=view, export_dir=str(out))
    for ending in ("manual", "auto"):
        shutil.copy(out / "bear.json", out / f"bear_{ending}.json")
    with pytest.raises(Exception, match="3 files have masks of 'bear'; import them apart"):
        run("import_masklets", scenes, view=view, import_dir=str(out))
