import pytest
import torch
from tiny import TINY, make_tiny

from sam2_plugins.core.config import NANO, ModelConfig
from sam2_plugins.core.model.sam2 import ABSENT_LOGIT, SAM2, MapMemory, PointerMemory

MODEL = make_tiny()


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def as_tuple(features):
    return features.stride_16, features.stride_8, features.stride_4


@pytest.mark.parametrize("side", [32, 64, 96, 160, 224])
@pytest.mark.parametrize("config", [TINY, NANO], ids=["tiny", "nano"])
def test_any_multiple_of_32_goes_in(config, side):
    model = SAM2(config, image_size=side).eval()
    features = model.encode_image(torch.rand(1, 3, side, side))
    dim, cells = config.model_dim, side // 16
    assert features.grid == (cells, cells)
    assert [tuple(level.shape) for level in as_tuple(features)] == [
        (1, dim, cells, cells),
        (1, dim // 4, 2 * cells, 2 * cells),
        (1, dim // 8, 4 * cells, 4 * cells),
    ]
    decoding = model.decode(features, model.without_memory(features))
    found = model.summarise(decoding)
    assert found.low_res_logits.shape == (1, 1, 4 * cells, 4 * cells)
    maps = model.encode_memory(
        features, found.low_res_logits, found.object_score_logits, hard=False
    )
    assert maps.shape == (1, config.memory_dim, cells, cells)
    conditioned = model.with_memory(
        features,
        maps=[MapMemory(maps, 0), MapMemory(maps, 2)],
        pointers=[PointerMemory(found.object_pointers, 3.0)],
    )
    assert conditioned.shape == features.stride_16.shape


@pytest.mark.parametrize("side", [-32, 48, 100])
def test_other_sizes_are_refused(side):
    with pytest.raises(ValueError, match=f"must be a positive multiple of 32, not {side}"):
        SAM2(TINY, image_size=side)


def test_images_of_a_batch_do_not_mix(images):
    together = MODEL.encode_image(images)
    for index in range(2):
        part = slice(index, index + 1)
        alone = MODEL.encode_image(images[part])
        for found, level in zip(as_tuple(together.take(part)), as_tuple(alone), strict=True):
            torch.testing.assert_close(found, level, atol=1e-5, rtol=1e-4)


def test_objects_of_a_batch_do_not_mix(images):
    features = MODEL.encode_image(images[:1])
    points = torch.tensor([[[10.0, 12.0]], [[40.0, 50.0]]])
    labels = torch.tensor([[1], [0]])
    conditioned = MODEL.without_memory(features)
    together = MODEL.decode(
        features, conditioned.expand(2, -1, -1, -1), points=points, point_labels=labels
    )
    for index in range(2):
        part = slice(index, index + 1)
        alone = MODEL.decode(features, conditioned, points=points[part], point_labels=labels[part])
        torch.testing.assert_close(together.low_res_logits[part], alone.low_res_logits)
        torch.testing.assert_close(together.predicted_iou[part], alone.predicted_iou)
    assert not torch.allclose(together.low_res_logits[0], together.low_res_logits[1], atol=0.1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_casting_leaves_the_fourier_matrix_in_float32(dtype, images):
    model = make_tiny()
    before = model.sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix.clone()
    assert model.cast(dtype) is model
    matrix = model.sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    assert matrix.dtype == torch.float32
    assert torch.equal(matrix, before)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert model.dtype == dtype
    features = model.encode_image(images[:1])
    assert {level.dtype for level in as_tuple(features)} == {dtype}
    exact = MODEL.encode_image(images[:1])
    error = (features.stride_16.float() - exact.stride_16).abs().mean() / exact.stride_16.std()
    assert error < 0.03


def test_weights_loaded_later_are_used(images):
    model = make_tiny(1)
    before = model.encode_image(images).stride_16
    model.load_state_dict(MODEL.state_dict())
    after = model.encode_image(images).stride_16
    assert not torch.equal(before, after)
    assert torch.equal(after, MODEL.encode_image(images).stride_16)


def test_features_move_and_are_taken(images):
    features = MODEL.encode_image(images)
    assert features.to(torch.float16).stride_4.dtype == torch.float16
    repeated = features.take(torch.tensor([1, 1, 0]))
    assert torch.equal(repeated.stride_8[0], features.stride_8[1])
    assert torch.equal(repeated.stride_8[2], features.stride_8[0])


def test_an_absent_object_has_no_mask_and_the_pointer_of_no_object(images):
    features = MODEL.encode_image(images[:1])
    decoding = MODEL.decode(features, MODEL.without_memory(features))
    seen = MODEL.summarise(decoding)
    lost = MODEL.summarise(decoding._replace(object_score_logits=torch.tensor([[-1.0]])))
    assert (lost.low_res_logits == ABSENT_LOGIT).all()
    assert torch.equal(lost.object_pointers, MODEL.no_obj_ptr)
    assert not (seen.low_res_logits == ABSENT_LOGIT).any()
    best = decoding.predicted_iou.argmax()
    assert torch.equal(seen.low_res_logits[0, 0], decoding.low_res_logits[0, best])
    assert seen.predicted_iou[0] == decoding.predicted_iou.max()


def test_a_given_mask_is_taken_as_it_is(images):
    features = MODEL.encode_image(images[:1])
    masks = torch.zeros(2, 1, 64, 64)
    masks[0, :, 16:48, 8:40] = 1
    found = MODEL.adopt_masks(features, masks)
    assert found.low_res_logits.shape == (2, 1, 16, 16)
    torch.testing.assert_close(found.low_res_logits[0, 0, 5:11, 3:9], torch.full((6, 6), 10.0))
    torch.testing.assert_close(found.low_res_logits[1], torch.full((1, 16, 16), -10.0))
    assert found.object_score_logits.tolist() == [10, -10]
    assert found.predicted_iou.tolist() == [1, 1]
    assert torch.equal(found.object_pointers[1:], MODEL.no_obj_ptr)
    assert not torch.equal(found.object_pointers[:1], MODEL.no_obj_ptr)


def test_what_is_remembered_shows(images):
    features = MODEL.encode_image(images[:1])
    logits = torch.full((1, 1, 16, 16), -5.0)
    logits[..., 4:12, 2:9] = 5
    score = torch.tensor([3.0])
    soft = MODEL.encode_memory(features, logits, score, hard=False)
    hard = MODEL.encode_memory(features, logits, score, hard=True)
    absent = MODEL.encode_memory(features, logits, -score, hard=True)
    assert not torch.allclose(soft, hard, atol=1e-3)
    torch.testing.assert_close(
        absent - hard, MODEL.no_obj_embed_spatial[..., None, None].expand_as(hard)
    )
    pointer = torch.randn(1, 32, generator=torch.Generator().manual_seed(0))

    def conditioned(maps, pointers=(), **options):
        return MODEL.with_memory(features, maps=maps, pointers=pointers, **options)

    plain = conditioned([MapMemory(hard, 0)])
    for other in (
        conditioned([MapMemory(absent, 0)]),
        conditioned([MapMemory(hard, 1)]),
        conditioned([MapMemory(hard, 0), MapMemory(soft, 1)]),
        conditioned([MapMemory(hard, 0)], [PointerMemory(pointer, 2.0)]),
    ):
        assert not torch.allclose(plain, other, atol=1e-3)
    near = conditioned([MapMemory(hard, 0)], [PointerMemory(pointer, 2.0)])
    far = conditioned([MapMemory(hard, 0)], [PointerMemory(pointer, 9.0)])
    assert not torch.allclose(near, far, atol=1e-4)
    shared = MODEL.memory_attention.prepare(features.stride_16)
    assert torch.equal(conditioned([MapMemory(hard, 0)], prepared=shared), plain)


def test_the_order_of_memories_does_not_matter(images):
    features = MODEL.encode_image(images[:1])
    maps = [
        MapMemory(torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(age)), age)
        for age in range(3)
    ]
    forward = MODEL.with_memory(features, maps=maps, pointers=[])
    backward = MODEL.with_memory(features, maps=maps[::-1], pointers=[])
    torch.testing.assert_close(forward, backward, atol=1e-4, rtol=1e-4)


def test_a_mask_prompt_of_another_size_is_resized(images):
    features = MODEL.encode_image(images[:1])
    conditioned = MODEL.without_memory(features)
    small = MODEL.decode(features, conditioned, mask_logits=torch.full((1, 1, 16, 16), 3.0))
    large = MODEL.decode(features, conditioned, mask_logits=torch.full((1, 1, 64, 64), 3.0))
    torch.testing.assert_close(small.low_res_logits, large.low_res_logits)


@pytest.mark.parametrize("version", ["2.0", "2.1"])
def test_pointers_carry_time_in_2_1_only(version, images):
    config = ModelConfig(**{**{f: getattr(TINY, f) for f in TINY.__slots__}, "version": version})
    torch.manual_seed(0)
    model = SAM2(config).eval()
    features = model.encode_image(images[:1])
    maps = [MapMemory(torch.randn(1, 16, 4, 4), 0)]
    pointer = 5 * torch.randn(1, 32)
    near, far = (
        model.with_memory(features, maps=maps, pointers=[PointerMemory(pointer, distance)])
        for distance in (1.0, 15.0)
    )
    assert torch.equal(near, far) is (version == "2.0")
