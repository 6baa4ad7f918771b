"""Which capabilities a unit keeps, for each who may start it and become it."""
from __future__ import annotations

from typing import Any, cast

import pytest

from supervisor.kernel.plan import Identity, Step
from supervisor.kernel.sandbox import capabilities
from supervisor.kernel.sandbox.capabilities import mask_of, number
from supervisor.kernel.sandbox.part import Part
from supervisor.model.capabilities import CAPABILITIES
from tests.unit.kernel.sandbox.given import FACTS, STAY, context, policy

ALL = (1 << len(CAPABILITIES)) - 1
WEB = Identity("web", 900, 900, (), "/", "")
BIND, ADMIN = 1 << 10, 1 << 21
ROOT = FACTS._replace(capabilities=ALL)


def calls(steps: tuple[Step, ...]) -> list[tuple[Any, ...]]:
    """(name, arguments...) of calls, structures as the numbers in them; other steps as they are."""
    found: list[tuple[Any, ...]] = []
    for step in steps:
        if step.name != "CALL":
            found.append((step.name, *step.args))
            continue
        name, args = cast("tuple[str, tuple[Any, ...]]", step.args[:2])
        if name == "capset":
            words = memoryview(args[1].parts[0]).cast("I").tolist()
            effective, permitted, inheritable = (words[i] | words[i + 3] << 32 for i in range(3))
            assert effective == permitted
            found.append((name, permitted, inheritable))
        else:
            found.append((name, *args))
    return found


def part(user: str = "web", names: tuple[str, ...] | None = None, **more: Any) -> Part:
    who = {"web": WEB, "root": STAY._replace(uid=0), "": STAY}[user]
    given = more.pop("facts", ROOT)
    box = policy("base", user=user, capabilities=names, **more)
    return capabilities.part(box, context(given, identity=who), new_users=bool(more))


def test_names_are_known_in_both_forms() -> None:
    assert number("CAP_NET_BIND_SERVICE") == number("net_bind_service") == 10
    assert mask_of(("CAP_CHOWN", "CAP_CHECKPOINT_RESTORE", "CHOWN")) == 1 | 1 << 40
    with pytest.raises(KeyError):
        number("CAP_EVERYTHING")


def test_by_default_none_is_left() -> None:
    for user in ("web", ""):
        made = part(user)
        assert calls(made.setup) == [("BOUND", 0)]
        assert calls(made.settle) == [("capset", 0, 0)]


def test_a_user_keeps_its_list_over_the_change_of_ids_and_execve() -> None:
    made = part("web", ("CAP_NET_BIND_SERVICE", "CAP_SYS_ADMIN"))
    assert calls(made.setup) == [("BOUND", BIND | ADMIN), ("prctl", 8, 1)]
    assert calls(made.settle) == [
        ("capset", BIND | ADMIN, BIND | ADMIN), ("prctl", 47, 2, 10), ("prctl", 47, 2, 21)
    ]  # fmt: skip


def test_root_with_a_list_gets_it_by_its_bounding_set_alone() -> None:
    made = part("root", ("CAP_NET_BIND_SERVICE",))
    assert calls(made.setup) == [("BOUND", BIND)]
    assert calls(made.settle) == [("capset", BIND, 0)]


def test_root_in_words_keeps_all_but_hands_none_down() -> None:
    assert part("root") == Part()
    made = part("root", facts=ROOT._replace(inherited=BIND))
    assert calls(made.settle) == [("capset", ALL, 0)]


def test_what_the_supervisor_lacks_is_missing_and_named() -> None:
    few = FACTS._replace(capabilities=BIND)
    made = part("web", ("CAP_NET_BIND_SERVICE", "CAP_SYS_ADMIN"), facts=few)
    ((key, why),) = made.missing
    assert key == "sandbox.capabilities"
    assert "CAP_SYS_ADMIN" in why
    assert "BIND" not in why
    assert (made.setup, made.settle) == ((), ())


def test_a_supervisor_without_setpcap_leaves_the_bounding_set() -> None:
    made = part("", facts=FACTS._replace(capabilities=0, root=False, uid=1000))
    assert made.setup == ()
    assert calls(made.settle) == [("capset", 0, 0)]


def test_a_new_user_namespace_gives_it_the_right_to_drop() -> None:
    plain = FACTS._replace(capabilities=0, root=False, uid=1000)
    box = policy("base", capabilities=())
    made = capabilities.part(box, context(plain), new_users=True)
    assert calls(made.setup) == [("BOUND", 0)]


def test_level_off_changes_nothing() -> None:
    assert capabilities.part(policy("off"), context(ROOT), new_users=False) == Part()
