"""Common interface of the sources of teachers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmkd_logit.checkpoint import load_strictly, read_checkpoint, weights_of
from mmkd_logit.models.teachers.preprocessing import Preprocessing, Size

# Names of outputs that always hold logits.
_LOGITS = ('logits', 'out')


@dataclass
class Request:
    """A request to a source.

    Attributes:
        what (str | dict): The model: a name, a path or a config.
        who (str): The teacher's name in messages.
        device (torch.device): Where it will run.
        checkpoint (str, optional): File or address of its weights.
        pretrained (bool): Whether to use the source's own weights instead of
            ``checkpoint``.
        weights (str, optional): Which of these to use.
        options (dict): Further arguments of the library's builder.
        output (str | int, optional): Which of several outputs holds the logits.
    """

    what: Any
    who: str
    device: torch.device
    checkpoint: str | None = None
    pretrained: bool = True
    weights: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    output: str | int | None = None


@dataclass
class Found:
    """The answer of a source.

    Attributes:
        module (nn.Module): Takes images and ``mode='tensor'``, and returns logits.
        preprocessing (Preprocessing, optional): The preprocessing that it expects.
        classes (tuple[str, ...], optional): Names of its classes.
        data_preprocessor (nn.Module, optional): A toolbox's counterpart of
            ``preprocessing``.
    """

    module: nn.Module
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] | None = None
    data_preprocessor: nn.Module | None = None


class LogitModel(nn.Module):
    """A model of another library behind the interface of mmengine's models.

    Args:
        network (nn.Module): The model.
        who (str): Its name in messages.
        num_classes (int, optional): Number of its classes. Defaults to None: unknown.
        output (str | int, optional): Which of several outputs holds the logits.
        size (tuple[int, int], optional): Height and width, if it takes no other.
        batch (int, optional): Batch size, if it takes no other.
    """

    # How other libraries resize logit maps.
    align_corners = False

    def __init__(
        self,
        network: nn.Module,
        who: str,
        num_classes: int | None = None,
        output: str | int | None = None,
        size: Size | None = None,
        batch: int | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.num_classes = num_classes
        # The check for half precision looks up a size to try here.
        self.img_size = size
        self._who = who
        self._output = output
        self._batch = batch

    def forward(
        self, inputs: Tensor, data_samples: Any = None, mode: str = 'tensor'
    ) -> Tensor:
        """Compute the logits of images.

        Args:
            inputs (Tensor): Images of shape (N, channels, H, W).
            data_samples (Any): Not used.
            mode (str): Not used.

        Returns:
            Tensor: Shape (N, C, ...).
        """
        if self._batch is None or len(inputs) == self._batch:
            return pick_output(self.network(inputs), self._output, self._who)
        parts = []
        for some in inputs.split(self._batch):
            # Padded with copies of the first image.
            more = some[:1].expand(self._batch - len(some), -1, -1, -1)
            given = self.network(torch.cat([some, more]))
            parts.append(pick_output(given, self._output, self._who)[: len(some)])
        return torch.cat(parts)


def pick_output(given: Any, output: str | int | None, who: str) -> Tensor:
    """Pick the logits among the outputs of a model.

    Args:
        given (Any): A tensor, or a mapping or sequence of tensors.
        output (str | int, optional): Name or index of the logits.
        who (str): The teacher's name, for messages.

    Returns:
        Tensor: The logits.

    Raises:
        ValueError: If it is unclear which output holds them.
    """
    if isinstance(given, Tensor):
        named: dict[Any, Any] = {0: given}
    elif isinstance(given, Mapping):
        named = dict(given)
    elif isinstance(given, list | tuple):
        named = dict(enumerate(given))
    else:
        named = {}
    tensors = {key: each for key, each in named.items() if isinstance(each, Tensor)}
    if output is None:
        usual = [name for name in _LOGITS if name in tensors]
        if len(tensors) == 1 or usual:
            return tensors[usual[0] if usual else next(iter(tensors))]
    elif output in tensors:
        return tensors[output]
    shown = ', '.join(f'{key!r} {tuple(each.shape)}' for key, each in tensors.items())
    asked = '' if output is None else f'no output {output!r}, but '
    raise ValueError(
        f'{who} gives {asked}{shown or type(given).__name__}. Set teacher.output to '
        f'the one that holds the logits.'
    )


def import_extra(module: str, extra: str, who: str) -> Any:
    """Import a module that an optional extra installs.

    Args:
        module (str): Name of the module.
        extra (str): Name of the extra.
        who (str): The teacher's name, for messages.

    Raises:
        ImportError: If it is not installed. The message has the command to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f'{who} needs the package {module.partition(".")[0]}, which cannot be '
            f'imported ({error}): pip install "mmkd_logit[{extra}]".'
        ) from error


def load_file(network: nn.Module, request: Request) -> None:
    """Load ``teacher.checkpoint`` under the library's own names.

    Args:
        network (nn.Module): The model.
        request (Request): The request.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or does not match exactly.
    """
    assert request.checkpoint is not None
    what = f'{request.who}: {request.checkpoint}'
    checkpoint = read_checkpoint(request.checkpoint)
    load_strictly(network, weights_of(checkpoint, request.checkpoint), what)
    print_log(f'{request.who}: weights of {request.checkpoint}', logger='current')


def existing_file(request: Request, suffix: str) -> Path:
    """Return the path of the file that a request names.

    Args:
        request (Request): The request.
        suffix (str): Required suffix of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it has another suffix.
    """
    path = Path(request.what).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f'{request.who}: the file does not exist (looked in {Path.cwd()}).'
        )
    if path.suffix != suffix:
        raise ValueError(
            f'{request.who}: expected a file that ends with {suffix}, but got '
            f'{path.name!r}.'
        )
    return path


def check_options(request: Request, refused: Mapping[str, str]) -> None:
    """Refuse arguments that conflict with what this package sets itself.

    Args:
        request (Request): The request.
        refused (dict): Arguments, each with what to do instead.

    Raises:
        ValueError: For the first such argument that is set.
    """
    for name in request.options:
        if name in refused:
            raise ValueError(f'teacher.options.{name} cannot be set: {refused[name]}')


Builder = Callable[[Request], Found]
