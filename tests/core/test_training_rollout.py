import numpy as np
import pytest
import torch
from tiny import TINY, make_tiny

from sam2_plugins.core.model.mask_decoder import Decoding
from sam2_plugins.core.model.sam2 import SAM2, Segmentation
from sam2_plugins.core.training.batches import Batch, make_batch
from sam2_plugins.core.training.clip_memory import ClipMemory, FrameMemory
from sam2_plugins.core.training.comparison import Comparison
from sam2_plugins.core.training.initial import initialise
from sam2_plugins.core.training.losses import LossWeights
from sam2_plugins.core.training.prompting import PromptPlan
from sam2_plugins.core.training.rollout import run_clips, run_images
from sam2_plugins.core.training.simulated_user import Frame, SimulatedUser
from sam2_plugins.core.training.sources import TrainingData

NO_DATA = TrainingData({}, {})


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def squares(num_frames, *, absent_on=()):
    """One clip of a bright square that moves to the right, absent on some frames."""
    masks = torch.zeros(1, num_frames, 64, 64, dtype=torch.bool)
    for frame_index in range(num_frames):
        if frame_index not in absent_on:
            masks[0, frame_index, 20:40, 8 + 4 * frame_index : 28 + 4 * frame_index] = True
    images = masks[:, :, None].float().expand(-1, -1, 3, -1, -1) * 3 - 1.5
    return Batch(images, masks)


class Watched:
    """A network whose decoder notes what it is asked and answers with masks given."""

    def __init__(self, monkeypatch, model, answers=None):
        self.asked = []
        decode = model.decode

        def decode_and_note(features, conditioned, **prompts):
            self.asked.append(prompts)
            decoding = decode(features, conditioned, **prompts)
            if answers is None:
                return decoding
            logits = answers.float()[:, None].expand_as(decoding.low_res_logits) * 20 - 10
            present = torch.ones_like(decoding.object_score_logits)
            return decoding._replace(low_res_logits=logits, object_score_logits=present)

        monkeypatch.setattr(model, "decode", decode_and_note)


def frame_of(model, masks):
    features = model.encode_image(torch.zeros(len(masks), 3, 64, 64))
    return Frame(features, model.without_memory(features), masks)


def test_corrective_clicks_lie_in_the_error_with_the_truth_as_label(monkeypatch):
    model = make_tiny()
    truth = torch.zeros(2, 64, 64, dtype=torch.bool)
    truth[0, 8:40, 8:40] = truth[1, 32:60, 32:60] = True
    said = torch.zeros(2, 64, 64, dtype=torch.bool)
    said[0, 24:56, 24:56] = said[1, 0:20, 0:20] = True
    watched = Watched(
        monkeypatch, model, said.unflatten(1, (16, 4)).unflatten(3, (16, 4))[:, :, 0, :, 0]
    )
    user = SimulatedUser(model, seeded())
    user.prompt(frame_of(model, truth), kind="click", num_corrections=12)
    points, labels = (watched.asked[-1][name] for name in ("points", "point_labels"))
    assert points.shape == (2, 13, 2)
    columns, rows = points.long().unbind(-1)
    objects = torch.arange(2)[:, None]
    shown = (
        torch.nn.functional.interpolate(
            said[:, None, ::4, ::4].float() * 20 - 10, size=(64, 64), mode="bilinear"
        )[:, 0]
        > 0
    )
    assert (truth ^ shown)[objects, rows, columns][:, 1:].all()
    assert torch.equal(labels.bool(), truth[objects, rows, columns])
    assert set(labels[:, 1:].flatten().tolist()) == {0, 1}


def test_each_correction_sees_all_clicks_and_the_mask_before_it(monkeypatch):
    model = make_tiny()
    watched = Watched(monkeypatch, model)
    frame = frame_of(model, squares(1).masks[:, 0])
    answer = SimulatedUser(model, seeded()).prompt(frame, kind="click", num_corrections=2)
    first, second, third = watched.asked
    assert [asked["points"].shape[1] for asked in watched.asked] == [1, 2, 3]
    assert torch.equal(third["points"][:, :2], second["points"])
    assert "mask_logits" not in first
    assert not second["mask_logits"].requires_grad
    assert [asked["multimask"] for asked in watched.asked] == [True, False, False]
    assert len(answer.decodings) == 3
    assert torch.equal(answer.kept.low_res_logits, model.summarise(answer.decodings[-1])[0])


def test_a_box_is_unambiguous_and_a_mask_is_adopted_without_a_loss(monkeypatch):
    model = make_tiny()
    masks = squares(1).masks[:, 0]
    frame = frame_of(model, masks)
    user = SimulatedUser(model, seeded())
    adopted = user.prompt(frame, kind="mask")
    assert adopted.decodings == []
    assert torch.equal(adopted.kept.low_res_logits[0, 0] > 0, masks[0, ::4, ::4])
    watched = Watched(monkeypatch, model)
    user.prompt(frame, kind="box")
    assert watched.asked[0]["multimask"] is False
    assert watched.asked[0]["point_labels"].tolist() == [[2, 3]]


def test_an_image_cannot_be_prompted_by_its_own_mask():
    with pytest.raises(ValueError, match="'click' or 'box'"):
        run_images(make_tiny(), squares(1), generator=seeded(), plan=PromptPlan(kind="mask"))


