/* In front of early.c: this kernel is ours, and its command line is the file that $CMDLINE names. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define getppid() 1
#define stat(path, found) ((found)->st_ino = (ino_t)0xEFFFFFFC, 0)
#define open(path, flags) open(strcmp(path, "/proc/cmdline") ? (path) : getenv("CMDLINE"), flags)
