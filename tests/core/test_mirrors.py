import pytest
import torch
from tiny import make_tiny

from sam2_plugins.core.mirrors import (
    MIRRORS,
    UNMIRRORED,
    Mirror,
    View,
    decode_views,
    encode_mirrored,
)

SIDE = 64
ALL = [Mirror(x, y, swaps) for x in (False, True) for y in (False, True) for swaps in (False, True)]


@pytest.mark.parametrize("mirror", ALL)
def test_a_mirrored_picture_comes_back_and_points_stay_on_what_they_were_on(mirror):
    picture = torch.zeros(1, SIDE, SIDE)
    picture[0, 5, 40] = 1
    mirrored = mirror.picture(picture)
    assert torch.equal(mirror.back(mirrored), picture)
    x, y = mirror.points(torch.tensor([[[40.5, 5.5]]]), torch.tensor([[1]]), SIDE)[0, 0].tolist()
    assert mirrored[0, int(y), int(x)] == 1


@pytest.mark.parametrize("mirror", ALL)
def test_the_corners_of_a_mirrored_box_are_in_order(mirror):
    points = torch.tensor([[[10.0, 20.0], [30.0, 50.0], [12.0, 44.0]]])
    labels = torch.tensor([[2, 3, 0]])
    (x0, y0), (x1, y1), click = mirror.points(points, labels, SIDE)[0].tolist()
    assert sorted((x1 - x0, y1 - y0)) == [20, 30]
    assert x0 <= click[0] <= x1
    assert y0 <= click[1] <= y1


def views_of(model, image):
    features = model.encode_image(image[None])
    return [View(features, model.without_memory(features)), *encode_mirrored(model, image)]


@torch.no_grad()
def test_the_answer_for_a_mirrored_picture_is_the_mirrored_answer():
    model = make_tiny()
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(3, SIDE, SIDE, generator=generator)
    points = torch.tensor([[[20.0, 11.0], [50.0, 40.0]], [[5.0, 8.0], [30.0, 60.0]]])
    labels = torch.tensor([[2, 3], [2, 3]])
    given = torch.randn(2, 1, SIDE // 4, SIDE // 4, generator=generator)
    mirror = MIRRORS[0]
    moved = mirror.points(points, labels, SIDE)
    # Left and right change places: each view of one is a view of the other.
    both = [
        decode_views(
            *(model, [v for v in views_of(model, shown) if v.mirror in (UNMIRRORED, mirror)]),
            points=where,
            point_labels=labels,
            mask_logits=mask,
        )
        for shown, where, mask in (
            (image, points, given),
            (mirror.picture(image), moved, mirror.picture(given)),
        )
    ]
    assert torch.allclose(
        mirror.back(both[1].low_res_logits), both[0].low_res_logits, atol=1e-3, rtol=1e-3
    )
    assert torch.allclose(both[1].predicted_iou, both[0].predicted_iou, atol=1e-4)


@torch.no_grad()
def test_one_view_is_decoded_as_it_is_and_no_view_overrules_the_others():
    model = make_tiny()
    image = torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    views = views_of(model, image)
    prompts = {"points": torch.tensor([[[20.0, 11.0]]]), "point_labels": torch.tensor([[1]])}
    one = decode_views(model, views[:1], **prompts)
    alone = model.decode(views[0].features, views[0].conditioned, **prompts, stable=True)
    assert torch.equal(one.low_res_logits, alone.low_res_logits)
    assert decode_views(model, views, **prompts).low_res_logits.abs().max() <= 8
