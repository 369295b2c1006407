"""Workers killed at any point, and the database gone: nothing is lost, doubled or half-finished."""

import multiprocessing
import os
import signal
import threading
import time
import warnings

import numpy as np
import pytest
from propagation import QUICK, all_masks_of

import fiftyone as fo
from sam2_plugins.core.segmenting import Segmenter
from sam2_plugins.fiftyone_plugin import checkpoints, mask_files, propagating, store
from sam2_plugins.fiftyone_plugin.database import collection, patiently
from sam2_plugins.fiftyone_plugin.geometry import detection_mask
from sam2_plugins.fiftyone_plugin.options import Options
from sam2_plugins.fiftyone_plugin.records import (
    COLLECTION,
    BusyError,
    Claim,
    ClaimLostError,
    Records,
)
from sam2_plugins.fiftyone_plugin.sources import list_units

# A fork of this process is a real worker that need not import everything again.
FORK = multiprocessing.get_context("fork")
PATIENCE_S = 240


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying(function, *, call, when):
    """The function, but the process is killed at its n-th call."""
    calls = []

    def wrapped(*args, **kwargs):
        calls.append(1)
        if len(calls) == call and when == "before":
            die()
        result = function(*args, **kwargs)
        if len(calls) == call and when == "after":
            die()
        return result

    return wrapped


KILL_POINTS = {
    "claimed": (Claim, "begin", 1, "before"),
    "nothing written": (store.UnitLabels, "merge", 1, "before"),
    "masks, but no labels": (mask_files.MaskFiles, "write", 2, "after"),
    "some labels": (store.UnitLabels, "write", 2, "after"),
    "all labels, no record": (Claim, "finish", 1, "before"),
    "everything": (Claim, "finish", 1, "after"),
}


def work(name, options):
    dataset = fo.load_dataset(name)
    for _ in propagating.propagate_units(dataset, list_units(dataset[1:2]), options):
        pass


def work_in_a_fork(name, options):
    # The database's client warns that it was made before the fork, and connects anew.
    warnings.simplefilter("ignore")
    work(name, options)


def everything(sample, field):
    """All that is in the output field, by object and frame; each label once."""
    return {
        key: (detection_mask(label, (64, 96)).tobytes(), label.keyframe)
        for key, label in all_masks_of(sample, field).items()
    }


def are_of(left, expected):
    """Whether labels are of an undisturbed run, as far as that is settled.

    Between its keyframes on 5 and 11 the first object is tracked from both, and the labels of the
    way there stay only where those of the way back are not better.
    """
    settled = {
        (index, number): label
        for (index, number), label in left.items()
        if not (index == 1 and 5 < number < 11)
    }
    return left.keys() <= expected.keys() and settled.items() <= expected.items()


@pytest.fixture(scope="module")
def undisturbed(own_video_dataset):
    """A dataset whose second video holds a keyframe of the user's, and what a run makes of it."""
    sample = own_video_dataset[1:2].first()
    own = fo.Detection(index=1, bounding_box=[0.5, 0.5, 0.25, 0.25], keyframe=True)
    own.mask = np.ones((16, 24), bool)
    sample.frames[11]["masks"] = fo.Detections(detections=[own])
    sample.save()
    original = own_video_dataset.clone()
    options = Options(**QUICK)
    propagating.prepare(original, options)
    work(original.name, options)
    expected = everything(original[1:2].first(), "masks")
    assert len(expected) > 10
    assert len(set(expected.values())) > 5
    original.delete()
    return own_video_dataset, expected


@pytest.fixture
def second_video(undisturbed, monkeypatch):
    """The dataset, options, and what a run makes that nothing disturbs."""
    original, expected = undisturbed
    monkeypatch.setattr(propagating, "FLUSH_FRAMES", 3)
    dataset = original.clone()
    yield dataset, Options(**QUICK), expected
    dataset.delete()


