"""Stacks and real files that the tests of frames read."""

from fractions import Fraction

import av
import numpy as np
import pytest
import zarr


def ramp(shape, dtype=np.uint16):
    """An array in which no two pixels near each other are alike."""
    return (np.arange(np.prod(shape)) * 7919 % 251).astype(dtype).reshape(shape)


def truncate(path, fraction):
    """Keep only the first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    return path


def moving_pictures(num_frames, height=48, width=64):
    """Yield (H, W, 3) uint8 frames: noise that moves sideways, so each needs the one before."""
    wide = np.random.default_rng(0).integers(0, 255, (height, 4 * width, 3)).astype(np.uint8)
    for i in range(num_frames):
        yield np.ascontiguousarray(np.roll(wide, -3 * i, axis=1)[:, :width])


def write_video(
    path,
    num_frames=60,
    *,
    codec="libx264",
    pixel_format="yuv420p",
    gop=12,
    options=None,
    timestamps=None,
    rotation=None,
    size=(48, 64),
    container_options=None,
):
    """Write a video; `timestamps` are in 1/25 s and default to even ones."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width = size
        stream.pix_fmt = pixel_format
        stream.gop_size = gop
        if rotation is not None:
            if not hasattr(stream, "set_display_rotation"):
                pytest.skip("this PyAV cannot write a rotation")
            stream.set_display_rotation(rotation)
        for i, picture in enumerate(moving_pictures(num_frames, *size)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = timestamps[i] if timestamps is not None else i
            frame.time_base = Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def decoded_in_order(path):
    """Every frame as a plain loop from start to end decodes it."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def write_ome_zarr(path, levels, axes, *, version):
    """Write arrays as the levels of an OME-Zarr image of version 0.4 (zarr v2) or 0.5 (v3)."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    types = {"t": "time", "c": "channel"}
    multiscale = {
        "version": version,
        "axes": [{"name": letter, "type": types.get(letter, "space")} for letter in axes],
        "datasets": [{"path": f"level{i}"} for i in range(len(levels))],
    }
    for i, level in enumerate(levels):
        chunks = (1,) * (level.ndim - 2) + level.shape[-2:]
        group.create_array(f"level{i}", data=level, chunks=chunks)
    if version == "0.4":
        group.attrs["multiscales"] = [multiscale]
    else:
        group.attrs["ome"] = {"version": version, "multiscales": [multiscale]}
    return path
