"""Words of other ECG tools -> our spec paths, for the suggestion after an unknown key of `kind: ecg`.

Pure data, as `converters.foreign`: the published fusion code and its parents, torch, lightning, braindecode, helme's
benchmark. Words are lower case.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

FOREIGN: Mapping[str, str] = MappingProxyType(
    {
        "model_config": "model.backbone",
        "arch": "model.backbone",
        "model_name": "model.backbone",
        "pretrained": "model.checkpoint",
        "pretrained_checkpoint": "model.checkpoint",
        "weights": "model.checkpoint",
        "n_chans": "model.leads",
        "channels": "model.leads",
        "data_path": "data.root",
        "datafolder": "data.root",
        "database": "data.databases",
        "preprocessing": "data.pipeline",
        "transforms": "data.pipeline",
        "sfreq": "data.fs_hz",
        "sampling_frequency": "data.fs_hz",
        "sampling_rate": "data.fs_hz",
        "num_classes": "data.classes",
        "class_names": "data.classes",
        "label_ratio": "data.split.finetune_label_ratio",
        "r": "method.lora.rank",
        "lora_rank": "method.lora.rank",
        "bp_batch_size": "method.bp_batch",
        "zo_eps": "method.zo.eps",
        "zo_sides": "method.zo.sides",
        "q": "method.zo.draws",
        "gradient_sparsity": "method.zo.sparsity.fraction",
        "fusion_coef": "method.coef",
        "lr": "train.learning_rate",
        "batch_size": "train.batch",
        "max_epochs": "train.epochs",
        "num_epochs": "train.epochs",
        "max_steps": "train.steps",
        "lr_scheduler": "train.schedule",
        "warmup": "train.warmup_ratio",
        "wd": "train.weight_decay",
        "gradient_clip_val": "train.max_grad_norm",
        "aux_weight": "train.aux.weight",
        "mixup": "train.cutmix",
        "eval_every": "train.evaluate_every",
        "early_stopping": "train.patience",
        "monitor": "train.select",
        "kd_alpha": "distill.kd_weight",
        "tau": "distill.temperature",
        "lead_num": "distill.leads",
        "num_gpus": "compute.gpus",
        "devices": "compute.gpus",
        "accelerator": "compute.device",
    }
)
