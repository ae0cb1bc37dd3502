"""What every source of teachers is asked, and what it gives."""

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

# The names of outputs that are logits wherever they occur.
_LOGITS = ('logits', 'out')


@dataclass
class Request:
    """What is asked of a source.

    Attributes:
        what (str | dict): The model: a name, a path, a config.
        who (str): What messages call the teacher.
        device (torch.device): Where it will run.
        checkpoint (str, optional): File or address of its weights.
        pretrained (bool): Whether the weights are those that the source has, in place
            of ``checkpoint``.
        weights (str, optional): Which of these.
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
    """What a source gives.

    Attributes:
        module (nn.Module): Takes images, and ``mode='tensor'``, and gives logits.
        preprocessing (Preprocessing, optional): What it expects of its images.
        classes (tuple[str, ...], optional): Names of its classes.
        data_preprocessor (nn.Module, optional): What a toolbox has in place of
            ``preprocessing``.
    """

    module: nn.Module
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] | None = None
    data_preprocessor: nn.Module | None = None


class LogitModel(nn.Module):
    """A model of another library, called as one of mmengine's.

    Args:
        network (nn.Module): The model.
        who (str): What messages call it.
        num_classes (int, optional): Number of its classes. Defaults to None: unknown.
        output (str | int, optional): Which of several outputs holds the logits.
        size (tuple[int, int], optional): Height and width, if it takes no other.
        batch (int, optional): Number of images, if it takes no other.
    """

    # How other libraries resize maps of logits.
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
        # Where half precision looks for a size to try.
        self.img_size = size
        self._who = who
        self._output = output
        self._batch = batch

    def forward(
        self, inputs: Tensor, data_samples: Any = None, mode: str = 'tensor'
    ) -> Tensor:
        """Logits of images.

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
            # Filled up with its first image.
            more = some[:1].expand(self._batch - len(some), -1, -1, -1)
            given = self.network(torch.cat([some, more]))
            parts.append(pick_output(given, self._output, self._who)[: len(some)])
        return torch.cat(parts)


def pick_output(given: Any, output: str | int | None, who: str) -> Tensor:
    """The logits among what a model gives.

    Args:
        given (Any): A tensor, a mapping or a sequence of tensors.
        output (str | int, optional): Name or index of the logits.
        who (str): The teacher's name, for messages.

    Returns:
        Tensor: The logits.

    Raises:
        ValueError: If it is not clear which they are.
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
        f'{who} gives {asked}{shown or type(given).__name__}. Name the one that holds '
        f'the logits with teacher.output.'
    )


def import_extra(module: str, extra: str, who: str) -> Any:
    """Import what an optional extra installs.

    Args:
        module (str): Name of the module.
        extra (str): Name of the extra.
        who (str): The teacher's name, for messages.

    Raises:
        ImportError: If it is not installed, with the command that installs it.
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
        request (Request): What is asked for.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or does not fit to the last tensor.
    """
    assert request.checkpoint is not None
    what = f'{request.who}: {request.checkpoint}'
    checkpoint = read_checkpoint(request.checkpoint)
    load_strictly(network, weights_of(checkpoint, request.checkpoint), what)
    print_log(f'{request.who}: weights of {request.checkpoint}', logger='current')


def existing_file(request: Request, suffix: str) -> Path:
    """The file that a request names.

    Args:
        request (Request): What is asked for.
        suffix (str): What it must end with.

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
    """Refuse arguments that would undo what this package sees to.

    Args:
        request (Request): What is asked for.
        refused (dict): Arguments, each with a sentence on what to do instead.

    Raises:
        ValueError: For the first of them that is set.
    """
    for name in request.options:
        if name in refused:
            raise ValueError(f'teacher.options.{name} cannot be set: {refused[name]}')


Builder = Callable[[Request], Found]
