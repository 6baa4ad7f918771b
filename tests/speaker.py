"""A service for tests that does what lines in a FIFO tell it.

    speaker.py FIFO OUT

    notify TEXT...   send TEXT (with \\n for line ends) to NOTIFY_SOCKET
    store NAME TEXT  park a memfd that holds TEXT, as NAME
    park NAME        park one end of a socket pair, as NAME; the other end closes at "unpark"
    unpark           close it
    barrier          send BARRIER=1 and wait until it is let go
    fork             fork; the parent goes on, the child takes over the FIFO
    say TEXT         print TEXT
    end N            exit with status N
    facts            append one JSON line about this process to OUT

One JSON line of facts is written to OUT at the start, too, and one at each SIGHUP and SIGUSR1.
"""

import array
import json
import os
import signal
import socket
import stat
import sys


def facts(out: str, event: str) -> None:
    stored = {}
    with open("/proc/self/status") as file:
        status = file.read()
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    for index in range(int(os.environ.get("LISTEN_FDS", "0"))):
        fd = 3 + index
        kind = os.fstat(fd).st_mode
        if stat.S_ISSOCK(kind):
            with socket.socket(fileno=os.dup(fd)) as sock:
                stored[names[index]] = sock.family.name
        else:
            stored[names[index]] = "fifo" if stat.S_ISFIFO(kind) else os.pread(fd, 99, 0).decode()
    umask = os.umask(0o77)
    os.umask(umask)
    row = {
        "event": event, "pid": os.getpid(), "cwd": os.getcwd(), "uid": os.getuid(),
        "gid": os.getgid(), "groups": os.getgroups(), "env": dict(os.environ), "fds": stored,
        "cpus": sorted(os.sched_getaffinity(0)), "umask": umask, "sid": os.getsid(0),
        "nnp": "NoNewPrivs:\t1" in status,
        "open": sorted(int(fd) for fd in os.listdir("/proc/self/fd")),
    }  # fmt: skip
    with open(out, "a") as file:
        print(json.dumps(row), file=file)


def notify(text: str, fds: tuple[int, ...] = ()) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sock.sendmsg([text.encode()], rights, 0, os.environ["NOTIFY_SOCKET"])


def main(fifo: str, out: str) -> None:
    signal.signal(signal.SIGHUP, lambda *_: facts(out, "hup"))
    signal.signal(signal.SIGUSR1, lambda *_: facts(out, "usr1"))
    facts(out, "start")
    mine = socket.socket()
    with open(fifo) as lines, open(fifo, "a"):
        while line := lines.readline():
            word, _, rest = line.rstrip("\n").partition(" ")
            if word == "notify":
                notify(rest.replace("\\n", "\n"))
            elif word == "store":
                name, _, text = rest.partition(" ")
                fd = os.memfd_create(name)
                os.write(fd, text.encode())
                notify(f"FDSTORE=1\nFDNAME={name}", (fd,))
                os.close(fd)
            elif word == "park":
                mine, other = socket.socketpair()
                notify(f"FDSTORE=1\nFDNAME={rest}", (other.fileno(),))
                other.close()
            elif word == "unpark":
                mine.close()
            elif word == "barrier":
                reader, writer = os.pipe()
                notify("BARRIER=1", (writer,))
                os.close(writer)
                os.read(reader, 1)
                facts(out, "barrier")
            elif word == "fork":
                if os.fork():
                    lines.close()
                    signal.pause()
            elif word == "say":
                print(rest, flush=True)
            elif word == "end":
                sys.exit(int(rest))
            elif word == "facts":
                facts(out, "facts")


if __name__ == "__main__":
    main(*sys.argv[1:])
