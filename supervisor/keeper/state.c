/* The tables that survive REEXEC: children, and the store of named descriptors. */
#include <sys/epoll.h>
#include "keeper.h"

struct kept kept = {.manager.sock = -1, .logger.sock = -1};

struct names keys; /* rows of children */
int32_t child_pid[MAX_ROWS];
uint64_t child_launch[MAX_ROWS];
uint8_t child_owes[MAX_ROWS];
struct child children[MAX_ROWS];

struct names stored; /* rows of the store */
int32_t stored_fd[MAX_ROWS];
uint8_t stored_flags[MAX_ROWS];

int child_add(uint64_t launch, const char *key)
{
    int row = names_add(&keys, key, "");
    if (row < 0)
        return -1;
    child_pid[row] = 0;
    child_launch[row] = launch;
    child_owes[row] = 0;
    children[row] = (struct child){.state = STATE_LAUNCHING, .status_fd = -1, .pidfd = -1};
    return row;
}

int child_by_launch(uint64_t launch)
{
    for (uint32_t row = 0; row < keys.count; row++)
        if (child_launch[row] == launch)
            return (int)row;
    return -1;
}

int child_by_pid(int pid)
{
    for (uint32_t row = 0; row < keys.count; row++)
        if (child_pid[row] == pid && children[row].state != STATE_EXITED_UNACKED)
            return (int)row;
    return -1;
}

void child_remove(int row)
{
    names_remove(&keys, row); /* its last row is now in this one: the same here */
    uint32_t last = keys.count;
    child_pid[row] = child_pid[last];
    child_launch[row] = child_launch[last];
    child_owes[row] = child_owes[last];
    children[row] = children[last];
}

/* A stream that was dropped keeps its row until it is empty, but no longer its name. */
int store_find(const char *name)
{
    int row = names_find(&stored, name);
    return row >= 0 && stored_flags[row] & IS_GONE ? -1 : row;
}

void store_remove(int row)
{
    if (!strcmp(name_of(&stored, row), "nudge"))
        unwatch(stored_fd[row]);
    close(stored_fd[row]);
    names_remove(&stored, row);
    stored_fd[row] = stored_fd[stored.count];
    stored_flags[row] = stored_flags[stored.count];
}

int store_put(const char *name, const char *options, int fd, uint8_t flags)
{
    int row = names_find(&stored, name);
    if (row >= 0)
        store_remove(row);
    row = names_add(&stored, name, options);
    if (row < 0)
        return close(fd), ENOSPC;
    stored_fd[row] = fd;
    stored_flags[row] = flags;
    if (strcmp(name, "nudge") || !watch(fd, WATCH_NUDGE, EPOLLIN, 0))
        return 0;
    int error = errno;
    store_remove(row);
    return error;
}

static void drop_row(int row)
{
    if (stored_flags[row] & IS_STREAM)
        stored_flags[row] = (uint8_t)((stored_flags[row] | IS_GONE | OWES_GONE) & ~OWES_STORED);
    else
        store_remove(row);
}

int store_drop(const char *name)
{
    size_t prefix = strlen(name) - 1;
    if (name[prefix] != '*') {
        int row = store_find(name);
        if (row >= 0)
            drop_row(row);
        return row < 0 ? ENOENT : 0;
    }
    for (int row = (int)stored.count - 1; row >= 0; row--) /* what moves down has been seen */
        if (!(stored_flags[row] & IS_GONE) && !strncmp(name_of(&stored, row), name, prefix))
            drop_row(row);
    return 0;
}
