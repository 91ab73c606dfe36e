"""Checkpoints of the models' own authors as run folders: Glow-TTS, Grad-TTS and HiFi-GAN.

Read are jaywalnut310/glow-tts (``G_*.pth`` with ``config.json``), the Grad-TTS of
huawei-noah/Speech-Backbones (``*.pt`` with ``params.py``) and jik876/hifi-gan (``g_*``, and
``do_*`` of the same number for the discriminators, with ``config.json``). Nothing in them is
executed: tensors come through torch's ``weights_only``, values out of ``params.py`` through the
syntax tree.

An acoustic model reads the symbols of its authors' front end, so such a run can be studied and
trained on, but not exported as a voice. A vocoder fits every model with its mel settings.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glottis.config import as_dict, build
from glottis.errors import InputError
from glottis.files import replacing
from glottis.models import model_class

Weights = dict[str, Tensor]
Values = Mapping[str, Any]


def import_original(source: Path, model: str, run: Path, config: Path | None = None) -> Path:
    """Write the run folder ``run`` (``run.json``, ``model.safetensors``) from a checkpoint.

    Args:
        source: the checkpoint.
        model: ``glow_tts``, ``grad_tts`` or ``hifi_gan``.
        run: a new folder.
        config: the authors' ``config.json`` or ``params.py``; looked for beside ``source`` when
            None.

    Raises:
        InputError: no such model, a file that is missing or not what its name says, an option of
            the authors' that is not known here, or weights that do not fit (some are named).
    """
    from safetensors.torch import save_file

    if model not in READERS:
        raise InputError(
            f"no checkpoints of {model!r} are known; of {', '.join(READERS)} there are"
        )
    if (run / "run.json").exists():
        raise InputError(f"{run} already holds a run; choose another folder")
    read, rename = READERS[model]
    state = _state(source)
    where = config or _beside(source)
    try:
        values = read(_values(where), state)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{where} or {source} lack what {model} needs: {error}") from error
    network, config_class = model_class(model)
    settings = build(config_class, values, str(where))
    own = network(settings).state_dict()
    found = _fitted(rename(state), own)
    strange = sorted(set(found) - set(own))
    fresh = sorted(set(own) - set(found))
    wrong = sorted(n for n, w in found.items() if n in own and own[n].shape != w.shape)
    for what, names in (
        ("are not known", strange),
        ("are missing", fresh),
        ("have another size", wrong),
    ):
        if names:
            some = ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")
            raise InputError(f"{source} is no checkpoint of {model}: {len(names)} {what}: {some}")
    speakers = max(1, int(getattr(settings, "speakers", 1)))
    facts = {
        "model": model,
        "network": as_dict(settings),
        "data": [],
        "speakers": [str(i) for i in range(speakers)],
        "languages": [],
        "mel": as_dict(settings.mel),
        "original": source.name,
    }
    with replacing(run / "model.safetensors") as path:
        save_file({name: value.contiguous().clone() for name, value in found.items()}, path)
    with replacing(run / "run.json") as path:
        path.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    return run


def _beside(source: Path) -> Path:
    for name in ("config.json", "params.py"):
        if (source.parent / name).is_file():
            return source.parent / name
    raise InputError(
        f"beside {source} there is neither config.json nor params.py; name the file with --config"
    )


def _values(path: Path) -> dict[str, Any]:
    """The authors' settings: a JSON file, or the literal assignments of a Python file."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix != ".py":
            values = json.loads(text)
            if not isinstance(values, dict):
                raise ValueError("not a table")
            return values
        tree = ast.parse(text)
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{path} cannot be read as settings: {error}") from error
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue  # a computed value, such as the length of a segment
    return found


def _state(path: Path) -> Weights:
    """All tensors of a checkpoint; for HiFi-GAN those of ``do_*`` beside it as well."""
    state = _load(path)
    for key in ("model", "generator", "state_dict"):
        if isinstance(state.get(key), dict):
            state = {f"{key}." if key == "generator" else "": state[key]}
            break
    else:
        state = {"": state}
    judges = path.with_name("do_" + path.name[2:])
    if path.name.startswith("g_") and judges.is_file():
        both = _load(judges)
        state |= {f"{key}.": both[key] for key in ("mpd", "msd")}
    flat: Weights = {}
    for prefix, part in state.items():
        for name, value in part.items():
            if not isinstance(value, Tensor):
                raise InputError(f"{path}: {name!r} is no tensor; this is no known checkpoint")
            flat[prefix + name.removeprefix("module.")] = value.detach().float()
    return flat


