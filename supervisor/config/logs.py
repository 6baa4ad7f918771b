"""The table of `[logs]` keys. Loaded when a unit has that section, and for documents."""
from __future__ import annotations

from typing import Any

from supervisor.config.quantity import DURATION, RATE, size
from supervisor.config.table import Fault, Key, Refused, Table, show
from supervisor.config.values import BOOLEAN, choice
from supervisor.model.unit import Logs


def _make(**fields: Any) -> Logs:
    """A smaller `keep` lowers the default `segment`; said in so many words, they must agree."""
    where = fields.get("to", "files")
    if where != "files" and len(fields) > 1:
        raise Refused.of([_idle(key, where) for key in LOGS.keys if key.field in fields][:-1])
    keep_bytes = fields.get("keep_bytes")
    if keep_bytes is not None:
        fields.setdefault("segment_bytes", min(Logs().segment_bytes, keep_bytes // 4))
    made = Logs(**fields)
    if made.segment_bytes > made.keep_bytes:
        raise Refused("cannot be more than logs.keep; lower it, or raise that", "segment")
    return made


def _idle(key: Key, where: str) -> Fault:
    why = f"cannot be together with logs.to = {show(where)}: it is for files; remove it"
    return (key.name,), why


LOGS = Table(
    Logs,
    Key(
        "keep",
        size(256 << 10),
        "keep_bytes",
        '"256MiB"',
        "the newest so many bytes are kept, for each instance",
    ),
    Key(
        "segment",
        size(64 << 10),
        "segment_bytes",
        '"16MiB"',
        "size of one file of them; at most a quarter of a smaller `keep` unless set",
    ),
    Key(
        "max_age",
        DURATION,
        "max_age_ns",
        '"0s"',
        "closed files whose last line is older than this are deleted; 0: none for its age",
    ),
    Key("compress", BOOLEAN, "compress", "true", "compress closed files, when nothing else runs"),
    Key(
        "stderr",
        choice("merge", "separate"),
        "stderr",
        '"merge"',
        "`separate`: standard error has a pipe of its own, and its lines are marked as such; the "
        "order of lines of both is that of their arrival. `merge`: one pipe, so the order is exact",
    ),
    Key(
        "on_full",
        choice("block", "drop"),
        "on_full",
        '"block"',
        "when storage fails or is slow and the pipe is full: `block`: the unit waits in its write, "
        "`drop`: what is in the pipe is dropped, and a record says how much. Nothing is ever lost "
        "without a record",
    ),
    Key(
        "rate",
        RATE,
        "rate_bytes",
        "",
        "what comes faster (one second's worth may come at once) is dropped, and a record says how "
        "much; else any rate is taken",
    ),
    Key(
        "to",
        choice("files", "console", "null", "inherit"),
        "to",
        '"files"',
        "`files`: the log store, which `unboxed logs` reads; `console`: /dev/console; `null`: "
        "nowhere; `inherit`: the supervisor's own standard output and error. But for `files`, no "
        "other key of this section may be there",
    ),
    make=_make,
)
