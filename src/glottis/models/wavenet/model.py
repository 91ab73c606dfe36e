"""WaveNet as a whole: what it learns by, and how it says audio."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glottis.audio.mel import between_frames
from glottis.blocks.speakers import embed_speaker, speaker_table
from glottis.corpus.batches import WindowBatch
from glottis.errors import InputError
from glottis.kernels import wavenet
from glottis.likelihood.mixtures import (
    DiscretizedLogisticMixture,
    GaussianMixture,
    MuLaw,
    mu_law_decode,
    mu_law_encode,
    quantize,
)
from glottis.models.wavenet.config import Config
from glottis.models.wavenet.layers import Layer, Upsampling


class WaveNet(nn.Module):
    """Log-mels to audio: ``[batch, mels, frames]`` -> ``[batch, frames * hop]``."""

    batches = "windows"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.upsampling = Upsampling(config)
        values = 2**config.bits if config.output == "mulaw" else 1
        self.prediction = config.prediction
        self.period = config.period
        self.first = nn.Conv1d(values + config.period_taps, config.residual_channels, 1)
        self.layers = nn.ModuleList(Layer(config, dilation) for dilation in config.dilations)
        self.hidden = nn.Conv1d(config.skip_channels, config.skip_channels, 1)
        self.last = nn.Conv1d(config.skip_channels, config.outputs + config.period_taps, 1)
        self.speakers = speaker_table(config.speakers, config.speaker_channels)
        if config.output != "mulaw":
            # About the spread of a speech sample around its mean; 1 would cost thousands of steps.
            scales = config.outputs - (config.components if config.output != "gaussian" else 1)
            spread = -4.0
            if config.linear_prediction:
                # In units of the gain, which is a deviation: a logistic's is pi / sqrt(3) scales.
                logistic = config.output == "logistic_mixture"
                spread = math.log(math.sqrt(3) / math.pi) if logistic else 0.0
            nn.init.constant_(self.last.bias[scales : config.outputs], spread)  # type: ignore[index]
            # At first nothing comes again.
            nn.init.zeros_(self.last.weight[config.outputs :])
            nn.init.zeros_(self.last.bias[config.outputs :])  # type: ignore[index]

    def forward(self, mel: Tensor, speaker: Tensor | None = None) -> Tensor:
        """Draw audio, one sample after another, from seed 0; see :meth:`synthesize`."""
        return self.synthesize(mel, speaker=speaker)

    def optimized(self) -> dict[str, list[nn.Parameter]]:
        """The parameters that the loss of :meth:`steps` trains."""
        return {"likelihood": list(self.parameters())}

    # The likelihood ----------------------------------------------------------------------------

    def targets(self, audio: Tensor) -> Tensor:
        """Audio as the values that the distribution is over, float32 of the same shape.

        Sixteen-bit audio, which readers give as multiples of 1/32768, goes one to one to the grid
        of 65,536 values from -1 to 1; nothing is scaled to a peak.

        Raises:
            InputError: NaN, or a sample outside [-1, 1].
        """
        if not bool((audio.abs() <= 1).all()):  # NaN is not <= 1
            raise InputError(
                "audio must lie in [-1, 1] and hold no NaN; this runs from "
                f"{audio.min().item():g} to {audio.max().item():g}. It is never rescaled silently: "
                "level the corpus with 'glottis prepare'"
            )
        if self.config.output == "mulaw":
            return audio
        half = 2 ** (self.config.bits - 1)
        whole = (audio.double() * half).round().clamp(-half, half - 1).long()
        return quantize(whole, self.config.bits)

    def predict(
        self,
        audio: Tensor,
        mel: Tensor,
        speaker: Tensor | None = None,
        spoilt: torch.Generator | None = None,
    ) -> Tensor:
        """Each sample's parameters given those before it, for all samples at once.

        Args:
            audio: ``[batch, time]`` as :meth:`targets` gives it; the first sample's past is
                silence.
            mel: ``[batch, mels, time / hop]``.
            speaker: int64 ``[batch]``, needed when the model knows several.
            spoilt: draws what ``past_noise`` and ``past_level`` do to the past that is heard;
                None leaves it as it is.

        Returns:
            ``[batch, time, outputs]``, float32 or wider.

        Raises:
            InputError: as many samples as frames times hop are needed.
        """
        if audio.shape[-1] != mel.shape[-1] * self.config.mel.hop:
            raise InputError(
                f"{audio.shape[-1]} samples do not belong to {mel.shape[-1]} frames of "
                f"{self.config.mel.hop} samples: these log-mels have another hop"
            )
        mixed, shares = self.upsampling(mel)
        if self.prediction is not None:
            parts, span = self._parts(mel)
            predicted, gain = self._predicted(audio, parts, span)
            excess = (audio - predicted) / gain
            if spoilt is not None:
                excess = self._spoilt(excess, spoilt)
            heard = self._heard(excess)
            past = F.pad(heard, (1, -1))[..., None]
            if self.config.period_taps:
                places = self._places(parts, span, mel.device)
                past = torch.cat([past, _period_ago(heard, places)], dim=2)
            x = F.linear(past.to(mel.dtype), self.first.weight[..., 0], self.first.bias)
        elif self.config.output == "mulaw":
            classes = mu_law_encode(audio, self.config.bits)
            heard = F.pad(classes, (1, -1), value=int(self._start()))
            x = F.embedding(heard, self.first.weight[..., 0].T) + self.first.bias  # type: ignore[operator]
        else:
            past = F.pad(audio, (1, -1), value=self._start()).to(mel.dtype)
            x = F.linear(past[..., None], self.first.weight[..., 0], self.first.bias)
        embedding = self._speaker(speaker)
        total: Tensor | None = None
        for layer in self.layers:
            x, skip = layer(x, mixed, shares, embedding)
            total = skip if total is None else total + skip
        assert total is not None
        y = torch.relu(total * math.sqrt(1 / len(self.layers)))
        y = torch.relu(F.linear(y, self.hidden.weight[..., 0], self.hidden.bias))
        outputs = F.linear(y, self.last.weight[..., 0], self.last.bias)
        outputs = outputs if outputs.dtype == torch.float64 else outputs.float()
        if self.prediction is None:
            return outputs
        if self.config.period_taps:
            taps = outputs[..., self.config.outputs :]
            taps = wavenet.ECHO_SCALE * taps
            taps = wavenet.HIGHEST_ECHO * taps / (1 + taps.abs().sum(-1, keepdim=True))
            echoes = _period_ago(excess * gain, places)
            predicted = predicted + (taps * echoes).sum(-1)
        return self._around(outputs[..., : self.config.outputs], predicted, gain)

    @torch.no_grad()
    def _predicted(self, audio: Tensor, parts: Any, span: int) -> tuple[Tensor, Tensor]:
        """Each sample's linear prediction and its gain, float64 ``[batch, time]``; ``parts`` and
        ``span`` as :meth:`_parts` gives them."""
        assert self.prediction is not None
        order, found = self.prediction.order, self.prediction(parts)
        coefficients, gain = (torch.from_numpy(part).to(audio.device) for part in found)
        past = F.pad(audio.double(), (order, -1)).unfold(1, order, 1)
        past = past.reshape(-1, span, order)
        predicted = past @ coefficients.flip(2).reshape(-1, order, 1)
        return predicted.view(audio.shape), gain.repeat_interleave(span, dim=1)

    def _parts(self, mel: Tensor) -> tuple[Any, int]:
        """Log-mels for each of the predictors of a frame, and how many samples each serves."""
        parts = self.config.prediction_parts
        finer = between_frames(mel.detach().float().cpu().numpy(), parts)
        return finer, self.config.mel.hop // parts

    def _heard(self, excess: Tensor) -> Tensor:
        """What the network hears of excesses ``[batch, time]`` in gains; see
        :class:`glottis.kernels.wavenet.Weights`."""
        return excess / (1 + excess.abs() / wavenet.LOUDEST)

    def _places(self, parts: Any, span: int, device: torch.device) -> Tensor:
        """Times around one period before each sample, int64 ``[batch, time, period_taps]``; below 0
        before the first sample."""
        assert self.period is not None
        side = self.config.period_taps // 2
        periods = torch.from_numpy(self.period(parts)).to(device)
        time = torch.arange(periods.shape[-1] * span, device=device)
        middle = time - periods.repeat_interleave(span, dim=1)
        return middle[..., None] + torch.arange(-side, side + 1, device=device)

    def _around(self, outputs: Tensor, predicted: Tensor, gain: Tensor) -> Tensor:
        """The network's outputs, which say what remains in units of the gain, as amplitudes."""
        components = 1 if self.config.output == "gaussian" else self.config.components
        loc, log_scale = outputs[..., -2 * components :].split(components, dim=-1)
        loc = predicted[..., None] + gain[..., None] * loc
        log_scale = gain[..., None].log() + log_scale
        parts = [outputs[..., : -2 * components], loc.to(outputs), log_scale.to(outputs)]
        return torch.cat(parts, dim=-1)

    def distribution(self, outputs: Tensor) -> MuLaw | GaussianMixture | DiscretizedLogisticMixture:
        """Parameters ``[..., outputs]`` as the distribution that ``config.output`` names."""
        config = self.config
        if config.output == "mulaw":
            return MuLaw(outputs, validate_args=False)
        floor: Any = {"minimum_log_scale": config.minimum_log_scale, "validate_args": False}
        if config.output == "gaussian":
            loc, log_scale = outputs.unbind(-1)
            return GaussianMixture.single(loc, log_scale, config.bits, **floor)
        logits, loc, log_scale = outputs.chunk(3, dim=-1)
        if config.output == "gaussian_mixture":
            return GaussianMixture(logits, loc, log_scale, config.bits, **floor)
        return DiscretizedLogisticMixture(logits, loc, log_scale, config.bits, **floor)

    def log_prob(self, audio: Tensor, mel: Tensor, speaker: Tensor | None = None) -> Tensor:
        """Nats of each sample given those before it, ``[batch, time]``; audio in [-1, 1]."""
        target = self.targets(audio)
        outputs = self.predict(target, mel, speaker)
        with torch.autocast(mel.device.type, enabled=False):
            return self.distribution(outputs).log_prob(target)

    def steps(
        self, batch: WindowBatch, step: int
    ) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """One loss: negative log-likelihood in nats a sample. With bins it is never negative."""
        target, spoilt = self.targets(batch.audio), None
        if self.config.past_noise or self.config.past_level:
            names = zlib.crc32("\n".join(batch.names).encode())
            seed = (torch.initial_seed() * 1_000_003 + step * 4_294_967_311 + names) % 2**63
            spoilt = torch.Generator().manual_seed(seed)
        outputs = self.predict(target, batch.mel, batch.speaker, spoilt)
        with torch.autocast(batch.mel.device.type, enabled=False):
            nats = -self.distribution(outputs).log_prob(target).mean()
        yield "likelihood", nats, {"bits_per_sample": nats.detach() / math.log(2)}

    def _spoilt(self, excess: Tensor, generator: torch.Generator) -> Tensor:
        """Excesses ``[batch, time]`` in gains as the model's own draws may have left them: with
        white noise, and at another level."""
        share, level = torch.rand(2, len(excess), 1, generator=generator).to(excess)
        noise = torch.randn(excess.shape, generator=generator).to(excess)
        factor = torch.exp(self.config.past_level * (2 * level - 1))
        return factor * (excess + self.config.past_noise * share * noise)

    @torch.no_grad()
    def validate(self, batch: WindowBatch) -> dict[str, Tensor]:
        """Held-out bits per sample, over those whose past is known as far as the model looks."""
        nats = -self.log_prob(batch.audio, batch.mel, batch.speaker)
        known = nats[:, min(self.config.receptive_field, nats.shape[1] // 2) :]
        return {"bits_per_sample": known.mean() / math.log(2)}

    # Sampling ----------------------------------------------------------------------------------

    def sampler(
        self,
        precision: wavenet.Precision = "float32",
        threads: int = 1,
        kind: str = "auto",
    ) -> wavenet.Sampler:
        """A sampler with the weights as they are now; see :class:`glottis.kernels.wavenet.Sampler`.

        It does not change when this model does: make another after loading weights.
        """
        return wavenet.Sampler(self.weights(), precision=precision, threads=threads, kind=kind)

    def weights(self) -> wavenet.Weights:
        """The weights as arrays, in the layout of ``glottis.kernels.wavenet``, at the temperature
        of the settings."""

        def array(tensor: Tensor) -> Any:
            return tensor.detach().float().cpu().numpy().copy()

        def of_layers(name: str, part: str) -> Any:
            return np.stack([array(getattr(getattr(la, name), part)) for la in self.layers])

        config = self.config
        floor = config.minimum_log_scale
        weights = wavenet.Weights(
            first=array(self.first.weight)[..., 0],
            first_bias=array(self.first.bias),  # type: ignore[arg-type]
            gate=of_layers("gate", "weight"),
            gate_bias=of_layers("gate", "bias"),
            condition=of_layers("condition", "weight")[..., 0],
            residual=of_layers("residual", "weight")[..., 0],
            residual_bias=of_layers("residual", "bias"),
            skip=of_layers("skip", "weight")[..., 0],
            skip_bias=of_layers("skip", "bias"),
            hidden=array(self.hidden.weight)[..., 0],
            hidden_bias=array(self.hidden.bias),  # type: ignore[arg-type]
            last=array(self.last.weight)[..., 0],
            last_bias=array(self.last.bias),  # type: ignore[arg-type]
            context=array(self.upsampling.context.weight),
            upsampling=tuple(array(taps) for taps in self.upsampling.stages),
            dilations=config.dilations,
            residual_scale=config.residual_scale,
            skip_scale=math.sqrt(1 / config.layers),
            output=config.output,
            bits=config.bits,
            # The distributions' own floor: a twentieth of half a bin.
            minimum_log_scale=-math.log(2**config.bits - 1) - 3.0 if floor is None else floor,
            start=self._start(),
            prediction=self.prediction,
            period=self.period,
            parts=config.prediction_parts if self.prediction is not None else 1,
        )
        return weights.at_temperature(config.temperature)

    @torch.no_grad()
    def synthesize(
        self,
        mel: Tensor,
        lengths: Tensor | None = None,
        speaker: Tensor | None = None,
        *,
        seed: int = 0,
        precision: wavenet.Precision = "float32",
        threads: int = 1,
        kind: str = "auto",
        segments: int = 1,
    ) -> Tensor:
        """Draw audio: ``[batch, mels, frames]`` -> float32 ``[batch, frames * hop]`` on the grid.

        Args:
            mel: log-mels made with ``config.mel``.
            lengths: int64 ``[batch]``, frames of each item; what follows in the result is zero.
            speaker: int64 ``[batch]``, needed when the model knows several.
            seed: the same seed gives the same audio, whatever else is in the batch.
            precision, threads, kind: of the sampler.
            segments: into how many an utterance is divided, which are drawn at once and
                cross-faded; see :func:`glottis.kernels.wavenet.in_segments`.

        Raises:
            InputError: log-mels with NaN, without frames, of another number of channels, or of
                another range than natural logarithms of magnitudes have.
        """
        low, high = math.log(self.config.mel.floor) - 5.0, 10.0
        if bool(((mel < low) | (mel > high)).any()):
            raise InputError(
                f"log-mels run from {mel.min().item():.3g} to {mel.max().item():.3g}, those of "
                f"glottis from {low + 5:.3g}, the log of the floor, to a few: these were made "
                "with another scale (decibels, or no logarithm)"
            )
        sizes = [mel.shape[2]] * len(mel) if lengths is None else lengths.tolist()
        mels = [each[:, :size].float().cpu().numpy() for each, size in zip(mel, sizes, strict=True)]
        sampler, bias = self.sampler(precision, threads, kind), self.speaker_bias(speaker)
        if segments > 1:
            parts = [
                wavenet.in_segments(
                    sampler,
                    each,
                    segments=segments,
                    seed=seed + item * segments,
                    bias=None if bias is None else bias[item : item + 1],
                )
                for item, each in enumerate(mels)
            ]
            longest = max(len(part) for part in parts)
            whole = np.stack([np.pad(part, (0, longest - len(part))) for part in parts])
            return torch.from_numpy(whole).to(mel.device)
        sampler.start(mels, seed, bias)
        samples = torch.from_numpy(sampler.advance(sampler.remaining)[0])
        if self.config.output == "mulaw":
            samples = mu_law_decode(samples.long(), self.config.bits)
        for item, size in enumerate(sizes):
            samples[item, size * self.config.mel.hop :] = 0.0
        return samples.to(mel.device)

    def speaker_bias(self, speaker: Tensor | None) -> Any:
        """What speakers add to the gates, ``[batch, layers, gates]``; None for one speaker."""
        embedding = self._speaker(speaker)
        if embedding is None:
            return None
        bias = torch.stack([layer.speaker(embedding) for layer in self.layers], dim=1)  # type: ignore[operator]
        return bias.detach().float().cpu().numpy()

    def _start(self) -> float:
        """What stands before the first sample: silence."""
        if self.config.output == "mulaw":
            return float(mu_law_encode(torch.zeros(()), self.config.bits))
        return 0.0

    def _speaker(self, speaker: Tensor | None) -> Tensor | None:
        return embed_speaker(self.speakers, speaker)

    @torch.no_grad()
    def show(self, batch: WindowBatch) -> dict[str, Tensor]:
        """The first window's log-mels, the recording, a draw, and where its bits are spent."""
        nats = -self.log_prob(batch.audio[:1], batch.mel[:1], batch.speaker[:1])
        hop = self.config.mel.hop
        drawn = self.synthesize(batch.mel[:1], speaker=batch.speaker[:1])
        return {
            "mel_recording": batch.mel[0],
            "bits_per_sample": nats.view(1, -1, hop)[0].T / math.log(2),
            "audio_recording": batch.audio[0],
            "audio_copy": drawn[0],
        }


def _period_ago(values: Tensor, places: Tensor) -> Tensor:
    """``values`` ``[batch, time]`` at ``places`` ``[batch, time, taps]``, zero below 0."""
    found = values.gather(1, places.clamp_min(0).flatten(1)).view(places.shape)
    return torch.where(places >= 0, found, 0.0)