def _load(path: Path) -> dict[str, Any]:
    import pickle

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"{path} is no checkpoint of tensors: {error}") from error
    if not isinstance(loaded, dict):
        raise InputError(f"{path} is no checkpoint of tensors, but {type(loaded).__name__}")
    return loaded


def _renamed(state: Weights, rules: list[tuple[str, str]]) -> Weights:
    """Every name through the first rule of each kind that fits, in order."""
    renamed = {}
    for name, value in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed


def _fitted(state: Weights, own: Mapping[str, Tensor]) -> Weights:
    """Normalised weights in torch's present form, folded where ours have no norm."""
    fitted: Weights = {}
    for name, value in state.items():
        stem, _, kind = name.rpartition(".")
        norm = f"{stem}.parametrizations.weight."
        if kind == "weight_orig":
            fitted[norm + "original"] = value
        elif kind in ("weight_u", "weight_v") and f"{stem}.weight_orig" in state:
            fitted[norm + "0._" + kind[-1]] = value
        elif kind in ("weight_g", "weight_v"):
            length, direction = state[f"{stem}.weight_g"], state[f"{stem}.weight_v"]
            if norm + "original0" in own:
                fitted[norm + "original0"], fitted[norm + "original1"] = length, direction
            else:
                fitted[f"{stem}.weight"] = torch._weight_norm(direction, length, 0)
        elif kind == "weight" and norm + "original0" in own:
            fitted[norm + "original0"] = torch.linalg.vector_norm(
                value, dim=tuple(range(1, value.dim())), keepdim=True
            )
            fitted[norm + "original1"] = value
        else:
            fitted[name] = value
    return fitted


def _mel(rate: int, fft: int, window: int, hop: int, mels: int, low: float, high: Any) -> Values:
    if window != fft:
        raise InputError(f"a window of {window} samples in a transform of {fft} is not known here")
    return {
        "sample_rate": rate,
        "fft_size": fft,
        "hop": hop,
        "mels": mels,
        "mel_low": low,
        "mel_high": rate / 2 if high is None else high,
    }


TEXT_ENCODER = [
    (r"^encoder\.emb\.", "encoder.embed."),
    (r"^encoder\.pre(net)?\.conv_layers\.", "encoder.prenet.convolutions."),
    (r"^encoder\.pre(net)?\.norm_layers\.", "encoder.prenet.norms."),
    (r"^encoder\.pre(net)?\.proj\.", "encoder.prenet.project."),
    (r"^encoder\.encoder\.attn_layers\.", "encoder.transformer.attentions."),
    (r"^encoder\.encoder\.norm_layers_1\.", "encoder.transformer.attention_norms."),
    (r"^encoder\.encoder\.ffn_layers\.(\d+)\.conv_1\.", r"encoder.transformer.forwards.\1.expand."),
    (
        r"^encoder\.encoder\.ffn_layers\.(\d+)\.conv_2\.",
        r"encoder.transformer.forwards.\1.contract.",
    ),
    (r"^encoder\.encoder\.norm_layers_2\.", "encoder.transformer.forward_norms."),
    (r"\.conv_q\.", ".query."),
    (r"\.conv_k\.", ".key."),
    (r"\.conv_v\.", ".value."),
    (r"\.conv_o\.", ".out."),
    (r"\.emb_rel_k$", ".relative_key"),
    (r"\.emb_rel_v$", ".relative_value"),
    (r"^encoder\.proj_m\.", "encoder.mean."),
    (r"^encoder\.proj_s\.", "encoder.log_scale."),
    (r"^encoder\.proj_w\.conv_1\.", "encoder.durations.first."),
    (r"^encoder\.proj_w\.norm_1\.", "encoder.durations.first_norm."),
    (r"^encoder\.proj_w\.conv_2\.", "encoder.durations.second."),
    (r"^encoder\.proj_w\.norm_2\.", "encoder.durations.second_norm."),
    (r"^encoder\.proj_w\.proj\.", "encoder.durations.project."),
]


def _text_encoder(state: Weights) -> Weights:
    """The heads share their relative positions: ``[1, positions, size]`` loses its first axis."""
    return {
        name: value.squeeze(0) if name.endswith((".relative_key", ".relative_value")) else value
        for name, value in _renamed(state, TEXT_ENCODER).items()
    }


