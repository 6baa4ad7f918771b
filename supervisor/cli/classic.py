"""poweroff, reboot, halt and shutdown, as they were for decades: this program by another name.

Law: what an option means elsewhere it means here, and one that means nothing here is refused.
"""
from __future__ import annotations

import time

from supervisor.cli import first_process, power
from supervisor.cli.call import BAD_USAGE, DONE, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

USAGE = {
    "shutdown": """\
shutdown [-P|-r|-H|-h|-k|-c|--show] [--no-wall] [TIME [MESSAGE...]]
  -P, --poweroff  power off (the default; -h is the same)   -r, --reboot  reboot
  -H, --halt      halt                                      -k  only write the message
  -c  cancel what is scheduled    --show  tell what is      --no-wall  tell nobody
TIME is now, +MINUTES or HH:MM; +1 if it is left out, or now for `shutdown -k`.""",
    **dict.fromkeys(("poweroff", "reboot", "halt"), """\
{name} [-p] [-f [-f]] [-n] [--poweroff|--reboot|--halt] [--no-wall]
  -f, --force  kill what runs at once; twice: reboot(2) at once, nothing is stopped or unmounted
  -n, --no-sync  with that: without writing to disk what programs have written
  -p, --poweroff  power off    --reboot  reboot    --halt  halt    --no-wall  tell nobody"""),
}
_LONG = {"--force": "f", "--no-sync": "n", "--poweroff": "P", "--reboot": "r", "--halt": "H",
         "--no-wall": "W", "--show": "S"}
_ACTIONS = {"P": "poweroff", "r": "reboot", "H": "halt", "h": "poweroff", "p": "poweroff"}
_TAKES = {"shutdown": "PrHhkcWS", **dict.fromkeys(("poweroff", "reboot", "halt"), "pfnPrHW")}


def run(name: str, argv: Sequence[str]) -> int:
    """`name`: by which this program was called. Raises Failure."""
    if "--help" in argv:
        print(USAGE[name].format(name=name))
        return DONE
    letters, words = _split(name, argv)
    if name == "shutdown":
        return _shutdown(letters, words)
    if words:
        raise _bad(name, f"it does not take {words[0]}")
    verb = _action(letters, name)
    if letters.count("f") > 1:
        return first_process.at_once(verb, sync="n" not in letters)
    if "n" in letters:
        raise _bad(name, "-n is for -f -f: services write to disk while they are stopped")
    if "W" not in letters:
        _announce(verb, "")
    return power.end(verb, force="f" in letters)


def _split(name: str, argv: Sequence[str]) -> tuple[str, list[str]]:
    """Options as letters, and words. Those of `shutdown` that follow its time are its message."""
    letters, words = "", list[str]()
    rest = iter(argv)
    for word in rest:
        if word == "--":
            words += rest
        elif word.startswith("--"):
            letters += _known(name, _LONG.get(word, ""), word)
        elif word.startswith("-") and word != "-":
            letters += "".join(_known(name, letter, f"-{letter}") for letter in word[1:])
        else:
            words.append(word)
            if len(words) > 1 and name == "shutdown":
                words += rest
    return letters, words


def _known(name: str, letter: str, word: str) -> str:
    if not letter or letter not in _TAKES[name]:
        raise _bad(name, f"it has no option {word}")
    return letter


def _action(letters: Iterable[str], default: str) -> str:
    """The last one that is named."""
    named = [_ACTIONS[letter] for letter in letters if letter in _ACTIONS]
    return named[-1] if named else default


def _announce(verb: str, message: str) -> None:
    from supervisor.cli.wall import wall

    power.check(verb)
    wall(message or f"The system will {power.DOING[verb]} now!")


def _shutdown(letters: str, words: Sequence[str]) -> int:
    tell = "W" not in letters
    if "S" in letters:
        from supervisor.cli.scheduled import show

        return show()
    if "c" in letters:
        from supervisor.cli.scheduled import cancel

        return cancel(" ".join(words), tell=tell)
    verb = _action(letters, "poweroff")
    now = int(time.time())
    message = " ".join(words[1:])
    when = moment(words[0] if words else "now" if "k" in letters else "+1", now)
    if "k" in letters:
        from supervisor.cli.scheduled import clock
        from supervisor.cli.wall import tell as tell_all

        tell_all(message or f"The system will {power.DOING[verb]} at {clock(when)}!")
        return DONE
    if when <= now:
        if tell:
            _announce(verb, message)
        return power.end(verb)
    from supervisor.cli.scheduled import schedule

    return schedule(verb, when, message, tell=tell, fixed=":" not in "".join(words[:1]))


def moment(text: str, now: int) -> int:
    """now, +5, 5 or 23:30 (today's, or tomorrow's) as seconds since 1970. Raises Failure."""
    minutes = text.removeprefix("+")
    if text == "now":
        return now
    if minutes.isascii() and minutes.isdigit() and len(minutes) < 8:
        return now + 60 * int(minutes)
    hour, colon, minute = text.partition(":")
    if not (colon and hour.isdecimal() and minute.isdecimal() and len(minute) == 2
            and int(hour) < 24 and int(minute) < 60):
        raise _bad("shutdown", f"{text!r} is no time")
    there = time.localtime(now)
    today, tomorrow = (
        int(time.mktime((there.tm_year, there.tm_mon, there.tm_mday + day, int(hour), int(minute),
                         0, 0, 0, -1)))
        for day in (0, 1))
    return today if today > now else tomorrow


def _bad(name: str, reason: str) -> Failure:
    return Failure(f"cannot run `{name}`: {reason}\n{USAGE[name].format(name=name)}", BAD_USAGE)
