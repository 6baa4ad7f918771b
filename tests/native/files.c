/* What may be done to files by their names. */
#include "probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* number: flags of open(2); extra: the mode of a new file. Then a byte in or out. */
static int open_file(const struct action *a)
{
	char byte = 'x';
	int flags = (int)a->number, fd = open(path(a->place, a->file), flags | O_CLOEXEC, a->extra);
	if (fd < 0 || flags & O_PATH)
		return failed(fd);
	if ((flags & O_ACCMODE) != O_RDONLY && write(fd, &byte, 1) < 0)
		return errno;
	return (flags & O_ACCMODE) == O_RDONLY ? failed(read(fd, &byte, 1)) : 0;
}

static int truncate_file(const struct action *a)
{
	return failed(truncate(path(a->place, a->file), 0));
}

static int list_directory(const struct action *a)
{
	DIR *opened = opendir(path(a->place, "."));
	if (!opened)
		return errno;
	errno = 0;
	return readdir(opened) ? 0 : errno;
}

static int unlink_file(const struct action *a)
{
	return failed(unlink(path(a->place, a->file)));
}

/* From its place into the one to write in; within that, and from elsewhere. */
static int rename_file(const struct action *a)
{
	return failed(rename(path(a->place, a->file), path(WRITE, a->name)));
}

static int link_file(const struct action *a)
{
	return failed(link(path(a->place, a->file), path(WRITE, a->name)));
}

static int symlink_file(const struct action *a)
{
	return failed(symlink("file", path(a->place, a->name)));
}

static int make_directory(const struct action *a)
{
	return failed(mkdir(path(a->place, a->name), 0700));
}

static int remove_directory(const struct action *a)
{
	return failed(rmdir(path(a->place, a->file)));
}

/* number: the mode with the type; extra: the device, major << 8 | minor. */
static int make_node(const struct action *a)
{
	return failed(mknod(path(a->place, a->name), (mode_t)a->number, (dev_t)a->extra));
}

static int lock_whole(const struct action *a)
{
	(void)a;
	return failed(flock(STDOUT_FILENO, LOCK_SH | LOCK_NB));
}

static int lock_record(const struct action *a)
{
	struct flock asked = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
	(void)a;
	return failed(fcntl(STDIN_FILENO, F_GETLK, &asked));
}

const struct action file_actions[] = {
	{"read", "read a file in read", open_file, READ, "file", O_RDONLY, 0, {0}},
	{"read-other", "read a file in other", open_file, OTHER, "file", O_RDONLY, 0, {0}},
	{"open-path-other", "open a file in other with O_PATH", open_file, OTHER, "file", O_PATH, 0,
	 {0}},
	{"list", "list the directory read", list_directory, READ, NULL, 0, 0, {0}},
	{"list-other", "list the directory other", list_directory, OTHER, NULL, 0, 0, {0}},
	{"write", "write into a file in write", open_file, WRITE, "file", O_WRONLY, 0, {0}},
	{"write-read", "write into a file in read", open_file, READ, "file", O_WRONLY, 0, {0}},
	{"write-other", "write into a file in other", open_file, OTHER, "file", O_WRONLY, 0, {0}},
	{"read-write", "open a file in write with O_RDWR", open_file, WRITE, "file", O_RDWR, 0, {0}},
	{"open-truncate", "open a file in write with O_RDONLY and O_TRUNC", open_file, WRITE, "file",
	 O_RDONLY | O_TRUNC, 0, {0}},
	{"truncate", "cut off a file in write", truncate_file, WRITE, "file", 0, 0, {0}},
	{"truncate-read", "cut off a file in read", truncate_file, READ, "file", 0, 0, {0}},
	{"truncate-other", "cut off a file in other", truncate_file, OTHER, "file", 0, 0, {0}},
	{"create", "create a file in write", open_file, WRITE, "new", O_WRONLY | O_CREAT | O_EXCL,
	 0600, {0}},
	{"create-read", "create a file in read", open_file, READ, "new", O_WRONLY | O_CREAT | O_EXCL,
	 0600, {0}},
	{"create-other", "create a file in other", open_file, OTHER, "new",
	 O_WRONLY | O_CREAT | O_EXCL, 0600, {0}},
	{"create-unnamed", "create a file in write with O_TMPFILE", open_file, WRITE, ".",
	 O_WRONLY | O_TMPFILE, 0600, {0}},
	{"create-set-user-id", "create a set-user-id file in write", open_file, WRITE, "new-suid",
	 O_WRONLY | O_CREAT | O_EXCL, S_ISUID | 0700, {0}},
	{"unlink", "remove a file in write", unlink_file, WRITE, "unlink", 0, 0, {0}},
	{"unlink-read", "remove a file in read", unlink_file, READ, "unlink", 0, 0, {0}},
	{"unlink-other", "remove a file in other", unlink_file, OTHER, "unlink", 0, 0, {0}},
	{"rename", "rename a file in write", rename_file, WRITE, "rename", 0, 0, {0}},
	{"rename-from-other", "move a file from other into write", rename_file, OTHER, "rename", 0, 0,
	 {0}},
	{"link", "link a file in write", link_file, WRITE, "file", 0, 0, {0}},
	{"link-from-other", "link a file in other into write", link_file, OTHER, "file", 0, 0, {0}},
	{"symlink", "make a symbolic link in write", symlink_file, WRITE, NULL, 0, 0, {0}},
	{"mkdir", "make a directory in write", make_directory, WRITE, NULL, 0, 0, {0}},
	{"mkdir-other", "make a directory in other", make_directory, OTHER, NULL, 0, 0, {0}},
	{"rmdir", "remove a directory in write", remove_directory, WRITE, "empty", 0, 0, {0}},
	{"fifo", "make a fifo in write", make_node, WRITE, NULL, S_IFIFO | 0600, 0, {0}},
	{"device-node", "make /dev/null's node in write", make_node, WRITE, NULL, S_IFCHR | 0600,
	 0x103, {0}},
	{"block-node", "make the node of a RAM disk in write", make_node, WRITE, NULL, S_IFBLK | 0600,
	 0x100, {0}},
	{"flock", "lock its standard output with flock", lock_whole, OTHER, NULL, 0, 0, {EWOULDBLOCK}},
	{"record-lock", "ask for the record locks of its standard input", lock_record, OTHER, NULL, 0,
	 0, {0}},
	{0},
};
