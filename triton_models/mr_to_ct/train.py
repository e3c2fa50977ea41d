"""Train the network of mr_to_ct on phantoms anew: python triton_models/mr_to_ct/train.py"""

from pathlib import Path

import numpy as np
import torch
from monai.losses.adversarial_loss import PatchAdversarialLoss
from monai.networks.nets.patchgan_discriminator import PatchDiscriminator
from monai.networks.nets.unet import UNet
from skimage.metrics import structural_similarity
from torch import Tensor, nn
from torch.nn import functional

from node.serving.answers import image
from node.serving.chain import Chain
from node.serving.volume import scaled
from node.training import trainer
from node.training.phantoms.head_pair import mr_and_ct

HERE = Path(__file__).parent
CHAIN = Chain.read(HERE / "1" / "chain.json")
ROWS, HEAD_MM = 128, (-56.0, 62.0)
SPACING = 2.0
"""Of phantoms, along every axis; the network's own."""
LOW_HU, HIGH_HU = CHAIN.values
ADVERSARIAL = 0.01
"""How much the discriminator's verdict counts beside the mean absolute error (Isola et al. 2017: 1 to 100)."""


def network() -> nn.Module:
    """Return the generator, a U-Net as in Isola et al. 2017."""
    return UNet(2, 1, 1, channels=(16, 32, 48, 64), strides=(2, 2, 2), num_res_units=1, norm="batch")


class Pix2Pix:
    """The loss of a conditional generator: mean absolute error, and what a discriminator of patches makes of it.

    Called with answers (example, 1, row, column) and truths (example, 2, row, column), of which the second channel is
    what the generator was given. The discriminator learns at every call (Isola et al. 2017).
    """

    def __init__(self) -> None:
        torch.manual_seed(3)
        self.discriminator = PatchDiscriminator(2, channels=16, in_channels=2, num_layers_d=2)
        self.verdict = PatchAdversarialLoss(criterion="least_squares")
        self.optimiser = torch.optim.AdamW(self.discriminator.parameters(), lr=1e-3, betas=(0.5, 0.999))

    def __call__(self, answers: Tensor, truths: Tensor) -> Tensor:
        ct, mr = truths[:, :1], truths[:, 1:]
        seen = [self._seen(images.detach(), mr) for images in (answers, ct)]
        wrong = sum(
            self.verdict(image, target_is_real=real, for_discriminator=True)
            for image, real in zip(seen, (False, True), strict=True)
        )
        self.optimiser.zero_grad()
        (wrong / 2).backward()  # type: ignore[union-attr]
        self.optimiser.step()
        fooled = self.verdict(self._seen(answers, mr), target_is_real=True, for_discriminator=False)
        return functional.l1_loss(answers, ct) + ADVERSARIAL * fooled

    def _seen(self, images: Tensor, mr: Tensor) -> Tensor:
        return self.discriminator(torch.cat([images, mr], 1))[-1]


def draw(random: np.random.Generator) -> trainer.Example:
    """Return a plane of a head in MR; and in CT, with the MR beside it."""
    mr, ct = mr_and_ct(random.uniform(*HEAD_MM, 1), ROWS, random, field=SPACING * ROWS)
    given = scaled(CHAIN, torch.from_numpy(mr)).numpy() * np.float32(random.uniform(0.8, 1.05))
    both = np.concatenate([(ct - LOW_HU) / (HIGH_HU - LOW_HU), given]).astype(np.float32)
    turned = both[..., ::-1] if random.random() < 0.5 else both
    return turned[1:].copy(), turned.copy()


def judge(found: nn.Module, heads: int = 20) -> dict[str, trainer.Figure]:
    """Return how far from the CT of heads it never saw the answer is, head by head, within the head."""
    random = np.random.default_rng(1000)
    heights = np.arange(*HEAD_MM, 6.0)
    affine = np.array([[0, 0, SPACING, 0], [0, SPACING, 0, 0], [6.0, 0, 0, 0], [0, 0, 0, 1]])
    rows: dict[str, list[list[float]]] = {"MAE, HU:": [], "MAE of bone, HU:": [], "PSNR, dB:": [], "SSIM": []}
    for _ in range(heads):
        mr, ct = mr_and_ct(heights, ROWS, random, field=SPACING * ROWS)
        made = image(CHAIN, [(torch.from_numpy(mr), affine)], found)["values"].numpy()
        head, off = ct > -300, np.abs(made - ct)
        figures = (
            off[head].mean(),
            off[ct > 300].mean(),
            20 * np.log10((HIGH_HU - LOW_HU) / np.sqrt((off**2).mean())),
            structural_similarity(ct * 1.0, made * 1.0, data_range=HIGH_HU - LOW_HU, win_size=7),
        )
        for values, value in zip(rows.values(), figures, strict=True):
            values.append([float(value)])
    return {name: trainer.figure(values) for name, values in rows.items()}


def main(steps: int = 1000) -> None:
    """Train, save the network where Triton loads it, and write how good it is."""
    course = trainer.Course(draw=draw, loss=Pix2Pix(), steps=steps, batch=8, rate=2e-3)
    trained = trainer.train(network, course)
    trainer.save(trained, (1, 1, ROWS, ROWS), HERE / "1")
    with torch.inference_mode():
        trainer.write_figures(judge(trained), HERE)


if __name__ == "__main__":
    main()