def _glow_tts(values: Values, state: Weights) -> Values:
    model, data = values["model"], values["data"]
    if model.get("block_length") is not None or not model.get("window_size"):
        raise InputError("attention in blocks, or without relative positions, is not known here")
    speakers = int(model.get("n_speakers") or data.get("n_speakers") or 0)
    hidden = model["hidden_channels"]
    return {
        "blanks": True,
        "symbols": len(state["encoder.emb.weight"]),
        "speakers": speakers if speakers > 1 else 1,
        "speaker_channels": model.get("gin_channels") or 64,
        "channels": model.get("hidden_channels_enc") or hidden,
        "filter_channels": model["filter_channels"],
        "heads": model.get("n_heads", 2),
        "encoder_layers": model.get("n_layers_enc", 6),
        "encoder_kernel": model.get("kernel_size", 3),
        "encoder_dropout": float(model.get("p_dropout", 0)),
        "prenet": model.get("prenet", False),
        "window": model["window_size"],
        "duration_channels": model["filter_channels_dp"],
        "duration_dropout": float(model.get("p_dropout", 0)),
        "duration_loss": "log",
        "duration_rounding": "up",
        "unit_variance": model.get("mean_only", False),
        "align_on": "latent",
        "blocks": model.get("n_blocks_dec", 12),
        "block_channels": model.get("hidden_channels_dec") or hidden,
        "block_layers": model.get("n_block_layers", 4),
        "block_kernel": model.get("kernel_size_dec", 5),
        "block_dilation": model.get("dilation_rate", 5),
        "block_dropout": float(model.get("p_dropout_dec", 0)),
        "bounded_scale": model.get("sigmoid_scale", False),
        "squeeze": model.get("n_sqz", 1),
        "group": model.get("n_split", 4),
        "mel": _mel(
            data["sampling_rate"],
            data["filter_length"],
            data["win_length"],
            data["hop_length"],
            data["n_mel_channels"],
            data["mel_fmin"],
            data["mel_fmax"],
        ),
    }


def _glow_tts_weights(state: Weights) -> Weights:
    found: Weights = {}
    for name, value in _text_encoder(state).items():
        match = re.match(r"decoder\.flows\.(\d+)\.(.+)", name)
        if match is None:
            found[name.replace("emb_g.", "speakers.")] = value
            continue
        block, kind = divmod(int(match[1]), 3)
        rest = match[2]
        if kind == 0:
            ours = {"logs": "log_scale", "bias": "offset"}[rest]
            found[f"decoder.norms.{block}.{ours}"] = value.flatten()
            found[f"decoder.norms.{block}.initialized"] = torch.tensor(True)
        elif kind == 1:
            if rest == "weight":  # the inverse, where it was kept, follows from it
                found[f"decoder.mixers.{block}.weight"] = value
        else:
            for theirs, mine in (
                ("wn.in_layers.", "stack.gates."),
                ("wn.res_skip_layers.", "stack.outs."),
                ("wn.cond_layer.", "stack.condition."),
            ):
                rest = rest.replace(theirs, mine)
            found[f"decoder.couplings.{block}.network.{rest}"] = value
    return found


def _grad_tts(values: Values, state: Weights) -> Values:
    speakers = len(state["spk_emb.weight"]) if "spk_emb.weight" in state else 1
    return {
        "blanks": True,
        "symbols": len(state["encoder.emb.weight"]),
        "speakers": speakers,
        "speaker_channels": values["spk_emb_dim"],
        "speaker_in_text": False,
        "channels": values["n_enc_channels"],
        "filter_channels": values["filter_channels"],
        "heads": values["n_heads"],
        "encoder_layers": values["n_enc_layers"],
        "encoder_kernel": values["enc_kernel"],
        "encoder_dropout": values["enc_dropout"],
        "window": values["window_size"],
        "duration_channels": values["filter_channels_dp"],
        "duration_dropout": values["enc_dropout"],
        "duration_loss": "log",
        "duration_rounding": "up",
        "score_channels": values["dec_dim"],
        "time_scale": values["pe_scale"],
        "padding_counts": True,
        "beta_min": values["beta_min"],
        "beta_max": values["beta_max"],
        "mel": _mel(
            values["sample_rate"],
            values["n_fft"],
            values["win_length"],
            values["hop_length"],
            values["n_feats"],
            values["f_min"],
            values["f_max"],
        ),
    }


