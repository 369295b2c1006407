import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TINY, make_tiny

from sam2_plugins.core.model.hiera import Hiera, join_windows, split_windows
from sam2_plugins.core.model.mask_decoder import Decoding, choose_masks
from sam2_plugins.core.model.memory_attention import RotaryAttention
from sam2_plugins.core.model.positions import (
    FourierPositions,
    rotary_grid,
    rotate,
    sine_grid,
    sine_line,
)

MODEL = make_tiny()
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


# Windows


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 9))
def test_windows_are_joined_as_they_were_split(height, width, window):
    x = torch.arange(2 * height * width * 3.0).reshape(2, height, width, 3)
    windows = split_windows(x, window)
    assert windows.shape[1:] == (window, window, 3)
    assert len(windows) == 2 * math.ceil(height / window) * math.ceil(width / window)
    assert torch.equal(join_windows(windows, height, width), x)


def test_a_window_holds_neighbours_and_zeros_beyond_the_border():
    x = torch.arange(1, 36.0).reshape(1, 5, 7, 1)
    windows = split_windows(x, 4)
    assert torch.equal(windows[0], x[0, :4, :4])
    assert torch.equal(windows[1, :, :3], x[0, :4, 4:])
    assert not windows[1, :, 3].any()
    assert not windows[3, 1:].any()


def test_cells_see_only_their_window_where_attention_is_in_windows():
    block = MODEL.image_encoder.trunk.blocks[0]
    assert block.window == 4
    x = torch.randn(1, 16, 16, 8, generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[:, 5, 6] = 0
    differs = (block(changed) - block(x)).abs().sum(-1)[0] > 1e-6
    rows, columns = differs.nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 7, 4, 7)


def test_the_trunk_returns_the_end_of_each_stage():
    levels = MODEL.image_encoder.trunk(torch.rand(1, 3, 64, 64))
    shapes = [tuple(level.shape) for level in levels]
    assert shapes == [(1, 8, 16, 16), (1, 16, 8, 8), (1, 32, 4, 4), (1, 64, 2, 2)]


def test_windows_repeat_their_part_of_the_position_embedding():
    trunk = Hiera(TINY)
    torch.nn.init.normal_(trunk.pos_embed_window)
    grid = trunk.position_grid(16, 16)
    assert grid.shape == (1, 16, 16, 8)
    assert torch.equal(grid[:, :4, :4], grid[:, 8:12, 4:8])
    assert trunk.position_grid(16, 16) is grid
    torch.nn.init.normal_(trunk.pos_embed)
    assert not torch.equal(trunk.position_grid(16, 16), grid)


def test_gradients_reach_the_position_embedding():
    trunk = Hiera(TINY)
    trunk.position_grid(16, 16)
    with torch.enable_grad():
        trunk.position_grid(16, 16).sum().backward()
    assert trunk.pos_embed.grad is not None


# Positions


def test_the_sine_grid_has_rows_first_and_a_full_turn_at_the_end():
    grid = sine_grid(8, 5, 9, CPU)
    assert grid.shape == (1, 8, 5, 9)
    assert torch.equal(grid[:, :4, :, :1].expand(-1, -1, -1, 9), grid[:, :4])
    assert torch.equal(grid[:, 4:, :1].expand(-1, -1, 5, -1), grid[:, 4:])
    torch.testing.assert_close(grid[0, 0, :, 0], torch.sin(torch.arange(1, 6) / 5 * 2 * math.pi))
    torch.testing.assert_close(grid[0, 5, 0], torch.cos(torch.arange(1, 10) / 9 * 2 * math.pi))


