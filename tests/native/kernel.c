/* The machine itself: what only its administrator may, and doors into the kernel. */
#include "probe.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/quota.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#if defined __x86_64__
#include <sys/io.h>
#endif

/* Wrong magic numbers. */
static int restart(const struct action *a)
{
	(void)a;
	return failed(syscall(SYS_reboot, 0, 0, 0, NULL));
}

/* No module is so short. */
static int load_module(const struct action *a)
{
	(void)a;
	return failed(syscall(SYS_init_module, "", 0UL, ""));
}

static int load_module_file(const struct action *a)
{
	(void)a;
	return failed(syscall(SYS_finit_module, -1, "", 0));
}

static int unload_module(const struct action *a)
{
	(void)a;
	return failed(syscall(SYS_delete_module, "unboxed_none", O_NONBLOCK));
}

/* More segments than it takes, and a flag that does not exist. */
static int load_kernel(const struct action *a)
{
	(void)a;
	return failed(syscall(SYS_kexec_load, 0UL, 1000UL, NULL, 0x8000UL));
}

static int swap_on(const struct action *a)
{
	(void)a;
	return failed(swapon("/nonexistent/unboxed", 0));
}

static int account(const struct action *a)
{
	(void)a;
	return failed(acct("/nonexistent/unboxed"));
}

static int sync_quotas(const struct action *a)
{
	(void)a;
	return failed(quotactl((int)QCMD((unsigned)Q_SYNC, USRQUOTA), NULL, 0, NULL));
}

/* What it is. */
static int set_name(const struct action *a)
{
	struct utsname now;
	(void)a;
	return failed(uname(&now) < 0 ? -1 : sethostname(now.nodename, strlen(now.nodename)));
}

/* Neither time nor time zone. */
static int set_time(const struct action *a)
{
	(void)a;
	return failed(syscall(SYS_settimeofday, NULL, NULL));
}

/* The frequency is set to what it is. */
static int adjust_time(const struct action *a)
{
	struct timex now = {0};
	(void)a;
	if (adjtimex(&now) < 0)
		return errno;
	now.modes = ADJ_FREQUENCY;
	return failed(adjtimex(&now));
}

static int adjust_clock(const struct action *a)
{
	struct timex now = {0};
	(void)a;
	if (clock_adjtime(CLOCK_REALTIME, &now) < 0)
		return errno;
	now.modes = ADJ_FREQUENCY;
	return failed(clock_adjtime(CLOCK_REALTIME, &now));
}

static int set_port_level(const struct action *a)
{
	(void)a;
#if defined __x86_64__
	return failed(iopl(3));
#else
	return absent("x86-64 only");
#endif
}

/* Port 0x80, which is for debugging; nothing is written to it. */
static int open_port(const struct action *a)
{
	(void)a;
#if defined __x86_64__
	return failed(ioperm(0x80, 1, 1));
#else
	return absent("x86-64 only");
#endif
}

static int open_device(const struct action *a)
{
	return failed(open(a->file, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
}

static int open_block(const struct action *a)
{
	(void)a;
	if (!given.block)
		return absent("no --block was given");
	return failed(open(given.block, O_RDONLY | O_CLOEXEC));
}

static int read_log(const struct action *a)
{
	(void)a;
	return failed(klogctl(9 /* SYSLOG_ACTION_SIZE_UNREAD */, NULL, 0));
}

/* number: the request, to a pipe, which is no terminal. */
static int terminal_request(const struct action *a)
{
	int ends[2];
	char byte = 0;
	if (pipe(ends) < 0)
		return errno;
	return failed(syscall(SYS_ioctl, ends[0], (unsigned long)a->number, &byte));
}

static int load_program(const struct action *a)
{
	struct bpf_insn code[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr what = {
		.prog_type = BPF_PROG_TYPE_SOCKET_FILTER, .insn_cnt = 2,
		.insns = (unsigned long)code, .license = (unsigned long)"",
	};
	(void)a;
	return failed(syscall(SYS_bpf, BPF_PROG_LOAD, &what, sizeof what));
}

static int make_map(const struct action *a)
{
	union bpf_attr what = {
		.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
	(void)a;
	return failed(syscall(SYS_bpf, BPF_MAP_CREATE, &what, sizeof what));
}

static int count_events(const struct action *a)
{
	struct perf_event_attr what = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof what, .config = PERF_COUNT_SW_TASK_CLOCK,
		.exclude_kernel = 1, .exclude_hv = 1,
	};
	(void)a;
	return failed(syscall(SYS_perf_event_open, &what, 0, -1, -1, PERF_FLAG_FD_CLOEXEC));
}

static int handle_faults(const struct action *a)
{
	(void)a;
	return failed(syscall(SYS_userfaultfd, O_CLOEXEC));
}

static int watch_filesystem(const struct action *a)
{
	(void)a;
	return failed(fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY));
}

/* The process key ring goes with the process. */
static int add_key(const struct action *a)
{
	(void)a;
	return failed(
		syscall(SYS_add_key, "user", "unboxed-probe", "x", 1UL, KEY_SPEC_PROCESS_KEYRING));
}

static int request_key(const struct action *a)
{
	(void)a;
	return failed(syscall(SYS_request_key, "user", "unboxed-none", NULL, 0));
}

static int ask_key_ring(const struct action *a)
{
	(void)a;
	return failed(syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0));
}

static int become_root(const struct action *a)
{
	(void)a;
	return failed(syscall(SYS_setuid, 0));
}

static int become_root_group(const struct action *a)
{
	(void)a;
	return failed(syscall(SYS_setgid, 0));
}

static int drop_groups(const struct action *a)
{
	(void)a;
	return failed(syscall(SYS_setgroups, 0UL, NULL));
}

static int take_capabilities(const struct action *a)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct all[2] = {{~0U, ~0U, 0}, {~0U, ~0U, 0}};
	(void)a;
	return failed(syscall(SYS_capset, &header, all));
}

