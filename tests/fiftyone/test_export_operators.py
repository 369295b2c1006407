"""Export and import through the operators: what goes out comes back, in every format."""

import json
from pathlib import Path
from typing import Any

import fiftyone.operators as foo
import numpy as np
import pytest
from PIL import Image
from tracked import write_masks
from video_files import moving_discs

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.exporting import FORMATS
from sam2_plugins.fiftyone_plugin.geometry import detection_mask
from sam2_plugins.fiftyone_plugin.records import Records

SIZE = (64, 96)


def run(name: str, dataset: Any, **params: Any) -> dict[str, Any]:
    view = params.pop("view", None)
    uri = f"@sam2-plugins/sam2/{name}"
    return foo.execute_operator(uri, dataset=dataset, view=view, params=params).result


@pytest.fixture
def tracked(video_dataset: Any) -> Any:
    for sample, count in zip(video_dataset, (1, 2, 1), strict=True):
        write_masks(sample, moving_discs(12, num_objects=count)[1])
    return video_dataset


def everything(dataset: Any, field: str) -> dict[tuple[str, int, int], tuple[bytes, str, str]]:
    """Mask, class and instance by sample, frame number and index."""
    return {
        (sample.id, number, label.index): (
            detection_mask(label, SIZE).tobytes(),
            label.label,
            str(label.instance.id),
        )
        for sample in dataset
        for number, frame in sample.frames.items()
        if frame[field] is not None
        for label in frame[field].detections
    }


@pytest.mark.parametrize("name", FORMATS)
def test_a_round_trip_keeps_masks_classes_and_tracks(
    tracked: Any, tmp_path: Path, name: str
) -> None:
    target = str(tmp_path / "out")
    exported = run("export_masklets", tracked, export_dir=target, format=name)
    assert exported == {"num_videos": 3, "num_tracks": 4, "export_dir": target}
    imported = run("import_masklets", tracked, import_dir=target, output_field="back")
    assert imported == {"num_videos": 3, "num_masks": 48, "unknown": []}
    assert everything(tracked, "back") == everything(tracked, "masks")


@pytest.mark.parametrize("name", FORMATS)
def test_clips_go_out_and_all_of_them_come_back(tracked: Any, tmp_path: Path, name: str) -> None:
    clips = tracked[1:2].to_clips([[(1, 4), (9, 12)]])
    target = str(tmp_path / "out")
    run("export_masklets", tracked, view=clips, export_dir=target, format=name)
    result = run("import_masklets", tracked, import_dir=target, output_field="back")
    assert (result["num_videos"], result["num_masks"]) == (1, 16)
    masks = everything(tracked[1:2], "masks")
    given = {key: value for key, value in masks.items() if key[1] in (1, 2, 3, 4, 9, 10, 11, 12)}
    assert everything(tracked[1:2], "back") == given
    # Into clips, only their own frames.
    run("import_masklets", tracked, view=clips[1:], import_dir=target, output_field="one")
    assert {key[1] for key in everything(tracked[1:2], "one")} == {9, 10, 11, 12}


@pytest.mark.parametrize("name", FORMATS)
def test_labels_of_before_are_on_no_frame_after(tracked: Any, tmp_path: Path, name: str) -> None:
    labels, target = moving_discs(12)[1], str(tmp_path / "out")
    sample, view = tracked.first(), tracked[:1]
    write_masks(sample, labels, change=lambda n, _, mask: None if n > 6 else (mask, 0.9))
    run("export_masklets", tracked, view=view, export_dir=target, format=name)
    write_masks(sample, labels, field="back")
    sample.frames[20] = fo.Frame(back=sample.frames[1].back.copy())
    sample.save()
    given = {"import_dir": target, "output_field": "back", "overwrite": True}
    run("import_masklets", tracked, view=view, **given)
    assert everything(view, "back") == everything(view, "masks")
    frames = tracked.first().frames
    assert frames[20].back is None
    # A frame on which the files say that nothing is there is not one of which nothing is known.
    assert frames[12].back.detections == []


def test_only_what_reviewers_let_through_is_exported(tracked: Any, tmp_path: Path) -> None:
    first, second, _ = tracked.values("id")
    run("review_masklets", tracked, view=tracked.select(first), verdict="reject")
    run("review_masklets", tracked, view=tracked.select(second), verdict="accept", tracks="2")
    counts = {
        which: run(
            "export_masklets", tracked, export_dir=str(tmp_path / which), which=which, format="coco"
        )["num_tracks"]
        for which in ("all", "not_rejected", "accepted")
    }
    assert counts == {"all": 4, "not_rejected": 3, "accepted": 1}
    content = json.loads((tmp_path / "accepted" / "annotations.json").read_text())
    assert {row["track_id"] for row in content["annotations"]} == {2}


