"""Whether a radiograph shows a chest from the front, upright, or its negative."""

from serving.frontal_chest import judge_either_way as judge

__all__ = ["judge"]