/* By its handle, past every directory above it. */
static int open_by_handle(const struct action *a)
{
	struct { struct file_handle head; char rest[MAX_HANDLE_SZ]; } handle = {
		.head.handle_bytes = MAX_HANDLE_SZ};
	int mount, fd = AT_FDCWD;
	(void)a;
	if (name_to_handle_at(fd, path(READ, "file"), &handle.head, &mount, 0) < 0)
		return errno;
	return failed(open_by_handle_at(fd, &handle.head, O_RDONLY | O_CLOEXEC));
}

const struct action kernel_actions[] = {
	{"reboot", "reboot with wrong magic", restart, OTHER, NULL, 0, 0, {EINVAL}},
	{"module", "load an empty module", load_module, OTHER, NULL, 0, 0, {ENOEXEC}},
	{"module-file", "load a module from no file", load_module_file, OTHER, NULL, 0, 0, {EBADF}},
	{"module-remove", "remove a module that does not exist", unload_module, OTHER, NULL, 0, 0,
	 {ENOENT}},
	{"kexec", "load a kernel of too many parts", load_kernel, OTHER, NULL, 0, 0, {EINVAL}},
	{"swapon", "swap to a file that does not exist", swap_on, OTHER, NULL, 0, 0, {ENOENT}},
	{"acct", "account to a file that does not exist", account, OTHER, NULL, 0, 0, {ENOENT}},
	{"quota", "write out quotas", sync_quotas, OTHER, NULL, 0, 0, {0}},
	{"hostname", "set the host name to what it is", set_name, OTHER, NULL, 0, 0, {0}},
	{"settimeofday", "set neither time nor zone", set_time, OTHER, NULL, 0, 0, {0}},
	{"adjtimex", "set the clock's rate to what it is", adjust_time, OTHER, NULL, 0, 0, {0}},
	{"clock-adjtime", "the same by clock_adjtime", adjust_clock, OTHER, NULL, 0, 0, {0}},
	{"iopl", "all of the machine's ports", set_port_level, OTHER, NULL, 0, 0, {0}},
	{"ioperm", "one of the machine's ports", open_port, OTHER, NULL, 0, 0, {0}},
	{"dev-mem", "open the machine's memory", open_device, OTHER, "/dev/mem", 0, 0, {0}},
	{"dev-kmsg", "open the kernel's log", open_device, OTHER, "/dev/kmsg", 0, 0, {0}},
	{"dev-block", "open a disk", open_block, OTHER, NULL, 0, 0, {0}},
	{"dev-null", "open /dev/null", open_device, OTHER, "/dev/null", 0, 0, {0}},
	{"syslog", "ask for the kernel's log", read_log, OTHER, NULL, 0, 0, {0}},
	{"tty-input", "push input into a terminal (TIOCSTI) that is none", terminal_request, OTHER,
	 NULL, TIOCSTI, 0, {ENOTTY}},
	{"tty-input-wide", "the same with a bit that the kernel drops", terminal_request, OTHER, NULL,
	 TIOCSTI | 1L << 32, 0, {ENOTTY}},
	{"tty-linux", "paste into a console (TIOCLINUX) that is none", terminal_request, OTHER, NULL,
	 TIOCLINUX, 0, {ENOTTY}},
	{"tty-size", "set the size of a terminal that is none", terminal_request, OTHER, NULL,
	 TIOCSWINSZ, 0, {ENOTTY}},
	{"bpf-program", "load a BPF program that does nothing", load_program, OTHER, NULL, 0, 0, {0}},
	{"bpf-map", "make a BPF map", make_map, OTHER, NULL, 0, 0, {0}},
	{"perf", "count its own time", count_events, OTHER, NULL, 0, 0, {0}},
	{"userfaultfd", "handle page faults, the kernel's too", handle_faults, OTHER, NULL, 0, 0, {0}},
	{"fanotify", "watch and hold up all file access", watch_filesystem, OTHER, NULL, 0, 0, {0}},
	{"add-key", "add a key to its process key ring", add_key, OTHER, NULL, 0, 0, {0}},
	{"request-key", "ask for a key that does not exist", request_key, OTHER, NULL, 0, 0, {ENOKEY}},
	{"keyctl", "ask for its session key ring", ask_key_ring, OTHER, NULL, 0, 0, {ENOKEY}},
	{"setuid", "become root", become_root, OTHER, NULL, 0, 0, {0}},
	{"setgid", "become root's group", become_root_group, OTHER, NULL, 0, 0, {0}},
	{"setgroups", "drop all groups", drop_groups, OTHER, NULL, 0, 0, {0}},
	{"capset", "take all capabilities", take_capabilities, OTHER, NULL, 0, 0, {0}},
	{"open-by-handle", "open a file by its handle", open_by_handle, READ, NULL, 0, 0, {0}},
	{0},
};
