"""`unboxed set`: [limits] of a unit changed in a drop-in of our own, and at once where it runs.

All or nothing up to the file: what config refuses is not written. What then cannot be applied to a
running instance is said; it holds from the next start on.
"""
from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from supervisor.config.load import read_unit
from supervisor.config.problem import Broken
from supervisor.config.render import toml_value
from supervisor.core.slices import broken
from supervisor.manager.runtime import TRIED
from supervisor.model import report as say
from supervisor.model.request import Set
from supervisor.model.unit import Unit

if TYPE_CHECKING:
    from supervisor.manager.supervisor import Supervisor

# Names that sort behind those of people, whose drop-ins they overrule; the transient one is last.
KEPT, TRANSIENT = "zz-set-1-kept.toml", "zz-set-2-transient.toml"
_HEAD = "# Written by `unboxed set`.\n[limits]\n"
_RESTING = ("down", "failed", "waiting", "backoff")


def set_limits(sup: Supervisor, unit: Unit, what: Set) -> say.Changed | say.Refusal:
    """Only [limits] of the unit's files count: other changes in them wait for a reload."""
    name = unit.name
    refused = _refuse(unit, what)
    if refused is not None:
        return refused
    file = TRANSIENT
    folder = sup.paths.transient_units
    if what.persist:
        file, folder = KEPT, _kept_in(sup)
    path = f"{folder}/{name}.toml.d/{file}"
    held = () if what.persist else _held(sup, name, path, what.keys["limits"])
    if held:
        keys = " ".join(f"limits.{key}=" for key in held)
        return say.Failed(
            f"cannot take back {keys.replace('=', '')} of {name}: it was set with --persist; "
            f"`unboxed set --persist {name} {keys}` does it; nothing was changed"
        )
    text = _text(path, what.keys["limits"])
    instead = {path: text}
    if what.persist:  # or what was set until the next boot would overrule it
        other = f"{sup.paths.transient_units}/{name}.toml.d/{TRANSIENT}"
        instead[other] = _text(other, dict.fromkeys(what.keys["limits"]))
    found = read_unit(sup.paths.units, name, instead)
    if isinstance(found, Broken):
        rows = tuple(say.Problem(p.file, p.line, p.key, p.message) for p in found.problems)
        return say.InvalidUnits(rows, f"cannot set limits of {name}: nothing was changed")
    if found is None:
        return say.Failed(
            f"cannot set limits of {name}: its unit file is gone; nothing was changed"
        )
    made = replace(unit, limits=found.limits)
    unsliced = _unsliced(sup.world.graph.units, made)
    if unsliced:
        problem = say.Problem(path, 0, "limits.slice", f"cannot be used: {unsliced}")
        return say.InvalidUnits((problem,), f"cannot set limits of {name}: nothing was changed")
    missing = sup.limits().unenforceable(made)  # it would not start with them
    if missing:
        rows = tuple(
            say.Problem(path, 0, f"limits.{one.key}", f"cannot be enforced here: {one.why}")
            for one in missing
        )
        return say.InvalidUnits(rows, f"cannot set limits of {name}: nothing was changed")
    try:
        for place, content in instead.items():
            _write(place, content)
    except OSError as exc:
        return say.Failed(
            f"cannot set limits of {name}: {exc.filename}: {exc.strerror}; what runs is as it was"
        )
    return say.Changed(path, tuple(_apply(sup, unit, made)))


def _refuse(unit: Unit, what: Set) -> say.Refusal | None:
    if unit.name.startswith(TRIED):
        return say.Failed(
            f"cannot set limits of {unit.name}: it is there for one run; give `unboxed try` the"
            " limits"
        )
    others = [key for key in what.keys if key != "limits"]
    limits = what.keys.get("limits")
    if others or not isinstance(limits, dict) or not limits:
        words = "cannot be set like this: only keys of [limits] can; change the unit file"
        rows = tuple(say.Problem("", 0, key, words) for key in others or ["limits"])
        return say.InvalidUnits(rows, f"cannot set {unit.name}: nothing was changed")
    return None


def _unsliced(units: Mapping[str, Unit], made: Unit) -> str:
    """Why `made`, or a unit that had its slices until now, would not have them; "" if all do."""
    known = broken(units)
    for name, why in broken({**units, made.name: made}).items():
        if name == made.name:
            return why
        if name not in known:
            return f"{name} is in it, and {why}"
    return ""


def _kept_in(sup: Supervisor) -> str:
    return sup.paths.admin_units or sup.paths.units[0]


def _held(sup: Supervisor, name: str, path: str, limits: dict[str, Any]) -> list[str]:
    """Keys that are to be taken back, but are not in the transient drop-in `path`: what was kept
    would stay in force."""
    gone = [key for key in limits if limits[key] is None]
    kept = _known(f"{_kept_in(sup)}/{name}.toml.d/{KEPT}") if gone else {}
    return [key for key in gone if key in kept and key not in _known(path)]


def _known(path: str) -> dict[str, Any]:
    """What a drop-in of ours sets; nothing, if it is not there or somebody broke it."""
    from supervisor.config.build import BadText, document
    from supervisor.kernel.host import read_long

    try:
        known = document(read_long(path).encode()).get("limits")
    except BadText:
        known = None
    return known if isinstance(known, dict) else {}


def _text(path: str, limits: dict[str, Any]) -> str:
    """The drop-in with these keys in it too; None takes one out. "" if none is left."""
    kept = {**_known(path), **limits}  # a broken one is written anew
    lines = [f"{toml_value(key, key=True)} = {toml_value(kept[key])}\n" for key in kept
             if kept[key] is not None]  # fmt: skip
    return _HEAD + "".join(lines) if lines else ""


def _write(path: str, text: str) -> None:
    """All of it or nothing; "" takes the file away. Raises OSError."""
    folder = os.path.dirname(path)
    if not text:
        try:
            os.unlink(path)
            os.rmdir(folder)
        except OSError:
            pass  # it was not there, or others are
        return
    os.makedirs(folder, 0o755, exist_ok=True)
    fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            os.fchmod(fd, 0o644)
            file.write(text)
            file.flush()
            os.fsync(fd)
        os.replace(f"{path}.new", path)
    except OSError as exc:
        exc.filename = path  # write(2) names none
        os.unlink(f"{path}.new")
        raise


def _apply(sup: Supervisor, old: Unit, unit: Unit) -> list[say.Result]:
    """Make it the definition, and hold for what runs."""
    world = sup.world
    world.define({**world.graph.units, unit.name: unit})
    sup.defined.append(unit)
    results = []
    if unit.kind == "group":
        words = sup.limits().change_group(unit.name)
        results.append(_result(unit.name, words))
    for key in world.keys[unit.name] if unit.kind != "group" else ():
        if world.instances[key].phase in _RESTING:
            continue
        words = sup.limits().change(key, unit)
        began = sup.launched.get(key, old)  # the next manager goes by what its run has now
        sup.launched[key] = unit if began is old else replace(began, limits=unit.limits)
        results.append(_result(key, words))
    world.recheck(sup.now())  # what waited for want of a slice may begin
    sup.commit()
    sup.rewrite()
    return results


def _result(key: str, words: list[str]) -> say.Result:
    if not words:
        return say.Result(key, True, "applied")
    text = f"cannot apply all of it to {key}: {'; '.join(words)}; the rest holds now"
    return say.Result(key, False, text, 1)
