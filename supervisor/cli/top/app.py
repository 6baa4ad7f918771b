"""The screen of `unboxed top`: two lines of the machine and the supervisor, the list of units, a
pane about the selected one, and two lines of answers and keys.

Law: a key only moves, asks or starts a thread; whatever takes time comes back as a message.
"""
from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Key, Resize
from textual.screen import Screen
from textual.timer import Timer

from supervisor.cli.call import Call
from supervisor.cli.top import messages, threads
from supervisor.cli.top.dialogs import SIGNALS, Help, signal_lines
from supervisor.cli.top.pane import KEPT_LINES, Pane
from supervisor.cli.top.status_lines import about_line, machine_line, supervisor_line
from supervisor.cli.top.table import ORDERS, Units
from supervisor.cli.top.widgets import Answer, Heading, Line, List, Text
from supervisor.cli.words import summary
from supervisor.model.values import signal_number

_VERBS = {"s": "start", "x": "stop", "r": "restart", "e": "reload", "f": "freeze", "t": "thaw"}
_PANES = {"l": "logs", "p": "processes", "w": "why"}
_SETTLE_S = 0.15  # a selection that stays so long is shown in the pane
_SMALL = 14  # lines; with less there is a list or a pane, not both
_TINY = 8  # and with less than that, nothing but these and answers
_SAID_S = 15.0  # so long is an answer shown; a refusal until the next one
_KEYS = (
    ("s", "start"), ("x", "stop"), ("r", "restart"), ("k", "kill"), ("/", "search"),
    ("Enter", "whole pane"), ("?", "all keys"), ("q", "leave"),
)  # fmt: skip


