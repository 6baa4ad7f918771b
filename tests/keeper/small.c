/* Small programs for tests, where starting an interpreter thousands of times would take too long.
 *   small exit              ends at once
 *   small pause             waits for a signal
 *   small orphans COUNT     has COUNT ended children that it does not reap; leaves them behind */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "exit")) return 0;
    if (argc == 2 && !strcmp(argv[1], "pause")) return pause();
    for (int i = argc == 3 ? atoi(argv[2]) : 0; i > 0; i--) {
        pid_t pid = fork();
        if (pid == 0) _exit(0);
        if (pid < 0) return 1;
    }
    return 0;
}
