"""Measure Unboxed beside other supervisors: README.md says what is needed and what comes out.

    run.py lifecycle   start, memory, status and stop of N services
    run.py restart     from SIGKILL to the replacement
    run.py idle        wake-ups of N idle services' supervisor, all peers alive at once
    run.py takeover    kill -9 of the manager among 200 services (ours only)
    run.py orphans     20,000 orphans for a PID 1 to reap
    run.py logs        throughput of capture, and lines lost
    run.py query       how long `unboxed logs` takes to find something in 10 GB (ours only)
    run.py delay       how long a line waits while other units flood (ours only)
    run.py scrape      a scrape of the metrics agent with N units (ours only)
    run.py isolate     one isolated process, from the request to its first byte
    run.py keys        what each key of a sandbox costs: start, memory, system calls
    run.py apps        1,000 services at level app with limits, beside bare processes
    run.py boot        a machine's boot under each init, in a guest: first and last of 20 services
    run.py booted      memory of a machine after that, ours beside systemd
    run.py trace       system calls a service
    run.py report      the tables, from the samples of any number of runs
    run.py all         every workload but trace, boot and booted, then the tables

Every repeat runs each peer once before the next repeat begins. Samples are appended to --out as
JSON lines.
"""
from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

sys.path.append(str(Path(__file__).resolve().parents[2]))  # last: what is installed is measured

from tests.bench import (
    boot,
    delay,
    harness,
    isolation,
    logs,
    orphans,
    query,
    report,
    sandboxes,
    scrape,
    trace,
    workloads,
)
from tests.bench.harness import Bench, Fifo
from tests.bench.ours import Unboxed, UnboxedRun
from tests.bench.peers import Peer, all_peers
from tests.bench.workloads import Sample

# Workload -> its function and the numbers of services it is run with if --n does not say.
_SINGLE = {
    "lifecycle": (workloads.lifecycle, (0, 10, 100, 1000)),
    "restart": (workloads.restart, (100,)),
    "takeover": (workloads.takeover, (200,)),
    "trace": (trace.measure, (100,)),
}
_IDLE_N = 1000
_SCRAPE_N = 1000
_KEYS_N = 50  # units that are weighed of each key
_APPS_N = 1000
_SETTLE_S = 4  # after the last start, before memory is looked at


class Run:
    """One invocation: what was asked for, the probes, and where samples go."""

    def __init__(self, arguments: argparse.Namespace, bench: Bench) -> None:
        self.bench = bench
        self.reps: int = arguments.reps
        self.seconds: float = arguments.seconds
        self.numbers = tuple(int(n) for n in arguments.n.split(",") if n)
        self._wanted = [word for word in arguments.peers.split(",") if word]
        self._out = Path(arguments.out)
        self._missing: set[str] = set()

    def wants(self, peer: Peer | isolation.Row) -> bool:
        """Was it asked for, and is it there? A wanted peer that is not there is named once."""
        if self._wanted and not any(word in peer.name for word in self._wanted):
            return False
        if not peer.installed() and peer.name not in self._missing:
            self._missing.add(peer.name)
            print(f"left out: {peer.name} ({peer.tool} is not installed)", file=sys.stderr)
        return peer.installed()

    def chosen(self) -> list[Peer]:
        rows = [Unboxed(), UnboxedRun(), *all_peers(self.bench)]
        return [peer for peer in rows if self.wants(peer)]

    def sample(
        self, workload: str, peer: Peer | isolation.Row | str, rep: int, variant: Sample,
        measure: Callable[[], Sample],
    ) -> Sample:
        """Take one sample and keep it; {} if it failed, so that the other peers' are not lost."""
        name = peer if isinstance(peer, str) else peer.name
        try:
            sample = {**variant, **measure()}
        except Exception as error:  # noqa: BLE001 - whatever it is, it is one peer's
            print(workload, name, variant, rep, "failed:", repr(error), file=sys.stderr)
            return {}
        self.emit(workload, name, rep, sample)
        return sample

    def emit(self, workload: str, name: str, rep: int, sample: Sample) -> None:
        row = {"workload": workload, "peer": name, "rep": rep, **sample}
        with self._out.open("a") as file:
            print(json.dumps(row), file=file)
        brief = {
            key: round(value, 4) if isinstance(value, float) else value
            for key, value in sample.items()
            if not (isinstance(value, list) and len(value) > 5)
        }
        print(workload, name, rep, brief, flush=True)


def single(run: Run, workload: str) -> None:
    """A workload that is one sample of one peer at a time."""
    measure, numbers = _SINGLE[workload]
    for n in run.numbers or numbers:
        for rep in range(run.reps):
            for peer in run.chosen():
                if workload == "takeover" and not isinstance(peer, Unboxed):
                    continue
                run.sample(workload, peer, rep, {"n": n}, partial(measure, run.bench, peer, n))


def idle(run: Run) -> None:
    n = run.numbers[0] if run.numbers else _IDLE_N
    peers = [peer for peer in run.chosen() if type(peer) is not UnboxedRun]
    for rep, peer, sample in workloads.idle(run.bench, peers, n, run.reps, run.seconds):
        run.emit("idle", peer.name, rep, {"n": n, **sample})


def reap_orphans(run: Run) -> None:
    rows = [peer for peer in orphans.all_rows(run.bench) if run.wants(peer)]
    stuck: set[tuple[str, str]] = set()  # did not drain once: not repeated
    for rep in range(run.reps):
        for peer in rows:
            for mode in orphans.MODES:
                if (peer.name, mode) in stuck:
                    continue
                measure = partial(orphans.measure, run.bench, peer, mode)
                sample = run.sample("orphans", peer, rep, {"mode": mode}, measure)
                if sample.get("drain_ms") is None:
                    stuck.add((peer.name, mode))


