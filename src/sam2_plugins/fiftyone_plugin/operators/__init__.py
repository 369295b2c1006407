"""The operators and panels, one module each; their names are known without importing FiftyOne."""

MODULES = "sam2_plugins.fiftyone_plugin.operators"

OPERATORS = {
    "propagate_masks": f"{MODULES}.propagate_masks:PropagateMasks",
}
"""Name of every operator, and where its class is."""

PANELS: dict[str, str] = {}
"""Name of every panel, and where its class is."""
