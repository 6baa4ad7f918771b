"""Unit files made to be expensive, and what each costs: run as a program, one JSON line a file.

Each is loaded in a fork of its own, so that its peak memory is its own: {name: [CPU seconds, peak
resident bytes more than before, problems]}.
"""
from __future__ import annotations

import itertools
import json
import os
import resource
import string
import sys
import time
from collections.abc import Callable, Iterable

from supervisor.config.guard import MAX_BYTES, MAX_LINE, SMALL
from supervisor.config.load import load_text
from supervisor.config.problem import Broken

ROOM = MAX_BYTES - 64


def _names() -> Iterable[str]:
    return map("".join, itertools.product(string.ascii_lowercase + string.digits, repeat=3))


def _fill(parts: Iterable[str], room: int = ROOM) -> str:
    out: list[str] = []
    for part in parts:
        room -= len(part.encode())
        if room < 0:
            break
        out.append(part)
    return "".join(out)


def _inline(part: str, room: int = ROOM) -> str:
    """One array of many parts, on lines that are just short enough."""
    per_line = (MAX_LINE - 10) // len(part)
    line = part * per_line + "\n"
    return "x=[\n" + _fill([line] * (room // len(line))) + "]\n"


def _tables(template: str, room: int = ROOM) -> str:
    return _fill((template.replace("N", name) for name in _names()), room)


DEEP = ".a" * 7

CASES: dict[str, Callable[[], str]] = {
    # the numbered one: 40 KB, one key of 20,000 parts
    "20,000 parts": lambda: "a" + ".a" * 19_999 + "=1",
    "20,000 parts in a header": lambda: "[a" + ".a" * 19_999 + "]",
    "20,000 parts with blanks": lambda: "a" + " . a" * 16_000 + "=1",
    "900 parts again and again": lambda: _tables("N" + ".a" * 900 + "=1\n"),
    "100 parts again and again": lambda: _tables("N" + ".a" * 100 + "=1\n"),
    "8 parts in headers": lambda: _tables(f"[N{DEEP}]\n"),
    "8 quoted parts in headers": lambda: _tables('["N"' + '."a"' * 7 + "]\n"),
    "8 parts with tables": lambda: _tables(f"N{DEEP}={{}}\n"),
    "8 parts, 4,095 dots": lambda: _tables(f"N{DEEP}={{}}\n", 585 * 21),
    "8 parts in one table": lambda: "x={" + _tables(f"N{DEEP}={{}},", MAX_LINE - 99) + "y=1}",
    "tables": lambda: _tables("[N]\n"),
    "4,000 tables": lambda: _tables("[N]\n", 24_000),
    "2,000 tables with keys": lambda: _tables("[N]\nb={c={}}\n", 32_000),
    "arrays of tables": lambda: _tables("[[N]]\n"),
    "2,000 arrays of tables": lambda: _tables("[[N]]\n", 16_000),
    "one array of tables": lambda: "[[a]]\n" * 2000,
    "64 listeners, all wrong": lambda: _fill(
        "[[listen]]\n" + "".join(f"k{n}{n}=1\n" for n in range(60)) for _ in range(64)
    ),
    "2,000 listeners": lambda: '[[listen]]\naddress="tcp:1"\n' * 2000,
    "keys": lambda: _tables("N=1\n", 24_000),
    "keys of tables": lambda: _tables("N={}\n", 24_000),
    "long unknown keys": lambda: _tables("N" + "x" * 37 + "=1\n"),
    "unknown keys that look alike": lambda: _tables("commNd=1\n", 39_000),
    "unknown keys everywhere": lambda: _fill(
        f"[{name}]\n" + "".join(f"delai{n}=1\n" for n in range(101))
        for name in ("restart", "start", "stop", "logs", "needs", "conditions", "limits", "sandbox")
    ),
    "promises that look alike": lambda: "sandbox.promises=[\n" + _fill(
        (f'"{name}ath",\n' for name in _names()), 9000) + "]",
    "capabilities that look alike": lambda: "sandbox.capabilities=[\n" + _fill(
        (f'"sys_tty_{name}fig",\n' for name in _names()), 18_000) + "]",
    "1,000 wrong rules": lambda: "network.connect=[\n" + _fill(
        (f'"10.{n % 250}.{n}.1/8:80",\n' for n in range(1, 1000)), 24_000) + "]",
    "340 ranges that overlap": lambda: "sandbox.users.map=[\n" + _fill(
        f'"{n}:{n}:{340 - n}",\n' for n in range(340)) + "]",
    "340 ranges that do not": lambda: "sandbox.users.map=[\n" + _fill(
        f'"{n}:{n}:1",\n' for n in range(339)) + '"338:0:1"]',
    "empty tables": lambda: _inline("{},"),
    "empty arrays": lambda: _inline("[],"),
    "tables in an array": lambda: _inline("{a.a.a.a.a.a.a.a=1},"),
    "4,000 tables in an array": lambda: _inline("{a={}},", 14_000),
    "31 brackets": lambda: _inline("[" * 31 + "]" * 31 + ","),
    "31 braces": lambda: _inline("{a=" * 31 + "1" + "}" * 31 + ","),
    "30,000 brackets": lambda: "x=" + "[" * 16_000 + "\n" + "[" * 14_000,
    "open brackets": lambda: "[{" * 1000 + "\n",
    "escapes": lambda: 'x="""' + ("\\n" * 8000 + "\n") * 4 + '"""',
    "escapes beside wide characters": lambda: 'x="""\U0001f600' + ("\\n" * 8000 + "\n") * 3 + '"""',
    "escaped line ends": lambda: 'x="""' + "\\\n" * 4000 + '"""',
    "backslashes and quotes": lambda: ("x=" + '\\"' * 8000 + "\n") * 4,
    "quotes": lambda: ('"' * 16_000 + "\n") * 4,
    "triple quotes": lambda: "x='''" + "''\n" * 4000,
    "open multi-line text": lambda: 'x="""' + ('a"' * 8000 + "\n") * 4,
    "newlines": lambda: "\n" * ROOM,
    "4,095 newlines": lambda: "\n" * 4095,
    "comments": lambda: "#\n" * 4000,
    "one comment": lambda: "#" * ROOM,
    "carriage returns": lambda: "\r" * ROOM,
    "NULs": lambda: "\0" * ROOM,
    "digits": lambda: "x=" + "1" * 16_000,
    "4,290 digits": lambda: "".join(f"a{n}=" + "1" * 4290 + "\n" for n in range(15)),
    "hexadecimal digits": lambda: "".join(f"a{n}=0x" + "f" * 16_000 + "\n" for n in range(4)),
    "hexadecimal digits in place": lambda: "restart.delay = 0x" + "f" * 16_000,
    "decimals": lambda: "".join(f"a{n}=1." + "1" * 16_000 + "\n" for n in range(4)),
    "exponents": lambda: _inline("1e999,"),
    "integers": lambda: _inline("1,"),
    "dates": lambda: _inline("1979-05-27T00:32:00Z,"),
    "texts": lambda: _inline('"",'),
    "a command of many words": lambda: _inline('"",').replace("x=", "command=", 1),
    "a text of many words": lambda: 'command="""' + ("a " * 8000 + "\n") * 4 + '"""',
    "a text of many quotes": lambda: 'command="""' + ("'a'" * 5000 + "\n") * 4 + '"""',
    "many wrong words": lambda: _inline("1,").replace("x=", "command=", 1),
    "many names": lambda: "[needs]\nwants=[\n" + _tables('"N",\n', 30_000) + "]",
    "many wrong names": lambda: "[needs]\nwants=[\n" + _tables('"N!",\n', 30_000) + "]",
    "one name many times": lambda: _inline('"a",').replace("x=", "needs.wants=", 1),
    "a long ladder": lambda: _inline('"A",').replace("x=", "stop.ladder=", 1),
    "a large environment": lambda: 'command="x"\n[env]\n' + _tables("N=1\n", 24_000),
    "a wrong environment": lambda: "[env]\n" + _tables('"N N"=1\n', 40_000),
    "many wrong ports": lambda: 'command="""' + ("{port:x} " * 1800 + "\n") * 4 + '"""',
    "many port beginnings": lambda: 'command="""' + ("{port:" * 2700 + "\n") * 4 + '"""',
    "a long path": lambda: 'directory="""/' + ("\u4e00" * 5000 + "\n") * 4 + '"""',
    "a long name": lambda: '"' + "\u4e00" * 5000 + '"=1',
    "a long pattern": lambda: "start.ready.log='" + "[a-z]" * 3000 + "'",
    "a hard pattern": lambda: "start.ready.log='(?i)" + "(?:[\\x00-\\xff]{1,99}|a)" * 40 + "'",
    "a nested pattern": lambda: "start.ready.log='" + "(" * 500 + ")" * 500 + "'",
    "alternatives": lambda: "start.ready.log='" + "aaa|" * 255 + "'",
    "long duration": lambda: 'restart.delay="' + "1s" * 8000 + '"',
    "long text wherever": lambda: "".join(
        f'{key}="' + "9" * 15_000 + '"\n' for key in ("umask", "user", "kind", "stop.ladder")
    ),
    # as much as is not looked at before it is parsed
    "small: parts": lambda: "a" + ".a" * ((SMALL - 4) // 2) + "=1",
    "small: 990 parts": lambda: "a" + ".a" * 990 + "=1",
    "small: headers": lambda: _tables(f"[N{'.a' * 60}]\n", SMALL),
    "small: tables": lambda: "x=[" + "{}," * 600 + "]",
    "small: brackets": lambda: "[" * SMALL,
    "small: 399 brackets": lambda: "x=" + "[" * 399 + "]" * 399,
    "small: 399 braces": lambda: "x=" + "{a=" * 399 + "1" + "}" * 399,
    "small: NULs": lambda: "\0" * SMALL,
}


def _measure(text: str) -> list[float]:
    started = time.process_time()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = load_text("web", text, "web.toml")
    spent = time.process_time() - started
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    problems = found.problems if isinstance(found, Broken) else ()
    assert all(str(problem).isprintable() for problem in problems)
    return [spent, more * 1024, len(problems)]


def _in_fork(text: str) -> list[float]:
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, json.dumps(_measure(text)).encode())
        os._exit(0)
    os.close(write)
    with open(read, encoding="ascii") as answer:
        line = answer.read()
    os.waitpid(child, 0)
    found: list[float] = json.loads(line)
    return found


def main() -> None:
    load_text("web", "x = 5\n[restart]\ny = '", "f")
    load_text("web", "x = 5\n[restart]\nwen = 1", "f")  # everything is imported now
    for name, make in CASES.items():
        text = make()
        assert len(text.encode()) <= MAX_BYTES, (name, len(text.encode()))
        best = min(_in_fork(text) for _ in range(2))
        sys.stdout.write(json.dumps({name: best}) + "\n")


if __name__ == "__main__":
    main()
