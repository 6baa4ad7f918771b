"""The choice of a signal, and the help."""
from __future__ import annotations

from textual.app import ComposeResult
from textual.events import Key
from textual.screen import Screen

from supervisor.cli.top.widgets import Line, Text

SIGNALS = (
    ("t", "TERM", "end, please"), ("k", "KILL", "end at once"), ("h", "HUP", "hang-up, or reload"),
    ("i", "INT", "Ctrl-C"), ("q", "QUIT", "end with a core dump"), ("1", "USR1", "its own meaning"),
    ("2", "USR2", "its own meaning"), ("w", "WINCH", "its own meaning"), ("c", "CONT", "go on"),
    ("s", "STOP", "stand still"), ("a", "ABRT", "abort with a core dump"),
)

def signal_lines(key: str) -> list[str]:
    return [f"signal for all processes of {key}:",
            *(f"  {letter}  {name:6} {about}" for letter, name, about in SIGNALS),
            "  any other key: none"]


HELP = """\
Units                                   Actions, each asked about first
  ↑ ↓ PgUp PgDn Home End   select         s start      f freeze
  /  search, Esc ends it                  x stop       t thaw
  i  one row for all instances            r restart    k kill, by a signal
                                          e reload
Order: the first letter of a heading,
once more to turn it round              Pane below
  U unit   S state     C CPU              l its log, as it is written
  M memory T tasks     R restarts         p its processes
  P PSI    A age                          w its state in full, and why
                                          ← → sideways
?  this help                              Enter the pane alone: there
q  leave, as Ctrl-C                         ↑ ↓ PgUp PgDn; Esc goes back
Ctrl-Z suspend, Ctrl-L draw anew

CPU% is of one CPU. MEM is charged memory, with what is cached for it. The bars
show both since this screen was opened. RST: how often it was started again.
PSI: the share of the last 10 s in which something of it had to wait, c12 for a
CPU, m3 for memory, i7 for disks. AGE: since when it is in its state.

Any key goes back."""


class Help(Screen[None]):
    """The keys, on the whole screen."""

    DEFAULT_CSS = """
    Help > Text { height: 1fr; }
    """

    def compose(self) -> ComposeResult:
        yield Line("help-title")
        yield Text("help", 100)

    def on_mount(self) -> None:
        self.query_one("#help-title", Line).show((" unboxed top", "title"))
        self.query_one(Text).replace(HELP.split("\n"), end=False)

    def on_key(self, event: Key) -> None:
        event.stop()
        text = self.query_one(Text)
        if event.key in {"up", "down", "pageup", "pagedown"} and (
                text.size.height < len(text.lines)):
            text.move({"up": -1, "down": 1, "pageup": -10, "pagedown": 10}[event.key])
        else:
            self.dismiss()
