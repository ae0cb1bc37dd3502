"""Weight names of the networks that the papers released, mapped to mmpretrain's.

mdistiller, RepDistiller and torchvision use the tensor names of a plain network, such
as ``layer1.0.conv1.weight`` and ``fc.weight``; mmpretrain's classifier has the former
under ``backbone`` and the last layer as ``head.fc``.
"""

from __future__ import annotations

from collections.abc import Mapping

from mmengine.logging import print_log
from torch import Tensor

_LAST_LAYERS = ('fc', 'linear', 'classifier', 'classifier.0')

# A network is recognized by the name and the input features of its last layer, and by
# the number of its tensors, with the counts of batches.
_NETWORKS = {
    ('fc', 64, 56): 'resnet8',
    ('fc', 64, 92): 'resnet14',
    ('fc', 64, 128): 'resnet20',
    ('fc', 64, 200): 'resnet32',
    ('fc', 64, 272): 'resnet44',
    ('fc', 64, 344): 'resnet56',
    ('fc', 64, 668): 'resnet110',
    ('fc', 256, 62): 'resnet8x4',
    ('fc', 256, 206): 'resnet32x4',
    ('fc', 64, 82): 'wrn_16_1',
    ('fc', 128, 83): 'wrn_16_2',
    ('fc', 64, 226): 'wrn_40_1',
    ('fc', 128, 227): 'wrn_40_2',
    ('classifier', 512, 37): 'vgg8',
    ('classifier', 512, 58): 'vgg11',
    ('classifier', 512, 72): 'vgg13',
    ('classifier', 512, 93): 'vgg16',
    ('classifier', 512, 114): 'vgg19',
    ('classifier.0', 1280, 320): 'MobileNetV2',
    ('linear', 960, 296): 'ShuffleV1',
    ('linear', 1024, 338): 'ShuffleV2',
    ('linear', 512, 122): 'ResNet18',
    ('linear', 2048, 320): 'ResNet50',
    ('fc', 1024, 164): 'MobileNetV1',
    ('fc', 512, 122): "torchvision's resnet18",
    ('fc', 512, 218): "torchvision's resnet34",
    ('fc', 2048, 320): "torchvision's resnet50",
    ('fc', 2048, 626): "torchvision's resnet101",
    ('fc', 2048, 932): "torchvision's resnet152",
}


def match_names(
    weights: Mapping[str, Tensor], model: Mapping[str, Tensor], what: str
) -> Mapping[str, Tensor]:
    """Rename the weights of a released network to the names of the model.

    If the file contains a whole distiller of mdistiller's, the student's weights are
    used, or the teacher's if there is no student. The log says so.

    Args:
        weights (Mapping[str, Tensor]): Weights in the file.
        model (Mapping[str, Tensor]): ``state_dict`` of the model.
        what (str): Where the weights come from, for the log.

    Returns:
        Mapping[str, Tensor]: The weights under the names of the model; unchanged if
        they are not released weights, or those of another network.
    """
    owner, network = _network(weights)
    last = _last_layer(network)
    if last is None:
        return weights
    # The shortcuts of the released ResNet-18 and 50 are `downsample` in mmpretrain.
    for shortcut in ('.shortcut.', '.downsample.'):
        renamed = {
            _rename(name, last).replace('.shortcut.', shortcut): value
            for name, value in network.items()
        }
        if len(renamed) == len(network) and _names(renamed) == _names(model):
            part = f"the {owner}'s {len(network)} of " if owner else ''
            print_log(
                f'{what}: took {part}{len(weights)} tensors, renamed for mmpretrain '
                f'({last} is head.fc, the rest is in the backbone)',
                logger='current',
            )
            return renamed
    return weights


def recognize(weights: Mapping[str, Tensor]) -> str:
    """Name the released network that weights belong to.

    Args:
        weights (Mapping[str, Tensor]): Weights in a file.

    Returns:
        str: Such as 'It looks like wrn_40_2, with 100 classes'; '' if it is unknown.
    """
    owner, network = _network(weights)
    last = _last_layer(network)
    if last is None or network[f'{last}.weight'].ndim != 2:
        return ''
    classes, features = network[f'{last}.weight'].shape
    # Files from old torch releases lack the counts of batches.
    norms = sum(name.endswith('.running_mean') for name in network)
    name = _NETWORKS.get((last, features, len(_names(network)) + norms))
    if name is None:
        return ''
    whose = f'Its {owner}' if owner else 'It'
    return f'{whose} looks like {name}, with {classes} classes'


def _network(weights: Mapping[str, Tensor]) -> tuple[str, Mapping[str, Tensor]]:
    """Return the network of a file, and its owner if the file holds a distiller."""
    for owner in ('student', 'teacher'):
        prefix = f'{owner}.'
        network = {
            name.removeprefix(prefix): value
            for name, value in weights.items()
            if name.startswith(prefix)
        }
        if network:
            return owner, network
    return '', weights


def _last_layer(network: Mapping[str, Tensor]) -> str | None:
    return next((name for name in _LAST_LAYERS if f'{name}.weight' in network), None)


def _rename(name: str, last: str) -> str:
    if name.startswith(f'{last}.'):
        return f'head.fc{name.removeprefix(last)}'
    return f'backbone.{name}'


def _names(weights: Mapping[str, Tensor]) -> set[str]:
    """Return names without the counts of batches, which torch fills in if missing."""
    return {name for name in weights if not name.endswith('.num_batches_tracked')}
