"""Compresses closed segments of one stream: a short-lived child of the logger, at idle priority.

    python3 -I -S -B supervisor/logger/compress.py SITE START...

Descriptor 3 is the stream's directory, SITE where zstandard is (directories, ":" between them),
START the offsets at which the segments begin, in hexadecimal.

Law: at every instant each byte of a segment is whole in a file that readers find, on disk before
the other file goes. Whoever is killed leaves the segment as it was, and perhaps a temporary file
that the logger removes, or both files, of which readers take the plain one. A lock on the plain
file keeps two of us apart (a logger was killed, its child lives); a segment that is deleted
meanwhile stays deleted.
"""
import errno
import fcntl
import os
import sys

if not __package__:
    sys.path.insert(0, __file__.rpartition("/supervisor/")[0] or ".")

from supervisor.logger.compressor import HOME, NO_LIBRARY  # found only after the line above
from supervisor.logger.form import INDEX, LOG, PACKED, segment_name, temporary_name
from supervisor.logger.notice import reason, say

FAILED, BAD_USAGE = 1, 2
OPEN = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def main(argv: list[str]) -> int:
    """Exit status: 0 done, 1 failed (said why), 2 bad usage, 4 there is no zstandard."""
    if len(argv) < 2:
        say("usage: SITE START..., with the stream's directory as descriptor 3")
        return BAD_USAGE
    step_back()
    sys.path += filter(None, argv[0].split(":"))
    try:
        import zstandard  # noqa: F401 - the packer needs it, and this is how its lack is told
    except ImportError:
        return NO_LIBRARY
    for word in argv[1:]:
        start = int(word, 16)
        try:
            compress(HOME, start)
        except OSError as error:
            say(f"cannot compress {_path(start)}: {reason(error)}; it stays as it is for now")
            return FAILED
    return 0


def step_back() -> None:
    """Work when nobody else wants to; of the disk too, which follows the scheduler's policy."""
    os.nice(19)
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except OSError:  # a filter of system calls; the nice value it is, then
        return


def compress(home: int, start: int) -> None:
    """Replace the plain file of a segment by a packed one. Raises OSError if it was left as it is.

    Does nothing if the segment is gone, or another process is about to do this.
    """
    try:
        source = os.open(segment_name(start, LOG), os.O_RDONLY | OPEN, dir_fd=home)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(source, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(source).st_nlink:  # else another was faster
            _replace(home, start, source)
    except BlockingIOError:
        return
    finally:
        os.close(source)


def _replace(home: int, start: int, source: int) -> None:
    temporary = temporary_name(start)
    remove(temporary, home)
    found = os.fstat(source)
    target = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | OPEN, 0o600, dir_fd=home)
    try:
        _fill(target, source, found)
        _sync(segment_name(start, INDEX), home)
        os.rename(temporary, segment_name(start, PACKED), src_dir_fd=home, dst_dir_fd=home)
    except FileNotFoundError:
        return  # our logger was killed, and its successor has cleaned up
    except BaseException:
        remove(temporary, home)
        raise
    finally:
        os.close(target)
    os.fsync(home)
    if not remove(segment_name(start, LOG), home):
        remove(segment_name(start, PACKED), home)  # it was deleted, so this must go too


def _fill(target: int, source: int, found: os.stat_result) -> None:
    from supervisor.logger.packed import content_bytes, pack

    pack(source, target)
    os.fchmod(target, found.st_mode & 0o777)
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
    os.fsync(target)
    if content_bytes(target) != found.st_size:
        raise OSError(errno.EIO, "not all of it could be read")


def _sync(name: str, home: int) -> None:
    try:
        fd = os.open(name, os.O_RDONLY | OPEN, dir_fd=home)
    except FileNotFoundError:
        return
    os.fsync(fd)
    os.close(fd)


def remove(name: str, home: int) -> bool:
    """Whether it was there."""
    try:
        os.unlink(name, dir_fd=home)
    except FileNotFoundError:
        return False
    return True


def _path(start: int) -> str:
    return os.readlink(f"/proc/self/fd/{HOME}") + "/" + segment_name(start, LOG)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
