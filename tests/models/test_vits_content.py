"""Conversion by content: what is heard, what is said of it, and by whom."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from glottis.audio.mel import MelConfig
from glottis.blocks.pitch import pitch_bells, recorded_pitch
from glottis.errors import InputError
from glottis.models.vits import VITS, Config
from glottis.models.vits.content import ContentAutoencoder, disguised, loudness
from glottis.text.phone_classes import CLASSES, PAUSE, UNKNOWN, classes_of
from glottis.text.symbols import DEFAULT

MEL = MelConfig(mels=8, fft_size=64, hop=16)
SMALL = Config(
    symbols=256,
    speakers=3,
    latent=8,
    mel=MEL,
    pitch=True,
    decoder="istft",
    mel_latents=True,
    posterior_input="log_mels",
    posterior_layers=0,
    align_on="mel",
    conversion="content",
    content_channels=4,
    content_width=16,
    content_hidden=32,
    content_decoder_hidden=32,
    content_layers=2,
    content_frames=12,
)


def _content(**changes: object) -> ContentAutoencoder:
    torch.manual_seed(0)
    return ContentAutoencoder(Config(**{**vars(SMALL), **changes})).eval()  # type: ignore[arg-type]


def _ids(phonemes: str) -> torch.Tensor:
    return torch.tensor([[DEFAULT.phoneme_id_map[p][0] for p in phonemes]])


def _letter(number: int) -> str:
    return "?" if number == UNKNOWN else "-" if number == PAUSE else CLASSES[number][0]


def test_no_letter_has_two_classes() -> None:
    letters = "".join(CLASSES)
    assert len(set(letters)) == len(letters)
    assert all(letter in DEFAULT for row in CLASSES for letter in row[0])


def test_classes_are_the_same_whatever_the_order_of_ids() -> None:
    turned = {symbol: [255 - ids[0]] for symbol, ids in DEFAULT.phoneme_id_map.items()}
    assert classes_of(turned, 256)[::-1] == classes_of(DEFAULT.phoneme_id_map, 256)
    assert len(classes_of(DEFAULT.phoneme_id_map, 40)) == 40


@pytest.mark.parametrize(
    ("phonemes", "durations", "wanted"),
    [
        ("ˈuː b", [2, 1, 3, 1, 2], "uuuuuu?bb"),
        ("n̩ː, ɡ", [1, 1, 1, 2, 2, 1], "nnn????ɡ".replace("ɡ", "g")),
        ("ɒ, k", [1, 4, 4, 1], "ɑ--------k"),
        ("^ɾ$", [5, 1, 4], "-----d----"),
        ("ǃːˈ", [1, 1, 1], "???"),
    ],
)
def test_frames_are_classed_by_the_phone_that_is_said(
    phonemes: str, durations: list[int], wanted: str
) -> None:
    """Marks join their letter, languages' shades one class, and pauses are those one hears."""
    model = _content()
    frames = sum(durations)
    found = model.frame_classes(_ids(phonemes), torch.tensor([durations]), frames + 2)
    assert "".join(_letter(int(n)) for n in found[0]).replace("ɡ", "g") == wanted + "??"


def test_loudness_does_not_hear_gain_nor_padding() -> None:
    mel = torch.randn(2, 8, 20) - 5
    mask = torch.ones(2, 1, 20, dtype=torch.bool)
    mask[1, :, 13:] = False
    heard = loudness(torch.where(mask, mel, math.nan), mask)
    torch.testing.assert_close(heard[1:, :, :13], loudness(mel[1:, :, :13], mask[1:, :, :13]))
    assert not heard[1, :, 13:].any()
    torch.testing.assert_close(heard, loudness(mel + 3.0, mask))
    # The mean power of frames is that of a level of nothing.
    power = torch.exp(2 * heard[0]).mean()
    torch.testing.assert_close(power, torch.tensor(1.0))


