"""Results folders of nnU-Net v2 as its own classes make them, tiny and with random weights."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

os.environ.setdefault("nnUNet_def_n_proc", "1")  # else nnU-Net runs eight threads on any machine
LABELS = {"background": 0, "liver": 1, "odd thing": 2}


DEFAULT = "resample_data_or_seg_to_shape"


def resampling(order: int, function: str) -> dict[str, Any]:
    orders = {"order": order, "order_z": 0} if function == DEFAULT else {}
    return {"is_seg": False, "force_separate_z": None, **orders}


def plans(
    configuration: str,
    spacing: Sequence[float],
    patch: Sequence[int],
    *,
    schemes: Sequence[str],
    masked: bool,
    transpose: Sequence[int],
    reader: str,
    resample: str,
) -> dict[str, Any]:
    """Return plans.json as nnU-Net's planner writes it, of a U-Net with three stages."""
    axes = len(patch)
    trained = {"mean": 100.0, "median": 90.0, "std": 150.0, "percentile_00_5": -300.0, "percentile_99_5": 600.0}
    network = {
        "n_stages": 3,
        "features_per_stage": [4, 8, 8],
        "conv_op": f"torch.nn.modules.conv.Conv{axes}d",
        "kernel_sizes": [[3] * axes] * 3,
        "strides": [[1] * axes, [2] * axes, [2] * axes],
        "n_conv_per_stage": [1, 1, 1],
        "n_conv_per_stage_decoder": [1, 1],
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{axes}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    return {
        "dataset_name": "Dataset900_Phantom",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": reader,
        "transpose_forward": list(transpose),
        "transpose_backward": [list(transpose).index(axis) for axis in range(3)],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(number): trained for number in range(len(schemes))},
        "configurations": {
            "whole": {
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2,
                "patch_size": list(patch),
                "spacing": list(spacing),
                "normalization_schemes": list(schemes),
                "use_mask_for_norm": [masked] * len(schemes),
                "resampling_fn_data": resample,
                "resampling_fn_data_kwargs": resampling(3, resample),
                "resampling_fn_seg": DEFAULT,
                "resampling_fn_seg_kwargs": {**resampling(1, DEFAULT), "is_seg": True},
                "resampling_fn_probabilities": resample,
                "resampling_fn_probabilities_kwargs": resampling(1, resample),
                "architecture": {
                    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                    "arch_kwargs": network,
                    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
                },
            },
            configuration: {"inherits_from": "whole"},
        },
    }


def results(
    folder: Path,
    configuration: str = "3d_fullres",
    spacing: Sequence[float] = (2.5, 2.0, 2.0),
    patch: Sequence[int] = (16, 16, 24),
    *,
    labels: Mapping[str, Any] = LABELS,
    order: Sequence[int] = (),
    channels: Sequence[str] = ("CT",),
    schemes: Sequence[str] = ("CTNormalization",),
    masked: bool = False,
    folds: int = 1,
    mirror: Sequence[int] | None = (0, 1),
    transpose: Sequence[int] = (0, 1, 2),
    reader: str = "SimpleITKIO",
    resample: str = DEFAULT,
) -> Path:
    """Make a results folder; the last layer is set so that every class wins somewhere."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    written = plans(
        configuration, spacing, patch, schemes=schemes, masked=masked, transpose=transpose, reader=reader,
        resample=resample,
    )  # fmt: skip
    dataset = {"channel_names": {str(n): name for n, name in enumerate(channels)}, "labels": dict(labels)}
    dataset |= {"numTraining": 1, "file_ending": ".nii.gz", **({"regions_class_order": list(order)} if order else {})}
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(written))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    manager = PlansManager(written)
    chosen = manager.get_configuration(configuration)
    heads = manager.get_label_manager(dataset).num_segmentation_heads
    for fold in range(folds):
        torch.manual_seed(7 + fold)
        network = get_network_from_plans(
            chosen.network_arch_class_name, chosen.network_arch_init_kwargs, chosen.network_arch_init_kwargs_req_import,
            len(channels), heads, deep_supervision=False,
        )  # fmt: skip
        with torch.no_grad():
            for weight in network.parameters():
                weight.copy_(torch.randn_like(weight) * 0.3)
            last = network.decoder.seg_layers[-1]
            last.weight -= last.weight.mean(0)  # what all classes have in common decides nothing
            answer = network(torch.randn(2, len(channels), *patch))
            last.bias -= answer.mean([0, *range(2, answer.ndim)])
        place = folder / f"fold_{fold}"
        place.mkdir()
        torch.save(
            {
                "network_weights": network.state_dict(),
                "optimizer_state": {},
                "grad_scaler_state": None,
                "logging": {"mean_fg_dice": [np.float64(0.5)], "ema_fg_dice": [np.float32(0.5)], "lrs": [0.01]},
                "_best_ema": np.float64(0.5),
                "current_epoch": 1,
                "init_args": {"configuration": configuration, "fold": fold, "device": torch.device("cuda:0")},
                "trainer_name": "nnUNetTrainer",
                "inference_allowed_mirroring_axes": None if mirror is None else tuple(mirror),
            },
            place / "checkpoint_final.pth",
        )
    return folder


def field(shape: tuple[int, int, int], seed: int) -> NDArray[np.int16]:
    """Return smooth noise of some hundred units, with a margin of 0 and a hole of 0 in it."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    values = (noise / noise.std() * 300).astype(np.int16)
    values[:2] = values[:, :3] = values[:, -4:] = values[..., :2] = values[8:11, 12:16, 12:18] = 0
    return values


def predicted(folder: Path, channels: NDArray[np.int16], spacing: Sequence[float]) -> NDArray[np.uint8]:
    """Return the labels of nnU-Net's own predictor for (channel, slice, row, column), spacing in mm along the last."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), None, "checkpoint_final.pth")
    labels: NDArray[np.uint8] = predictor.predict_single_npy_array(
        channels.astype(np.float32), {"spacing": list(spacing)}
    )
    return labels
