/* The tables that survive REEXEC: children by key, and named descriptors.
 * They are mapped from a memfd, so that the next keeper has only to map it too, and no fork copies them.
 * Texts stand in one arena without holes; a dense array of hashes finds them. */
#include <sys/eventfd.h>
#include <sys/mman.h>
#include "keeper.h"

enum { TABLES_VERSION = 5 }; /* to be raised with every change of struct tables */
struct tables *tables;
int tables_fd;

bool tables_map(int fd) {
    struct stat file;
    if (fstat(fd, &file) || file.st_size != sizeof *tables) return false;
    tables = mmap(NULL, sizeof *tables, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    tables_fd = fd;
    return tables != MAP_FAILED && tables->version == TABLES_VERSION && tables->size == sizeof *tables;
}
bool tables_make(void) {
    const uint32_t head[] = {TABLES_VERSION, sizeof *tables};
    int fd = lift(memfd_create("unboxed-tables", MFD_CLOEXEC));
    if (fd < 0 || ftruncate(fd, sizeof *tables) || write(fd, head, sizeof head) < 0 || !tables_map(fd)) return false;
    kept.answers = lift(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    kept.peers[MANAGER] = (struct peer){.sock = -1, .next_start = 1};
    kept.peers[LOGGER] = (struct peer){.sock = -1, .next_start = now_ns() + SECOND, .started = now_ns() + 2 * SECOND};
    return true;
}
const char *name_of(const struct names *names, int row) { return names->text + names->at[row]; }
const char *options_of(const struct names *names, int row) { return strchr(name_of(names, row), 0) + 1; }
static uint32_t hash_of(const char *name) {
    uint32_t hash = UINT32_C(2166136261); /* FNV-1a */
    while (*name) hash = (hash ^ (uint8_t)*name++) * UINT32_C(16777619);
    return hash;
}
int names_find(const struct names *names, const char *name) {
    uint32_t hash = hash_of(name);
    for (uint32_t row = 0; row < names->count; row++)
        if (names->hash[row] == hash && !strcmp(name_of(names, (int)row), name)) return (int)row;
    return -1;
}
static int names_add(struct names *names, const char *name, const char *options) {
    if (names->count == MAX_ROWS) return -1; /* and so many of the longest fit into the arena */
    char *name_end = stpcpy(names->text + names->used, name), *end = stpcpy(name_end + 1, options) + 1;
    names->hash[names->count] = hash_of(name);
    names->at[names->count] = names->used;
    names->used = (uint32_t)(end - names->text);
    return (int)names->count++;
}

/* The last row is in this one afterwards: the caller's own columns have to follow. */
static uint32_t names_remove(struct names *names, int row) {
    uint32_t at = names->at[row], last = --names->count;
    uint32_t next = (uint32_t)(strchr(options_of(names, row), 0) + 1 - names->text);
    memmove(names->text + at, names->text + next, names->used - next);
    names->used -= next - at;
    names->hash[row] = names->hash[last];
    names->at[row] = names->at[last];
    for (uint32_t i = 0; i < last; i++)
        if (names->at[i] > at) names->at[i] -= next - at;
    return last;
}

int find_row(const uint64_t column[], uint64_t value) {
    int row = (int)keys.count - 1; /* backwards: it is mostly a new one */
    while (row >= 0 && column[row] != value) row--;
    return row;
}
struct owing owing = {0, MAX_ROWS};
void owe(int row, uint32_t what) {
    if (what == OWES_REFUSED) children[row].owes = what; /* of what there never was, that alone */
    else if (!(children[row].owes & OWES_CHILD)) children[row].owes |= what; /* else that one will tell everything */
    if (row < owing.from) owing.from = row;
    if (row >= owing.to) owing.to = row + 1;
}
int child_add(uint64_t launch, const char *key) {
    int row = names_add(&keys, key, "");
    if (row < 0) return -1;
    child_launch[row] = launch;
    child_pid[row] = UNBORN;
    children[row] = (struct child){.layout.state = STATE_LAUNCHING, .layout.started = now_ns(), .heir = -1};
    return row;
}
void child_remove(int row) {
    uint32_t last = names_remove(&keys, row);
    child_pid[row] = child_pid[last];
    child_launch[row] = child_launch[last];
    children[row] = children[last];
    if (row < (int)last && children[row].owes) owe(row, 0);
}

/* A stream that was dropped keeps its row until it is empty, but its name counts no more. */
int store_find(const char *name) {
    int row = names_find(&stored, name);
    return row >= 0 && stored_flags[row] & IS_GONE ? -1 : row;
}
void store_remove(int row) {
    unwatch(stored_fd[row]); /* fails, rightly, but for the nudge socket */
    /* A service's socket may linger: then close(2) would wait for its peer. */
    close_for(setsockopt(stored_fd[row], SOL_SOCKET, SO_LINGER, &(struct linger){0}, sizeof(struct linger)), stored_fd[row]);
    uint32_t last = names_remove(&stored, row);
    stored_fd[row] = stored_fd[last];
    stored_flags[row] = stored_flags[last];
}

int store_put(const char *name, const char *options, int fd, uint8_t flags) {
    int row = names_find(&stored, name);
    if (row >= 0) store_remove(row);
    if (!strcmp(name, "nudge") && watch(fd, WATCH_NUDGE, EPOLLIN)) return close_for(errno, fd);
    if ((row = names_add(&stored, name, options)) < 0) return close_for(ENOSPC, fd);
    stored_fd[row] = fd;
    stored_flags[row] = flags;
    return 0;
}

int store_drop(const char *name) {
    size_t size = strlen(name); /* with its NUL it is compared whole, without its star as a prefix */
    bool all = name[size - 1] == '*', found = all;
    for (int row = (int)stored.count - 1; row >= 0; row--) /* what moves down has been seen */
        if (!strncmp(name_of(&stored, row), name, all ? size - 1 : size + 1) && !(stored_flags[row] & IS_GONE)) {
            if (stored_flags[row] & IS_STREAM) stored_flags[row] |= IS_GONE | OWES_GONE;
            else store_remove(row);
            found = true;
        }
    return found ? 0 : ENOENT;
}
