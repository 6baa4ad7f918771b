/* System calls: those that bypass a filter, newer ones, and those that every program makes. */
#include "probe.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <linux/landlock.h>
#include <linux/openat2.h>
#include <mqueue.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/random.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { SYS_LSM_LIST_MODULES = 461, SYS_MSEAL = 462, NO_SUCH_CALL = 4000 };
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif

static int make_ring(const struct action *a)
{
	struct io_uring_params how = {0};
	(void)a;
	return failed(syscall(SYS_io_uring_setup, 1, &how));
}

/* getpid() by i386's number. */
static int call_by_interrupt(const struct action *a)
{
	(void)a;
#if defined __x86_64__
	long result;
	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(20L)
			 : "r8", "r9", "r10", "r11", "memory");
	return result < 0 ? (int)-result : 0;
#else
	return absent("x86-64 only");
#endif
}

static int call_by_x32(const struct action *a)
{
	(void)a;
#if defined __x86_64__
	return failed(syscall(0x40000000L | SYS_getpid));
#else
	return absent("x86-64 only");
#endif
}

static int open_by_struct(const struct action *a)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC};
	return failed(syscall(SYS_openat2, AT_FDCWD, path(a->place, a->file), &how, sizeof how));
}

/* number: the persona. */
static int change_personality(const struct action *a)
{
	return failed(personality((unsigned long)a->number));
}

static int lock_memory(const struct action *a)
{
	(void)a;
	return failed(mlock(&given, 1));
}

/* number: the flags. */
static int make_memory_file(const struct action *a)
{
	return failed(memfd_create("probe", MFD_CLOEXEC | (unsigned)a->number));
}

static int watch_file(const struct action *a)
{
	int fd = inotify_init1(IN_CLOEXEC);
	return failed(fd < 0 ? fd : inotify_add_watch(fd, path(a->place, a->file), IN_MODIFY));
}

static int wait_by_descriptors(const struct action *a)
{
	sigset_t none;
	struct epoll_event event = {.events = EPOLLIN};
	sigemptyset(&none);
	int signals = signalfd(-1, &none, SFD_CLOEXEC);
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	int events = eventfd(0, EFD_CLOEXEC), poll = epoll_create1(EPOLL_CLOEXEC);
	(void)a;
	if (signals < 0 || timer < 0 || events < 0 || poll < 0)
		return errno;
	return failed(epoll_ctl(poll, EPOLL_CTL_ADD, events, &event));
}

static int take_random(const struct action *a)
{
	char some[8];
	(void)a;
	return failed(getrandom(some, sizeof some, 0));
}

static int seal_memory(const struct action *a)
{
	void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	(void)a;
	return failed(page == MAP_FAILED ? -1 : syscall(SYS_MSEAL, page, 4096UL, 0UL));
}

static int list_security_modules(const struct action *a)
{
	unsigned long long found[32];
	unsigned size = sizeof found;
	(void)a;
	return failed(syscall(SYS_LSM_LIST_MODULES, found, &size, 0));
}

static int make_ruleset(const struct action *a)
{
	(void)a;
	return failed(syscall(
		SYS_landlock_create_ruleset, NULL, 0UL, LANDLOCK_CREATE_RULESET_VERSION));
}

/* No such operation. */
static int filter_itself(const struct action *a)
{
	(void)a;
	return failed(syscall(SYS_seccomp, 0xFFFF, 0, NULL));
}

static int ask_memory_policy(const struct action *a)
{
	int policy;
	(void)a;
	return failed(syscall(SYS_get_mempolicy, &policy, NULL, 0UL, NULL, 0UL));
}

static int start_aio(const struct action *a)
{
	aio_context_t context = 0;
	(void)a;
	return failed(syscall(SYS_io_setup, 1, &context));
}

static int share_memory(const struct action *a)
{
	int id = shmget(IPC_PRIVATE, 4096, 0600);
	(void)a;
	return failed(id < 0 ? id : shmctl(id, IPC_RMID, NULL));
}

static int open_queue(const struct action *a)
{
	(void)a;
	return failed(mq_open("/unboxed-none", O_RDONLY));
}

static int call_unknown(const struct action *a)
{
	(void)a;
	return failed(syscall(NO_SUCH_CALL));
}

const struct action call_actions[] = {
	{"io-uring", "make an io_uring", make_ring, OTHER, NULL, 0, 0, {0}},
	{"int80", "getpid by i386's interrupt", call_by_interrupt, OTHER, NULL, 0, 0, {0}},
	{"x32", "getpid by x32's number", call_by_x32, OTHER, NULL, 0, 0, {0}},
	{"openat2", "open a file in read with openat2", open_by_struct, READ, "file", 0, 0, {0}},
	{"no-such-call", "make a system call that no kernel has", call_unknown, OTHER, NULL, 0, 0,
	 {0}},
	{"personality", "ask for its personality", change_personality, OTHER, NULL, 0xFFFFFFFF, 0, {0}},
	{"no-randomization", "switch off its address space's randomization", change_personality, OTHER,
	 NULL, ADDR_NO_RANDOMIZE, 0, {0}},
	{"mlock", "lock a page of its memory", lock_memory, OTHER, NULL, 0, 0, {0}},
	{"memory-file", "make a file in memory", make_memory_file, OTHER, NULL, 0, 0, {0}},
	{"memory-file-noexec", "make one that is never executable", make_memory_file, OTHER, NULL,
	 MFD_NOEXEC_SEAL, 0, {0}},
	{"inotify", "watch a file in read", watch_file, READ, "file", 0, 0, {0}},
	{"wait", "signalfd, timerfd, eventfd and epoll", wait_by_descriptors, OTHER, NULL, 0, 0, {0}},
	{"getrandom", "take random bytes", take_random, OTHER, NULL, 0, 0, {0}},
	{"mseal", "seal memory", seal_memory, OTHER, NULL, 0, 0, {0}},
	{"lsm-list", "list the security modules", list_security_modules, OTHER, NULL, 0, 0, {0}},
	{"landlock", "ask for Landlock's version", make_ruleset, OTHER, NULL, 0, 0, {0}},
	{"seccomp", "ask seccomp for what does not exist", filter_itself, OTHER, NULL, 0, 0, {EINVAL}},
	{"numa", "ask for its memory policy", ask_memory_policy, OTHER, NULL, 0, 0, {0}},
	{"aio", "set up asynchronous input and output", start_aio, OTHER, NULL, 0, 0, {0}},
	{"shared-memory", "make and remove System V shared memory", share_memory, OTHER, NULL, 0, 0,
	 {0}},
	{"message-queue", "open a POSIX queue that does not exist", open_queue, OTHER, NULL, 0, 0,
	 {ENOENT}},
	{0},
};
