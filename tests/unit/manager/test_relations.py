from supervisor.core.graph import build
from supervisor.manager.relations import relations
from supervisor.model.report import Relation
from supervisor.model.unit import BOOT, Edge, Needs, Unit


def test_each_relation_is_told_as_the_file_has_it() -> None:
    units = {
        "web": Unit("web", needs=Needs(
            requires=(Edge("db"),), wants=(Edge("cache", order=False),),
            after=(Edge("migrate", "finished"),), before=(Edge("proxy"),), conflicts=("old",),
            binds_to=(Edge("disk"),),
        )),
        "db": Unit("db"),
        "tail": Unit("tail", attach=("w*",)),
    }
    found = relations(build(units), ["web", "db", "tail", "gone"])
    assert set(found.relations) == {
        Relation("tail", "attach", "web"),
        Relation("web", "requires", "db", "ready"), Relation("web", "wants", "cache"),
        Relation("web", "after", "migrate", "finished"),
        Relation("web", "before", "proxy", "ready"),
        Relation("web", "conflicts", "old"), Relation("web", "binds_to", "disk", "ready"),
    }


def test_that_a_machines_units_wait_for_its_boot_is_one_of_them() -> None:
    units = {
        BOOT: Unit(BOOT, kind="group", needs=Needs(requires=(Edge("fs", "finished"),))),
        "fs": Unit("fs"), "web": Unit("web"),
    }
    found = relations(build(units, machine=True), units)
    assert set(found.relations) == {
        Relation(BOOT, "requires", "fs", "finished"), Relation("web", "requires", BOOT, "ready"),
    }
