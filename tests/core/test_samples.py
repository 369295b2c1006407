import numpy as np

from sam2_plugins.core.samples import nuclei_stack


def test_the_same_seed_gives_the_same_stack() -> None:
    first, second, other = (nuclei_stack((6, 64, 64), num_nuclei=4, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert not np.array_equal(first.images, other.images)


def test_nuclei_are_bright_and_reach_through_slices() -> None:
    stack = nuclei_stack()
    assert stack.images.dtype == stack.labels.dtype == np.uint16
    assert stack.images.shape == stack.labels.shape == (20, 160, 160)
    ids = np.unique(stack.labels)
    np.testing.assert_array_equal(ids, np.arange(len(ids)))
    background = np.median(stack.images[stack.labels == 0])
    slices = []
    for object_id in ids[1:]:
        inside = stack.labels == object_id
        assert np.median(stack.images[inside]) > 2 * background
        slices.append(np.count_nonzero(inside.any(axis=(1, 2))))
    assert np.mean(slices) > 5


def test_a_full_stack_takes_fewer_nuclei_than_asked_for() -> None:
    assert 0 < nuclei_stack((4, 48, 48), num_nuclei=200).labels.max() < 200
