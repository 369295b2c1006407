import errno
import json
import zipfile

import numpy as np
import pytest
from tiny import assert_same, everything, frames_of, make_tiny

from sam2_plugins.core import session
from sam2_plugins.core.tracker import VideoTracker
from synthetic import two_discs_crossing

CLIP = two_discs_crossing(8)
MODEL = make_tiny()
exact_too = pytest.mark.parametrize("exact", [False, True], ids=["default", "exact"])


def annotate(tracker):
    """Prompts of all kinds, corrections of tracked frames, a lock, and a run cut short."""
    tracker.set_box(1, 1, CLIP.box(1, 1))
    tracker.set_mask(0, 7, CLIP.mask(0, 2))
    list(tracker.propagate())
    tracker.add_points(5, 1, [[40, 30], [10, 10]], [1, 0])
    tracker.set_mask(6, 7, np.zeros(CLIP.frames.shape[1:], bool))
    tracker.add_points(3, 7, [[20, 20]], [1])
    tracker.confirm(7, 4)
    run = tracker.propagate()
    next(run), next(run)
    run.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cells.session"


@pytest.fixture(scope="module")
def annotated():
    tracker = VideoTracker(MODEL, CLIP.frames)
    annotate(tracker)
    return tracker


@pytest.fixture
def saved(annotated, path):
    annotated.save(path)
    return path


@exact_too
def test_a_session_continues_where_it_was(exact, path):
    tracker = VideoTracker(MODEL, CLIP.frames, exact=exact, memory_frames=3)
    annotate(tracker)
    tracker.save(path)
    loaded = VideoTracker.load(path, MODEL, CLIP.frames)
    assert everything(loaded) == everything(tracker)
    assert loaded.confirmed == tracker.confirmed
    assert loaded.exact is exact
    for frame in range(8):
        assert_same(loaded.masks(frame), tracker.masks(frame))
    assert frames_of(loaded.propagate()) == frames_of(tracker.propagate())
    assert everything(loaded) == everything(tracker)
    for each in (tracker, loaded):
        each.add_points(5, 1, [[30, 30]], [1])
        each.add_points(6, 7, [[30, 30]], [1])
        each.clear_prompts(3, 7)
    assert frames_of(loaded.propagate()) == frames_of(tracker.propagate())
    assert everything(loaded) == everything(tracker)


def test_prompts_come_back(annotated, saved):
    loaded = VideoTracker.load(saved, MODEL, CLIP.frames)
    for object_id, by_frame in annotated.prompts.items():
        assert loaded.prompts[object_id].keys() == by_frame.keys()
        for frame, prompts in by_frame.items():
            found = loaded.prompts[object_id][frame]
            assert (found.box, found.points) == (prompts.box, prompts.points)
            assert (found.mask is None) == (prompts.mask is None)
            if prompts.mask is not None:
                np.testing.assert_array_equal(found.mask.mask, prompts.mask.mask)


def test_the_history_of_edits_is_not_kept(saved):
    loaded = VideoTracker.load(saved, MODEL, CLIP.frames)
    assert not loaded.undo()
    assert not loaded.redo()


def test_a_session_without_prompts(path):
    VideoTracker(MODEL, CLIP.frames).save(path)
    assert VideoTracker.load(path, MODEL, CLIP.frames).object_ids == []


def test_a_loaded_session_is_saved_as_it_was(saved, tmp_path):
    again = tmp_path / "again.session"
    VideoTracker.load(saved, MODEL, CLIP.frames).save(again)
    with zipfile.ZipFile(saved) as first, zipfile.ZipFile(again) as second:
        for name in first.namelist():
            assert first.read(name) == second.read(name)


def test_how_to_track_is_kept_and_may_hold_numbers_of_numpy(path):
    frames = CLIP.frames.astype(np.uint16) * 50
    low, high = frames.min(), frames.max()
    tracker = VideoTracker(
        MODEL,
        frames,
        limits=(low, high),
        max_conditioning_frames=np.int64(2),
        memory_stride=np.int64(2),
        fill_hole_area=0,
    )
    tracker.set_box(np.int64(0), np.int64(1), CLIP.box(0, 1))
    list(tracker.propagate())
    tracker.confirm(np.int64(1), np.int64(3))
    tracker.save(path)
    loaded = VideoTracker.load(path, MODEL, frames, cache_frames=2)
    assert loaded._rules == tracker._rules
    assert loaded.pixel_policy == tracker.pixel_policy
    list(loaded.propagate())
    list(tracker.propagate())
    assert everything(loaded) == everything(tracker)


def test_frames_may_lie_elsewhere(annotated, saved, tmp_path):
    np.save(tmp_path / "moved.npy", CLIP.frames)
    loaded = VideoTracker.load(saved, MODEL, tmp_path / "moved.npy")
    assert everything(loaded) == everything(annotated)


