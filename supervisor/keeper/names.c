/* Rows of text: a dense array of hashes to search, and one arena without holes to compare with. */
#include "keeper.h"

static uint32_t hash_of(const char *name)
{
    uint32_t hash = UINT32_C(2166136261); /* FNV-1a */
    while (*name)
        hash = (hash ^ (uint8_t)*name++) * UINT32_C(16777619);
    return hash;
}

const char *name_of(const struct names *names, int row)
{
    return names->text + names->at[row];
}

const char *options_of(const struct names *names, int row)
{
    const char *name = name_of(names, row);
    return name + strlen(name) + 1;
}

int names_find(const struct names *names, const char *name)
{
    uint32_t hash = hash_of(name);
    for (uint32_t row = 0; row < names->count; row++)
        if (names->hash[row] == hash && !strcmp(name_of(names, (int)row), name))
            return (int)row;
    return -1;
}

int names_add(struct names *names, const char *name, const char *options)
{
    size_t name_size = strlen(name) + 1, size = name_size + strlen(options) + 1;
    if (names->count == MAX_ROWS || size > sizeof names->text - names->used)
        return -1;
    uint32_t row = names->count++;
    names->hash[row] = hash_of(name);
    names->at[row] = names->used;
    memcpy(names->text + names->used, name, name_size);
    memcpy(names->text + names->used + name_size, options, size - name_size);
    names->used += (uint32_t)size;
    return (int)row;
}

void names_remove(struct names *names, int row)
{
    const char *options = options_of(names, row);
    uint32_t at = names->at[row];
    uint32_t size = (uint32_t)(options + strlen(options) + 1 - (names->text + at));
    names->used -= size;
    memmove(names->text + at, names->text + at + size, names->used - at);
    uint32_t last = --names->count;
    names->hash[row] = names->hash[last];
    names->at[row] = names->at[last];
    for (uint32_t i = 0; i < names->count; i++)
        if (names->at[i] > at)
            names->at[i] -= size;
}
