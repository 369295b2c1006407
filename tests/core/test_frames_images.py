import numpy as np
import pytest
import tifffile
from frame_files import ramp, truncate
from PIL import Image

from sam2_plugins.core.frames import open_frames
from sam2_plugins.core.frames.images import natural_key


def write_images(folder, images, pattern="frame{}.png"):
    folder.mkdir(exist_ok=True)
    for index, image in enumerate(images):
        path = folder / pattern.format(index)
        if path.suffix == ".tif":
            tifffile.imwrite(path, image)
        else:
            Image.fromarray(image).save(path)
    return folder


def test_folder_in_natural_order_skips_what_is_no_image(tmp_path):
    stack = ramp((12, 16, 24), np.uint8)
    folder = write_images(tmp_path / "frames", stack)
    (folder / "notes.txt").write_text("x")
    (folder / ".frame0.png").write_bytes(b"x")
    (folder / "more").mkdir()
    frames = open_frames(folder)
    assert (frames.num_frames, frames.frame_size, frames.is_rgb) == (12, (16, 24), False)
    for index in (0, 2, 10, 11):
        np.testing.assert_array_equal(frames.read(index), stack[index])


def test_natural_order(tmp_path):
    names = ["b1.png", "a10.png", "A2.png", "a02b.png", "7.png", "010.png", "a.png"]
    ordered = [path.name for path in sorted((tmp_path / n for n in names), key=natural_key)]
    assert ordered == ["7.png", "010.png", "a02b.png", "A2.png", "a10.png", "a.png", "b1.png"]


def test_folder_of_16_bit_tiffs_and_pngs(tmp_path):
    stack = ramp((3, 16, 24), np.uint16) * 200
    for pattern in ("t{:03}.tif", "t{:03}.png"):
        frames = open_frames(write_images(tmp_path / pattern[-3:], stack, pattern))
        assert frames.read(1).dtype == np.uint16
        np.testing.assert_array_equal(frames.read(2), stack[2])


def test_colour_pictures_are_rgb(tmp_path):
    stack = ramp((3, 16, 24, 3), np.uint8)
    frames = open_frames(write_images(tmp_path / "rgb", stack))
    assert frames.is_rgb
    np.testing.assert_array_equal(frames.read(1), stack[1])
    np.testing.assert_array_equal(
        open_frames(tmp_path / "rgb", channels=2).read(1), stack[1, ..., 2]
    )
    assert not open_frames(tmp_path / "rgb", rgb=False).is_rgb


def test_modes_of_pictures(tmp_path):
    colours = ramp((16, 24, 4), np.uint8)
    Image.fromarray(colours).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(open_frames(tmp_path / "rgba.png").read(0), colours[..., :3])
    palette = Image.fromarray(colours[..., :3]).quantize(16)
    palette.save(tmp_path / "palette.png")
    wanted = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(open_frames(tmp_path / "palette.png").read(0), wanted)
    Image.fromarray(colours[..., 0] > 99).save(tmp_path / "bool.png")
    assert open_frames(tmp_path / "bool.png").read(0).dtype == np.bool_
    Image.fromarray(np.ascontiguousarray(colours[..., :2])).save(tmp_path / "la.png")
    np.testing.assert_array_equal(open_frames(tmp_path / "la.png").read(0), colours[..., 0])


def test_photos_are_upright(tmp_path):
    image = np.zeros((16, 32, 3), np.uint8)
    image[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned 90 degrees clockwise
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(image).save(folder / name, exif=exif, quality=95)
    frames = open_frames(folder)
    assert frames.frame_size == (32, 16)
    np.testing.assert_allclose(frames.read(1), np.rot90(image, -1), atol=12)


def test_a_list_of_paths_keeps_its_order(tmp_path):
    stack = ramp((3, 16, 24), np.uint8)
    folder = write_images(tmp_path / "frames", stack)
    frames = open_frames([folder / "frame2.png", str(folder / "frame0.png")])
    np.testing.assert_array_equal(frames.read(0), stack[2])
    with pytest.raises(FileNotFoundError, match=r"gone\.png: no such file"):
        open_frames([folder / "gone.png"])


def test_only_the_frame_that_is_read_is_decoded(tmp_path):
    stack = ramp((4, 64, 64), np.uint8)
    folder = write_images(tmp_path / "frames", stack)
    truncate(folder / "frame2.png", 0.5)
    frames = open_frames(folder)
    np.testing.assert_array_equal(frames.read(3), stack[3])
    with pytest.raises(ValueError, match=r"frame2\.png: cannot be read as an image"):
        frames.read(2)


def test_signature_follows_every_file(tmp_path):
    folder = write_images(tmp_path / "frames", ramp((9, 16, 24), np.uint8))
    first = open_frames(folder).signature
    assert open_frames(folder).signature == first
    Image.fromarray(ramp((16, 24), np.uint8) // 2).save(folder / "frame5.png")
    assert open_frames(folder).signature != first


@pytest.mark.parametrize("odd", [(16, 25), (16, 24, 3)])
def test_a_frame_unlike_the_first_is_named(tmp_path, odd):
    folder = write_images(tmp_path / "frames", ramp((3, 16, 24), np.uint8))
    Image.fromarray(ramp(odd, np.uint8)).save(folder / "frame1.png")
    with pytest.raises(ValueError, match=r"frame1\.png: its shape is .* but frame0\.png has"):
        open_frames(folder)


def test_a_frame_of_another_dtype_is_named(tmp_path):
    folder = write_images(tmp_path / "frames", ramp((3, 16, 24), np.uint8))
    Image.fromarray(ramp((16, 24), np.uint16)).save(folder / "frame1.png")
    with pytest.raises(ValueError, match=r"frame1\.png: is uint16"):
        open_frames(folder).read(1)


def test_bad_folders(tmp_path):
    with pytest.raises(ValueError, match="holds no image"):
        open_frames(tmp_path)
    tifffile.imwrite(tmp_path / "stack.tif", ramp((5, 16, 24)))
    with pytest.raises(ValueError, match=r"stack\.tif: holds 5 pages"):
        open_frames(tmp_path)
    (tmp_path / "a.png").write_text("not a picture")
    with pytest.raises(ValueError, match=r"a\.png: is not an image, or is damaged"):
        open_frames(tmp_path)
