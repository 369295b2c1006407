"""Run records: what was done with which prompts, and who is at work on what.

One document per video and output field, in a collection beside FiftyOne's own. A worker claims it,
keeps it alive by a heartbeat, and writes what is finished when it is. Every change is made under
the condition that the claim still holds, so of two workers one alone can write.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pymongo import ReturnDocument

from sam2_plugins.fiftyone_plugin.database import collection, patiently
from sam2_plugins.fiftyone_plugin.heartbeat import (
    Heartbeat,
    is_known_dead,
    is_silent,
    process_name,
)
from sam2_plugins.fiftyone_plugin.labels import Identity

COLLECTION = "sam2_plugins.runs"
RUNNING, DONE, STOPPED, FAILED = "running", "done", "stopped", "failed"


class BusyError(RuntimeError):
    """Another worker that is alive has the video."""


class ClaimLostError(RuntimeError):
    """Another worker took the video, since this one did not answer for too long."""


FORESEEN = (ValueError, OSError, BusyError, ClaimLostError)
"""What says by itself what is wrong."""


def describe_error(error: BaseException) -> str:
    """What went wrong, in one line; where that was not foreseen, with the kind of error."""
    words = " ".join(str(error).split())
    return words if isinstance(error, FORESEEN) else f"{type(error).__name__}: {words}"


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """A track that is finished.

    Attributes:
        instance_id: Of its labels.
        index: Of its labels.
        label: The class.
        digest: Of its prompts, and of how it was tracked.
        run_id: Of its labels' `sam2_run`.
        num_labels: On how many frames it is seen.
        mean_iou: Mean predicted IoU on these; 0 where there are none.
        prompt_fields: That its prompts were in; none where it was found without prompts.
    """

    instance_id: str
    index: int
    label: str | None
    digest: str
    run_id: str
    num_labels: int
    mean_iou: float
    prompt_fields: tuple[str, ...] = ()

    @property
    def identity(self) -> Identity:
        """Who it is."""
        return Identity(self.instance_id, self.index, self.label)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What is known of one video and output field.

    Attributes:
        unit_id: Of the video.
        sample_id: Its sample, or the first of a group.
        output_field: Where the masks are.
        state: "running", "done", "stopped" or "failed"; a dead worker leaves "running".
        run_id: Of the last run.
        job_digest: Of all that the last run had to do.
        tracks: That are finished.
        frames_done: Of the last run.
        frames_total: Of the last run.
        error: Why it failed.
        is_alive: Whether a worker that is "running" was heard of lately.
        worker: Host and process that has or had it.
        auto_run: Of the last run that found everything, if it ended; None where there was none.
    """

    unit_id: str
    sample_id: str
    output_field: str
    state: str
    run_id: str
    job_digest: str = ""
    tracks: tuple[TrackRecord, ...] = ()
    frames_done: int = 0
    frames_total: int = 0
    error: str = ""
    is_alive: bool = False
    worker: str = ""
    auto_run: str | None = None


