"""The FiftyOne plugin: operators that segment and track in datasets, and a panel.

FiftyOne finds it by a folder of two files that `sam2-plugins fiftyone install` writes; importing
this package imports neither FiftyOne nor torch.
"""

from importlib import import_module
from typing import Any

from sam2_plugins.fiftyone_plugin.operators import OPERATORS, PANELS

PLUGIN_NAME = "@sam2-plugins/sam2"

__all__ = ["PLUGIN_NAME", "register"]


def register(plugin: Any) -> None:
    """Register every operator and panel; FiftyOne calls this when it loads the plugin.

    Args:
        plugin: FiftyOne's `PluginContext`.
    """
    for home in (*OPERATORS.values(), *PANELS.values()):
        module, _, name = home.partition(":")
        plugin.register(getattr(import_module(module), name))