@pytest.mark.parametrize(
    ("model", "frames", "message"),
    [
        (make_tiny(1), CLIP.frames, r"made with model tiny-\w+, not tiny-\w+$"),
        (make_tiny(image_size=32), CLIP.frames, r"made with model tiny-\w+, not tiny-\w+$"),
        (MODEL, CLIP.frames[:7], "made with num frames 8, not 7$"),
        (MODEL, CLIP.frames[:, :-1], r"made with frame size \[40, 56\], not \[39, 56\]$"),
        (MODEL, 255 - CLIP.frames, "made with other frames of the same size$"),
    ],
    ids=["other weights", "other input", "fewer frames", "smaller frames", "other pixels"],
)
def test_a_session_needs_what_it_was_made_with(saved, model, frames, message):
    with pytest.raises(ValueError, match=message) as caught:
        VideoTracker.load(saved, model, frames)
    assert str(saved) in str(caught.value)


def test_a_session_of_colours_is_opened_as_colours(path):
    colours = np.stack([CLIP.frames, CLIP.frames // 2, CLIP.frames // 3], axis=-1) * 1.0
    tracker = VideoTracker(MODEL, colours, rgb=True)
    tracker.set_box(0, 1, CLIP.box(0, 1))
    tracker.save(path)
    with pytest.raises(ValueError, match=r"made with rgb True, not False$"):
        VideoTracker.load(path, MODEL, colours)
    assert everything(VideoTracker.load(path, MODEL, colours, rgb=True)) == everything(tracker)


def test_no_session(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no session at .*nowhere"):
        VideoTracker.load(tmp_path / "nowhere", MODEL, CLIP.frames)


def rewritten(path, change):
    """Write a session's members again, as `change` left them."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def header_with(**changes):
    def change(members):
        header = json.loads(members["session.json"])
        header = {name: value for name, value in {**header, **changes}.items() if value != "gone"}
        members["session.json"] = json.dumps(header).encode()

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (header_with(version=2), r"later version .*format 2; this version reads up to 1"),
        (header_with(format="other"), "is not a session of sam2-plugins$"),
        (header_with(options="gone"), "or is damaged"),
        (header_with(results="gone"), "or is damaged"),
        (header_with(objects={"x": {}}), "or is damaged"),
        (lambda members: members.pop("session.json"), "or is damaged"),
        (lambda members: members.pop("pointers.npy"), "or is damaged"),
        (lambda members: members.update({"session.json": b"[1, 2]"}), "or is damaged"),
        (lambda members: members.update({"session.json": b"{"}), "or is damaged"),
        (lambda members: members.update({"masks.bin": members["masks.bin"][:-9]}), "or is damaged"),
        (lambda members: members.update({"logits.bin": b""}), "or is damaged"),
        (lambda members: members.update({"pointers.npy": b"no array"}), "or is damaged"),
    ],
)
def test_a_foreign_or_damaged_session_is_refused_in_one_line(saved, change, message):
    rewritten(saved, change)
    with pytest.raises(ValueError, match=message) as caught:
        VideoTracker.load(saved, MODEL, CLIP.frames)
    assert str(saved) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0, 0.02, 0.3, 0.98])
def test_a_session_cut_short_is_refused(saved, share):
    data = saved.read_bytes()
    saved.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match="or is damaged"):
        VideoTracker.load(saved, MODEL, CLIP.frames)


def test_flipped_bits_are_noticed(saved):
    data = bytearray(saved.read_bytes())
    with zipfile.ZipFile(saved) as archive:
        middle = archive.getinfo("logits.bin").header_offset + 300
    data[middle] ^= 0xFF
    saved.write_bytes(data)
    with pytest.raises(ValueError, match="or is damaged"):
        VideoTracker.load(saved, MODEL, CLIP.frames)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_session_that_cannot_be_written_leaves_the_one_before(
    annotated, saved, error, monkeypatch
):
    before, calls = saved.read_bytes(), []

    def fail(result):
        # Whenever the process dies, the old file is whole.
        assert saved.read_bytes() == before
        calls.append(result)
        if len(calls) == 5:
            raise error
        return b""

    monkeypatch.setattr(session, "_logits_bytes", fail)
    with pytest.raises(type(error)):
        annotated.save(saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_session_replaces_the_one_before(annotated, path):
    path.write_text("something else")
    annotated.save(path)
    assert everything(VideoTracker.load(path, MODEL, CLIP.frames)) == everything(annotated)
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_is_not_there(annotated, tmp_path):
    with pytest.raises(FileNotFoundError):
        annotated.save(tmp_path / "nowhere" / "cells.session")
