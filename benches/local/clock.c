// Linked into llama.cpp's tools: the system's and the monotonic clock tell the CPU time of the process, so that the tools
// print tokens per CPU-second and other programs on the machine disturb them less.
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *now) {
    if (id == CLOCK_REALTIME || id == CLOCK_MONOTONIC) {
        id = CLOCK_PROCESS_CPUTIME_ID;
    }
    return (int)syscall(SYS_clock_gettime, id, now);
}
