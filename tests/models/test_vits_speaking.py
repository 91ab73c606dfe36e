"""VITS speaking and converting: in torch, beside other utterances, and as the graphs of a voice."""

from __future__ import annotations

import pytest
import torch
from small_vits import (
    ALL,
    MEL,
    PITCH,
    WAVES,
    small_batch,
    small_model,
    small_part,
)

from glottis.alignment import expand
from glottis.blocks.lengths import mask_from_lengths
from glottis.corpus.batches import UtteranceBatch


@ALL
def test_an_utterance_sounds_the_same_beside_a_longer_one(changes: dict) -> None:
    """Decoders have biases: what they make of frames behind an end must not be heard before it."""
    model, batch = small_model(**changes), small_batch([20, 31], [6, 9])
    durations = torch.tensor([[3, 1, 2, 4, 2, 3, 0, 0, 0], [2, 3, 4, 5, 2, 3, 4, 1, 6]])

    def speak(batch: UtteranceBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        held = durations[: len(batch.names), : batch.text.shape[1]]
        return model.synthesize(
            *(batch.text, batch.text_lengths, batch.speaker, batch.language),
            temperature=0.0,
            durations=held,
        )

    def convert(batch: UtteranceBatch) -> torch.Tensor:
        return model.convert(
            *(batch.audio, batch.mel_lengths * MEL.hop, batch.speaker, 2 - batch.speaker),
            pitch=batch.pitch if model.config.pitch else None,
            temperature=0.0,
        )

    together, lengths, _ = speak(batch)
    alone, length, _ = speak(small_part(batch, 0))
    assert int(lengths[0]) == int(length[0]) == alone.shape[1] == 15 * MEL.hop
    torch.testing.assert_close(together[:1, : alone.shape[1]], alone, rtol=0.0, atol=1e-5)
    assert not together[0, alone.shape[1] :].any()
    alone = convert(small_part(batch, 0))
    torch.testing.assert_close(convert(batch)[:1, : alone.shape[1]], alone, rtol=0.0, atol=1e-5)


def test_a_decoder_follows_the_pitch_that_it_is_told() -> None:
    """A network that says nothing of phases is heard to repeat at the period of the pitch."""
    model, frames = small_model(**PITCH), 40
    latent, speaker = torch.zeros(1, 8, frames), model.embed(torch.tensor([0]))
    inside = slice(8 * MEL.hop, 30 * MEL.hop)

    def repeats(samples: torch.Tensor, lag: int) -> float:
        later = samples[0, inside.start + lag : inside.stop + lag]
        return float(torch.nn.functional.cosine_similarity(samples[0, inside], later, dim=0))

    with torch.no_grad():
        model.decoder.head.project.weight.zero_()
        model.decoder.head.project.bias.zero_()
        for period, other in ((105, 70), (70, 105)):
            pitch = torch.full((1, frames), MEL.sample_rate / period)
            samples = model.decode(latent, speaker, pitch)
            assert repeats(samples, period) > 0.95
            assert repeats(samples, other) < 0.5
    with pytest.raises(ValueError, match="told the pitch"):
        model.decode(latent, speaker)


@pytest.mark.parametrize("changes", [{}, WAVES, PITCH], ids=["istft", "hifi_gan", "pitch"])
def test_conversion_to_the_same_speaker_is_reconstruction(changes: dict) -> None:
    model, batch = small_model(**changes), small_batch([20, 31], [6, 9])
    lengths = batch.mel_lengths * MEL.hop

    def converted(target: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(4)
        return model.convert(
            batch.audio, lengths, batch.speaker, target, pitch=batch.pitch, generator=generator
        )

    with torch.no_grad():
        speaker = model.embed(batch.speaker)
        generator = torch.Generator().manual_seed(4)
        found = model.explain(batch, generator=generator)
        copy = model.decode(found.latent, speaker, found.pitch, batch.mel_lengths)
    torch.testing.assert_close(converted(batch.speaker), copy, atol=1e-4, rtol=1e-4)
    other = converted((batch.speaker + 1) % 3)
    assert other.shape == copy.shape
    assert not torch.allclose(other, copy, atol=1e-2)


def test_durations_are_drawn_from_the_generator_and_calm_without_noise() -> None:
    model, batch = small_model(), small_batch([20, 31], [6, 9])

    def drawn(seed: int, temperature: float) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        _, lengths, durations = model.synthesize(
            batch.text,
            batch.text_lengths,
            batch.speaker,
            duration_temperature=temperature,
            generator=generator,
        )
        assert torch.equal(lengths, durations.sum(1) * MEL.hop)
        inside = mask_from_lengths(batch.text_lengths, 9).squeeze(1)
        assert torch.equal(durations > 0, inside)
        return durations.tolist()

    assert drawn(1, 1.0) == drawn(1, 1.0)
    assert drawn(1, 1.0) != drawn(2, 1.0)
    assert drawn(1, 0.0) == drawn(2, 0.0)


def test_synthesis_lays_the_prior_out_along_given_durations() -> None:
    model, batch = small_model(), small_batch([20], [6])
    given = torch.tensor([[3, 1, 2, 4, 1, 5]])
    samples, lengths, _ = model.synthesize(
        batch.text, batch.text_lengths, batch.speaker, durations=given, temperature=0.0
    )
    speaker = model.embed(batch.speaker)
    with torch.no_grad():
        prior = model._prior(batch.text, batch.text_lengths, batch.speaker, None)
        mask = torch.ones(1, 1, 16, dtype=torch.bool)
        latent = model.flow.inverse(expand(prior.mean, given), mask, speaker)
        wanted = model.decode(latent, speaker)
    assert lengths.tolist() == [16 * MEL.hop]
    torch.testing.assert_close(samples, wanted)


@ALL
@pytest.mark.parametrize("blanks", [True, False])
def test_the_graph_says_what_torch_says(changes: dict, blanks: bool) -> None:
    """The exported module beside the model, whose noise is taken from the same seed."""
    from glottis.blocks.noise import normal_from_seed

    model = small_model(**changes, blanks=blanks)
    text = torch.tensor([[1, 0, 7, 0, 9, 0, 9, 0, 2]])
    read = text if blanks else text[text != 0][None]
    scales, seed = torch.tensor([0.6, 1.3, 0.9]), torch.tensor([5])
    speaker = torch.tensor([1])
    with torch.no_grad():
        wanted, durations = model.generate(
            read,
            torch.tensor([read.shape[1]]),
            speaker,
            None,
            scales,
            lambda channels, steps, stream: normal_from_seed(seed, steps, channels, stream),
        )
        graph = model.export_graph().eval()
        samples, kept = graph(text, torch.tensor([9]), scales, speaker, seed)
    torch.testing.assert_close(samples, wanted, atol=1e-4, rtol=1e-4)
    assert kept.shape == text.shape
    assert torch.equal(kept[kept > 0], durations[0])
    assert samples.shape == (1, int(durations.sum()) * MEL.hop)


@ALL
def test_a_beginning_is_made_as_it_is_in_the_whole(changes: dict) -> None:
    """However many frames are asked for: nothing that is heard knows where the making ended."""
    model = small_model(**changes)
    graph = model.export_graph().eval()
    if not graph.partial:
        assert model.config.flow_transformer_layers, "a transformer alone sees everything"
        return
    text = torch.randint(3, 30, (1, 80), generator=torch.Generator().manual_seed(0))
    scales = torch.tensor([0.6, 6.0, 0.5])
    told = (text, torch.tensor([80]), scales, torch.tensor([1]), torch.tensor([5]))
    with torch.no_grad():
        whole, durations = graph(*told)
        total = whole.shape[1] // MEL.hop
        assert total > 200
        for frames in (1, 2, 31, 120, total - 1, total, total + 1):
            begun, same = graph(*told, frames=torch.tensor([frames]))
            assert torch.equal(same, durations)
            assert begun.shape[1] == min(frames, total) * MEL.hop
            torch.testing.assert_close(begun, whole[:, : begun.shape[1]], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("changes", [{}, PITCH], ids=["plain", "pitch"])
def test_making_a_graph_leaves_the_model_as_it_was(changes: dict) -> None:
    from glottis.export import conversion_graph, voice_graph

    model, batch = small_model(**changes), small_batch([20], [6])
    lengths = batch.mel_lengths * MEL.hop
    arguments = (batch.audio, lengths, batch.speaker, batch.speaker + 1)
    before = model.convert(*arguments, pitch=batch.pitch, temperature=0.0)
    names = set(model.state_dict())
    voice_graph(model, None)
    graph = conversion_graph(model)
    assert set(model.state_dict()) == names
    assert torch.equal(model.convert(*arguments, pitch=batch.pitch, temperature=0.0), before)
    magnitudes = model.log_mel.magnitudes(batch.audio, lengths)
    with torch.no_grad():
        speakers = (batch.speaker, batch.speaker + 1)
        found = graph(magnitudes, *speakers, torch.zeros(1), torch.tensor([1]), batch.pitch)
    torch.testing.assert_close(found, before.clamp(-1, 1), atol=1e-4, rtol=1e-3)


def test_the_language_is_the_speakers_own_unless_named() -> None:
    model, batch = small_model(languages=2), small_batch([20, 31], [6, 9])
    for _ in model.steps(batch, 0):
        pass
    assert model.speaker_language.tolist() == [0, 1, 0]

    def mean(language: torch.Tensor | None) -> torch.Tensor:
        with torch.no_grad():
            return model._prior(batch.text, batch.text_lengths, batch.speaker, language).mean

    assert torch.equal(mean(None), mean(torch.tensor([0, 1])))
    assert not torch.allclose(mean(None), mean(torch.tensor([1, 0])))