def test_imported_masks_can_be_prompts_of_every_nth_frame(tracked: Any, tmp_path: Path) -> None:
    folder = tmp_path / "Annotations" / "clip0"
    folder.mkdir(parents=True)
    labels = moving_discs(12)[1]
    for position in range(3):
        Image.fromarray(labels[4 * position]).save(folder / f"{position:05d}.png")
    result = run(
        *("import_masklets", tracked),
        import_dir=str(tmp_path), output_field="given", stride=4, as_prompts=True, label="cat",
    )  # fmt: skip
    assert (result["num_videos"], result["num_masks"]) == (1, 3)
    frames = tracked.first().frames
    given = {n: f.given.detections[0] for n, f in frames.items() if f.given is not None}
    assert sorted(given) == [1, 5, 9]
    assert all(label.keyframe is True and label.label == "cat" for label in given.values())
    np.testing.assert_array_equal(detection_mask(given[5], SIZE), labels[4] > 0)
    # They can be propagated where nothing else was drawn; no run has made them.
    tracked.delete_frame_fields(["prompts", "truth", "masks"])
    assert not tracked.has_sample_field("given_state")
    result = run(
        *("propagate_masks", tracked),
        prompt_field=["given"], output_field="out", image_size=64, device="cpu",
    )  # fmt: skip
    assert (result["done"], result["skipped"]) == (1, 2)
    tracked.reload()
    assert all(frame.out.detections for frame in tracked.first().frames.values())


@pytest.mark.parametrize(("keyframe", "shown"), [(False, 2), (True, 1)])
def test_label_images_show_of_two_tracks_as_near_the_surer(
    tmp_path: Path, dataset: Any, keyframe: bool, shown: int
) -> None:
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "a.png")
    box, mask = [0, 0, 9 / 96, 8 / 64], np.ones((8, 9), bool)
    labels = [
        fo.Detection(
            label="cell", bounding_box=box, mask=mask, index=index, keyframe=key, object_score=score
        )
        for index, key, score in ((1, keyframe, 0.6), (2, False, 0.9))
    ]
    sample = fo.Sample(filepath=str(tmp_path / "a.png"), masks=fo.Detections(detections=labels))
    dataset.add_sample(sample)
    run("export_masklets", dataset, export_dir=str(tmp_path / "out"), format="davis")
    (written,) = (tmp_path / "out" / "Annotations").rglob("*.png")
    assert set(np.unique(np.asarray(Image.open(written)))) == {0, shown}
    run("export_masklets", dataset, export_dir=str(tmp_path / "all"), format="coco")
    rows = json.loads((tmp_path / "all" / "annotations.json").read_text())["annotations"]
    assert [row["track_id"] for row in rows] == [1, 2]


def test_label_images_show_of_two_tracks_the_one_whose_keyframe_is_much_nearer(
    tmp_path: Path, clips: list[Path], dataset: Any
) -> None:
    sample = fo.Sample(filepath=str(clips[0]))
    box, mask = [0, 0, 9 / 96, 8 / 64], np.ones((8, 9), bool)
    for number in range(1, 13):
        labels = [
            fo.Detection(
                label="cell", bounding_box=box, mask=mask, index=index,
                keyframe=number == given, object_score=score,
            )
            for index, given, score in ((1, 1, 0.9), (2, 10, 0.6))
        ]  # fmt: skip
        sample.frames[number] = fo.Frame(masks=fo.Detections(detections=labels))
    dataset.add_sample(sample)
    dataset.add_dynamic_frame_fields()
    run("export_masklets", dataset, export_dir=str(tmp_path), format="davis")
    written = sorted((tmp_path / "Annotations").rglob("*.png"))
    shown = [int(np.asarray(Image.open(path)).max()) for path in written]
    # 0.9 and 0.6 are 1.8 logits apart, so the first may be 3.5 times as far.
    assert shown == [1] * 7 + [2] * 5


