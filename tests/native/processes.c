/* Processes: making them, and reaching others: the parent, a peer of the same user, a stranger. */
#include "probe.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int make_process(const struct action *a)
{
	(void)a;
	pid_t child = fork();
	if (!child)
		_exit(0);
	return reap(child);
}

static int make_process_vfork(const struct action *a)
{
	(void)a;
	pid_t child = vfork();
	if (!child)
		_exit(0);
	return reap(child);
}

static void *nothing(void *argument)
{
	return argument;
}

/* The C library tries clone3, and clone where that is missing. */
static int make_thread(const struct action *a)
{
	(void)a;
	pthread_t thread;
	int result = pthread_create(&thread, NULL, nothing, NULL);
	return result ? result : pthread_join(thread, NULL);
}

static int make_process_clone3(const struct action *a)
{
	(void)a;
	struct clone_args how = {.exit_signal = SIGCHLD};
	pid_t child = (pid_t)syscall(SYS_clone3, &how, sizeof how);
	if (!child)
		_exit(0);
	return reap(child);
}

static int be_traced(const struct action *a)
{
	(void)a;
	return failed(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

/* SEIZE does not stop it, and ends with this process. */
static int trace_parent(const struct action *a)
{
	(void)a;
	return failed(ptrace(PTRACE_SEIZE, getppid(), NULL, NULL));
}

static int trace_peer(const struct action *a)
{
	(void)a;
	if (!given.peer)
		return absent("no --peer was given");
	return failed(ptrace(PTRACE_SEIZE, given.peer, NULL, NULL));
}

/* From an address that is never mapped. */
static int read_peer_memory(const struct action *a)
{
	(void)a;
	char byte;
	struct iovec here = {&byte, 1}, there = {(void *)1, 1};
	if (!given.peer)
		return absent("no --peer was given");
	return failed(process_vm_readv(given.peer, &here, 1, &there, 1, 0));
}

/* file: below /proc/PEER. Peers are seen by their number, which another pid namespace counts anew.
 */
static int read_of_peer(const struct action *a)
{
	char name[64], byte;
	if (!given.peer)
		return absent("no --peer was given");
	snprintf(name, sizeof name, "/proc/%d/%s", given.peer, a->file);
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? errno : failed(read(fd, &byte, 1));
}

/* number: 0 its own group, -1 everyone, 1 the peer, 2 the stranger. Signal 0 only asks. */
static int signal_to(const struct action *a)
{
	pid_t whom = a->number == 1 ? given.peer : a->number == 2 ? given.stranger : (pid_t)a->number;
	if (a->number > 0 && !whom)
		return absent("no --peer and --stranger were given");
	return failed(kill(whom, 0));
}

static int signal_by_thread(const struct action *a)
{
	(void)a;
	return failed(syscall(SYS_tgkill, getpid(), gettid(), 0));
}

static int open_peer(const struct action *a)
{
	(void)a;
	if (!given.peer)
		return absent("no --peer was given");
	return failed(syscall(SYS_pidfd_open, given.peer, 0));
}

static int take_descriptor(const struct action *a)
{
	(void)a;
	if (!given.peer)
		return absent("no --peer was given");
	int peer = (int)syscall(SYS_pidfd_open, given.peer, 0);
	return failed(peer < 0 ? peer : syscall(SYS_pidfd_getfd, peer, 0, 0));
}

/* Sets what is set. */
static int limit_peer(const struct action *a)
{
	(void)a;
	struct rlimit limit;
	if (!given.peer)
		return absent("no --peer was given");
	if (prlimit(given.peer, RLIMIT_NOFILE, NULL, &limit) < 0)
		return errno;
	return failed(prlimit(given.peer, RLIMIT_NOFILE, &limit, NULL));
}

static int raise_limit(const struct action *a)
{
	(void)a;
	struct rlimit lower = {1, 1}, raised = {1, 2};
	if (setrlimit(RLIMIT_MSGQUEUE, &lower) < 0)
		return errno;
	return failed(setrlimit(RLIMIT_MSGQUEUE, &raised));
}

static int run_in_real_time(const struct action *a)
{
	(void)a;
	struct sched_param how = {.sched_priority = 1};
	return failed(sched_setscheduler(0, SCHED_FIFO, &how));
}

static int raise_priority(const struct action *a)
{
	(void)a;
	return failed(setpriority(PRIO_PROCESS, 0, -20));
}

static int set_dumpable(const struct action *a)
{
	(void)a;
	return failed(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

const struct action process_actions[] = {
	{"fork", "make a process", make_process, OTHER, NULL, 0, 0, {0}},
	{"vfork", "make a process with vfork", make_process_vfork, OTHER, NULL, 0, 0, {0}},
	{"clone3", "make a process with clone3", make_process_clone3, OTHER, NULL, 0, 0, {0}},
	{"thread", "make a thread", make_thread, OTHER, NULL, 0, 0, {0}},
	{"be-traced", "let its parent trace it", be_traced, OTHER, NULL, 0, 0, {0}},
	{"trace-parent", "trace its parent", trace_parent, OTHER, NULL, 0, 0, {0}},
	{"trace-peer", "trace a process of its user", trace_peer, OTHER, NULL, 0, 0, {0}},
	{"read-peer-memory", "read memory of a process of its user, where none is", read_peer_memory,
	 OTHER, NULL, 0, 0, {EFAULT}},
	{"peer-environ", "read /proc/PEER/environ", read_of_peer, OTHER, "environ", 0, 0, {0}},
	{"peer-cmdline", "read /proc/PEER/cmdline", read_of_peer, OTHER, "cmdline", 0, 0, {0}},
	{"signal-group", "signal its own process group (signal 0)", signal_to, OTHER, NULL, 0, 0, {0}},
	{"signal-thread", "signal its own thread (signal 0)", signal_by_thread, OTHER, NULL, 0, 0,
	 {0}},
	{"signal-peer", "signal a process of its user (signal 0)", signal_to, OTHER, NULL, 1, 0, {0}},
	{"signal-stranger", "signal another user's process (signal 0)", signal_to, OTHER, NULL, 2, 0,
	 {0}},
	{"signal-all", "signal every process (signal 0)", signal_to, OTHER, NULL, -1, 0, {0}},
	{"pidfd-open", "open a pidfd of a process of its user", open_peer, OTHER, NULL, 0, 0, {0}},
	{"pidfd-getfd", "take a descriptor from a process of its user", take_descriptor, OTHER, NULL,
	 0, 0, {0}},
	{"prlimit-peer", "set limits of a process of its user to what they are", limit_peer, OTHER,
	 NULL, 0, 0, {0}},
	{"rlimit-raise", "raise a hard limit", raise_limit, OTHER, NULL, 0, 0, {0}},
	{"real-time", "run with SCHED_FIFO", run_in_real_time, OTHER, NULL, 0, 0, {0}},
	{"nice", "raise its priority to -20", raise_priority, OTHER, NULL, 0, 0, {0}},
	{"dumpable", "make itself dumpable", set_dumpable, OTHER, NULL, 0, 0, {0}},
	{0},
};
