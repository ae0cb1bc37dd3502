"""Programs written by torch.export."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmkd_logit.models.teachers.sources.source import (
    Found,
    LogitModel,
    Request,
    existing_file,
)

_EXPORT = (
    'torch.export.save(torch.export.export(model.eval(), (images,)), "teacher.pt2")'
)
# The files of a program. Compiled libraries would be extra files.
_MEMBERS = re.compile(
    r'(archive_format|archive_version|byteorder|\.data/\w+|models/model\.json'
    r'|data/(weights/(weight_\d+|model_weights_config\.json)'
    r'|constants/(tensor_\d+|model_constants_config\.json)|sample_inputs/model\.pt))'
)
_SAMPLES = 'data/sample_inputs/model.pt'
# Operators of torch that a program may call: none reads or writes files.
_OPERATORS = (
    '_adaptive_avg_pool2d _adaptive_avg_pool3d _assert_async _assert_scalar '
    '_assert_tensor_metadata _cdist_forward _embedding_bag _fft_c2r _fft_r2c '
    '_local_scalar_dense _log_softmax _native_batch_norm_legit '
    '_native_batch_norm_legit_no_training _native_multi_head_attention '
    '_scaled_dot_product_flash_attention_for_cpu _softmax _to_copy '
    '_transformer_encoder_layer_fwd _unsafe_view _upsample_bicubic2d_aa '
    '_upsample_bilinear2d_aa _upsample_nearest_exact2d _weight_norm abs absolute '
    'acos acosh adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d '
    'adaptive_max_pool2d add add_ addcdiv addcmul addmm addmv affine_grid_generator '
    'alias all amax amin any arange argmax argmin argsort as_strided asin asinh '
    'atan atan2 atanh avg_pool1d avg_pool2d avg_pool3d baddbmm batch_norm '
    'bitwise_and bitwise_not bitwise_or bitwise_xor bmm broadcast_tensors '
    'broadcast_to bucketize cat cdist ceil celu channel_shuffle chunk clamp clamp_ '
    'clamp_max clamp_max_ clamp_min clamp_min_ clone col2im complex concat conj '
    'constant_pad_nd contiguous conv1d conv2d conv3d conv_transpose1d '
    'conv_transpose2d convolution copy copy_ cos cosh cosine_similarity '
    'count_nonzero cummax cumprod cumsum detach detach_ diagonal diff div div_ '
    'divide dot dropout dropout_ einsum elu elu_ embedding empty empty_like eq erf '
    'exp exp_ expand expand_as expm1 eye feature_dropout fft_fft2 fft_ifft2 '
    'fft_irfft fft_irfft2 fft_rfft fft_rfft2 fill fill_ flatten flip floor '
    'floor_divide fmod frobenius_norm full full_like gather ge gelu gelu_ glu '
    'grid_sampler grid_sampler_2d group_norm gt hardshrink hardsigmoid hardsigmoid_ '
    'hardswish hardswish_ hardtanh hardtanh_ heaviside hstack hypot im2col imag '
    'index index_add index_add_ index_fill index_put index_put_ index_select inner '
    'instance_norm isfinite isin isinf isnan item layer_norm le leaky_relu '
    'leaky_relu_ lerp lift_fresh lift_fresh_copy linalg_norm linalg_vector_norm '
    'linear linspace log log10 log1p log2 log_sigmoid log_softmax logaddexp '
    'logical_and logical_not logical_or logical_xor logsumexp lt masked_fill '
    'masked_fill_ matmul max max_pool1d max_pool2d max_pool2d_with_indices '
    'max_pool3d max_pool3d_with_indices max_unpool2d maximum mean meshgrid min '
    'minimum mish mish_ mm movedim mul mul_ multiply mv nan_to_num narrow '
    'native_channel_shuffle native_group_norm native_layer_norm ne neg neg_ '
    'negative new_empty new_full new_ones new_zeros nonzero norm numpy_T one_hot '
    'ones ones_like outer pad permute pixel_shuffle pixel_unshuffle pow pow_ prelu '
    'prod real reciprocal reflection_pad1d reflection_pad2d reflection_pad3d relu '
    'relu6 relu6_ relu_ remainder renorm repeat repeat_interleave replication_pad2d '
    'replication_pad3d reshape reshape_as rms_norm roll rot90 round rsqrt rsub '
    'scalar_tensor scaled_dot_product_attention scatter scatter_ scatter_add '
    'scatter_add_ scatter_reduce searchsorted select select_copy select_scatter '
    'selu selu_ sigmoid sigmoid_ sign silu silu_ sin sinh slice slice_scatter '
    'softmax softplus softshrink sort split split_with_sizes sqrt sqrt_ square '
    'squeeze squeeze_ stack std std_mean sub sub_ subtract sum swapaxes swapdims '
    'sym_constrain_range sym_constrain_range_for_size sym_numel sym_size '
    'sym_storage_offset sym_stride t take_along_dim tan tanh tanh_ tensor_split '
    'threshold tile to topk transpose tril triu true_divide trunc type_as unbind '
    'unflatten unfold unsafe_chunk unsafe_split unsqueeze unsqueeze_ '
    'upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d '
    'upsample_nearest2d var var_mean view view_as view_as_complex view_as_real '
    'vstack where xlogy zero_ zeros zeros_like '
)
# What a program may call: these, and arithmetic on sizes.
_CALLS = (
    rf'torch\.ops\.aten\.({"|".join(_OPERATORS.split())})\.\w+'
    r'|torch\.ops\.prims\.(convert_element_type|iota|broadcast_in_dim)\.\w+'
    r'|torch\.ops\.higher_order\.(wrap_with_set_grad_enabled|wrap_with_autocast|cond)'
    r'|torch\._?sym_\w+'
    r'|_operator\.(add|sub|mul|floordiv|truediv|mod|pow|neg|pos|getitem|and_|or_|not_'
    r'|eq|ne|lt|le|gt|ge)'
    r'|math\.(ceil|floor|trunc|sqrt)'
)
# A symbolic size, such as "Mul(Integer(3), Symbol('s0', integer=True))". Torch
# evaluates it.
_SIZES = (
    r"(?s)(?!.{2000})(Symbol\('\w+'(, \w+=(True|False))*\)"
    r"|Pow\(Symbol\('\w+'(, \w+=(True|False))*\), Integer\([2-4]\)\)"
    r'|[a-z]{1,4}\d+\*\*[2-4](?!\w)|(Add|Mul|Mod|PythonMod|FloorDiv|CeilDiv|CleanDiv|Integer|Rational|Max|Min'
    r'|Eq|Ne|Ge|Gt|Le|Lt|And|Or|Not|IntTrueDiv|TruncToInt|FloorToInt|CeilToInt|ToFloat'
    r'|True|False)(?!\w)|[a-z]{1,4}\d+(?!\w)|\d{1,12}(?!\w)|\*(?!\*)|[-+/%(),<>=!&|~\s])*'
)
# A constant: a mode, or the equation of einsum, but no path.
_WORDS = r'[\w ,.>-]{0,200}'
# What strings in the JSON of a program may be, by their key; others are names.
_STRINGS = {
    'target': _CALLS,
    'as_operator': _CALLS,
    'expr_str': _SIZES,
    'path_name': r'(weight|tensor)_\d+',
    'torch_version': r'[\w.+-]*',
    'as_string': _WORDS,
    'as_strings': _WORDS,
}
_NAMES = r'\w*(\.\w+)*'
_DESCRIBED = {
    'target': 'a call of',
    'as_operator': 'a call of',
    'expr_str': 'the expression',
}
# Parts that the logits do not depend on: notes, and code of checks.
_DROPPED: dict[str, Any] = {
    'metadata': {},
    'guards_code': [],
    'treespec_namedtuple_fields': {},
}
_CONTAINERS = (
    'builtins.tuple',
    'builtins.list',
    'builtins.dict',
    'collections.OrderedDict',
)


def build(request: Request) -> Found:
    """Read a program that takes images (N, channels, H, W) and returns logits.

    Loading it with torch directly could run code: the file is vetted first, and only
    the parts that are needed are passed on.

    Args:
        request (Request): ``what`` is the file. Its batch size may be free or fixed.

    Returns:
        Found: The model; a program does not specify its preprocessing or classes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a program, contains anything that could run code,
            comes from a torch release that this one cannot read, or takes anything but
            images.
    """
    path = existing_file(request, '.pt2')
    program = _load(path, request)
    names = program.graph_signature.user_inputs
    shapes = {
        node.name: tuple(node.meta['val'].shape)
        for node in program.graph.nodes
        if node.op == 'placeholder' and isinstance(node.meta.get('val'), Tensor)
    }
    shape = shapes.get(names[0], ()) if names else ()
    if len(names) != 1 or len(shape) != 4:
        shown = ', '.join(f'{name} {shapes.get(name, "")}' for name in names)
        raise ValueError(
            f'{request.who} takes {shown}, but a teacher must take one batch of images '
            'of the shape (N, channels, H, W). Export it for images alone.'
        )
    if any(_trains(node) for node in program.graph.nodes):
        raise ValueError(
            f'{request.who} was exported in training mode: its batch norm or dropout '
            f'would change the logits in every step. Export it again: {_EXPORT}.'
        )
    batch, _, height, width = (e if isinstance(e, int) else None for e in shape)
    found = [
        node.meta['val'].shape
        for node in program.graph.find_nodes(op='output')[0].args[0]
        if isinstance(getattr(node, 'meta', {}).get('val'), Tensor)
    ]
    classes = found[0][1] if len(found) == 1 and len(found[0]) > 1 else None
    module = LogitModel(
        _Program(program, request.device),
        request.who,
        classes if isinstance(classes, int) else None,
        request.output,
        (height, width) if height and width else None,
        batch,
    )
    return Found(module)


class _Program(nn.Module):
    """A program as a module that is always in evaluation mode."""

    def __init__(self, program: Any, device: torch.device) -> None:
        super().__init__()
        if device.type != 'cpu':
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
        self.graph = program.module()

    def train(self, mode: bool = True) -> _Program:
        """Do nothing: the mode of a program is fixed when it is exported."""
        return self

    def forward(self, images: Tensor) -> Any:
        return self.graph(images)


def _trains(node: Any) -> bool:
    """Return whether a node is active dropout or batch norm on batch statistics."""
    name = str(node.target)
    if node.op != 'call_function' or not node.args:
        return False
    if name.startswith('aten.dropout'):
        return node.args[2] is True
    if name.startswith('aten.batch_norm'):
        return node.args[5] is True
    return '_native_batch_norm_legit_functional' in name


def _load(path: Path, request: Request) -> Any:
    try:
        buffer = _vetted(path)
    except _RefusedError as error:
        raise ValueError(
            f'{request.who} holds {error}, and was not loaded because reading it could '
            f'run code. Export the model for images alone: {_EXPORT}; or to ONNX.'
        ) from error
    except Exception as error:  # a hostile file can raise anything
        raise ValueError(
            f'{request.who} ({path.stat().st_size} bytes) cannot be read; it may be '
            f'truncated, or not what its suffix says: {error}.'
        ) from error
    if buffer is None:
        raise ValueError(
            f'{request.who} does not have the format that torch.export.save has '
            f'written since torch 2.8. Export it again with a current torch: {_EXPORT}'
            '; or to ONNX.'
        )
    try:
        return torch.export.load(buffer)
    except Exception as error:  # torch may raise anything
        raise ValueError(
            f'{request.who} cannot be read by torch {torch.__version__}: '
            f'{type(error).__name__}: {error}. Export it with this release of torch, '
            'or to ONNX.'
        ) from error


class _RefusedError(Exception):
    """Something in a file that could run code."""


def _vetted(path: Path) -> io.BytesIO | None:
    """Copy a program without what could run code; return None if it is not one."""
    copy = io.BytesIO()
    with (
        path.open('rb') as file,
        zipfile.ZipFile(file) as archive,
        zipfile.ZipFile(copy, 'w') as vetted,
    ):
        members = archive.infolist()
        short = [member.filename.partition('/')[2] for member in members]
        if 'constants.pkl' in short:
            raise _RefusedError('a TorchScript archive, which holds code')
        if 'models/model.json' not in short:
            return None
        if len(set(short)) < len(short):
            raise _RefusedError('two files of one name')
        # As torch writes them, no member is larger than its share of the file.
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise _RefusedError('compressed members')
        for name, member in zip(short, members):
            if not _MEMBERS.fullmatch(name):
                raise _RefusedError(f'the file {member.filename!r}')
            content = archive.read(member)
            if name.endswith('.json'):
                content = json.dumps(_allowed(json.loads(content))).encode()
            # Not needed here, and the only part that is always pickled.
            vetted.writestr(member.filename, b'' if name == _SAMPLES else content)
    copy.seek(0)
    return copy


def _allowed(value: Any, key: str = '') -> Any:
    """Return a copy of a part of a program, or raise if anything is not on the list.

    Torch evaluates, imports, calls or unpickles some parts, and writes all names into
    Python code.
    """
    if isinstance(value, dict):
        return {
            _allowed(name): _DROPPED[name]
            if name in _DROPPED
            else _allowed(part, _allowed(name))
            for name, part in value.items()
        }
    if isinstance(value, list):
        if key == 'custom_obj_values' and value:
            raise _RefusedError('objects of its own')
        # Of the modules that were exported, only the whole model is needed.
        parts = value[:1] if key == 'module_call_graph' else value
        return [_allowed(part, key) for part in parts]
    if key == 'use_pickle' and value:
        raise _RefusedError('the pickled object of a tensor')
    if not isinstance(value, str):
        return value
    if key in ('in_spec', 'out_spec'):
        protocol, tree = json.loads(value)
        return json.dumps([protocol, _allowed_tree(tree)])
    if not re.fullmatch(_STRINGS.get(key, _NAMES), value):
        raise _RefusedError(f'{_DESCRIBED.get(key, "the name")} {value!r}')
    return value


def _allowed_tree(tree: Any) -> dict[str, Any]:
    """Return a copy of the nesting of a program's inputs or outputs."""
    kind, children = tree['type'], tree['children_spec']
    keys = json.loads(tree['context'] or 'null')
    if kind is not None and kind not in _CONTAINERS:
        raise _RefusedError(f'outputs in a {kind!r}')
    if not (keys is None or all(isinstance(key, str | int) for key in keys)):
        raise _RefusedError(f'the keys {keys!r}')
    return {
        'type': kind,
        'context': None if kind is None else json.dumps(keys),
        'children_spec': [_allowed_tree(child) for child in children],
    }
