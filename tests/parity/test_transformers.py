"""transformers' Sam2Model and Sam2VideoModel: their files, and their numbers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from references import (
    Pair,
    assert_agrees,
    read,
    transformers_network,
)
from torch import Tensor, nn
from transformers import Sam2VideoInferenceSession

from sam2_plugins.core.frames import open_frames
from sam2_plugins.core.tracker import VideoTracker
from sam2_plugins.core.transforms import image_to_tensor, points_to_model
from sam2_plugins.core.weights import load_model

SIZE = 256
CLICKS, CLICK_LABELS = [[60.0, 70.0], [150.0, 30.0]], [1, 0]
BOX = [[90.0, 40.0], [170.0, 120.0]]


def assert_same_weights(model: nn.Module, official: nn.Module, *prefixes: str) -> None:
    expected = official.state_dict()
    for name, weight in model.state_dict().items():
        if name.startswith(prefixes):
            assert torch.equal(weight, expected[name]), name


def test_a_file_of_sam2videomodel_loads(pair: Pair, tmp_path: Path) -> None:
    transformers_network(pair, video=True).save_pretrained(tmp_path)
    model = load_model(checkpoint=tmp_path / "model.safetensors", device="cpu", image_size=SIZE)
    assert model.config.name == pair.name
    assert model.has_memory
    assert_same_weights(model, pair.official, "")


def test_a_file_of_sam2model_loads_for_images(pair: Pair, tmp_path: Path) -> None:
    transformers_network(pair, video=False).save_pretrained(tmp_path)
    model = load_model(pair.name, checkpoint=tmp_path / "model.safetensors", device="cpu")
    assert not model.has_memory
    parts = ("image_encoder", "sam_prompt_encoder", "sam_mask_decoder", "no_mem_embed")
    assert_same_weights(model, pair.official, *parts)


def test_an_image(pair: Pair) -> None:
    theirs = transformers_network(pair, video=False)
    ours = pair.ours
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(1, 3, SIZE, SIZE, generator=generator)
    features = ours.encode_image(images)
    embeddings = theirs.get_image_embeddings(images)
    assert_agrees(ours.without_memory(features), embeddings[-1])
    assert_agrees(features.stride_8, embeddings[1])
    assert_agrees(features.stride_4, embeddings[0])
    for num_points in (1, 5):
        points = torch.rand(1, num_points, 2, generator=generator) * SIZE
        labels = torch.ones(1, num_points, dtype=torch.int64)
        expected = theirs(
            image_embeddings=embeddings,
            input_points=points[:, None],
            input_labels=labels[:, None],
            multimask_output=num_points == 1,
        )
        decoding = ours.decode(
            features,
            ours.without_memory(features),
            points=points,
            point_labels=labels,
            multimask=num_points == 1,
            stable=True,
        )
        assert_agrees(decoding.low_res_logits, expected.pred_masks[:, 0])
        assert (decoding.predicted_iou - expected.iou_scores[:, 0]).abs().max() < 1e-4


def their_logits(
    network: Any, frames: Tensor, prompts: dict[int, tuple[Tensor, Tensor]]
) -> dict[int, Tensor]:
    """The low-res logits (N, 1, h, w) of each frame of a clip with prompts on the first."""
    session = Sam2VideoInferenceSession(
        video=frames, video_height=SIZE, video_width=SIZE, dtype=torch.float32
    )
    for object_id, (points, labels) in prompts.items():
        index = session.obj_id_to_idx(object_id)
        prompt = {"point_coords": points[None, None], "point_labels": labels[None, None]}
        session.add_point_inputs(index, 0, prompt)
    session.obj_with_new_inputs = list(prompts)
    network(session, frame_idx=0)
    return {out.frame_idx: out.pred_masks for out in network.propagate_in_video_iterator(session)}


@pytest.mark.parametrize("pair", ["sam2-tiny", "sam2.1-tiny"], indirect=True)
def test_a_clip(pair: Pair, folder: Path) -> None:
    """Masks as prompts are left out: transformers remembers them at another resolution."""
    theirs = transformers_network(pair, video=True)
    tracker = VideoTracker(
        pair.ours, open_frames(read(folder), rgb=True), exact=True, fill_hole_area=0
    )
    height, width = tracker.frame_size
    tracker.add_points(0, 1, CLICKS, CLICK_LABELS)
    tracker.set_box(0, 2, [*BOX[0], *BOX[1]])
    for _ in tracker.propagate():
        pass
    frames = torch.stack(
        [
            image_to_tensor(tracker.read_rgb(t), SIZE, resizer="pillow")
            for t in range(tracker.num_frames)
        ]
    )
    prompts = {
        object_id: (
            points_to_model(torch.tensor(corners).numpy(), (height, width), SIZE),
            torch.tensor(labels),
        )
        for object_id, corners, labels in ((1, CLICKS, CLICK_LABELS), (2, BOX, [2, 3]))
    }
    expected = their_logits(theirs, frames, prompts)
    for index, object_id in enumerate(prompts):
        results = tracker._store.masklets[object_id].results
        for frame_index in range(tracker.num_frames):
            logits = results[frame_index].logits.read()
            assert 0.01 < (logits > 0).float().mean() < 0.99
            assert_agrees(logits, expected[frame_index][index].reshape(logits.shape), 1e-3)