def test_a_disguise_is_of_an_utterance_and_leaves_time_alone() -> None:
    """The same change for every frame; louder frames stay louder by as much, above the noise."""
    mel = 40.0 + torch.randn(6, 80, 1).expand(-1, -1, 9)
    louder = mel + torch.linspace(0, 3, 9)
    torch.manual_seed(1)
    changed = disguised(louder)
    torch.manual_seed(1)
    plain = disguised(mel)
    torch.testing.assert_close(changed - plain, louder - mel, atol=1e-4, rtol=0)
    assert (plain - plain[..., :1]).abs().max() < 1e-5
    differences = (plain - mel).flatten(1)
    assert (differences[:1] - differences[1:]).abs().amax(1).min() > 0.1
    floor = disguised(torch.full((500, 80, 1), -60.0))
    assert -11.0 <= float(floor.min()) < -10.5
    assert -6.5 < float(floor.max()) <= -6.0


def test_the_bound_is_its_closed_form() -> None:
    model = _content(content_divergence=0.7, content_phones=3.0, content_confusion=0.6)
    mel, mask = torch.randn(2, 8, 10) - 5, torch.ones(2, 1, 10, dtype=torch.bool)
    classes = torch.randint(0, PAUSE + 1, (2, 10))
    classes[0, :3] = UNKNOWN
    pitch = 100.0 + 50 * torch.rand(2, 10)
    heard = model.windows(mel, mask, pitch, classes, torch.tensor([0, 2]), 0)
    with torch.no_grad():
        torch.manual_seed(4)
        loss, logs = model.losses(heard)
        mean, log_scale = model.encode(mel, mask)
        torch.manual_seed(4)
        posterior = Normal(mean, log_scale.exp())
        draw = mean + torch.randn_like(mean) * posterior.scale
        bells = pitch_bells(*recorded_pitch(pitch))
        made = model.decode(draw, heard.loudness, bells, heard.speaker, mask)
        nats = kl_divergence(posterior, Normal(0.0, 1.0)).sum(1).mean()
        said = model.phones(draw).log_softmax(1).transpose(1, 2)[classes >= 0]
        phones = -said[torch.arange(len(said)), classes[classes >= 0]].mean()
    torch.testing.assert_close(logs["content_nats"], nats)
    torch.testing.assert_close(logs["content_phones"], phones)
    distance = (made - mel).abs().sum(1).mean()
    with torch.no_grad():
        judged = model.judge(draw).log_softmax(1)
        speakers = -torch.stack([judged[0, 0], judged[1, 2]]).mean()
    torch.testing.assert_close(loss, 0.7 * nats + 3.0 * phones + distance + speakers)
    with torch.no_grad():
        said = model.phones(mean).log_softmax(1).transpose(1, 2)[classes >= 0]
    first, logs = model.losses(heard, decoded=False)
    phones = -said[torch.arange(len(said)), classes[classes >= 0]].mean()
    torch.testing.assert_close(first, 3.0 * phones)
    assert logs.keys() == {"content_phones", "content_right"}


def test_the_judge_is_taught_and_the_encoder_misleads_it() -> None:
    """One loss, whose gradient goes down for the one and up, so many times, for the other."""
    model = _content(content_confusion=0.6)
    content = torch.randn(2, 4, 10, requires_grad=True)
    mel, mask = torch.randn(2, 8, 10), torch.ones(2, 1, 10, dtype=torch.bool)
    mask[1, :, 7:] = False
    classes, speaker = torch.zeros(2, 10, dtype=torch.long), torch.tensor([0, 2])
    heard = model.windows(mel, mask, None, classes, speaker, 0)
    model._speaker_loss(content, heard).backward()
    turned, taught = content.grad, [p.grad.clone() for p in model.judge.parameters()]
    model.zero_grad()
    content.grad = None
    said = model.judge(torch.where(mask, content, 0.0)).transpose(1, 2)
    loss = torch.nn.functional.cross_entropy(
        said[mask.squeeze(1)], speaker[:, None].expand(-1, 10)[mask.squeeze(1)]
    )
    loss.backward()
    torch.testing.assert_close(turned, -0.6 * content.grad)
    for found, wanted in zip(taught, model.judge.parameters(), strict=True):
        torch.testing.assert_close(found, wanted.grad)


