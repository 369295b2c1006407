"""Samples and datasets that someone deletes while a run is at work on them."""

import multiprocessing
import warnings

import pytest
from propagation import QUICK

import fiftyone as fo
from sam2_plugins.fiftyone_plugin import propagating
from sam2_plugins.fiftyone_plugin.options import Options
from sam2_plugins.fiftyone_plugin.records import Records
from sam2_plugins.fiftyone_plugin.sources import list_units

FORK = multiprocessing.get_context("fork")


def delete_elsewhere(name, sample_ids=None):
    """In another process, as from another window."""

    def delete():
        warnings.simplefilter("ignore")
        if sample_ids is None:
            fo.delete_dataset(name)
        else:
            fo.load_dataset(name).delete_samples(sample_ids)

    process = FORK.Process(target=delete)
    process.start()
    process.join(240)
    assert process.exitcode == 0


def run_and_delete(dataset, options, sample_ids=None):
    """Delete when the second of three videos is tracked; how each of them ended."""
    units, ended = propagating.prepare(dataset, options), {}
    is_deleted = False
    for event in propagating.propagate_units(dataset, units, options):
        if event.unit is units[1] and event.frames_done == 1 and not is_deleted:
            delete_elsewhere(dataset.name, sample_ids)
            is_deleted = True
        ended[event.unit.unit_id] = event
    return [ended[unit.unit_id] for unit in units]


@pytest.fixture
def options(checkpoint):
    return Options(model=str(checkpoint), **QUICK)


@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_a_sample_that_is_deleted_is_said_in_one_line_and_the_others_are_done(
    video_dataset, options
):
    second = video_dataset.values("id")[1]
    events = run_and_delete(video_dataset, options, [second])
    assert [event.state for event in events] == ["done", "failed", "done"]
    assert events[1].message.endswith("was deleted from the dataset meanwhile")
    assert [unit.sample_ids[0] for unit in list_units(video_dataset)] == video_dataset.values("id")
    assert len(video_dataset) == 2


@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_a_dataset_that_is_deleted_is_said_in_one_line(video_dataset, options):
    clone = video_dataset.clone()
    events = run_and_delete(clone, options)
    assert events[1].message.endswith("was deleted from the dataset meanwhile")
    assert [event.state for event in events][:2] == ["done", "failed"]
    assert not fo.dataset_exists(clone.name)
    # No worker is thought to have it.
    assert not any(record.is_alive for record in Records(clone).find_all("masks"))
