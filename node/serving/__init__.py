"""What runs inside Triton beside a network. It imports PyTorch and NumPy, and nothing of the node.

**The link.** Each model that uses this package has it in its version folder as `1/serving`: in the repository a
symbolic link to this folder, in a wheel, in what `isocenter model add` makes and in what `isocenter model export`
writes a copy. Nothing else is linked. Triton's Python backend puts the version folder on the path, so that `1/model.py`
says `from serving.volume_model import VolumeModel as TritonPythonModel`.

**The models.** `1/model.py` names one of three:

`volume_model.VolumeModel`
    Whole volumes in; labels, findings, boxes or an image out, as `1/chain.json` says (`Chain`, or `NnunetPlan`).
`plane_model.PlaneModel`
    Planes in; probabilities and class maps out, as `1/planes.json` says (`planes.PlaneChain`).
`tensor_model.TensorModel`
    Tensors through one function of the model's own, without a network.

**The network** of the first two is a file beside `model.py`: `network.pt` (TorchScript), `network.pt2`
(torch.export) or `network.onnx`; it runs in the model's own process. Where a native back end of NVIDIA's container runs
it instead (ONNX Runtime, TensorRT, PyTorch), it is a model of its own, `NAME_net`, and the parameter `network` in
config.pbtxt names it.

**The inputs** are called alike in all models, see `input_names`.

**The start.** A model's process imports PyTorch as `torch_import` says, so `1/model.py` imports this package first.
"""

from .torch_import import import_torch

if __name__ == "serving":  # inside Triton; in the node this is `node.serving`, and PyTorch is whole
    import_torch()
