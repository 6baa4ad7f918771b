"""`unboxed learn`: a unit runs so that all it does can be seen, for as long as somebody looks.

Law: what is learned holds under level strict, so the unit runs as it will then (its user, its /tmp,
its capabilities), only that no promise, path or port is refused. A filter asks instead, and the
client answers (kernel/seccomp/learning.py): without it the unit waits for ever, so it is stopped
when the client is gone. Loaded for the first one.
"""
from __future__ import annotations

from msgspec.structs import replace

from supervisor.kernel.plan import Confinement
from supervisor.kernel.sandbox.facts import facts
from supervisor.kernel.sandbox.paths import KINDS, TEMPORARY, TOPS
from supervisor.kernel.seccomp import learning
from supervisor.kernel.seccomp.filter import ARCHES
from supervisor.manager.supervisor import Supervisor
from supervisor.model import report as say
from supervisor.model.policy import Policy, fill, resolve
from supervisor.model.request import Call
from supervisor.model.sandbox import Network, Sandbox
from supervisor.model.state import Instance, Transition
from supervisor.model.unit import Unit

DESCRIPTOR = 256  # the first that no unit file can ask for
_OVER = ("down", "failed")


def policy_of(unit: Unit, names: dict[str, str]) -> Policy:
    """As under level strict, with nothing refused that is to be learned."""
    box = unit.sandbox or Sandbox()
    strict = replace(unit, sandbox=replace(box, level="strict", promises=("stdio",)))
    found = resolve(strict)
    network = found.network
    return fill(
        replace(
            found, level="app", promises=(), read=None, write=None, exec=None, read_only=False,
            hide_homes=False, devices=None, on_violation="errno", require="best",
            network=Network(network.mode, None, None, None, network.address),
        ),
        names,
    )  # fmt: skip


class Session:
    """One client that learns one instance."""

    def __init__(self, sup: Supervisor, call: Call, inst: Instance) -> None:
        self._sup = sup
        self._call = call
        self._key = inst.key
        self._told = inst.launch  # the launch that the client knows, or need not know
        self._begun = self._ran = False
        self._program = ""
        call.closed = self._left
        sup.launcher.learning[inst.key] = self
        sup.launcher.forget(inst.key)  # its frame is an ordinary one
        sup.listeners.append(self._moved)

    def policy(self, unit: Unit, names: dict[str, str]) -> Policy:
        return policy_of(unit, names)

    def asking(self, confinement: Confinement, program: str) -> Confinement:
        """The steps of a launch, with the filter that asks as the last."""
        self._program = program
        asks = learning.steps(facts().arch, DESCRIPTOR)
        return confinement._replace(last=(*confinement.last, *asks))

    def _moved(self, fresh: list[Transition]) -> None:
        inst = self._sup.world.instances.get(self._key)
        if inst is None:
            self._end("its unit file is gone")
        elif any(one.key == self._key for one in fresh):
            self._begun |= inst.phase not in _OVER
            if inst.launch and inst.pid and inst.launch != self._told:
                self._told, self._ran = inst.launch, True
                self._call.progress(say.LearnReply(process=self._process(inst)))
            over = inst.phase in _OVER or (inst.phase == "backoff" and not self._ran)
            if self._begun and over and not inst.again:
                self._end(inst.cause)

    def _process(self, inst: Instance) -> say.LearnedProcess:
        unit = self._sup.world.unit_of(inst)
        policy = policy_of(unit, {"{instance}": str(inst.index), "{unit}": unit.name})
        words = [say.LearnedWord("@tmp", path) for path in TEMPORARY] if policy.private_tmp else []
        if facts().root:
            for kind in KINDS:
                for name in getattr(policy, kind) or (unit.name,):  # a dynamic user's are private
                    for top in (TOPS[kind], f"{TOPS[kind]}/private"):
                        words += [say.LearnedWord(f"@{kind}", f"{top}/{name}")]
        hooks = unit.start.before or unit.start.after or unit.stop.command or unit.reload.command
        return say.LearnedProcess(
            inst.key, inst.unit, inst.pid, DESCRIPTOR, self._program,
            policy.root, drop_in(self._sup, unit.name), tuple(words), bool(hooks),
            policy.dynamic_user, tuple(self._sup.paths.units),
        )  # fmt: skip

    def _end(self, why: str) -> None:
        self._forget()
        self._call.reply(say.LearnReply(ended=why or "it ended"))

    def _left(self) -> None:
        self._forget()
        self._sup.world.stop_key(self._key, "who learned it has left", self._sup.now())
        self._sup.commit()

    def _forget(self) -> None:
        self._call.closed = None
        self._sup.listeners.remove(self._moved)
        self._sup.launcher.learning.pop(self._key, None)


def drop_in(sup: Supervisor, unit: str) -> str:
    """The file that what is learned of it belongs in."""
    folder = sup.paths.admin_units or sup.paths.units[0]
    return f"{folder}/{unit}.toml.d/learned.toml"


def why_not(unit: Unit) -> str:
    """Why this unit cannot be learned here, "" if it can."""
    if unit.kind == "group":
        return "a group runs nothing; name one of its members"
    found = facts()
    if not found.seccomp or found.arch not in ARCHES:
        return f"this takes system call filters, on {' or '.join(ARCHES)}"
    return ""
