/* The view of the file system, and namespaces. Each happens in a process that ends right after. */
#include "probe.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount2(const char *, int);

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
enum { SYS_STATMOUNT = 457, SYS_LISTMOUNT = 458 };

/* The type is looked up after the permission; there is no such type. */
static int mount_something(const struct action *a)
{
	(void)a;
	return failed(mount("none", path(WRITE, "."), "unboxed-none", 0, NULL));
}

/* It is no mount point. */
static int unmount(const struct action *a)
{
	(void)a;
	return failed(umount2(path(WRITE, "plain"), 0));
}

static int set_mount(const struct action *a)
{
	(void)a;
	struct mount_attr change = {.attr_set = MOUNT_ATTR_NOEXEC};
	return failed(
		syscall(SYS_mount_setattr, AT_FDCWD, path(WRITE, "plain"), 0, &change, sizeof change));
}

static int pivot(const struct action *a)
{
	(void)a;
	return failed(syscall(SYS_pivot_root, path(WRITE, "."), path(WRITE, ".")));
}

static int change_root(const struct action *a)
{
	(void)a;
	return failed(chroot(path(WRITE, ".")));
}

static int open_mount_tree(const struct action *a)
{
	(void)a;
	return failed(syscall(
		SYS_open_tree, AT_FDCWD, path(WRITE, "."), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
}

static int open_filesystem(const struct action *a)
{
	(void)a;
	return failed(syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC));
}

/* struct mnt_id_req of linux/mount.h. Their numbers begin at 1 << 31; ~0 stands for all. */
struct request { unsigned size, spare; unsigned long long mount, parameter; };

static int ask_mount(const struct action *a)
{
	struct request request = {sizeof request, 0, 1ULL << 60, 0};
	char answer[512];
	(void)a;
	return failed(syscall(SYS_STATMOUNT, &request, answer, sizeof answer, 0));
}

static int list_mounts(const struct action *a)
{
	struct request request = {sizeof request, 0, ~0ULL, 0};
	unsigned long long found[8];
	(void)a;
	return failed(syscall(SYS_LISTMOUNT, &request, found, 8, 0));
}

/* number: the flags. */
static int leave_namespace(const struct action *a)
{
	return failed(unshare((int)a->number));
}

static int clone_into_namespace(const struct action *a)
{
	pid_t child = (pid_t)syscall(SYS_clone, a->number | SIGCHLD, 0, 0, 0, 0);
	if (!child)
		_exit(0);
	return reap(child);
}

/* Into the one it is in. */
static int enter_namespace(const struct action *a)
{
	int fd = open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC);
	(void)a;
	return failed(fd < 0 ? fd : setns(fd, CLONE_NEWUTS));
}

const struct action mount_actions[] = {
	{"mount", "mount a type that does not exist", mount_something, WRITE, NULL, 0, 0, {ENODEV}},
	{"umount", "unmount what is no mount point", unmount, WRITE, NULL, 0, 0, {EINVAL}},
	{"mount-setattr", "change flags of what is no mount point", set_mount, WRITE, NULL, 0, 0,
	 {EINVAL}},
	{"pivot-root", "make what is no mount point the root", pivot, WRITE, NULL, 0, 0,
	 {EINVAL, EBUSY}},
	{"chroot", "chroot into write", change_root, WRITE, NULL, 0, 0, {0}},
	{"open-tree", "clone a mount with open_tree", open_mount_tree, WRITE, NULL, 0, 0, {0}},
	{"fsopen", "make a tmpfs with fsopen", open_filesystem, WRITE, NULL, 0, 0, {0}},
	{"statmount", "ask about a mount that does not exist", ask_mount, WRITE, NULL, 0, 0, {ENOENT}},
	{"listmount", "list the mounts", list_mounts, WRITE, NULL, 0, 0, {0}},
	{"unshare-mount", "own mount namespace", leave_namespace, OTHER, NULL, CLONE_NEWNS, 0, {0}},
	{"unshare-uts", "own UTS namespace", leave_namespace, OTHER, NULL, CLONE_NEWUTS, 0, {0}},
	{"unshare-ipc", "own IPC namespace", leave_namespace, OTHER, NULL, CLONE_NEWIPC, 0, {0}},
	{"unshare-pid", "own pid namespace", leave_namespace, OTHER, NULL, CLONE_NEWPID, 0, {0}},
	{"unshare-net", "own network namespace", leave_namespace, OTHER, NULL, CLONE_NEWNET, 0, {0}},
	{"unshare-user", "own user namespace", leave_namespace, OTHER, NULL, CLONE_NEWUSER, 0, {0}},
	{"unshare-cgroup", "own cgroup namespace", leave_namespace, OTHER, NULL, CLONE_NEWCGROUP, 0,
	 {0}},
	{"unshare-time", "own time namespace", leave_namespace, OTHER, NULL, CLONE_NEWTIME, 0, {0}},
	{"unshare-files", "own table of descriptors: no namespace", leave_namespace, OTHER, NULL,
	 CLONE_FILES, 0, {0}},
	{"clone-user", "a process in an own user namespace", clone_into_namespace, OTHER, NULL,
	 CLONE_NEWUSER, 0, {0}},
	{"setns", "enter the UTS namespace that it is in", enter_namespace, OTHER, NULL, 0, 0, {0}},
	{0},
};