def test_windows_are_cut_at_the_same_place_and_from_all_speakers_alike() -> None:
    lengths = torch.tensor([400, 9, 30, 30, 30, 30, 30, 30])
    mask = (torch.arange(400) < lengths[:, None]).unsqueeze(1)
    # Every number says which frame of which utterance it is of.
    frame = torch.arange(8)[:, None] * 1000 + torch.arange(400)
    mel = torch.where(mask, frame[:, None].float(), math.nan).repeat(1, 8, 1)
    speaker = torch.tensor([5, 2, 2, 2, 2, 2, 2, 2])
    counts = torch.zeros(6)
    torch.manual_seed(0)
    for _ in range(60):
        heard = ContentAutoencoder.windows(mel, mask, mel[:, 0], frame, speaker, 12)
        counts.index_add_(0, heard.speaker, torch.ones(8))
        inside = heard.mask.squeeze(1)
        assert torch.equal(heard.mel[:, 0][inside].long(), heard.classes[inside])
        assert torch.equal(heard.pitch[inside].long(), heard.classes[inside])
        whose = heard.classes[:, 0] // 1000
        assert torch.equal(speaker[whose], heard.speaker)
        assert not heard.mel.isnan().any()
        assert (inside.sum(1) == torch.where(whose == 1, 9, 12)).all()
    # Half of 480 each, with a deviation of 11.
    assert abs(float(counts[5]) - 240) < 45
    assert counts[5] + counts[2] == 480


def test_conversion_keeps_what_the_decoder_does_not_say() -> None:
    """Of an envelope that was added all comes through, of harmonics nothing; guidance goes on along
    what tells the speakers apart; and the same speaker's recording comes back."""
    content = _content(mel=MelConfig(), latent=80)
    with torch.no_grad():
        for name, parameter in content.named_parameters():
            if "speaker_" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
        content.encoder.embed.weight.zero_()  # deaf, so that all is left
    mel, mask = torch.randn(2, 80, 20) - 5, torch.ones(2, 1, 20, dtype=torch.bool)
    mask[1, :, 14:] = False
    speaker, noise = torch.tensor([1, 0]), torch.randn(2, 4, 20)
    bells = torch.rand(2, 37, 20)

    def said(
        mel: torch.Tensor, target: torch.Tensor, guidance: float = 0.0, distance: float = 0.0
    ) -> torch.Tensor:
        content.config = replace(
            content.config, content_guidance=guidance, content_distance=distance
        )
        with torch.no_grad():
            return content.restate(mel, (speaker, target), (bells, bells), noise, mask)

    dirty = torch.where(mask, mel, math.nan)
    assert torch.equal(said(dirty, speaker), torch.where(mask, mel, 0.0))
    place = torch.pi * (torch.arange(80) + 0.5)[:, None] / 80
    plain, other = said(dirty, 1 - speaker), torch.ones(2, 80, 1)
    for order, share in ((1, 1.0), (23, 1.0), (24, 0.0), (60, 0.0)):
        wave = torch.cos(order * place) * other
        wave = wave - wave.mean(1, keepdim=True)  # no louder
        changed = said(mel + wave, 1 - speaker)
        expected = torch.where(mask, share * wave, 0.0)
        torch.testing.assert_close(changed - plain, expected, atol=1e-3, rtol=0)
    steps = [said(mel, 1 - speaker, guidance) - plain for guidance in (0.5, 1.0)]
    torch.testing.assert_close(steps[1], 2 * steps[0], atol=1e-3, rtol=1e-3)
    # A distance is met exactly, whoever it is between, from the guidance on and up to twice.
    apart = steps[1].abs().sum((1, 2)) / (80 * torch.tensor([20, 14]))
    assert apart.min() > 0.05
    for share in (0.2, 1.3, 1.7, 3.0):
        more = said(mel, 1 - speaker, 0.5, share * float(apart[0])) - plain
        found = more[0].abs().sum() / (80 * 20) / apart[0]
        torch.testing.assert_close(found, torch.tensor(min(max(0.5, share - 1), 1.0)))


def test_what_is_frozen_is_not_computed() -> None:
    """With all else at rest only conversion is learnt, and nothing is spent on speaking."""
    from glottis.training.run import freeze

    model = VITS(SMALL).train()
    names = {name.partition(".")[0] for name, _ in model.named_parameters()}
    freeze(model, sorted(names - {"content", "discriminators"}))
    assert model.optimized().keys() == {"generator", "discriminator", "conversion"}
    batch = _batch()
    model.infer = None  # type: ignore[assignment]
    model.encoder.eval()
    (name, loss, logs), *rest = model.steps(batch, 0)
    assert (name, rest) == ("conversion", [])
    assert "content_mel" not in logs
    (_, _, logs), *_ = model.steps(batch, 1000)
    assert "content_mel" in logs
    loss.backward()
    learnt = {n.partition(".")[0] for n, p in model.named_parameters() if p.grad is not None}
    assert learnt == {"content"}


