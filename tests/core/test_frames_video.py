import random

import numpy as np
import pytest
from frame_files import decoded_in_order, truncate, write_video

from sam2_plugins.core.frames import check_whole, open_frames, video, video_index
from sam2_plugins.core.frames.video_ending import Ending, find_shortfall

# Streams that are hard to enter in the middle: frames stored after a key frame and shown before
# it, hidden frames, no real key frames at all, no timestamps, several key frames per delay.
STREAMS = {
    "h264.mp4": {},
    "open-gop.mp4": {"options": {"x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0"}},
    "open-gop.ts": {"options": {"x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0"}},
    "intra-refresh.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}},
    "short-gop.mov": {"options": {"x264-params": "bframes=2:keyint=3:min-keyint=1"}},
    "variable-rate.mkv": {"timestamps": [i * (i + 3) // 2 for i in range(60)]},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "lag-in-frames": "9"}},
    "mpeg4.avi": {"codec": "mpeg4"},
    "no-timestamps.avi": {},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"bf": "2"}},
    "palette.gif": {"codec": "gif", "pixel_format": "rgb8"},
}


@pytest.fixture(autouse=True)
def few_cached_frames(monkeypatch):
    """Keep so few decoded frames that the cache cannot hide a wrong jump."""
    monkeypatch.setattr(video, "_CACHE_FRAMES", (3, 3))


@pytest.fixture
def decoded(monkeypatch):
    """A list that grows by one for every frame that is decoded."""
    decode, counted = video.decode_frames, []

    def counting(*arguments):
        for frame in decode(*arguments):
            counted.append(frame.pts)
            yield frame

    monkeypatch.setattr(video, "decode_frames", counting)
    monkeypatch.setattr(video_index, "decode_frames", counting)
    return counted


@pytest.mark.parametrize("name", STREAMS)
def test_every_frame_is_exact_whichever_way_it_is_reached(tmp_path, name):
    path = write_video(tmp_path / name, **STREAMS[name])
    wanted = decoded_in_order(path)
    frames = open_frames(path)
    assert (frames.num_frames, frames.frame_size, frames.is_rgb) == (60, (48, 64), True)
    forward = list(range(60))
    shuffled = random.Random(0).sample(forward, 30)
    for index in [*forward, *reversed(forward), *shuffled]:
        np.testing.assert_array_equal(frames.read(index), wanted[index], err_msg=str(index))
    frames.close()


def test_reading_forward_decodes_each_frame_once(tmp_path, decoded):
    frames = open_frames(write_video(tmp_path / "a.mp4"))
    decoded.clear()
    for index in range(60):
        frames.read(index)
        frames.read(index)
    assert len(decoded) == 60


def test_walking_backward_starts_at_the_key_frame_and_decodes_each_stretch_once(
    tmp_path, decoded, monkeypatch
):
    monkeypatch.setattr(video, "_CACHE_FRAMES", (12, 12))
    frames = open_frames(write_video(tmp_path / "a.mp4", gop=12, options={"sc_threshold": "0"}))
    decoded.clear()
    for index in range(59, 35, -1):
        frames.read(index)
    assert len(decoded) <= 24 + 12  # a decoder looks a little ahead


def test_a_jump_decodes_one_group_not_the_video(tmp_path, decoded):
    frames = open_frames(write_video(tmp_path / "a.mp4", 240, gop=12))
    decoded.clear()
    frames.read(239)
    assert len(decoded) <= 12


def test_the_cache_is_bounded(tmp_path):
    path = write_video(tmp_path / "a.mp4")
    reader = video.VideoReader(path, video_index.index_video(path, "any"))
    for frame_index in range(60):
        reader.read(frame_index)
        assert len(reader._kept) <= 3
    reader.close()


def test_a_reopened_video_is_not_decoded_again_to_count_it(tmp_path, decoded):
    path = write_video(tmp_path / "a.mp4")
    open_frames(path).close()
    decoded.clear()
    open_frames(path).close()
    assert decoded == []
    write_video(path, 20)
    assert open_frames(path).num_frames == 20


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (180, 2), (-90, -1)])
def test_display_rotation(tmp_path, rotation, turns):
    path = write_video(tmp_path / "a.mp4", 5, rotation=rotation)
    frames = open_frames(path)
    wanted = np.rot90(decoded_in_order(path)[3], turns)
    assert frames.frame_size == wanted.shape[:2]
    np.testing.assert_array_equal(frames.read(3), wanted)


def test_rotation_agrees_with_opencv(tmp_path):
    cv2 = pytest.importorskip("cv2")
    path = write_video(tmp_path / "a.mp4", 3, rotation=-90)
    capture = cv2.VideoCapture(str(path))
    shown = capture.read()[1][..., ::-1]
    capture.release()
    assert np.abs(open_frames(path).read(0).astype(int) - shown).max() <= 2


@pytest.mark.parametrize("depth", ["gray", "gray16le"])
def test_grey_video_stays_grey(tmp_path, depth):
    path = write_video(tmp_path / "a.mkv", 5, codec="ffv1", pixel_format=depth)
    frames = open_frames(path)
    assert not frames.is_rgb
    assert frames.read(4).shape == (48, 64)
    assert frames.read(4).dtype == (np.uint8 if depth == "gray" else np.uint16)


FASTSTART = {"movflags": "faststart"}
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}


@pytest.mark.parametrize("name", ["a.mkv", "a.ts", "a.avi"])
def test_video_that_ends_early_gives_what_decodes(tmp_path, name):
    frames = open_frames(truncate(write_video(tmp_path / name, 60), 0.5))
    assert 15 < frames.num_frames < 45
    last = frames.num_frames - 1
    assert frames.read(last).shape == (48, 64, 3)
    first = frames.read(0)
    for index in (last, 5, last):
        frames.read(index)
    np.testing.assert_array_equal(frames.read(0), first)


