"""Whether a radiograph shows a chest from the front, upright, in which bone is white."""

from serving.frontal_chest import judge

__all__ = ["judge"]
