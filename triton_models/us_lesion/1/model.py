"""Planes through the network beside this file, as planes.json says."""

from serving.plane_model import PlaneModel as TritonPythonModel

__all__ = ["TritonPythonModel"]