@pytest.mark.parametrize(
    ("plan", "num_losses"),
    [
        (PromptPlan(kind="mask"), 3),
        (PromptPlan(kind="box"), 4),
        (PromptPlan(kind="click", num_corrections=2), 6),
        (PromptPlan(kind="mask", corrected_frame=2), 4),
        (PromptPlan(kind="mask", corrected_frame=2, num_corrections=2), 5),
    ],
)
def test_every_decoding_of_a_clip_is_learnt_from_and_no_other(monkeypatch, plan, num_losses):
    model = make_tiny()
    compared = []
    losses = Comparison.losses

    def note(self, decoding, masks):
        compared.append(masks)
        return losses(self, decoding, masks)

    monkeypatch.setattr(Comparison, "losses", note)
    run_clips(model, squares(4), generator=seeded(), plan=plan)
    assert len(compared) == num_losses


def test_a_corrected_frame_becomes_a_conditioning_frame(monkeypatch):
    model = make_tiny()
    hard = []
    encode = model.encode_memory

    def note(*arguments, **options):
        hard.append(options["hard"])
        return encode(*arguments, **options)

    monkeypatch.setattr(model, "encode_memory", note)
    plan = PromptPlan(kind="mask", corrected_frame=2)
    run_clips(model, squares(5), generator=seeded(), plan=plan)
    assert hard == [True, False, True, False]  # nobody looks back at the last frame


def test_frames_look_at_all_conditioning_frames_and_the_most_recent_others():
    memory = ClipMemory(num_memories=3)
    for frame_index in range(6):
        entry = FrameMemory(frame_index, torch.tensor(frame_index), torch.tensor(-frame_index))
        memory.remember(entry, is_conditioning=frame_index in (0, 2))
    assert [(int(m.features), m.age) for m in memory.maps(6)] == [(0, 0), (2, 0), (4, 2), (5, 1)]
    pointers = [(int(p.pointer), p.distance) for p in memory.pointers(6)]
    assert pointers == [(0, 6.0), (-2, 4.0), (-5, 1.0), (-4, 2.0), (-3, 3.0), (-1, 5.0)]


def test_tracking_reaches_back_to_the_prompted_frame():
    """The loss on the last frame has gradients in the memory encoder and memory attention."""
    model = initialise(SAM2(TINY)).train()
    batch = squares(3)
    outcome = run_clips(model, batch, generator=seeded(), plan=PromptPlan(kind="mask"))
    outcome.terms.total(LossWeights()).backward()
    for part in (model.memory_encoder, model.memory_attention, model.image_encoder):
        assert sum(float(p.grad.abs().sum()) for p in part.parameters() if p.grad is not None) > 0


def test_frames_without_the_object_have_no_mask_loss_but_teach_its_absence():
    model = make_tiny().requires_grad_(False)
    plan = PromptPlan(kind="mask")
    absent = run_clips(model, squares(3, absent_on=(1, 2)), generator=seeded(), plan=plan)
    for name in ("focal", "dice", "balanced", "iou"):
        assert float(getattr(absent.terms, name)) == 0, name
    assert float(absent.terms.occlusion) > 0
    assert float(absent.iou) == 0
    half = run_clips(model, squares(3, absent_on=(2,)), generator=seeded(), plan=plan)
    whole = run_clips(model, squares(2), generator=seeded(), plan=plan)
    assert float(half.terms.dice) == pytest.approx(float(whole.terms.dice) / 2, rel=1e-4)


def test_losses_are_computed_at_the_size_asked_for(monkeypatch):
    masks = squares(1).masks[:, 0]
    exact = masks[:, None, ::4, ::4].float() * 20 - 10
    kept = Segmentation(exact, *(torch.ones(1) for _ in range(3)))
    decoding = Decoding(exact, torch.ones(1, 1), torch.zeros(1, 1, 8), torch.ones(1, 1) * 20)
    for stride in (1, 2, 4):
        comparison = Comparison(stride)
        assert float(comparison.iou(kept, masks)) > 0.9
        assert float(comparison.losses(decoding, masks).dice) < 0.1
    assert float(Comparison(4).iou(kept, masks)) == 1


def test_the_same_generator_gives_the_same_rollout():
    model = make_tiny()
    batch = make_batch(NO_DATA, (3,), batch_size=2, size=64, num_frames=3, num_objects=2)
    plan = PromptPlan(kind="click", num_corrections=1, corrected_frame=1)
    ran = [run_clips(model, batch, generator=seeded(s), plan=plan).terms for s in (1, 1, 2)]
    totals = [float(terms.total(LossWeights()).detach()) for terms in ran]
    assert totals[0] == totals[1] != totals[2]


def test_a_batch_is_normalised_and_keeps_the_objects_of_a_clip_together():
    batch = make_batch(NO_DATA, (1,), batch_size=2, size=64, num_frames=2, num_objects=3)
    assert batch.images.shape == (2, 2, 3, 64, 64)
    assert batch.masks.shape == (6, 2, 64, 64)
    assert batch.objects_per_clip == 3
    mean = torch.tensor([0.485, 0.456, 0.406])
    deviation = torch.tensor([0.229, 0.224, 0.225])
    values = batch.images.permute(0, 1, 3, 4, 2) * deviation + mean
    assert np.allclose(values * 255, (values * 255).round(), atol=1e-3)
    assert 0 <= float(values.min()) < float(values.max()) <= 1.0001
