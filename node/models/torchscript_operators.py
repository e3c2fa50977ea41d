"""What a TorchScript file may ask of PyTorch: the operators that a network needs, and none that reads or writes files.

TorchScript is a language of its own, and PyTorch registers operators for it that have nothing to do with networks:
`aten::from_file` makes a file of any size anywhere. A file also holds methods that run while it is loaded
(`__setstate__`). Its source is therefore read as text before it is loaded. Every name behind a dot is judged, since any
operator can be called as a method of any value, and can be given another name.
"""

import ast
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch

from node.errors import ConfigError

SIGNATURE = b"PK\x03\x04"
"""PyTorch takes a file that begins otherwise for another format."""
LEGACY = "model.json"
"""PyTorch reads an archive with this record in an older format."""
NAMESPACES = "aten", "prim"
"""Whose operators have names without a namespace in TorchScript's source."""
TAGS = frozenset({torch.Tag.core, torch.Tag.pointwise})
"""PyTorch's own marks of operators that compute: ATen's core set, and those that treat each value alone."""
OTHERS = frozenset(
    {"torchvision::nms", "torchvision::roi_align", "torchvision::deform_conv2d", "torchvision::roi_pool"}
)
"""Operators of other namespaces that compute."""
GETATTR = "getattr"
"""Written with a name as text, which is judged as a name behind a dot is; as a value of its own it is refused."""
CLASSES = re.compile(rb"__torch__\.torch\.classes\.(?!quantized\.)([\w.]+)")
"""Classes written in C++ that a file wants an object of; those of quantized layers are weights."""
COMPUTING = frozenset(
    """
    Int Float Bool Complex Scalar IntImplicit FloatImplicit ScalarImplicit NumToTensor TupleConstruct TupleUnpack
    ListConstruct ListUnpack Print RaiseException device dtype layout requires_grad shape ndim data grad itemsize
    is_cuda is_cpu is_mps is_sparse is_quantized is_nested is_xpu is_meta is_floating_point is_complex is_contiguous T
    H mT mH imag real name type type_as to cpu cuda float double half int long bool short byte char bfloat16 backward
    detach detach_ requires_grad_ set_grad_enabled is_grad_enabled is_scripting is_tracing clone contiguous len list
    dict tuple str ord chr hex oct bin format upper lower strip lstrip rstrip split splitlines join replace startswith
    endswith find rfind index rindex count isalnum isalpha isdecimal isdigit isidentifier islower isnumeric
    isprintable isspace istitle isupper title capitalize casefold center ljust rjust zfill swapcase expandtabs
    partition rpartition append extend insert pop remove reverse sort sorted clear copy keys values items get
    setdefault update popitem contains range_length any all min max sum divmod radians degrees gcd ceil floor sqrt exp
    log log1p log10 log2 pow factorial ldexp modf frexp fabs copysign isnan isinf isfinite round abs sin cos tan asin
    acos atan atan2 sinh cosh tanh asinh acosh atanh erf erfc gamma lgamma mathremainder fmod add add_ sub sub_ rsub
    mul mul_ div div_ neg neg_ floordiv floor_divide floor_divide_ true_divide true_divide_ remainder remainder_ eq ne
    lt le gt ge not logical_and_ logical_or_ logical_not_ logical_xor_ is_same_size __is__ __isnot__ __not__ __and__
    __or__ __xor__ __lshift__ __rshift__ __contains__ __getitem__ _set_item __delitem__ __derive_index __range_length
    __round_to_zero_floordiv __interpolate __upsample __upsample_bilinear size stride storage_offset numel dim
    element_size view view_as reshape reshape_as resolve_conj resolve_neg flatten unflatten ravel squeeze squeeze_
    unsqueeze unsqueeze_ transpose transpose_ t t_ permute movedim moveaxis swapaxes swapdims expand expand_as
    broadcast_to broadcast_tensors meshgrid repeat repeat_interleave tile roll rot90 flip fliplr flipud cat concat
    concatenate stack hstack vstack dstack column_stack chunk split_with_sizes tensor_split unsafe_chunk unsafe_split
    unsafe_split_with_sizes hsplit vsplit dsplit unbind narrow select slice index_select index_put index_put_
    index_add index_add_ index_copy index_copy_ index_fill index_fill_ gather scatter scatter_ scatter_add
    scatter_add_ scatter_reduce masked_fill masked_fill_ masked_scatter masked_scatter_ masked_select take
    take_along_dim put put_ where nonzero nonzero_numpy argwhere as_strided diagonal diag diag_embed tril triu
    tril_indices triu_indices trace block_diag unfold fold im2col col2im pixel_shuffle pixel_unshuffle channel_shuffle
    one_hot tensor as_tensor empty empty_like new_empty new_full new_ones new_zeros new_tensor zeros zeros_like ones
    ones_like full full_like arange linspace logspace eye scalar_tensor rand rand_like randn randn_like randint
    randint_like randperm normal normal_ uniform_ bernoulli bernoulli_ multinomial fill fill_ zero_ copy_
    constant_pad_nd pad reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d
    replication_pad3d _pad_circular mean median nanmedian mode std var std_mean var_mean prod nansum nanmean cumsum
    cumsum_ cumprod cumprod_ logsumexp logcumsumexp amax amin aminmax argmax argmin argsort topk kthvalue unique_dim
    unique_consecutive _unique2 _unique bincount histc bucketize searchsorted norm frobenius_norm nuclear_norm
    linalg_norm linalg_vector_norm linalg_matrix_norm dist cdist pdist cosine_similarity pairwise_distance cross
    linalg_cross count_nonzero cummax cummin allclose isclose equal lerp lerp_ clip clip_ clamp clamp_ clamp_min
    clamp_min_ clamp_max clamp_max_ linear bilinear matmul mm bmm mv dot vdot inner outer ger kron tensordot einsum
    addmm addmm_ addbmm baddbmm baddbmm_ addmv addr addcmul addcmul_ addcdiv addcdiv_ chain_matmul linalg_multi_dot
    matrix_power linalg_inv inverse det linalg_det linalg_solve linalg_svd svd linalg_qr qr linalg_eigh
    linalg_cholesky cholesky pinverse linalg_pinv conv1d conv2d conv3d conv_transpose1d conv_transpose2d
    conv_transpose3d convolution _convolution _convolution_mode conv_tbc batch_norm native_batch_norm
    _batch_norm_impl_index instance_norm layer_norm native_layer_norm group_norm native_group_norm rms_norm
    local_response_norm weight_norm _weight_norm normalize max_pool1d max_pool2d max_pool3d max_pool1d_with_indices
    max_pool2d_with_indices max_pool3d_with_indices avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d
    adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d max_unpool2d
    max_unpool3d lp_pool1d lp_pool2d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d
    _upsample_lanczos2d_aa
    upsample_bilinear2d upsample_bicubic2d upsample_trilinear3d _upsample_bilinear2d_aa _upsample_bicubic2d_aa
    _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d interpolate grid_sample grid_sampler
    grid_sampler_2d grid_sampler_3d affine_grid affine_grid_generator relu relu_ relu6 relu6_ leaky_relu leaky_relu_
    prelu rrelu rrelu_ elu elu_ selu selu_ celu celu_ gelu gelu_ silu silu_ mish mish_ hardtanh hardtanh_ hardswish
    hardswish_ hardsigmoid hardsigmoid_ sigmoid sigmoid_ tanh_ logsigmoid log_sigmoid softplus softshrink hardshrink
    tanhshrink softsign threshold threshold_ glu softmax _softmax softmin log_softmax _log_softmax gumbel_softmax
    dropout dropout_ feature_dropout feature_dropout_ alpha_dropout feature_alpha_dropout embedding embedding_bag
    scaled_dot_product_attention _native_multi_head_attention _transformer_encoder_layer_fwd
    multi_head_attention_forward lstm lstm_cell gru gru_cell rnn_tanh rnn_relu rnn_tanh_cell rnn_relu_cell
    _pack_padded_sequence _pad_packed_sequence fft_fft fft_ifft fft_fft2 fft_ifft2 fft_fftn fft_ifftn fft_rfft
    fft_irfft fft_rfft2 fft_irfft2 fft_rfftn fft_irfftn fft_fftshift fft_ifftshift fft_fftfreq fft_rfftfreq stft istft
    view_as_real view_as_complex complex polar conj angle l1_loss mse_loss nll_loss cross_entropy_loss
    binary_cross_entropy smooth_l1_loss quantize_per_tensor quantize_per_channel dequantize
    fake_quantize_per_tensor_affine int_repr q_scale q_zero_point result_type can_cast promote_types _cast_Float
    _shape_as_tensor _reshape_from_tensor is_autocast_enabled is_autocast_cpu_enabled manual_seed item tolist
    get_device warn
    """.split()  # noqa: SIM905 (600 words, which are no list to read)
)
"""Operators without these marks that a network uses: shapes, lists, texts, conversions, layers made of others."""