SCORE_NETWORK = [
    (r"^decoder\.estimator\.", "score."),
    (r"^score\.spk_mlp\.", "score.speaker."),
    (r"^score\.mlp\.", "score.time."),
    (r"^score\.mid_block1\.", "score.middle_first."),
    (r"^score\.mid_attn\.", "score.middle_attention."),
    (r"^score\.mid_block2\.", "score.middle_second."),
    (r"^score\.downs\.", "score.down."),
    (r"^score\.ups\.", "score.up."),
    (r"^(score\.(?:up|down)\.\d+)\.0\.", r"\1.first."),
    (r"^(score\.(?:up|down)\.\d+)\.1\.", r"\1.second."),
    (r"^(score\.(?:up|down)\.\d+)\.2\.", r"\1.attention."),
    (r"^(score\.(?:up|down)\.\d+)\.3\.conv\.", r"\1.resize."),
    (r"ttention\.fn\.fn\.to_qkv\.", "ttention.query_key_value."),
    (r"ttention\.fn\.fn\.to_out\.", "ttention.out."),
    (r"ttention\.fn\.g$", "ttention.gain"),
    (r"\.block1\.block\.0\.", ".first.convolve."),
    (r"\.block1\.block\.1\.", ".first.norm."),
    (r"\.block2\.block\.0\.", ".second.convolve."),
    (r"\.block2\.block\.1\.", ".second.norm."),
    (r"^(score\..*)\.mlp\.1\.", r"\1.time."),
    (r"\.res_conv\.", ".shortcut."),
    (r"^score\.final_block\.block\.0\.", "score.final.convolve."),
    (r"^score\.final_block\.block\.1\.", "score.final.norm."),
    (r"^score\.final_conv\.", "score.project."),
    (r"^spk_emb\.", "speakers."),
]


def _grad_tts_weights(state: Weights) -> Weights:
    return _renamed(_text_encoder(state), SCORE_NETWORK)


def _hifi_gan(values: Values, state: Weights) -> Values:
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
        "mel": _mel(
            values["sampling_rate"],
            values["n_fft"],
            values["win_size"],
            values["hop_size"],
            values["num_mels"],
            values["fmin"],
            values["fmax"],
        ),
    }


def _hifi_gan_weights(state: Weights) -> Weights:
    blocks = {m[1] for m in (re.match(r"generator\.resblocks\.(\d+)\.", n) for n in state) if m}
    stages = {m[1] for m in (re.match(r"generator\.ups\.(\d+)\.", n) for n in state) if m}
    each = max(1, len(blocks) // max(1, len(stages)))
    periods = {m[1] for m in (re.match(r"mpd\.discriminators\.(\d+)\.", n) for n in state) if m}

    def place(match: re.Match[str]) -> str:
        stage, block = divmod(int(match[1]), each)
        return f"generator.stages.{stage}.{block}."

    found: Weights = {}
    for name, value in state.items():
        name = re.sub(r"^generator\.resblocks\.(\d+)\.", place, name)
        name = re.sub(
            r"^msd\.discriminators\.(\d+)\.",
            lambda match: f"discriminators.members.{len(periods) + int(match[1])}.",
            name,
        )
        found[name] = value
    return _renamed(
        found,
        [
            (r"^generator\.conv_pre\.", "generator.embed."),
            (r"^generator\.conv_post\.", "generator.project."),
            (r"^generator\.ups\.", "generator.upsamples."),
            (r"^(generator\.stages\.\d+\.\d+)\.convs1?\.", r"\1.dilated."),
            (r"^(generator\.stages\.\d+\.\d+)\.convs2\.", r"\1.plain."),
            (r"^mpd\.discriminators\.", "discriminators.members."),
            (r"^(discriminators\.members\.\d+)\.convs\.", r"\1.layers."),
            (r"^(discriminators\.members\.\d+)\.conv_post\.", r"\1.score."),
        ],
    )


READERS: dict[str, tuple[Callable[[Values, Weights], Values], Callable[[Weights], Weights]]] = {
    "glow_tts": (_glow_tts, _glow_tts_weights),
    "grad_tts": (_grad_tts, _grad_tts_weights),
    "hifi_gan": (_hifi_gan, _hifi_gan_weights),
}
"""For each model: the authors' settings to ours, and their names of weights to ours."""