def test_images_go_out_and_come_back(tmp_path: Path, dataset: Any) -> None:
    for name, shade in (("a", 10), ("b", 200)):
        Image.new("RGB", SIZE[::-1], (shade, 0, 0)).save(tmp_path / f"{name}.png")
        mask = np.ones((8, 9), bool)
        label = fo.Detection(label=name, bounding_box=[0, 0, 9 / 96, 8 / 64], mask=mask, index=4)
        sample = fo.Sample(filepath=str(tmp_path / f"{name}.png"))
        sample["masks"] = fo.Detections(detections=[label])
        dataset.add_sample(sample)
    target = str(tmp_path / "out")
    run("export_masklets", dataset, export_dir=target, format="coco")
    files = json.loads((tmp_path / "out" / "annotations.json").read_text())["images"]
    assert [row["file_name"] for row in files] == ["a.png", "b.png"]
    result = run("import_masklets", dataset, import_dir=target, output_field="back")
    assert result["num_masks"] == 2
    for sample in dataset:
        (label,) = sample.back.detections
        assert (label.label, label.index) == (Path(sample.filepath).stem, 4)
        assert detection_mask(label, SIZE)[:8, :9].all()


def test_bad_input_is_one_line_and_writes_nothing(tracked: Any, tmp_path: Path) -> None:
    def refused(name: str, message: str, **params: Any) -> None:
        with pytest.raises(Exception, match=message):
            run(name, tracked, **params)

    out = str(tmp_path / "out")
    refused("export_masklets", "export_dir must name the folder")
    refused("export_masklets", "those are .*masks", export_dir=out, field="nope")
    refused("export_masklets", "no folder", export_dir=str(tmp_path / "no" / "out"))
    refused("export_masklets", "no video has masks", export_dir=out, field="prompts")
    refused("import_masklets", "there is no folder", import_dir=out)
    (tmp_path / "empty").mkdir()
    refused("import_masklets", "holds no masks", import_dir=str(tmp_path / "empty"))

    run("export_masklets", tracked, export_dir=out)
    refused("export_masklets", "earlier export", export_dir=out)
    run("import_masklets", tracked, import_dir=out, output_field="back")
    before = everything(tracked, "back")
    refused("import_masklets", "labels already", import_dir=out, output_field="back")
    refused(
        *("import_masklets", "masks up to frame 23, but .* has 12"),
        import_dir=out, output_field="other", stride=2,
    )  # fmt: skip
    pictures = str(tmp_path / "pictures")
    run("export_masklets", tracked, export_dir=pictures, format="davis")
    (tmp_path / "pictures" / "Annotations" / "clip2" / "00011.png").write_bytes(b"?")
    refused(
        *("import_masklets", "00011.png is not a readable picture"),
        import_dir=pictures, output_field="other",
    )  # fmt: skip
    last = tracked.last().id
    claim = Records(tracked).claim(last, "other", sample_id=last)
    refused("import_masklets", "is at work on it", import_dir=out, output_field="other")
    claim.give_back()
    assert not tracked.has_frame_field("other")
    assert everything(tracked, "back") == before
    (tmp_path / "strange").mkdir()
    (tmp_path / "out" / "clip0.json").rename(tmp_path / "strange" / "nobody.json")
    refused("import_masklets", "no sample is of 'nobody'", import_dir=str(tmp_path / "strange"))


@pytest.mark.parametrize("is_shown", [True, False])
def test_a_nucleus_that_a_person_showed_in_its_cell_is_exported_with_it(
    video_dataset: Any, tmp_path: Path, *, is_shown: bool
) -> None:
    sample = video_dataset.skip(1).first()
    cell, nucleus = (np.zeros(SIZE, bool) for _ in range(2))
    cell[10:50, 10:50] = nucleus[12:46, 12:46] = True

    def nested(number: int, object_id: int, _mask: Any) -> tuple[Any, float]:
        return (cell, nucleus)[object_id - 1], 0.9

    write_masks(sample, moving_discs(12, num_objects=2)[1], change=nested)
    if is_shown:
        for label in sample.frames[3].masks.detections:
            label["keyframe"] = True
    # The nucleus is the less sure one: without a word it would be taken for a mistake.
    for number in range(4, 13):
        sample.frames[number].masks.detections[1]["object_score"] = 0.6
    sample.save()
    out = tmp_path / "out"
    run(
        *("export_masklets", video_dataset),
        view=video_dataset.select(sample.id),
        export_dir=str(out),
        format="davis",
    )
    shown = np.array(Image.open(sorted(out.rglob("*.png"))[6]))
    assert set(np.unique(shown)) == ({0, 1, 2} if is_shown else {0, 1})
