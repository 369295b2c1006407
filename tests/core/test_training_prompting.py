import torch

from sam2_plugins.core.training.prompting import (
    choose_prompt_kind,
    click_inside,
    correct,
    loose_box,
    sample_pixels,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_prompt_kinds_come_half_masks_and_a_quarter_each_clicks_and_boxes():
    generator = seeded()
    kinds = [choose_prompt_kind(generator) for _ in range(2000)]
    assert abs(kinds.count("mask") - 1000) < 80
    assert abs(kinds.count("click") - 500) < 80
    assert abs(kinds.count("box") - 500) < 80
    assert "mask" not in [choose_prompt_kind(generator, mask_chance=0.0) for _ in range(50)]


def test_every_pixel_of_a_region_is_equally_likely_and_no_other_is_drawn():
    region = torch.zeros(1, 6, 8, dtype=torch.bool)
    region[0, 2, 3:7] = True
    drawn = sample_pixels(region.expand(4000, -1, -1), seeded())
    assert set(drawn[:, 1].tolist()) == {2.0}
    counts = torch.bincount(drawn[:, 0].long(), minlength=8)
    assert counts[[0, 1, 2, 7]].sum() == 0
    assert (counts[3:7] - 1000).abs().max() < 120


def test_a_first_click_is_positive_and_inside():
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, 5, 1] = True
    points, labels = click_inside(masks, seeded())
    assert points[0, 0].tolist() == [1.0, 5.0]
    assert labels.tolist() == [[1], [0]]  # the second object is absent


def test_corrections_are_positive_on_misses_and_negative_on_extras():
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    predicted = torch.zeros_like(masks)
    masks[0, 3, 4] = True
    predicted[1, 6, 2] = True
    points, labels = correct(predicted, masks, generator=seeded())
    assert points[:, 0].tolist() == [[4.0, 3.0], [2.0, 6.0]]
    assert labels.tolist() == [[1], [0]]


def test_corrections_lie_anywhere_in_the_error_and_tell_the_truth_there():
    masks = torch.rand(400, 12, 12, generator=seeded(1)) > 0.5
    predicted = torch.rand(400, 12, 12, generator=seeded(2)) > 0.3
    points, labels = correct(predicted, masks, generator=seeded())
    columns, rows = points[:, 0].long().unbind(-1)
    objects = torch.arange(400)
    assert (masks ^ predicted)[objects, rows, columns].all()
    assert torch.equal(labels[:, 0].bool(), masks[objects, rows, columns])
    assert 0.15 < labels.float().mean() < 0.45  # 0.15 of the pixels are missed, 0.35 are extra


def test_a_perfect_mask_is_corrected_by_the_truth_somewhere():
    masks = torch.rand(50, 8, 8, generator=seeded(3)) > 0.5
    points, labels = correct(masks, masks, generator=seeded())
    columns, rows = points[:, 0].long().unbind(-1)
    assert torch.equal(labels[:, 0].bool(), masks[torch.arange(50), rows, columns])


def test_boxes_are_loose_by_a_tenth_and_stay_in_the_image():
    masks = torch.zeros(500, 64, 64, dtype=torch.bool)
    masks[:, 10:31, 40:64] = True
    points, labels = loose_box(masks, seeded())
    assert labels.unique(dim=0).tolist() == [[2, 3]]
    exact = torch.tensor([[40.0, 10.0], [63.0, 30.0]])
    assert ((points - exact).abs() <= torch.tensor([2.3, 2.0]) + 1e-4).all()
    assert points.max() <= 63
    assert (points - exact).abs().max() > 1.5


def test_the_same_seed_gives_the_same_prompts():
    masks = torch.rand(3, 16, 16, generator=seeded(5)) > 0.5
    assert torch.equal(click_inside(masks, seeded(7))[0], click_inside(masks, seeded(7))[0])
    assert torch.equal(loose_box(masks, seeded(7))[0], loose_box(masks, seeded(7))[0])
