/* What may be seen of files and changed about them without opening them: Landlock sees none of it.
 */
#include "probe.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

static int stat_file(const struct action *a)
{
	struct stat found;
	return failed(stat(path(a->place, a->file), &found));
}

/* Not by the C library, which asks stat where this is missing. */
static int statx_file(const struct action *a)
{
	struct statx found;
	return failed(
		syscall(SYS_statx, AT_FDCWD, path(a->place, a->file), 0, STATX_MODE, &found));
}

static int may_access(const struct action *a)
{
	return failed(access(path(a->place, a->file), F_OK));
}

static int read_link(const struct action *a)
{
	char found[256];
	return failed(readlink(path(a->place, "pointer"), found, sizeof found));
}

static int change_directory(const struct action *a)
{
	return failed(chdir(path(a->place, ".")));
}

/* number: the mode. */
static int change_mode(const struct action *a)
{
	return failed(chmod(path(a->place, a->file), (mode_t)a->number));
}

static int change_owner(const struct action *a)
{
	return failed(chown(path(a->place, a->file), geteuid(), getegid()));
}

static int change_times(const struct action *a)
{
	return failed(utimensat(AT_FDCWD, path(a->place, a->file), NULL, 0));
}

static int set_attribute(const struct action *a)
{
	return failed(setxattr(path(a->place, a->file), "user.probe", "x", 1, 0));
}

/* As `setcap cap_chown=` would. */
static int set_capability(const struct action *a)
{
	struct vfs_cap_data caps = {.magic_etc = VFS_CAP_REVISION_2};
	caps.data[0].permitted = 1;
	return failed(setxattr(path(a->place, a->file), "security.capability", &caps, sizeof caps, 0));
}

const struct action metadata_actions[] = {
	{"stat", "stat a file in read", stat_file, READ, "file", 0, 0, {0}},
	{"stat-other", "stat a file in other", stat_file, OTHER, "file", 0, 0, {0}},
	{"statx", "statx a file in read", statx_file, READ, "file", 0, 0, {0}},
	{"access", "ask whether a file in read exists", may_access, READ, "file", 0, 0, {0}},
	{"access-other", "ask whether a file in other exists", may_access, OTHER, "file", 0, 0, {0}},
	{"readlink", "read a symbolic link in read", read_link, READ, NULL, 0, 0, {0}},
	{"readlink-other", "read a symbolic link in other", read_link, OTHER, NULL, 0, 0, {0}},
	{"chdir", "change into read", change_directory, READ, NULL, 0, 0, {0}},
	{"chdir-other", "change into other", change_directory, OTHER, NULL, 0, 0, {0}},
	{"chmod", "change the mode of a file in write", change_mode, WRITE, "file", 0600, 0, {0}},
	{"chmod-read", "change the mode of a file in read", change_mode, READ, "file", 0644, 0, {0}},
	{"chmod-other", "change the mode of a file in other", change_mode, OTHER, "file", 0644, 0,
	 {0}},
	{"chmod-set-user-id", "make a file in write set-user-id", change_mode, WRITE, "suid",
	 S_ISUID | 0700, 0, {0}},
	{"chmod-set-group-id", "make a file in write set-group-id", change_mode, WRITE, "suid",
	 S_ISGID | 0770, 0, {0}},
	{"chown", "give itself a file in write", change_owner, WRITE, "file", 0, 0, {0}},
	{"chown-other", "give itself a file in other", change_owner, OTHER, "file", 0, 0, {0}},
	{"utime", "set the times of a file in write", change_times, WRITE, "file", 0, 0, {0}},
	{"utime-other", "set the times of a file in other", change_times, OTHER, "file", 0, 0, {0}},
	{"setxattr", "set an attribute of a file in write", set_attribute, WRITE, "file", 0, 0, {0}},
	{"setxattr-other", "set an attribute of a file in other", set_attribute, OTHER, "file", 0, 0,
	 {0}},
	{"setcap", "give a file in write a capability", set_capability, WRITE, "suid", 0, 0, {0}},
	{0},
};
