"""Linux signal numbers and names (x86-64 and arm64 share them), without the signal module; and
durations as unit files write them."""
from __future__ import annotations

SIGNALS = {
    "HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "BUS": 7, "FPE": 8, "KILL": 9,
    "USR1": 10, "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15, "STKFLT": 16,
    "CHLD": 17, "CONT": 18, "STOP": 19, "TSTP": 20, "TTIN": 21, "TTOU": 22, "URG": 23, "XCPU": 24,
    "XFSZ": 25, "VTALRM": 26, "PROF": 27, "WINCH": 28, "IO": 29, "PWR": 30, "SYS": 31,
}  # fmt: skip
_NAMES = {number: name for name, number in SIGNALS.items()}
LAST_SIGNAL = 64


def signal_name(number: int) -> str:
    """"SIGTERM" for 15; real-time signals as "SIGRTMIN+n"; anything else as its number."""
    if number in _NAMES:
        return "SIG" + _NAMES[number]
    return f"SIGRTMIN+{number - 34}" if 34 <= number <= LAST_SIGNAL else f"signal {number}"


def signal_number(text: str) -> int | None:
    """15 for "TERM", "SIGTERM", "term" or "15"; None for no signal."""
    if text.isascii() and text.isdigit():
        return int(text) if 1 <= int(text) <= LAST_SIGNAL else None
    word = text.upper().removeprefix("SIG")
    if word.startswith("RTMIN+") and word[6:].isdigit() and int(word[6:]) <= 30:
        return 34 + int(word[6:])
    return SIGNALS.get(word)


DURATION_UNITS = (  # longest first, the order in which a text has them
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
)


def duration_text(ns: int) -> str:
    """The shortest text that means it: "1h30m", "100ms", "1.5s"."""
    if not ns:
        return "0s"
    if 10**9 < ns < 60 * 10**9 and ns % 10**6 == 0:
        return f"{ns / 1e9:g}s"
    parts: list[str] = []
    for name, scale in DURATION_UNITS:
        number, ns = divmod(ns, scale)
        if number:
            parts.append(f"{number}{name}")
    return "".join(parts)
