"""SAM 2 in napari: click, see, propagate, correct."""
