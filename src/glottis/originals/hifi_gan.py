"""HiFi-GAN of jik876/hifi-gan: ``g_*``, and ``do_*`` of the same number, with ``config.json``."""

from __future__ import annotations

import re

from glottis.originals.checkpoint import Values, Weights, mel_settings
from glottis.originals.names import discriminators, generator, renamed


def convert(state: Weights, values: Values) -> tuple[Values, Weights]:
    """Settings of :class:`glottis.models.hifi_gan.Config` and weights under our names."""
    return _settings(values, state), _weights(state, values)


def _settings(values: Values, state: Weights) -> Values:
    return {
        "channels": values["upsample_initial_channel"],
        "upsample_rates": values["upsample_rates"],
        "upsample_kernels": values["upsample_kernel_sizes"],
        "resblock": str(values["resblock"]),
        "resblock_kernels": values["resblock_kernel_sizes"],
        "resblock_dilations": values["resblock_dilation_sizes"],
        "loss_mel_high": values.get("fmax_for_loss"),
        # A generator alone speaks; discriminators of the default size would only weigh.
        **({} if any(name.startswith("mpd.") for name in state) else {"periods": [], "scales": 0}),
        "mel": mel_settings(
            values["sampling_rate"],
            values["n_fft"],
            values["win_size"],
            values["hop_size"],
            values["num_mels"],
            values["fmin"],
            values["fmax"],
        ),
    }


def _weights(state: Weights, values: Values) -> Weights:
    kernels = len(values["resblock_kernel_sizes"])
    periods = {m[1] for m in (re.match(r"mpd\.discriminators\.(\d+)\.", n) for n in state) if m}
    # Ours are one list: those of periods, then those of scales.
    found = {
        re.sub(
            r"^msd\.discriminators\.(\d+)\.",
            lambda match: f"mpd.discriminators.{len(periods) + int(match[1])}.",
            name,
        ): value
        for name, value in state.items()
    }
    rules = [*generator("generator", "generator", kernels), *discriminators("mpd.discriminators")]
    return renamed(found, rules)
