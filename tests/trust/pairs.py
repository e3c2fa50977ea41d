"""Which images each plugin is for, and every pair of a plugin and an image that is judged."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.trust import real_images
from tests.trust.distortions import DISTORTIONS
from tests.trust.real_images import RealImage

ANY_CT = ("chest CT", "liver CT", "cut abdomen CT", "pelvis CT", "heart CT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """What a plugin is for: the modality it is tried with, what images show, and changes that leave them right."""

    modality: str
    part: str
    """Body Part Examined, right for the plugin whatever the image shows: the pixels must decide."""
    shows: Sequence[str]
    harmless: Sequence[str] = ()


TURNS = ("mirrored", "flipped front to back", "upside down", "rotated")
PURPOSES: Mapping[str, Purpose] = {
    "ct_body": Purpose(modality="CT", part="CHEST", shows=("chest CT",)),
    "ct_denoise": Purpose(modality="CT", part="CHEST", shows=ANY_CT, harmless=(*TURNS, "half")),
    "ct_head_bleed": Purpose(modality="CT", part="HEAD", shows=("head CT",)),
    "ct_liver": Purpose(modality="CT", part="ABDOMEN", shows=("liver CT",)),
    "ct_lung": Purpose(modality="CT", part="CHEST", shows=("chest CT",)),
    "ct_lung_nodule": Purpose(modality="CT", part="CHEST", shows=("chest CT",)),
    "cxr_findings": Purpose(modality="CR", part="CHEST", shows=("chest_frontal",)),
    "cxr_quality": Purpose(modality="CR", part="CHEST", shows=("chest_frontal",), harmless=("mirrored", "inverted")),
    "mg_lesion": Purpose(
        modality="MG", part="BREAST", shows=("mammogram",), harmless=("mirrored", "flipped front to back")
    ),
    "mr_brain": Purpose(modality="MR", part="HEAD", shows=("head MR",)),
    "mr_cardiac": Purpose(modality="MR", part="HEART", shows=()),
    "mr_superres": Purpose(modality="MR", part="HEAD", shows=()),
    "mr_to_ct": Purpose(modality="MR", part="HEAD", shows=("head MR",)),
    "mr_tumour": Purpose(modality="MR", part="HEAD", shows=()),
    "op_retina": Purpose(modality="OP", part="EYE", shows=("fundus",), harmless=("mirrored",)),
    "pt_lesion": Purpose(modality="PT", part="WHOLEBODY", shows=("whole PET",)),
    "register_prior": Purpose(modality="CT", part="", shows=()),
    "sm_breast": Purpose(modality="SM", part="BREAST", shows=("histology_he",), harmless=(*TURNS, "half")),
    "us_lesion": Purpose(modality="US", part="BREAST", shows=("ultrasound_breast",), harmless=("mirrored",)),
    "xc_skin": Purpose(modality="XC", part="SKIN", shows=("skin_lesion",), harmless=TURNS),
}
"""There is no real head in CT with more than four slices, no tumour in four contrasts, no whole heartbeat and no axial
head with thick slices and fine pixels: their right images lack.

The mirror image of a breast, an eye or a skin lesion is suitable, too; a breast upside down is the other one. An
inverted or mirrored radiograph is a fault that cxr_quality is made to find; a turned one is refused, and its guard says
how it is turned. Registration is judged by pairs: `PRIORS`.
"""
PRIORS = (
    ("brain T1", "brain T2", True), ("brain FLAIR", "brain T1", True), ("chest CT", "liver CT", False),
    ("pelvis CT", "chest CT", False), ("head MR", "abdomen MR", False), ("thigh MR", "breast MR", False),
    ("chest CT", "head MR", False), ("abdomen MR", "thigh MR", False), ("head MR", "brain T1", False),
)  # fmt: skip
"""What the present images and the prior show, and whether they belong together: not if they are of two patients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A plugin and an image, or an image and its prior; whether the plugin is for it, and what was done to it."""

    plugin: str
    image: RealImage
    right: bool
    change: str = ""
    prior: RealImage | None = None

    @property
    def name(self) -> str:
        """What the table calls it."""
        before = f" with the prior {self.prior.name}" if self.prior else ""
        return f"{self.image.shows}: {self.image.name}{before}{f', {self.change}' if self.change else ''}"


def pairs(plugins: Sequence[str], each: int = 1, changed: int = 1) -> Iterator[Pair]:
    """Yield every pair: each image, wrapped as the plugin's modality, and distortions of so many suitable images."""
    for plugin in plugins:
        if plugin == "register_prior":
            yield from _with_priors()
            continue
        purpose, left = PURPOSES[plugin], changed
        in_space = purpose.modality in real_images.AS_VOLUME
        for image in real_images.volumes() if in_space else real_images.planes(each):
            right = image.shows in purpose.shows
            yield Pair(plugin=plugin, image=image, right=right)
            if right and left:
                left -= 1
                yield from _changed(plugin, image)


def _changed(plugin: str, image: RealImage) -> Iterator[Pair]:
    for change, make in DISTORTIONS.items():
        if image.is_volume or change != "upside down":
            right = change in PURPOSES[plugin].harmless
            yield Pair(plugin=plugin, image=make(image), right=right, change=change)


def _with_priors() -> Iterator[Pair]:
    wanted = {shows for now, before, _ in PRIORS for shows in (now, before)}
    first = {image.shows: image for image in reversed([*real_images.volumes(wanted)])}
    for now, before, right in PRIORS:
        if now in first and before in first:
            yield Pair(plugin="register_prior", image=first[now], prior=first[before], right=right)
    if (chest := first.get("chest CT")) is not None:
        for change in ("mirrored", "rotated", "noise"):
            changed = DISTORTIONS[change](chest)
            yield Pair(plugin="register_prior", image=chest, prior=changed, right=False, change=change)