class Top(App[int]):
    ENABLE_COMMAND_PALETTE = False
    AUTO_FOCUS = None
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "leave(130)", priority=True, show=False),
        Binding("ctrl+q", "leave(0)", priority=True, show=False),
        Binding("ctrl+z", "suspend_process", priority=True, show=False),
        Binding("ctrl+l", "redraw", priority=True, show=False),
    ]
    CSS = """
    Screen { background: ansi_default; color: ansi_default; layout: vertical; }
    #pane { height: 40%; }
    .whole #list, .whole #heading { display: none; }
    .whole #pane { height: 1fr; }
    .small #pane, .small #about { display: none; }
    .small.whole #pane { display: block; }
    .tiny #machine, .tiny #keys { display: none; }
    #choice { display: none; }
    .choosing #choice { display: block; }
    .choosing #pane { display: none; }
    """

    def __init__(self, call: Call, interval_s: float) -> None:
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"
        self.units = Units()
        self._lines = {
            name: Line(name, rule=name == "about")
            for name in ("supervisor", "machine", "about", "keys")
        }
        self._heading = Heading(self.units)
        self._list = List()
        self._text = Text("pane", KEPT_LINES)
        self._choice = Text("choice", KEPT_LINES)
        self._said_line = Answer("said")
        self._call = call
        self._looker = threads.Looker(call, interval_s, self.post_message)
        self._what = "logs"
        self._turn = 0
        self._shown = ("", "")  # what the pane is about: (unit, which pane)
        self._pane: Pane | None = None
        self._timer: Timer | None = None
        self._manager: tuple[int, int] | None = None  # (pid, starts)
        self._lost = ""
        self._quiet: Timer | None = None  # runs while the last answer is shown
        self._said = False
        self._answer: Callable[[str], None] | None = None  # what the next key is for
        self._later: tuple[str, str] | None = None  # said while a question stood there
        self._searching = False
        self._looked: messages.Looked | None = None

    def compose(self) -> ComposeResult:
        yield self._lines["supervisor"]
        yield self._lines["machine"]
        yield self._heading
        yield self._list
        yield self._lines["about"]
        yield self._text
        yield self._choice
        yield self._said_line
        yield self._lines["keys"]

    def on_mount(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.action_leave, 128 + number)
        self._lines["supervisor"].show((" asking the supervisor ...", "faint"))
        self._keys()
        self.set_interval(1.0, self._tick)
        self.app_resume_signal.subscribe(self, lambda _: self.action_redraw())
        self._errors = threads.tell_errors(self.post_message)
        self._looker.start()

    def on_unmount(self) -> None:
        self._looker.close()
        if self._pane:
            self._pane.close()
        self._errors()

    # --- what comes -----------------------------------------------------------------------------

    def on_listed(self, message: messages.Listed) -> None:
        self.units.listed(message.statuses)
        self._fill()

    def on_sampled(self, message: messages.Sampled) -> None:
        self.units.sampled(message.statuses, message.now_s)

    def on_told(self, message: messages.Told) -> None:
        self.units.told(message.statuses)
        self.units.summed()
        self._fill()

    def on_looked(self, message: messages.Looked) -> None:
        supervisor = message.supervisor
        now = supervisor["pid"], supervisor["manager_starts"]
        if self._lost:
            self._say("the supervisor answers again", "good")
        if self._manager and now != self._manager:
            self._say(f"the manager was replaced; it was started {now[1]} times by now", "busy")
        self._manager, self._lost = now, ""
        self._list.stale = False
        self._looked = message
        self.units.summed(sampled=True)
        self._show_head()
        self._fill()

    def on_lost(self, message: messages.Lost) -> None:
        if message.reason != self._lost:
            self._say(message.reason, "bad")
        self._lost = message.reason
        self._list.stale = True
        self._list.refresh()
        self._lines["supervisor"].show((" no supervisor answers ", "asks"))
        self._lines["machine"].show((" It is asked again; what is shown was so before.", "busy"))

    def _show_head(self) -> None:
        if self._looked and not self._lost:
            supervisor, machine = self._looked.supervisor, self._looked.machine
            self._lines["supervisor"].show(*supervisor_line(supervisor, machine))
            self._lines["machine"].show(*machine_line(machine, self.size.width))

    def on_said(self, message: messages.Said) -> None:
        self._say(message.text, message.kind)

    def on_broke(self, message: messages.Broke) -> None:
        raise message.error

    def on_lines(self, message: messages.Lines) -> None:
        if message.turn != self._turn:
            return
        if not message.fresh:
            self._text.add(message.lines)
        elif message.lines != self._text.lines:
            self._text.replace(message.lines, end=self._what == "logs")

    # --- keys -----------------------------------------------------------------------------------

    def on_key(self, event: Key) -> None:
        name, char = event.key, event.character or ""
        if self._answer:
            answer, self._answer = self._answer, None
            answer(char)
            if self._later and not self._answer:
                self._say(*self._later)
                self._later = None
            return
        if self._searching and self._search(name, char):
            return
        page = max((self._text if self._whole else self._list).size.height - 1, 1)
        steps = {"up": -1, "down": 1, "pageup": -page, "pagedown": page, "home": -10**9,
                 "end": 10**9}
        if name in steps:
            self._move(steps[name])
        elif name in {"left", "right"}:
            self._text.sideways(1 if name == "right" else -1)
        elif name == "enter":
            self.screen.toggle_class("whole")
        elif name == "escape":
            if self._whole:
                self.screen.remove_class("whole")
            else:
                self.units.search = ""
                self._rest()
                self._fill()
        elif char in ORDERS:
            self.units.sort_by(char)
            self._heading.refresh()
            self._fill()
        elif char in _VERBS:
            self._ask(_VERBS[char])
        elif char in _PANES:
            self._what = _PANES[char]
            self._show_pane()
        elif char == "k":
            self._choose_signal()
        elif char == "i":
            self.units.collapsed = not self.units.collapsed
            self.units.summed()
            self._fill()
        elif char == "/":
            self._searching = True
            self._show_sum()
        elif char in {"?", "h"}:
            self._looker.wanted.clear()  # nobody sees the figures
            self.push_screen(Help(), lambda _: self._looker.wanted.set())
        elif char == "q":
            self.action_leave(0)

    def action_leave(self, code: int) -> None:
        self.exit(code, return_code=code)

    def action_redraw(self) -> None:
        self.screen.refresh(repaint=True, layout=True)

    def on_resize(self, event: Resize) -> None:
        self.base.set_class(event.size.height < _SMALL, "small")
        self.base.set_class(event.size.height < _TINY, "tiny")
        self._show_head()
        self._show_about()

    # --- parts ----------------------------------------------------------------------------------

    @property
    def base(self) -> Screen[Any]:
        """The screen below help and questions."""
        return self.screen_stack[0]

    @property
    def _whole(self) -> bool:
        return bool(self.base.has_class("whole"))

    def _say(self, text: str, kind: str) -> None:
        if self._answer:
            self._later = (text, kind)  # the question first
            return
        self._said = True
        self._said_line.tell(text, kind)
        if self._quiet:
            self._quiet.stop()
        self._quiet = None if kind == "bad" else self.set_timer(_SAID_S, self._rest)

    def _rest(self) -> None:
        """Nothing to say: how the units are, in sum."""
        self._said = False
        self._show_sum()

    def _show_sum(self) -> None:
        if self._said or self._answer:
            return
        shown, every = len(self._list.rows), len(self.units.all)
        if self._searching:
            self._said_line.show((f" /{self.units.search}", "title"), (" ", "asks"), (
                f"  {shown} of {every}; part of a name, a state or a description", "faint"))
            return
        if self.units.search:
            of = f" {shown} of {every} with {self.units.search!r}; Esc shows all"
        else:
            of = f" {self._list.at + 1 if shown else 0} of {shown}"
        self._said_line.show(
            (of, "odd" if self.units.search else "faint"),
            (f"  {summary(self.units.statuses())}", ""))

    def _keys(self) -> None:
        parts: list[tuple[str, str]] = []
        for keys, what in _KEYS:
            parts += [(f" {keys}", "title"), (f" {what}", "faint")]
        self._lines["keys"].show(*parts)

    def _tick(self) -> None:
        """Ages are counted on."""
        if not self._lost:
            self._list.refresh()
            self._show_about()

    def _fill(self) -> None:
        self._list.fill(self.units.rows())
        self._show_pane()
        self._show_about()
        self._show_sum()

    def _move(self, by: int) -> None:
        if self._whole:
            self._text.move(by)
        else:
            self._list.move(by)
            self._show_pane()
            self._show_about()
            self._rest()

    def _show_pane(self) -> None:
        """Let the pane follow the selection, once that has settled."""
        row = self._list.selected
        wanted = (row.name if row else "", self._what)
        if wanted == self._shown:
            return
        self._shown = wanted
        self._turn += 1
        if self._pane:
            self._pane.close()
            self._pane = None
        self._show_about()
        if self._timer:
            self._timer.stop()
        self._timer = self.set_timer(_SETTLE_S, self._open_pane)

    def _show_about(self) -> None:
        row = self._list.selected
        if row is not None:
            self._lines["about"].show(*about_line(row, self._what, _PANES, self.size.width))

    def _open_pane(self) -> None:
        row = self._list.selected
        if row is not None:
            keys = tuple(member.key for member in row.members) or (row.key,)
            self._pane = Pane(self._call, self._what, keys, self._turn, self.post_message)
            self._pane.start()
        else:
            self._text.replace([], end=False)

    def _ask(self, verb: str, number: int | None = None, name: str = "") -> None:
        row = self._list.selected
        if row is None:
            return
        key = row.key
        all_of = f" (all {len(row.members)} instances)" if row.members else ""
        question = f"send SIG{name} to {key}{all_of}?" if name else f"{verb} {key}{all_of}?"

        def answered(char: str) -> None:
            self._rest()
            if char in {"y", "Y"}:
                threads.act(self._call, verb, key, self.post_message, number)

        self._answer = answered
        self._said_line.show((f" {question} ", "asks"), ("  y", "title"), (" yes  ", ""),
                                ("any other key", "title"), (" no", ""))
        self._said = True

    def _choose_signal(self) -> None:
        row = self._list.selected
        if row is None:
            return
        lines = signal_lines(row.key)
        self._choice.styles.height = len(lines)
        self._choice.replace(lines, end=False)
        self.base.add_class("choosing")

        def chosen(char: str) -> None:
            self.base.remove_class("choosing")
            for letter, name, _ in SIGNALS:
                if letter == char:
                    self._ask("kill", signal_number(name), name)

        self._answer = chosen

    def _search(self, name: str, char: str) -> bool:
        """Whether the key was part of a search."""
        if name == "backspace":
            self.units.search = self.units.search[:-1]
        elif name == "escape":
            self.units.search, self._searching = "", False
        elif char.isprintable() and char:
            self.units.search += char
        else:
            self._searching = False
            self._rest()
            return name == "enter"
        self._rest()
        self._fill()
        return True
