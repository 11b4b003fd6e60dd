"""What is saved of a training process, and how it is put back.

big     parameters and the optimizer's tensors: only `optimizer.step()` changes them, so they can be copied later
small   all else, copied at once: buffers, numbers, random generators, schedulers, loaders, what the user adds
"""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from offbeat.recovery.memory import arrays, tree
from offbeat.recovery.memory.arrays import is_array, is_tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from offbeat.recovery.memory.layout import Entry


class RestoreError(Exception):
    """What is held cannot be put into this program; the message names the first thing that does not fit."""


class Capture:
    """The state of one training process."""

    def __init__(self, state: Any, optimizers: list[Any], extras: Mapping[str, Any]) -> None:
        """Save *state* (a module or a pytree), its *optimizers*, and *extras* by name."""
        self._module = _unwrapped(state) if hasattr(state, "named_parameters") else None
        self._state, self._optimizers, self._extras = state, optimizers, extras
        self._buffers: set[str] = set()
        self._others = False
        self.lasting = self._module is not None
        """The same tensors hold the state for as long as `unchanged` says so."""

    def big(self) -> dict[str, Any]:
        """Return what may be copied while the next forward and backward run."""
        tensors = [_tensors(optimizer.state_dict()["state"]) for optimizer in self._optimizers]
        if self._module is None:
            return {"state": self._state, "optimizers": tensors}
        parameters = {name for name, _ in self._module.named_parameters(remove_duplicate=False)}
        found = self._module.state_dict(keep_vars=True)
        self._buffers = {name for name, _ in self._module.named_buffers(remove_duplicate=False)} & set(found)
        self._others = not set(found) <= parameters | self._buffers
        return {
            "state": {name: value for name, value in found.items() if name in parameters},
            "optimizers": tensors,
        }

    def small(self) -> dict[str, Any]:
        """Return what must be copied now."""
        found: dict[str, Any] = {"rng": _random_state()}
        if self._module is not None:
            buffers = dict(self._module.named_buffers(remove_duplicate=False))
            found["buffers"] = {name: buffers[name] for name in sorted(self._buffers)}
            if self._others:  # what modules keep by get_extra_state
                known = self._buffers | {name for name, _ in self._module.named_parameters(remove_duplicate=False)}
                found["others"] = {n: v for n, v in self._module.state_dict().items() if n not in known}
        found["optimizers"] = [_without_tensors(optimizer.state_dict()) for optimizer in self._optimizers]
        found["extras"] = {
            name: extra.state_dict() if hasattr(extra, "state_dict") else extra for name, extra in self._extras.items()
        }
        return found

    def unchanged(self, leaves: list[tuple[tree.Path, Any]]) -> bool:
        """Tell whether module and optimizers still hold the tensors that were found when *leaves* were laid out."""
        held = {id(value) for _, value in leaves}
        if self._module is None or any(id(parameter) not in held for parameter in self._module.parameters()):
            return False
        count = 0
        for optimizer in self._optimizers:
            for values in optimizer.state.values():
                for value in values.values():
                    if is_tensor(value):
                        count += 1
                        if id(value) not in held:
                            return False
        return count == sum(path[0] == "optimizers" for path, _ in leaves)

    def put_back(self, entries: tuple[Entry, ...], views: list[Any], skeleton: Any) -> None:
        """Write a saved state into the program.

        Args:
            entries: What the image holds.
            views: The bytes of each entry.
            skeleton: Of the image's tree.

        Raises:
            RestoreError: It does not fit; the program's state is then not to be used.
        """
        # Not all at once: a copy of the whole would take the state's size once more.
        parts = [_Later(entry, view) for entry, view in zip(entries, views, strict=True)]
        saved = tree.unflatten(skeleton, parts)
        if self._module is not None:
            own = self._module.state_dict(keep_vars=True)
            others = _real(saved["small"].get("others", {}))
            _overwrite(
                {name: value for name, value in own.items() if name not in others},
                {**saved["big"]["state"], **saved["small"]["buffers"]},
                ("state",),
            )
            if others:
                self._module.load_state_dict(others, strict=False)
        else:
            _overwrite(self._state, saved["big"]["state"], ("state",))
        small, big = saved["small"]["optimizers"], saved["big"]["optimizers"]
        if len(small) != len(self._optimizers):
            raise RestoreError(f"{len(small)} optimizers were saved, {len(self._optimizers)} are here")
        for index, optimizer in enumerate(self._optimizers):
            _put_optimizer(optimizer, _real(small[index]), big[index], index)
        extras = saved["small"]["extras"]
        if set(extras) != set(self._extras):
            raise RestoreError(f"extras {sorted(extras)} were saved, {sorted(self._extras)} are here")
        for name, extra in self._extras.items():
            if hasattr(extra, "load_state_dict"):
                extra.load_state_dict(_real(extras[name]))
            else:
                _overwrite(extra, extras[name], ("extras", name))
        _set_random_state(_real(saved["small"]["rng"]))


class _Later:
    """An array of the image that has not been copied out yet."""

    def __init__(self, entry: Entry, content: Any) -> None:
        self.entry, self.content = entry, content

    def value(self) -> Any:
        return arrays.view(self.entry.dtype, self.entry.shape, self.content.copy())

    def __getitem__(self, key: Any) -> _Later:
        return self  # a numpy scalar: kept as an array without dimensions

    def fits(self, target: Any, path: tree.Path) -> None:
        found = arrays.form(target)
        for what, ours, saved in (
            ("type", found.dtype, self.entry.dtype),
            ("shape", found.shape, self.entry.shape),
            ("sharding", found.sharding, self.entry.sharding),
        ):
            if ours != saved:
                raise RestoreError(f"{tree.name(path)}: the saved {what} is {saved}, the program's is {ours}")


