"""Objects that are seen but weakly for several frames are let go."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import make_tiny

from sam2_plugins.core.config import MODELS
from sam2_plugins.core.masklets import Masklet
from sam2_plugins.core.memory import MemoryRule
from sam2_plugins.core.model.mask_decoder import Decoding
from sam2_plugins.core.presence import PresenceRule
from sam2_plugins.core.rules import Rules
from sam2_plugins.core.staying import judge_presence
from sam2_plugins.core.tracker import VideoTracker

RULE = PresenceRule(inertia=0.8, weak=1.5)
FRAMES = np.random.default_rng(0).integers(0, 255, (12, 64, 64), np.uint8)


def settled(scores, rule=RULE, start=20.0):
    """What is made of the scores of frame after frame, from a prompted frame on."""
    found = [start]
    for score in scores:
        found.append(float(rule.settle(torch.tensor(score), found[-1])))
    return found[1:]


def test_what_is_surely_seen_stays_seen_and_its_score_is_the_frames_or_less():
    scores = [5.0, 3.0, 8.0, 3.0, 4.0, 3.0] * 10
    found = settled(scores)
    assert min(found) > 0
    assert all(said <= score for said, score in zip(found, scores, strict=True))


def test_what_is_weakly_seen_is_let_go_after_some_frames_and_not_at_once():
    found = settled([1.0] * 12)
    is_seen = [score > 0 for score in found]
    count = sum(is_seen)
    assert 3 <= count <= 8
    assert is_seen == [True] * count + [False] * (12 - count)


def test_what_is_not_known_may_be_seen_more_weakly_but_not_as_weakly_as_a_neighbour():
    assert settled([1.2] * 40)[-1] < 0 < settled([1.2] * 40, RULE.for_unknown)[-1]
    assert settled([0.3] * 40, RULE.for_unknown)[-1] < 0
    lenient = PresenceRule(inertia=0.8, weak=0.1)
    assert lenient.for_unknown == lenient


@pytest.mark.parametrize("is_stack", [True, False])
def test_the_tracker_asks_whether_an_object_is_known(is_stack):
    results = {
        frame: SimpleNamespace(
            box=(0, 0, 9, 9), step=1, object_score_logit=0.1, walked=frame, logits=None
        )
        for frame in range(12)
    }
    masklet = Masklet(prompts={0: None}, results=results)
    memory = MemoryRule(4, 6, 1, 16)
    rules = Rules(memory, 0, exact=False, presence=RULE, keeps_alike=not is_stack)
    asked = []

    def score(is_known):
        judged = judge_presence(
            Decoding(
                torch.ones(1, 1, 4, 4), torch.ones(1, 1), torch.zeros(1, 1, 4), torch.ones(1, 1)
            ),
            rules,
            masklet=masklet,
            walk=(12, 1, range(13)),
            likeness=0.0,
            knows=lambda of, start: asked.append((of, start)) or is_known,
            is_found_again=False,
            size=(16, 16),
        )
        return float(judged.object_score_logits)

    assert score(is_known=True) < 0 < score(is_known=False)
    assert asked == [(masklet, 0)] * 2


def test_what_is_not_seen_is_gone_at_once_and_comes_back_soon():
    assert settled([4.0, -0.1])[-1] < 0
    gone = settled([4.0] + [-9.0] * 100 + [5.0] * 3)
    assert gone[-4] < 0
    assert gone[-1] > 0


def test_what_looks_as_it_did_stays_however_weakly_it_is_seen():
    def last(score, likeness):
        found = 20.0
        for _ in range(20):
            found = float(RULE.settle(torch.tensor(score), found, likeness=likeness))
        return found

    assert last(0.5, 0.9) > 0 > last(0.5, 0.3)
    assert last(0.5, 0.3) == last(0.5, 0.0)
    # What the network is sure is gone is gone.
    assert last(-4.0, 1.0) < 0


def test_what_a_person_has_seen_is_not_lost_on_the_next_frame():
    def found(score, walked):
        return float(RULE.settle(torch.tensor(score), 10.0, walked=walked))

    assert found(-0.5, 1) > 0 > found(-0.5, 6)
    assert found(-0.5, 6) == pytest.approx(float(RULE.settle(torch.tensor(-0.5), 10.0)), abs=0.1)
    # What the network is sure is gone is gone.
    assert found(-4.0, 1) < 0


@pytest.mark.parametrize("is_seen", [True, False])
def test_only_next_to_where_it_was_seen_an_object_is_expected(is_seen, monkeypatch):
    told = []
    settle = PresenceRule.settle

    def note(self, *given, walked, **said):
        told.append(walked)
        return settle(self, *given, walked=walked, **said)

    monkeypatch.setattr(PresenceRule, "settle", note)
    tracker = VideoTracker(make_tiny(), FRAMES)
    mask = np.zeros((64, 64), bool)
    mask[10:50, 10:50] = is_seen
    tracker.set_mask(0, 1, mask)
    list(tracker.propagate(stop=5))
    assert told == ([1, 2, 3, 4] if is_seen else [np.inf] * 4)


def test_many_objects_are_settled_as_each_alone():
    scores = torch.tensor([[2.0], [9.0], [-3.0]])
    together = RULE.settle(scores, 1.2)
    assert together.shape == (3, 1)
    assert together[:, 0].tolist() == [float(RULE.settle(s, 1.2)) for s in scores[:, 0]]


def seen_weakly(model, monkeypatch, **options):
    """Whether each frame shows an object that is prompted on frame 0 and then seen weakly."""
    tracker = VideoTracker(model, FRAMES, **options)
    whole = type(model).decode

    def weakly(self, *args, **given):
        decoding = whole(self, *args, **given)
        scores = decoding.object_score_logits
        return decoding._replace(object_score_logits=torch.full_like(scores, weakly.score))

    monkeypatch.setattr(type(model), "decode", weakly)
    weakly.score = 9.0
    tracker.set_box(0, 1, [10, 10, 50, 50])
    weakly.score = 0.3
    shown = []
    for frame in range(1, len(FRAMES)):
        ((found),) = [
            masks for masks in tracker.propagate(stop=frame + 1) if masks.frame_index == frame
        ]
        shown.append(bool(found.object_score_logits[0] > 0))
        assert found.masks[0].any() == shown[-1]
    return shown


def test_the_tracker_lets_go_and_not_where_every_frame_is_believed(monkeypatch):
    model = make_tiny()
    shown = seen_weakly(model, monkeypatch)
    assert shown[0]
    assert not shown[-1]
    assert all(seen_weakly(model, monkeypatch, smooth_presence=False))
    assert all(seen_weakly(model, monkeypatch, exact=True))
    model.config = replace(model.config, presence_inertia=0.0)
    assert all(seen_weakly(model, monkeypatch))


def test_published_models_believe_every_frame():
    assert {name for name, config in MODELS.items() if config.presence is not None} == {"nano"}


@pytest.mark.parametrize("smooth", [True, False])
def test_a_session_goes_on_by_the_same_rule(tmp_path, smooth):
    model = make_tiny()
    tracker = VideoTracker(model, FRAMES, smooth_presence=smooth)
    tracker.set_box(0, 1, [10, 10, 50, 50])
    tracker.save(tmp_path / "session")
    loaded = VideoTracker.load(tmp_path / "session", model, FRAMES)
    expected = [masks.object_score_logits for masks in tracker.propagate()]
    found = [masks.object_score_logits for masks in loaded.propagate()]
    assert np.array_equal(found, expected)
    other = VideoTracker(model, FRAMES, smooth_presence=not smooth)
    other.set_box(0, 1, [10, 10, 50, 50])
    assert not np.array_equal([m.object_score_logits for m in other.propagate()], expected)
