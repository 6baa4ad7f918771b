"""What an operator's signal (`unboxed kill`, `unboxed reload`) has to do with how a run ends."""
from __future__ import annotations

from supervisor.core.words import CLD_EXITED, exit_words
from supervisor.model import event as ev
from supervisor.model.state import Instance
from supervisor.model.unit import SECOND_NS
from supervisor.model.values import signal_name

SENT_NS = 10 * SECOND_NS  # an exit up to so long after a signal is put down to it


def attributed(inst: Instance, event: ev.Exited, now: int) -> ev.Exited:
    """An exit with the operator's signal in its words, if that explains it: it died of it, or it
    exited soon after. What was sent is used up."""
    number, when, who = inst.sent, inst.sent_ns, inst.sent_by
    inst.sent, inst.sent_ns, inst.sent_by = 0, 0, ""
    if event.words or now - when > SENT_NS:
        return event
    words = exit_words(event.code, event.status)
    if event.code == CLD_EXITED:
        after = (now - when) / SECOND_NS
        words = f"{words}, {after:.1f} s after {signal_name(number)} sent by {who}"
    elif event.status == number:
        words = f"{words}, sent by {who}"
    return ev.Exited(event.launch, event.code, event.status, event.empty, words)