def test_the_sine_line_has_all_sines_first():
    line = sine_line(torch.tensor([0.0, 0.5]), 8)
    assert line.shape == (2, 8)
    assert line[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    torch.testing.assert_close(line[1, [0, 4]], torch.tensor([math.sin(0.5), math.cos(0.5)]))


def test_rotations_keep_lengths_and_make_attention_relative():
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 16, generator=generator)
    rotations = rotary_grid(16, 6, 6, CPU)
    assert rotations.shape == (36, 8)

    def at(x, row, column):
        return rotate(x, rotations[6 * row + column][None])

    torch.testing.assert_close(at(q, 3, 4).norm(), q.norm())
    first = (at(q, 1, 2) * at(k, 3, 5)).sum()
    torch.testing.assert_close((at(q, 2, 2) * at(k, 4, 5)).sum(), first)
    torch.testing.assert_close((at(q, 1, 1) * at(k, 3, 4)).sum(), first)
    assert not torch.isclose((at(q, 1, 2) * at(k, 3, 4)).sum(), first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rotations_keep_the_dtype(dtype):
    x = torch.ones(1, 1, 4, 8, dtype=dtype)
    assert rotate(x, rotary_grid(8, 2, 2, CPU)).dtype == dtype


def test_tokens_without_a_place_are_not_rotated():
    attention = RotaryAttention(16, 1, source_dim=8)
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(1, 9, 16, generator=generator)
    k = torch.randn(1, 2 * 9 + 3, 8, generator=generator)
    found = attention.attend(q, k, k, grid=(3, 3), num_unplaced=3)
    assert found.shape == (1, 9, 16)
    swapped = torch.cat((k[:, :18], k[:, 18:].flip(1)), dim=1)
    same = attention.attend(q, swapped, swapped, grid=(3, 3), num_unplaced=3)
    torch.testing.assert_close(same, found)
    moved = torch.cat((k[:, :9].flip(1), k[:, 9:]), dim=1)
    other = attention.attend(q, moved, moved, grid=(3, 3), num_unplaced=3)
    assert not torch.allclose(other, found, atol=1e-4)
    only_pointers = attention.attend(q, k[:, 18:], k[:, 18:], grid=(3, 3), num_unplaced=3)
    assert only_pointers.shape == (1, 9, 16)


def test_the_fourier_grid_encodes_the_centres_of_cells():
    positions = FourierPositions(8)
    grid = positions.grid(3, 5)
    assert grid.shape == (1, 8, 3, 5)
    centre = positions(torch.tensor([[(4 + 0.5) / 5, (1 + 0.5) / 3]]))
    torch.testing.assert_close(grid[0, :, 1, 4], centre[0])


# Prompt encoder


def tokens(points, labels):
    return MODEL.sam_prompt_encoder.encode_points(
        torch.tensor([points]).reshape(1, -1, 2).float(),
        torch.tensor([labels]).reshape(1, -1).long(),
        64,
    )


def test_a_padding_token_comes_last_and_two_stand_for_no_points():
    padding = MODEL.sam_prompt_encoder.not_a_point_embed.weight
    one = tokens([[3, 4]], [1])
    assert one.shape == (1, 2, 32)
    assert torch.equal(one[0, 1:], padding)
    assert torch.equal(tokens([], [])[0], padding.expand(2, -1))
    assert torch.equal(tokens([[9, 9]], [-1])[0, :1], padding)


def test_a_label_adds_its_own_embedding_at_a_pixels_centre():
    encoder = MODEL.sam_prompt_encoder
    place = encoder.pe_layer(torch.tensor([[3.5 / 64, 4.5 / 64]]))
    for label in range(4):
        expected = place + encoder.point_embeddings[label].weight
        torch.testing.assert_close(tokens([[3, 4]], [label])[0, :1], expected)


def test_masks_become_a_map_at_stride_16():
    encoder = MODEL.sam_prompt_encoder
    assert encoder.encode_masks(torch.zeros(2, 1, 16, 16)).shape == (2, 32, 4, 4)
    assert encoder.no_mask(2, 4, 4).shape == (2, 32, 4, 4)
    assert encoder.image_positions(4, 6).shape == (1, 32, 4, 6)


# Choosing masks


def decoding(single_logits, iou=(0.5, 0.6, 0.9, 0.7)):
    logits = torch.stack([single_logits, *(torch.full((8, 8), float(i)) for i in (1, 2, 3))])
    return Decoding(
        logits[None], torch.tensor([iou]), torch.arange(8.0).reshape(1, 4, 2), torch.ones(1, 1)
    )


def test_three_masks_or_one():
    whole = decoding(torch.full((8, 8), 5.0))
    three = choose_masks(whole, multimask=True, stable=True)
    assert three.low_res_logits[0, :, 0, 0].tolist() == [1, 2, 3]
    assert three.predicted_iou[0].tolist() == pytest.approx([0.6, 0.9, 0.7])
    one = choose_masks(whole, multimask=False, stable=False)
    assert one.low_res_logits.shape == (1, 1, 8, 8)
    assert one.tokens[0, 0].tolist() == [0, 1]


def test_an_unstable_single_mask_gives_way_to_the_best_of_three():
    shaky = decoding(torch.linspace(-0.04, 0.06, 64).reshape(8, 8))
    kept = choose_masks(shaky, multimask=False, stable=False)
    assert torch.equal(kept.low_res_logits[0, 0], shaky.low_res_logits[0, 0])
    fallen = choose_masks(shaky, multimask=False, stable=True)
    assert (fallen.low_res_logits == 2).all()
    assert fallen.predicted_iou.item() == pytest.approx(0.9)
    # The pointer still comes from the single mask's token.
    assert fallen.tokens[0, 0].tolist() == [0, 1]
    steady = decoding(torch.full((8, 8), 5.0))
    assert (choose_masks(steady, multimask=False, stable=True).low_res_logits == 5).all()


def test_an_empty_single_mask_is_stable():
    empty = decoding(torch.full((8, 8), -5.0))
    assert (choose_masks(empty, multimask=False, stable=True).low_res_logits == -5).all()
