/* tick FIFO COUNT: COUNT times, every 10 ms, its own time as a line (realtime ns) to stdout, then DONE. */
#include <stdio.h>
#include <unistd.h>
#include "rec.h"
int main(int argc, char **argv) {
    char line[32];
    struct timespec now, tenth = {0, 10000000};
    tell(argv[1], START, now_ns(), 0);
    for (long left = atol(argv[2]); left > 0; left--) {
        nanosleep(&tenth, NULL);
        clock_gettime(CLOCK_REALTIME, &now);
        int length = sprintf(line, "%llu\n", (unsigned long long)now.tv_sec * 1000000000ull + (unsigned long long)now.tv_nsec);
        if (write(1, line, (size_t)length) != length) return 1;
    }
    tell(argv[1], DONE, now_ns(), 0);
    for (;;) pause();
}
