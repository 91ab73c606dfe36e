"""A prior that changes within a token: regression along the frames, and a flow for the rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from glottis.blocks.glow_flow import GlowFlow, PitchCondition
from glottis.blocks.reach import reach
from glottis.blocks.regression import Regression
from glottis.models.vits.config import Config


class FramePrior(nn.Module):
    """What text and pitch say of flowed latents, which are of no speaker in particular, or with
    ``condition_prior`` of each speaker's latents as they are.

    A regression gives their mean. About it they have Gaussians of one scale a channel, by which the
    posterior learns; and Glow-TTS' flow takes what is left to latents that have the tokens'
    Gaussians, by which is drawn. It learns by itself, from what is detached: a posterior that
    learnt by it would be held to whatever this flow believes so far. Together they are glottis'
    Glow-TTS, over what VITS' flow makes of latents.

    ``held`` ``[batch, width, frames]`` is what :meth:`start` makes of the hidden text, each token
    held for its frames; ``bells`` of the pitch, or None; ``mask`` bool ``[batch, 1, frames]``;
    ``speaker`` an embedding ``[batch, speaker_channels, 1]``, which is not looked at where the
    prior is of no speaker in particular. Frames come in whole groups of ``group``.
    """

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        told = config.condition_prior and config.speakers > 1
        self.given = config.speaker_channels if told else 0
        self.regression = Regression(
            channels + self.given,
            config.latent,
            config.regression_channels,
            config.regression_hidden,
            config.regression_layers,
            pitch=config.pitch,
        )
        # About what a regression leaves of log-mels.
        self.log_scale = nn.Parameter(torch.full((1, config.latent, 1), -0.5))
        self.group = 2 if config.prior_blocks else 1
        self.flow: GlowFlow | None = None
        self.pitch: PitchCondition | None = None
        if config.prior_blocks:
            self.flow = GlowFlow(
                config.latent,
                self.group,
                config.prior_blocks,
                config.prior_channels,
                config.prior_kernel,
                config.prior_layers,
                condition_channels=config.speaker_channels if config.pitch or told else 0,
            )
            if config.pitch:
                self.pitch = PitchCondition(config.speaker_channels, self.group)

    def start(self, hidden: Tensor, speaker: Tensor | None) -> Tensor:
        """Of the hidden text ``[batch, channels, text]``, what is held along the frames."""
        if self.given:
            if speaker is None:
                raise ValueError("this prior is told the speaker, and was given none")
            hidden = torch.cat([hidden, speaker.expand(-1, -1, hidden.shape[2])], dim=1)
        started: Tensor = self.regression.start(hidden)
        return started

    def forward(
        self,
        flowed: Tensor,
        held: Tensor,
        bells: Tensor | None,
        mask: Tensor,
        speaker: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Flowed latents -> the regression, latents of the tokens' Gaussians, all
        ``[batch, latent, frames]``, and the latter's ``log|det|`` ``[batch]``.
        """
        mean = self.regression(held, bells, mask)
        rest = torch.where(mask, flowed - mean, 0.0).detach()
        if self.flow is None:
            return mean, rest, rest.new_zeros(len(rest))
        latent, ladj = self.flow.call_and_ladj(rest, mask, self._condition(bells, speaker))
        return mean, latent, ladj

    def inverse(
        self,
        latent: Tensor,
        held: Tensor,
        bells: Tensor | None,
        mask: Tensor,
        speaker: Tensor | None = None,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """Draws of the tokens' Gaussians to flowed latents, both ``[batch, latent, frames]``.

        Of draws that end early the first ``wanted`` frames are as if they went on.
        """
        if self.flow is not None:
            latent = self.flow.inverse(latent, mask, self._condition(bells, speaker))
        if wanted is not None:
            near = wanted + reach(self.regression)
            latent, held, mask = latent[..., :wanted], held[..., :near], mask[..., :near]
            bells = None if bells is None else bells[..., :near]
        expected: Tensor = self.regression(held, bells, mask)
        return latent + expected[..., : latent.shape[2]]

    @property
    def reach(self) -> int:
        """Frames to either side that a flowed latent depends on."""
        return max(reach(self.regression), 0 if self.flow is None else self.flow.reach)

    def _condition(self, bells: Tensor | None, speaker: Tensor | None) -> Tensor | None:
        """What the flow is told."""
        condition = None if self.pitch is None else self.pitch(bells)
        if not self.given:
            return condition
        return speaker if condition is None else condition + speaker


def adapted(prior: FramePrior, weights: dict[str, Tensor], several: bool) -> dict[str, Tensor]:
    """Weights of a Glow-TTS under the names that they have in a VITS with this frame prior.

    That model is told the speaker. A frame prior of ``several`` that is not hears their mean.
    """
    flow = ("decoder.norms.", "decoder.mixers.", "decoder.couplings.")
    result = {}
    for name, value in weights.items():
        if name.startswith(flow):
            name = "frame_prior.flow." + name.removeprefix("decoder.")
        elif name.startswith("pitch_condition."):
            name = "frame_prior.pitch." + name.removeprefix("pitch_condition.")
        elif name.startswith("regression."):
            name = "frame_prior." + name
        result[name] = value
    mean = weights.get("encoder.mean.weight")
    if mean is not None:
        # Its Gaussians have unit variance.
        result["encoder.project.weight"] = torch.cat([mean, torch.zeros_like(mean)])
        bias = weights["encoder.mean.bias"]
        result["encoder.project.bias"] = torch.cat([bias, torch.zeros_like(bias)])
    table = weights.get("speakers.weight")
    if table is None or prior.given or not several:
        return result
    speaker = nn.functional.normalize(table, dim=1).mean(0)
    start, heard = "frame_prior.regression.start.", "frame_prior.pitch.project.bias"
    weight, channels = result.get(f"{start}weight"), prior.regression.start.in_channels
    if weight is None or weight.shape[1] != channels + len(speaker):
        return result  # It was of no speaker either.
    result[f"{start}weight"] = weight[:, :channels]
    result[f"{start}bias"] = result[f"{start}bias"] + weight[:, channels:, 0] @ speaker
    if heard in result:
        result[heard] = result[heard] + speaker
    return result
