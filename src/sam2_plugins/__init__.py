"""SAM 2 for napari and FiftyOne, on a core that works without a network."""

__version__ = "0.1.0"
