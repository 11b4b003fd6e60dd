"""Torch tensors and numpy arrays as bytes, and back. Torch is imported only where a tensor asks for it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Form(NamedTuple):
    """What an array is, apart from its content."""

    dtype: str
    """`torch.float32`, or numpy's own letters: `<f4`."""
    shape: tuple[int, ...]
    nbytes: int
    sharding: str
    """Empty, or which part of which distributed tensor this is."""


def is_array(value: Any) -> bool:
    """Tell whether *value* is a tensor or an array."""
    return isinstance(value, np.ndarray) or is_tensor(value)


def is_tensor(value: Any) -> bool:
    """Tell whether *value* is a torch tensor; nobody has one without having imported torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def local(tensor: Any) -> Any:
    """Return the part of a tensor that lies in this process: a DTensor's shard, any other tensor itself."""
    return tensor.detach().to_local() if hasattr(tensor, "to_local") else tensor.detach()


def form(value: Any) -> Form:
    """Return what *value* is.

    Raises:
        TypeError: Its bytes are not its content: objects, sparse or meta tensors.
    """
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject or value.dtype.names:
            raise TypeError(f"an array of {value.dtype} cannot be kept")
        return Form(value.dtype.str, value.shape, value.nbytes, "")
    shard = local(value)
    if str(shard.layout) != "torch.strided" or shard.is_quantized or shard.device.type == "meta":
        raise TypeError(f"a tensor of {shard.layout}, {shard.dtype} on {shard.device} cannot be kept")
    return Form(str(shard.dtype), tuple(shard.shape), shard.numel() * shard.element_size(), _sharding(value))


def _sharding(tensor: Any) -> str:
    if not hasattr(tensor, "placements"):
        return ""
    mesh = tensor.device_mesh
    return f"{tuple(tensor.shape)} {tensor.placements} of {tuple(mesh.shape)} at {mesh.get_coordinate()}"


def bytes_of(value: Any) -> NDArray[np.uint8] | None:
    """Return the bytes of *value* without a copy, or None where they do not lie in host memory, in order."""
    if isinstance(value, np.ndarray):
        return value.reshape(-1).view(np.uint8) if value.flags.c_contiguous else None
    shard = local(value)
    if shard.device.type != "cpu" or not shard.is_contiguous() or shard.is_conj() or shard.is_neg():
        return None
    torch = sys.modules["torch"]
    found: NDArray[np.uint8] = shard.reshape(-1).view(torch.uint8).numpy()
    return found


def read_into(value: Any, target: NDArray[np.uint8]) -> None:
    """Copy the content of *value* into *target*, bytes of the same length."""
    source = bytes_of(value)
    if source is not None:
        np.copyto(target, source)
    elif isinstance(value, np.ndarray):
        np.copyto(target.view(value.dtype).reshape(value.shape), value)
    elif target.nbytes:
        shard = local(value)
        view(str(shard.dtype), tuple(shard.shape), target).copy_(shard)


def write_from(value: Any, source: NDArray[np.uint8]) -> None:
    """Overwrite the content of *value*, in place, with *source*, bytes of the same length."""
    if isinstance(value, np.ndarray):
        np.copyto(value, view(value.dtype.str, value.shape, source))
    else:
        shard = local(value)
        shard.copy_(view(str(shard.dtype), tuple(shard.shape), source))


def view(dtype: str, shape: tuple[int, ...], content: NDArray[np.uint8]) -> Any:
    """Return *content* as an array of that type and shape, sharing its memory.

    Raises:
        ValueError: There is no such type, or the lengths do not fit.
    """
    if not dtype.startswith("torch."):
        try:
            return content.view(np.dtype(dtype)).reshape(shape)
        except TypeError as error:
            raise ValueError(f"{dtype}: {error}") from None
    import torch  # noqa: PLC0415 - only where a tensor was kept

    kind = getattr(torch, dtype.removeprefix("torch."), None)
    if not isinstance(kind, torch.dtype):
        raise ValueError(f"this torch knows no {dtype}")  # noqa: TRY004 - text from an image, not an argument's type
    if not content.nbytes:
        return torch.empty(shape, dtype=kind)
    return torch.from_numpy(content).view(kind).reshape(shape)
