"""`sam2-plugins fiftyone` from the shell."""

import os
import subprocess
import sys

from propagation import masks_of

from sam2_plugins.fiftyone_plugin.installing import FOLDER


def test_install_status_uninstall(run, tmp_path):
    folder = ("--plugins-dir", tmp_path, "--json")
    before = run("fiftyone", "status", *folder)
    assert before.status == 2
    assert before.summary["installed"] is False
    installed = run("fiftyone", "install", *folder).summary
    assert installed["installed"] is installed["current"] is True
    assert installed["folder"] == str(tmp_path / FOLDER)
    after = run("fiftyone", "status", *folder)
    assert (after.status, after.summary["database"]) == (0, True)
    assert run("fiftyone", "uninstall", *folder).summary["installed"] is False
    assert list(tmp_path.iterdir()) == []
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "mine").touch()
    assert "is not this plugin" in run("fiftyone", "install", *folder).error


def test_propagate_from_the_shell(run, video_dataset, checkpoint):
    given = ("--model", checkpoint, "--image-size", 64, "--device", "cpu", "--stop", 3)
    ran = run("fiftyone", "propagate", video_dataset.name, *given, "--json")
    assert ran.summary == {"done": 3, "skipped": 0, "busy": 0, "failed": 0, "queued": 0}
    assert list(masks_of(video_dataset.first(), 1)) == [1, 2, 3]
    assert "FiftyOne has no dataset 'none'" in run("fiftyone", "propagate", "none").error
    wrong = run("fiftyone", "propagate", video_dataset.name, "--engine", "magic")
    assert "engine must be local, delegated, ray, not 'magic'" in wrong.error


def test_without_a_database_one_line_says_what_to_do(tmp_path):
    environment = {
        **os.environ,
        "FIFTYONE_DATABASE_URI": "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=300",
        "FIFTYONE_PLUGINS_DIR": str(tmp_path),
    }
    command = [sys.executable, "-m", "sam2_plugins.cli", "fiftyone", "propagate", "any"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 2, ran.stderr
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("sam2-plugins: error: FiftyOne cannot reach its database")
    assert "FIFTYONE_DATABASE_URI=mongodb://HOST:PORT" in last
    assert "Traceback" not in ran.stderr