def store_logs(run: Run) -> None:
    rows = [row for row in logs.all_rows(run.bench) if run.wants(row[0])]
    for rep in range(run.reps):
        for peer, amounts in rows:
            for chunk, megabytes in zip(logs.CHUNKS, amounts, strict=True):
                run.sample(
                    "logs", peer, rep, {}, partial(logs.measure, run.bench, peer, megabytes, chunk))


def wait_among_floods(run: Run) -> None:
    for rep in range(run.reps):
        for floods in delay.FLOODS:
            for chunk in logs.CHUNKS if floods else logs.CHUNKS[:1]:
                measure = partial(delay.measure, run.bench, floods, chunk)
                run.sample("delay", "unboxed", rep, {}, measure)


def find_lines(run: Run) -> None:
    """A store at a time: they are large."""
    for name in query.STORES:
        with query.store(name) as logdir:
            for rep in range(run.reps):
                for question in query.QUESTIONS:
                    run.sample("query", question, rep, {"what": name},
                               partial(query.measure, logdir, question))


def scrapes(run: Run) -> None:
    for n in run.numbers or (_SCRAPE_N,):
        for rep in range(run.reps):
            run.sample("scrape", "unboxed", rep, {"n": n}, partial(scrape.measure, run.bench, n))


def isolate(run: Run) -> None:
    with isolation.rows(run.bench) as (stage, rows):
        chosen = [row for row in rows if run.wants(row)]
        for rep in range(run.reps):
            for row in chosen:
                run.sample("isolate", row, rep, {}, partial(row.run, stage))


def keys(run: Run) -> None:
    """Starts in turn; then calls, and memory, which settles slowly, once a key."""
    n = run.numbers[0] if run.numbers else _KEYS_N
    rows = list(enumerate(sandboxes.KEYS))
    with sandboxes.keys(run.bench, n) as found:
        for rep in range(run.reps):
            for row, key in rows:
                run.sample("keys", key, rep, {"what": "start"}, partial(found.start_ms, row))
        for row, key in rows:
            run.sample("keys", key, 0, {"what": "calls"}, partial(found.calls, row))
        for row, key in rows if n else ():
            run.sample("keys", key, 0, {"what": "memory"}, partial(found.memory, row, n))


def apps(run: Run) -> None:
    n = run.numbers[0] if run.numbers else _APPS_N
    for rep in range(run.reps):
        for name, bare in (("unboxed, level app", False), ("(limit) bare processes", True)):
            measure = partial(sandboxes.apps, run.bench, n, bare=bare)
            run.sample("apps", name, rep, {"n": n}, measure)


def boots(arguments: argparse.Namespace, bindir: Path, guest: boot.Guest) -> None:
    """Needs nothing of this machine's cgroups, hence no Bench."""
    words = [word for word in arguments.peers.split(",") if word]
    inits = boot.chosen(guest, lambda name: not words or any(word in name for word in words))
    with boot.archives(guest, bindir, inits) as archives:
        for rep in range(arguments.reps):
            for name, archive in archives.items():
                sample = {"workload": arguments.workload, "peer": name, "rep": rep,
                          "what": guest.program, **boot.measure(guest, archive)}
                with Path(arguments.out).open("a") as out:
                    print(json.dumps(sample), file=out)
                print(sample, flush=True)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "workload", choices=[*_SINGLE, "idle", "orphans", "logs", "delay", "query", "scrape",
                     "isolate",
                     "keys", "apps", "boot", "booted", "report", "all"])
    parser.add_argument("--kernel", default="", help="of boot and booted: an image for QEMU")
    parser.add_argument("--n", default="", help="numbers of services, comma-separated")
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--peers", default="", help="rows whose name contains one of these")
    parser.add_argument("--seconds", type=float, default=30, help="length of an idle window")
    parser.add_argument("--out", default="raw.jsonl", help="where samples go, and report's source")
    arguments = parser.parse_args(argv)
    if arguments.workload == "report":
        print(report.tables(Path(arguments.out)))
        return 0
    guest = None
    if arguments.workload in ("boot", "booted"):
        settle_s = _SETTLE_S if arguments.workload == "booted" else 0
        guest = boot.Guest(arguments.kernel, settle_s)
    if lacking := boot.why_not(guest) if guest else harness.why_not():
        print(f"cannot measure: {lacking}; nothing was run", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, _end)
    bindir = harness.build_probes(harness.scratch())
    if guest:
        try:
            boots(arguments, bindir, guest)
        finally:
            shutil.rmtree(bindir, ignore_errors=True)
        return 0
    bench = Bench(bindir, Fifo(bindir / "fifo"))
    try:
        _measure(Run(arguments, bench), arguments.workload)
    finally:
        bench.fifo.close()
        shutil.rmtree(bindir, ignore_errors=True)
    if arguments.workload == "all":
        print(report.tables(Path(arguments.out)))
    return 0


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """Leave by way of every `finally`, so that nothing that was started stays."""
    raise SystemExit(128 + number)


def _measure(run: Run, workload: str) -> None:
    everything = workload == "all"
    for name in _SINGLE:
        if workload == name or (everything and name != "trace"):
            single(run, name)
    if everything or workload == "idle":
        idle(run)
    if everything or workload == "orphans":
        reap_orphans(run)
    if everything or workload == "logs":
        store_logs(run)
    if everything or workload == "delay":
        wait_among_floods(run)
    if everything or workload == "query":
        find_lines(run)
    if everything or workload == "scrape":
        scrapes(run)
    if everything or workload == "isolate":
        isolate(run)
    if everything or workload == "keys":
        keys(run)
    if everything or workload == "apps":
        apps(run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
