"""Writes files as torch did before release 0.1.10, which are tar files."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def dumps(value: object) -> bytes:
    return pickle.dumps(value, protocol=2)


class _Pickler(pickle.Pickler):
    """Leaves tensors to the other members of the archive."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=2)
        self.tensors: list[Tensor] = []

    def persistent_id(self, value: object) -> str | None:
        if type(value) is not Tensor:
            return None
        self.tensors.append(value)
        return str(len(self.tensors))

    def reducer_override(self, value: object) -> Any:
        if isinstance(value, nn.Parameter):
            return nn.Parameter, (value.detach(),), (True, False, OrderedDict())
        return NotImplemented


def tar_parts(held: object) -> dict[str, bytes]:
    """The members of the archive of a value with float tensors, written on a GPU."""
    main = io.BytesIO()
    pickler = _Pickler(main)
    pickler.dump(held)
    count = dumps(len(pickler.tensors))
    storages, tensors = bytearray(count), bytearray(count)
    for key, tensor in enumerate(pickler.tensors, start=1):
        storages += dumps((key, 'cuda:0', torch.cuda.FloatStorage))
        storages += struct.pack('<q', tensor.numel()) + tensor.numpy().tobytes()
        tensors += dumps((key, key, torch.cuda.FloatTensor))
        layout = (*tensor.shape, *tensor.contiguous().stride(), 0)
        tensors += struct.pack(f'<ii{len(layout)}q', tensor.ndim, 0, *layout)
    storages += dumps([])  # no storage is part of another
    return dict(
        storages=bytes(storages), tensors=bytes(tensors), pickle=main.getvalue()
    )


def write_tar(parts: Mapping[str, bytes], path: Path) -> None:
    """Write members of an archive."""
    with tarfile.open(path, 'w:', format=tarfile.PAX_FORMAT) as tar:
        for name, data in parts.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
