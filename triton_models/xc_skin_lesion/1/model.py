"""Volumes through the network beside this file, as chain.json says."""

from serving.volume_model import VolumeModel as TritonPythonModel

__all__ = ["TritonPythonModel"]
