/* /proc/self/stat, proc(5): what stands behind the last ')', because a name may hold anything. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "inference/service/metrics.h"

enum { STAT_BYTES_MAX = 4096 };

static uint64_t fds_count(void)
{
    uint64_t n = 0;
    DIR *directory = opendir("/proc/self/fd");
    if (!directory) return 0;
    while (readdir(directory)) n++;
    closedir(directory);
    return n > 3 ? n - 3 : 0; /* ".", "..", and the directory itself */
}

/* Seconds since boot at which we started: field 22, in clock ticks. */
static double stat_read(struct process_sample *out, double ticks_per_s)
{
    unsigned long long user, system, begun, virtual_bytes;
    long long resident_pages;
    double begun_s = 0;
    FILE *file = fopen("/proc/self/stat", "re");
    char line[STAT_BYTES_MAX] = "";
    const char *behind = file && fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
    if (file) fclose(file);
    if (behind && sscanf(behind + 1,
                         " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d "
                         "%*d %*d %llu %llu %lld",
                         &user, &system, &begun, &virtual_bytes, &resident_pages) == 5) {
        out->cpu_s = (double)(user + system) / ticks_per_s;
        out->virtual_bytes = virtual_bytes;
        out->resident_bytes = (uint64_t)resident_pages * (uint64_t)sysconf(_SC_PAGESIZE);
        begun_s = (double)begun / ticks_per_s;
    }
    return begun_s;
}

void process_sample_take(struct process_sample *out)
{
    struct rlimit limit;
    struct timespec now, since_boot;
    *out = (struct process_sample){.open_fds = fds_count()};
    double begun_s = stat_read(out, (double)sysconf(_SC_CLK_TCK));
    clock_gettime(CLOCK_REALTIME, &now);
    clock_gettime(CLOCK_BOOTTIME, &since_boot);
    out->start_unix_s = (double)(now.tv_sec - since_boot.tv_sec) +
                        (double)(now.tv_nsec - since_boot.tv_nsec) * 1e-9 + begun_s;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) out->max_fds = limit.rlim_cur;
}
