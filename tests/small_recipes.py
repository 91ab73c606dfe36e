"""Recipes small enough to train inside a test."""

GLOW = {
    "channels": 16,
    "filter_channels": 16,
    "encoder_layers": 1,
    "duration_channels": 8,
    "blocks": 2,
    "block_channels": 8,
    "block_layers": 1,
    "block_kernel": 3,
    "encoder_dropout": 0.0,
    "prenet_dropout": 0.0,
    "duration_dropout": 0.0,
    "block_dropout": 0.0,
}
SPSS = {
    "channels": 16,
    "filter_channels": 16,
    "encoder_layers": 1,
    "frame_channels": 16,
    "frame_layers": 1,
    "duration_channels": 8,
    "order": 19,
    "dropout": 0.0,
}
VOCOS = {
    "channels": 16,
    "hidden": 16,
    "layers": 1,
    "periods": [2],
    "period_channels": [4, 8],
    "resolutions": [512],
    "resolution_channels": 4,
    "adversarial_from": 3,
}
TRAINING = {
    "max_steps": 6,
    "batch_size": 4,
    "window_frames": 16,
    "warmup_steps": 1,
    "buckets": 2,
    "precision": "fp32",
    "accelerator": "cpu",
    "validate_every": 3,
    "checkpoint_every": 2,
    "log_every": 1,
}
