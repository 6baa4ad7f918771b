/* The probe: one program that tries one named action, and says what came of it.
 *
 * Law: an action is harmless even where it succeeds as root on a bare host. It does its thing to
 * itself, to files made for it, or with an argument that the kernel looks at only after it has
 * decided whether the caller may. The errors of such an argument are listed in `reached` and count
 * as ok: the caller was let through. Everything else is printed as the kernel said it, for the
 * probe cannot tell a policy's ENOSYS from a kernel's: whoever reads it compares with a run without
 * a policy.
 *
 * Where it acts: DIR/read, DIR/write, DIR/exec and DIR/other, after the keys of a unit that would
 * list the first three and not the last; tests/native/probe.py makes them. Ports, sockets and
 * processes likewise: one that a policy would list, one that it would not.
 */
#pragma once

#include <errno.h>
#include <stddef.h>
#include <sys/types.h>

enum place { READ, WRITE, EXEC, OTHER };

struct action {
	const char *name, *what;
	int (*act)(const struct action *);  /* 0, an errno, or ABSENT */
	enum place place;
	const char *file;  /* in that place */
	long number, extra;  /* what the function says they are */
	int reached[3];  /* errnos behind the permission check */
};

/* What this machine or this call of the probe does not have; `why` says what. */
enum { ABSENT = -1 };
int absent(const char *why);

struct given {
	const char *dir, *filter, *loader, *block, *abstract;
	int port, other_port;
	pid_t peer, stranger;
};
extern struct given given;

/* Tables that end with an action without a name. */
extern const struct action file_actions[], metadata_actions[], exec_actions[], process_actions[];
extern const struct action mount_actions[], socket_actions[], kernel_actions[], call_actions[];

/* DIR/PLACE/NAME. The last four results stay valid. */
const char *path(enum place place, const char *name);

static inline int failed(long result)
{
	return result < 0 ? errno : 0;
}

/* For actions that wait for a child they made: 0, or what became of it. */
int reap(pid_t child);
