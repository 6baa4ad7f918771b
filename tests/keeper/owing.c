/* A new manager is still to be told of a launch when that turns out never to have had a process. */
#include "keeper.h"
int watch(int fd, int kind, uint32_t events) { return fd + kind + (int)events < 0; }
void unwatch(int fd) { close(fd); }

int main(void) {
    if (!tables_make() || child_add(1, "unit") != 0) return 2;
    owe(0, OWES_CHILD);
    owe(0, OWES_REFUSED);
    return children[0].owes != OWES_REFUSED;
}