def _real(node: Any) -> Any:
    if isinstance(node, _Later):
        return node.value()
    if isinstance(node, dict):
        return {key: _real(child) for key, child in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(_real(child) for child in node)
    return node


def _overwrite(target: Any, saved: Any, path: tree.Path) -> Any:
    """Write *saved* into *target*: arrays in place, containers entry by entry; return what belongs in its place."""
    if is_array(target):
        if not isinstance(saved, _Later):
            raise RestoreError(f"{tree.name(path)}: no array was saved")
        saved.fits(target, path)
        arrays.write_from(target, saved.content.copy())
        return target
    keys = _keys(target)
    if keys is None:
        return _real(saved)
    if keys != _keys(saved):
        raise RestoreError(
            f"{tree.name(path)}: saved were {_some(_keys(saved), keys)}, here are {_some(keys, _keys(saved))}"
        )
    for key in keys:
        new = _overwrite(target[key], saved[key], (*path, key))
        if new is not target[key]:
            if isinstance(target, tuple):
                if new != target[key]:
                    raise RestoreError(f"{tree.name((*path, key))}: a tuple's {target[key]!r} cannot become {new!r}")
            else:
                target[key] = new
    return target


def _keys(node: Any) -> list[Any] | None:
    if isinstance(node, dict):
        return sorted(node, key=lambda key: (isinstance(key, str), key))
    return list(range(len(node))) if isinstance(node, (list, tuple)) else None


def _some(keys: list[Any] | None, other: list[Any] | None) -> str:
    if keys is None:
        return "one value"
    odd = [key for key in keys if other is None or key not in other]
    return ", ".join(map(str, odd[:3])) or "the same names"


def _put_optimizer(optimizer: Any, rest: dict[str, Any], saved: dict[Any, Any], index: int) -> None:
    """Load an optimizer's state; its tensors as they were, where torch would fit their types to the parameters."""
    parameters = dict(enumerate(p for group in optimizer.param_groups for p in group["params"]))
    tensors = {
        key: {n: _of_parameter(v, parameters.get(key), f"optimizers/{index}/{key}/{n}") for n, v in values.items()}
        for key, values in saved.items()
    }
    state = {key: {**rest["state"].get(key, {}), **values} for key, values in tensors.items()}
    state = {**rest["state"], **state}
    try:
        optimizer.load_state_dict({**rest, "state": state})
    except (ValueError, KeyError) as error:
        raise RestoreError(f"optimizers/{index}: {error}") from None
    for key, values in optimizer.state_dict()["state"].items():
        for name, value in tensors.get(key, {}).items():
            if is_tensor(value):
                values[name] = value.to(values[name].device)


def _of_parameter(saved: _Later, parameter: Any, name: str) -> Any:
    """Return a tensor of an optimizer's state; a shard as the shard of a tensor distributed like its parameter."""
    local = saved.value()
    if not saved.entry.sharding:
        return local
    here = arrays.form(parameter).sharding if is_tensor(parameter) else ""
    if here != saved.entry.sharding:
        raise RestoreError(f"{name}: the saved sharding is {saved.entry.sharding}, the program's {here or 'none'}")
    return type(parameter.data).from_local(
        local.to(parameter.device), parameter.device_mesh, parameter.placements,
        run_check=False, shape=parameter.shape, stride=parameter.stride(),
    )  # fmt: skip


def _tensors(state: dict[Any, Any]) -> dict[Any, Any]:
    """Return the tensors of an optimizer's state."""
    return {key: {n: v for n, v in values.items() if is_tensor(v)} for key, values in state.items()}


def _without_tensors(found: dict[str, Any]) -> dict[str, Any]:
    state = {key: {n: v for n, v in values.items() if not is_tensor(v)} for key, values in found["state"].items()}
    return {**found, "state": state}


def _unwrapped(module: Any) -> Any:
    """Return the module inside of DDP's and torch.compile's wrappers, so that names do not depend on them."""
    while True:
        if type(module).__name__ == "DistributedDataParallel":
            module = module.module
        elif hasattr(module, "_orig_mod"):
            module = module._orig_mod  # noqa: SLF001 - as torch.compile names it
        else:
            return module


def _random_state() -> dict[str, Any]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - the global one, which training code uses
    version, numbers, gauss = random.getstate()
    python = [version, np.array(numbers, np.uint32), gauss]
    found: dict[str, Any] = {"python": python, "numpy": [kind, keys, *rest]}
    torch = sys.modules.get("torch")
    if torch is not None:
        found["torch"] = torch.get_rng_state()
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            found["cuda"] = torch.cuda.get_rng_state()
    return found


def _set_random_state(found: dict[str, Any]) -> None:
    version, numbers, gauss = found["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss))
    np.random.set_state(tuple(found["numpy"]))  # noqa: NPY002 - as above
    torch = sys.modules.get("torch")
    if torch is not None and "torch" in found:
        torch.set_rng_state(found["torch"])
        if "cuda" in found:
            torch.cuda.set_rng_state(found["cuda"])