# Of a transport stream nobody knows how long it was to be.
@pytest.mark.parametrize(
    ("name", "options"), [("a.mkv", {}), ("a.webm", {}), ("a.avi", {}), ("a.mp4", FRAGMENTED)]
)
def test_what_may_be_a_recording_that_was_stopped_is_warned_of(tmp_path, name, options):
    codec = "libvpx-vp9" if name == "a.webm" else "libx264"
    path = write_video(tmp_path / name, 60, codec=codec, container_options=options)
    frames = open_frames(truncate(path, 0.5))
    told = rf"{name}: ends early, after \d+ of \d+ bytes and {frames.num_frames} frames$"
    with pytest.warns(UserWarning, match=told):
        check_whole(frames)


@pytest.mark.parametrize("is_last_whole", [True, False])
def test_damage_at_the_end_is_warned_of_where_no_length_is_told(tmp_path, is_last_whole):
    path = write_video(tmp_path / "a.ts", 20)
    ending = Ending()
    ending.frames_are_whole.extend([True, is_last_whole, True])
    shortfall = find_shortfall(path, ending, num_frames=19, told_frames=0)
    assert (shortfall is None) == is_last_whole
    assert shortfall is None or "damaged at its end or ends early, after 19" in shortfall.message
    ending.packet_is_whole = False
    assert find_shortfall(path, ending, num_frames=19, told_frames=0)
    assert find_shortfall(path, ending, num_frames=19, told_frames=19) is None


@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
@pytest.mark.parametrize("fraction", [0.3, 0.6, 0.99])
def test_a_finished_video_that_was_cut_short_is_refused(tmp_path, name, fraction):
    path = truncate(write_video(tmp_path / name, 60, container_options=FASTSTART), fraction)
    frames = open_frames(path)
    told = rf"{name}: is truncated: {frames.num_frames} of 60 frames can be read; get the whole"
    with pytest.raises(ValueError, match=told):
        check_whole(frames)


def test_cut_between_two_frames(tmp_path):
    import av

    path = write_video(tmp_path / "a.mp4", 60, container_options=FASTSTART)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    with path.open("r+b") as file:
        file.truncate(packets[30].pos)
    with pytest.raises(ValueError, match="is truncated: 30 of 60 frames can be read"):
        check_whole(open_frames(path))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_nothing_is_said_of_what_is_whole_and_of_what_follows_it(tmp_path, name):
    path = write_video(tmp_path / name, 20, container_options=FASTSTART if "mp4" in name else {})
    with path.open("ab") as file:
        file.write(bytes(100))
    frames = open_frames(path)
    assert frames.num_frames == 20
    check_whole(frames)


def test_a_header_that_counts_wrong_is_not_believed(tmp_path):
    path = write_video(tmp_path / "a.mkv", 40)
    data = path.read_bytes()
    whole = len(decoded_in_order(path))
    assert whole == 40
    path.write_bytes(data[: len(data) // 3])
    frames = open_frames(path)
    assert 0 < frames.num_frames < 30
    with pytest.warns(UserWarning, match=rf"ends early, after {len(data) // 3} of {len(data)} byt"):
        check_whole(frames)


def test_fewer_frames_than_the_header_tells_are_no_truncation(tmp_path):
    import av

    path = write_video(tmp_path / "a.mp4", 60, container_options=FASTSTART)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for packet in packets[24:27]:
        data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(data)
    frames = open_frames(path)
    assert 40 < frames.num_frames < 60
    check_whole(frames)


def test_damage_in_the_middle_is_read_past(tmp_path):
    path = write_video(tmp_path / "a.mkv", 60)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 300] = bytes(300)
    path.write_bytes(data)
    frames = open_frames(path)
    assert frames.num_frames > 40
    for index in (frames.num_frames - 1, 0, frames.num_frames // 2, 3):
        assert frames.read(index).shape == (48, 64, 3)


def test_bad_videos_are_one_line(tmp_path):
    cut = truncate(write_video(tmp_path / "cut.mp4"), 0.5)
    with pytest.raises(ValueError, match=r"cut\.mp4: is not a video, or is truncated"):
        open_frames(cut)
    cut = truncate(write_video(tmp_path / "cut.mkv", size=(128, 128)), 0.02)
    with pytest.raises(ValueError, match=r"cut\.mkv: (no frame decodes|is not a video)"):
        open_frames(cut)
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.mp4: is not a video"):
        open_frames(tmp_path / "text.mp4")


def test_sound_without_pictures(tmp_path):
    import av

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match=r"sound\.mp4: has no video stream"):
        open_frames(path)


def test_video_that_changes_after_it_was_opened(tmp_path):
    path = write_video(tmp_path / "a.mp4", 40)
    frames = open_frames(path)
    write_video(path, 10)
    with pytest.raises(ValueError, match="frame 30 no longer decodes; the file has changed"):
        frames.read(30)


def test_opening_tells_how_far_it_is_and_ends_where_that_raises(tmp_path):
    for name in ("a.mp4", "a.ts", "a.avi", "a.gif"):
        options = STREAMS["palette.gif"] if name == "a.gif" else {}
        path, shares = write_video(tmp_path / name, **options), []
        open_frames(path, progress=shares.append).close()
        assert shares == sorted(shares)
        assert 0 <= shares[0] < shares[-1] <= 1
        assert shares[-1] > 0.5
        open_frames(path, progress=shares.clear).close()  # known by now: nothing to tell

    def stop(share):
        raise KeyboardInterrupt

    path = write_video(tmp_path / "b.mp4")
    with pytest.raises(KeyboardInterrupt):
        open_frames(path, progress=stop)
    assert open_frames(path).num_frames == 60