def test_what_rests_is_aligned_once() -> None:
    """And an utterance gets its own durations back, whatever batch it comes in."""
    from glottis.models.vits.losses import _aligned
    from glottis.training.run import freeze

    torch.manual_seed(0)
    model, batch = VITS(SMALL).train(), _batch()
    model.encoder.eval()
    fresh = _aligned(model, batch, 6)
    assert not model.aligned
    assert fresh.sum(1).tolist() == [20, 14]
    freeze(model, ["encoder"])
    # As the running mean is validated, which has no gradients and changes all the same.
    _aligned(model.eval(), batch, 6)
    assert not model.aligned
    model.train()
    model.encoder.eval()
    torch.testing.assert_close(_aligned(model, batch, 6), fresh)
    model.read = None  # type: ignore[assignment]
    torch.testing.assert_close(_aligned(model, batch, 6), fresh)
    turned = replace(batch, names=batch.names[::-1])
    torch.testing.assert_close(_aligned(model, turned, 6), fresh.flip(0))
    alone = replace(batch, names=["b"])
    torch.testing.assert_close(_aligned(model, alone, 4), fresh[1:, :4])


def test_a_voice_is_taken_off_and_another_put_on() -> None:
    """Speakers whose spectra differ by a slope and a level that an equaliser could have made: after
    a little training each says what another said as they would have said it themselves."""
    torch.manual_seed(0)
    curves = torch.stack([torch.linspace(-a, a, 8) for a in (-1.0, 0.0, 1.0)]).unsqueeze(-1)
    patterns = 1.5 * torch.randn(len(CLASSES), 8)

    def say(classes: torch.Tensor, speaker: torch.Tensor) -> torch.Tensor:
        return patterns[classes].transpose(1, 2) - 5 + curves[speaker]

    model = _content(
        pitch=False, content_divergence=0.2, content_guidance=0.0, content_distance=0.0
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    for step in range(250):
        classes = torch.randint(0, 10, (16, 8)).repeat_interleave(3, dim=1)
        speaker = torch.arange(16) % 3
        mask = torch.ones(16, 1, 24, dtype=torch.bool)
        heard = model.windows(say(classes, speaker), mask, None, classes, speaker, 0)
        loss, _ = model.losses(heard, decoded=step >= 80)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    classes = torch.randint(0, 10, (30, 8)).repeat_interleave(3, dim=1)
    source, target = torch.arange(30) % 3, (torch.arange(30) + 1) % 3
    mask = torch.ones(30, 1, 24, dtype=torch.bool)
    with torch.no_grad():
        made = model.restate(
            *(say(classes, source), (source, target), (None, None), torch.zeros(30, 4, 24), mask)
        )
    slope = torch.linspace(-1, 1, 8) / torch.linspace(-1, 1, 8).square().sum()
    said = ((made - say(classes, source)).mean(2) * slope).sum(1)
    wanted = ((say(classes, target) - say(classes, source)).mean(2) * slope).sum(1)
    assert ((said - wanted).abs() < 0.4 * wanted.abs()).all()
    nearer = (made - say(classes, target)).abs().mean((1, 2))
    assert (nearer < (made - say(classes, source)).abs().mean((1, 2))).all()


def test_what_cannot_be_is_refused() -> None:
    for changes in ({"mel_latents": False, "posterior_layers": 2}, {"align_on": "latent"}):
        with pytest.raises(InputError, match="conversion: content says log-mels"):
            Config(**{**vars(SMALL), **changes})
    assert VITS(Config(**{**vars(SMALL), "speakers": 1})).content is None


def _batch():  # type: ignore[no-untyped-def]
    from glottis.corpus.batches import UtteranceBatch

    frames = torch.tensor([20, 14])
    return UtteranceBatch(
        ["a", "b"],
        torch.randint(14, 60, (2, 6)),
        torch.tensor([6, 4]),
        torch.randn(2, 8, 20) - 5,
        frames,
        torch.tensor([0, 2]),
        torch.full((2, 20), 100.0),
        audio=torch.randn(2, 20 * MEL.hop) * 0.1,
    )
