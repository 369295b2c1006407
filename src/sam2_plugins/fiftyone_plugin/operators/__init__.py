"""The operators and panels, one module each; their names are known without importing FiftyOne."""

MODULES = "sam2_plugins.fiftyone_plugin.operators"

OPERATORS = {
    "auto_masklets": f"{MODULES}.auto_masklets:AutoMasklets",
    "evaluate_masklets": f"{MODULES}.evaluate_masklets:EvaluateMasklets",
    "export_masklets": f"{MODULES}.export_masklets:ExportMasklets",
    "import_masklets": f"{MODULES}.import_masklets:ImportMasklets",
    "open_in_napari": f"{MODULES}.open_in_napari:OpenInNapari",
    "propagate_masks": f"{MODULES}.propagate_masks:PropagateMasks",
    "sweep_workers": f"{MODULES}.sweep_workers:SweepWorkers",
    "review_masklets": f"{MODULES}.review_masklets:ReviewMasklets",
    "segment_frames": f"{MODULES}.segment_frames:SegmentFrames",
    "suggest_frames": f"{MODULES}.suggest_frames:SuggestFrames",
}
"""Name of every operator, and where its class is."""

PANELS: dict[str, str] = {
    "sam2_panel": "sam2_plugins.fiftyone_plugin.panel:SAM2Panel",
}
"""Name of every panel, and where its class is."""