@pytest.mark.parametrize("point", KILL_POINTS)
def test_a_worker_killed_anywhere_leaves_what_the_next_run_completes(
    second_video, tmp_path, monkeypatch, point
):
    dataset, options, expected = second_video
    given = {**options.to_params(), "mask_storage": "path", "mask_dir": str(tmp_path)}
    options = Options.from_params(given)
    propagating.prepare(dataset, options)
    owner, name, call, when = KILL_POINTS[point]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying(getattr(owner, name), call=call, when=when))
        worker = FORK.Process(target=work_in_a_fork, args=(dataset.name, options))
        worker.start()
        worker.join(PATIENCE_S)
    assert worker.exitcode == -signal.SIGKILL

    sample = dataset[1:2].first()
    (record,) = Records(dataset).find_all("masks")
    left = everything(sample, "masks")
    if point == "everything":
        assert record.state == "done"
    else:
        assert (record.state, record.is_alive, record.tracks) == ("running", False, ())
    assert are_of(left, expected)
    assert (1, 11) in left

    work(dataset.name, options)
    assert everything(sample, "masks") == expected
    (record,) = Records(dataset).find_all("masks")
    assert record.state == "done"
    assert len(record.tracks) == 2
    assert dataset[1:2].values("masks_state") == ["done"]
    files = {str(path) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == set(dataset[1:2].values("frames.masks.detections.mask_path", unwind=True)) - {
        None
    }


def computing(monkeypatch, die_at=0):
    """Frames that the tracker computes from now on; killed at one of them, if that is wanted."""
    track, computed = Segmenter.track, []

    def counted(self, object_id, masklet, frame_index, *args, **kwargs):
        computed.append((object_id, frame_index))
        if len(computed) == die_at:
            die()
        return track(self, object_id, masklet, frame_index, *args, **kwargs)

    monkeypatch.setattr(Segmenter, "track", counted)
    return computed


def test_a_run_that_was_killed_goes_on_in_the_middle_of_the_video(
    second_video, tmp_path, monkeypatch
):
    dataset, options, expected = second_video
    options = Options.from_params({**options.to_params(), "work_dir": str(tmp_path)})
    propagating.prepare(dataset, options)
    for name in ("EVERY_S", "_SHARE"):
        monkeypatch.setattr(checkpoints, name, 0)
    with monkeypatch.context() as patch:
        computing(patch, die_at=15)
        worker = FORK.Process(target=work_in_a_fork, args=(dataset.name, options))
        worker.start()
        worker.join(PATIENCE_S)
    assert worker.exitcode == -signal.SIGKILL
    (left,) = (path for path in tmp_path.rglob("*.session"))

    # There are 26 to compute, those between two keyframes twice. Of the 14 before it was killed, 4
    # were on the way back between them, which is made anew.
    before = computing(monkeypatch)
    work(dataset.name, options)
    assert len(before) == 26 - 14 + 4
    assert everything(dataset[1:2].first(), "masks") == expected
    assert not left.parent.exists()
    # The whole track is counted, not only what the second run computed.
    track = Records(dataset).find_all("masks")[0].tracks[0]
    assert track.num_labels > len({frame for index, frame in before if index == track.index})


def test_a_run_waits_for_a_database_that_is_killed_and_comes_back(
    second_video, database, monkeypatch
):
    dataset, options, expected = second_video
    merge, calls, threads = store.UnitLabels.merge, [], []

    def merge_without_database(self, field, new):
        calls.append(1)
        if len(calls) == 2:
            database.kill()
            threads.append(threading.Timer(1, database.start))
            threads[0].start()
        return merge(self, field, new)

    monkeypatch.setattr(store.UnitLabels, "merge", merge_without_database)
    propagating.prepare(dataset, options)
    try:
        work(dataset.name, options)
    finally:
        threads[0].join()
    assert len(calls) > 2
    assert everything(dataset[1:2].first(), "masks") == expected
    (record,) = Records(dataset).find_all("masks")
    assert record.state == "done"


def test_waiting_ends_with_one_line(monkeypatch):
    from pymongo.errors import AutoReconnect

    calls = []

    def gone():
        calls.append(1)
        raise AutoReconnect("no")

    with pytest.raises(ConnectionError, match="what was finished is kept"):
        patiently(gone, patience_s=0.5)
    assert len(calls) == 2


def test_closing_keeps_what_is_finished_and_the_next_run_completes(second_video):
    dataset, options, expected = second_video
    propagating.prepare(dataset, options)
    units = list_units(dataset[1:2])
    run = propagating.propagate_units(dataset, units, options)
    for progress in run:
        if progress.frames_done == 5:
            break
    run.close()
    (record,) = Records(dataset).find_all("masks")
    assert (record.state, record.frames_done) == ("stopped", 5)
    assert dataset[1:2].values("masks_state") == ["stopped"]
    left = everything(dataset[1:2].first(), "masks")
    assert 1 < len(left) < len(expected)
    assert are_of(left, expected)
    work(dataset.name, options)
    assert everything(dataset[1:2].first(), "masks") == expected


def claim(dataset):
    return Records(dataset).claim("unit", "masks", sample_id="sample")


def test_of_two_workers_one_has_the_video(dataset):
    first = claim(dataset)
    with pytest.raises(BusyError, match=f"process {os.getpid()} is at work on it"):
        claim(dataset)
    first.stop()
    claim(dataset).stop()


def test_a_worker_that_went_silent_loses_the_video_and_cannot_write(second_video, monkeypatch):
    dataset, options, expected = second_video
    propagating.prepare(dataset, options)
    units = list_units(dataset[1:2])
    slow = propagating.propagate_unit(dataset, units[0], options)
    while next(slow).frames_done < 4:
        pass
    # On another machine, of which nothing was heard for an hour.
    key = {"unit_id": units[0].unit_id, "field": "masks", "dataset_id": str(dataset._doc.id)}
    past = {"$set": {"host": "elsewhere", "heartbeat": {"$subtract": ["$$NOW", 3_600_000]}}}
    collection(COLLECTION).update_one(key, [past])
    work(dataset.name, options)
    assert everything(dataset[1:2].first(), "masks") == expected
    runs = dataset[1:2].distinct("frames.masks.detections.sam2_run")
    with pytest.raises(ClaimLostError):
        for _ in slow:
            pass
    assert dataset[1:2].distinct("frames.masks.detections.sam2_run") == runs
    assert everything(dataset[1:2].first(), "masks") == expected
    assert Records(dataset).find_all("masks")[0].state == "done"


def test_an_elsewhere_worker_keeps_the_video_until_it_is_silent(dataset):
    claim(dataset).close()
    documents, mine = collection(COLLECTION), {"dataset_id": str(dataset._doc.id)}
    documents.update_one(mine, {"$set": {"host": "elsewhere"}})
    with pytest.raises(BusyError, match="elsewhere"):
        claim(dataset)
    past = {"$set": {"heartbeat": {"$subtract": ["$$NOW", 61_000]}}}
    documents.update_one(mine, [past])
    claim(dataset).stop()


def test_the_heartbeat_renews_the_claim(dataset, monkeypatch):
    from sam2_plugins.fiftyone_plugin import heartbeat

    monkeypatch.setattr(heartbeat, "BEAT_S", 0.05)
    held = claim(dataset)
    documents, mine = collection(COLLECTION), {"dataset_id": str(dataset._doc.id)}
    first = documents.find_one(mine)["heartbeat"]
    deadline = time.monotonic() + 60
    while documents.find_one(mine)["heartbeat"] == first:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    held.stop()