def check_operators(source: Path) -> None:
    """Check a TorchScript file before it is loaded.

    Raises
    ------
    ConfigError
        It uses an operator that is not of a network, which is named, or is written as PyTorch does not write it.
    """
    if source.read_bytes()[: len(SIGNATURE)] != SIGNATURE:
        raise _refused(source, "does not begin as PyTorch writes it")
    with zipfile.ZipFile(source) as archive:
        names = [entry.filename for entry in archive.infolist()]
        if len(names) != len(set(names)) or any(name.endswith(LEGACY) for name in names):
            raise _refused(source, "is packed as PyTorch no longer packs it")
        for name in names:
            content = archive.read(name) if name.endswith((".py", ".pkl")) else b""
            if foreign := CLASSES.search(content):
                raise _refused(source, f"uses the class {foreign[1].decode()}")
            if name.endswith(".py"):
                _check_code(source, content)


def _check_code(source: Path, content: bytes) -> None:
    try:
        tree = ast.parse(content.decode("ascii"))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _refused(source, f"has code that cannot be read ({type(error).__name__})") from error
    for name in _names(tree):
        if not is_allowed(name):
            raise _refused(source, f"uses the operator {name}")


def _names(tree: ast.AST) -> Iterator[str]:
    """Yield the names that may be operators: `ops.NAMESPACE.NAME` as `NAMESPACE::NAME`, all others as they are."""
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == GETATTR:
            names = called[id(node)].args[1:2] if id(node) in called else []
            yield from [str(name.value) for name in names if isinstance(name, ast.Constant)] or [GETATTR]
        elif isinstance(node, ast.Attribute):
            yield next((f"{space}::{node.attr}" for space in _namespace(node.value)), node.attr)


def _namespace(node: ast.AST) -> Iterator[str]:
    """Yield NAMESPACE of `ops.NAMESPACE`, and nothing of another expression."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ops":
        yield node.attr


def is_allowed(name: str) -> bool:
    """Whether a name is an operator that computes, or none at all: a layer, an attribute or a method of the file."""
    namespace, _, plain = name.rpartition("::")
    if namespace not in ("", *NAMESPACES):
        return name in OTHERS or namespace == "quantized"
    return plain != GETATTR and (plain in COMPUTING or not _is_operator(plain) or _computes(plain))


def _is_operator(name: str) -> bool:
    return any(torch._C._jit_get_schemas_for_operator(f"{space}::{name}") for space in NAMESPACES)  # noqa: SLF001


def _computes(name: str) -> bool:
    operator = getattr(torch.ops.aten, name, None)
    return operator is not None and any(
        TAGS.intersection(getattr(operator, each).tags) for each in operator.overloads()
    )


def _refused(source: Path, why: str) -> ConfigError:
    return ConfigError(
        f"{source} {why}, which no network needs, and is not loaded, trusted or not: bring the network as ONNX, or its "
        "weights with --network"
    )