class Records:
    """The records of a dataset.

    Args:
        dataset: Of FiftyOne.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset_id = str(dataset._doc.id)  # noqa: SLF001 - the only lasting name
        self._all = collection(COLLECTION)

    def read(self, unit_id: str, output_field: str) -> RunRecord | None:
        """The record of one video; None if it was never run."""
        return next(iter(self._find({"_id": self._key(unit_id, output_field)})), None)

    def find_all(self, output_field: str | None = None) -> list[RunRecord]:
        """All records, or those of one output field."""
        return self._find(self._wanted(output_field))

    def find_states(self) -> list[RunRecord]:
        """All records without their tracks, which are most of what there is to read."""
        return self._find(self._wanted(None), {"$unset": "tracks"})

    def forget(self, output_field: str | None = None) -> None:
        """Remove the records: all is done again by the next run."""
        patiently(lambda: self._all.delete_many(self._wanted(output_field)))

    def refuse_busy(self, unit_id: str, output_field: str) -> None:
        """Leave a video alone that is being worked on.

        Raises:
            BusyError: A worker that is alive has it.
        """
        record = self.read(unit_id, output_field)
        if record is not None and record.is_alive:
            raise BusyError(f"{unit_id}: {record.worker} is at work on it")

    def claim(self, unit_id: str, output_field: str, *, sample_id: str) -> "Claim":
        """Take a video; the claim is kept alive until it is closed.

        Raises:
            BusyError: A worker that is alive has it.
        """
        key, token = self._key(unit_id, output_field), uuid.uuid4().hex
        mine = {
            "token": token,
            "state": RUNNING,
            **process_name(),
            "unit_id": unit_id,
            "field": output_field,
            "sample_id": sample_id,
        }
        fresh = {"dataset_id": self._dataset_id, **mine, "state": STOPPED}
        patiently(lambda: self._all.update_one({"_id": key}, {"$setOnInsert": fresh}, upsert=True))
        # Ours already, if the answer to a first try was lost on the way.
        is_free = [{"state": {"$ne": RUNNING}}, {"token": token}, is_silent()]
        holder = patiently(lambda: self._all.find_one({"_id": key, "state": RUNNING}))
        if holder is not None and is_known_dead(holder):
            is_free.append({"token": holder["token"]})
        update = {"$set": mine, "$currentDate": {"heartbeat": True}}
        free = {"_id": key, "$or": is_free}
        found = patiently(lambda: self._all.find_one_and_update(free, update))
        if found is None:
            self.refuse_busy(unit_id, output_field)
            raise BusyError(f"{unit_id}: another worker is at work on it")
        return Claim(self._all, key, token, found=found)

    def _wanted(self, output_field: str | None) -> dict[str, str]:
        field = {} if output_field is None else {"field": output_field}
        return {"dataset_id": self._dataset_id, **field}

    def _key(self, unit_id: str, output_field: str) -> str:
        return f"{self._dataset_id}/{unit_id}/{output_field}"

    def _find(self, wanted: Mapping[str, Any], *stages: Mapping[str, Any]) -> list[RunRecord]:
        silent = {"$set": {"is_silent": is_silent()["$expr"]}}
        steps = [{"$match": wanted}, silent, *stages]
        documents = patiently(lambda: list(self._all.aggregate(steps)))
        return [_read_document(document) for document in documents]


class Claim:
    """A video that this process has; a thread keeps it alive.

    Args:
        records: The collection.
        key: Of the record.
        token: That only this claim has.
        found: The record as it was before.
    """

    def __init__(self, records: Any, key: str, token: str, *, found: Mapping[str, Any]) -> None:
        self._records = records
        # "Running" was a worker that is gone.
        state = STOPPED if found["state"] == RUNNING else found["state"]
        self._found = {"state": state, "error": found.get("error", "")}
        self._mine = {"_id": key, "token": token, "state": RUNNING}
        self._heartbeat = Heartbeat(records, self._mine)

    def begin(
        self, run_id: str, job_digest: str, frames_total: int, *, is_auto: bool = False
    ) -> None:
        """Note which run this is; of one that finds everything, that it has not ended.

        Raises:
            ClaimLostError: Another worker has the video.
        """
        self._set(
            {
                "run_id": run_id,
                "job_digest": job_digest,
                "error": "",
                "frames_done": 0,
                "frames_total": frames_total,
                **({"auto_run": ""} if is_auto else {}),
            }
        )

    def advance(self, frames_done: int) -> None:
        """Note how far the run is. All that was written before is then on the disk.

        Raises:
            ClaimLostError: Another worker has the video.
        """
        self._set({"frames_done": frames_done})

    def finish(self, tracks: Sequence[TrackRecord], *, auto_run: str | None = None) -> None:
        """Note all tracks that are finished, those of earlier runs too; the claim ends.

        Args:
            tracks: All.
            auto_run: Id of this run, if it found everything.

        Raises:
            ClaimLostError: Another worker has the video.
        """
        made = [asdict(track) for track in tracks]
        # Without the digest no later run takes itself for the continuation of this one.
        ended = {"state": DONE, "tracks": made, "error": "", "job_digest": ""}
        self._end(ended if auto_run is None else {**ended, "auto_run": auto_run})

    def stop(self, state: str = STOPPED, error: str = "") -> None:
        """Give the video up unfinished; the claim ends."""
        self._end({"state": state, "error": error})

    def give_back(self) -> None:
        """Give the video back as it was found, since nothing was tracked; the claim ends."""
        self._end(self._found)

    def close(self) -> None:
        """End the heartbeat; unless it was ended, the claim holds until it runs out."""
        self._heartbeat.close()

    def _end(self, values: Mapping[str, Any]) -> None:
        self._set(values)
        self.close()

    def _set(self, values: Mapping[str, Any]) -> None:
        update = {"$set": dict(values), "$currentDate": {"heartbeat": True}}
        # An answer may be lost on the way: then the record is found as this has left it.
        ends = values.get("state", RUNNING)
        mine = {**self._mine, "state": {"$in": [RUNNING, ends]}}
        after = {"return_document": ReturnDocument.AFTER}
        found = patiently(lambda: self._records.find_one_and_update(mine, update, **after))
        if found is None:
            self.close()
            raise ClaimLostError("another worker has taken this video over")


def _read_document(document: Mapping[str, Any]) -> RunRecord:
    state = document["state"]
    return RunRecord(
        unit_id=document["unit_id"],
        sample_id=document["sample_id"],
        output_field=document["field"],
        state=state,
        run_id=document.get("run_id", ""),
        job_digest=document.get("job_digest", ""),
        tracks=tuple(_read_track(track) for track in document.get("tracks", ())),
        frames_done=document.get("frames_done", 0),
        frames_total=document.get("frames_total", 0),
        error=document.get("error", ""),
        is_alive=state == RUNNING and not is_known_dead(document) and not document["is_silent"],
        worker=f"{document['host'].partition('/')[0]}, process {document['pid']}",
        auto_run=document.get("auto_run"),
    )


def _read_track(document: Mapping[str, Any]) -> TrackRecord:
    return TrackRecord(**{**document, "prompt_fields": tuple(document.get("prompt_fields", ()))})
