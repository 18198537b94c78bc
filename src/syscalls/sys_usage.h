/* What a process used, in getrusage(2)'s form. */
#ifndef STARLING_SYS_USAGE_H
#define STARLING_SYS_USAGE_H

#include <sys/resource.h>

#include "task/task.h"

static inline struct timeval ns_to_timeval(int64_t ns) {
    return (struct timeval){.tv_sec = ns / 1000000000, .tv_usec = ns % 1000000000 / 1000};
}

static inline void usage_to_rusage(const struct usage *usage, struct rusage *rusage) {
    memset(rusage, 0, sizeof(*rusage));
    rusage->ru_utime = ns_to_timeval(usage->user);
    rusage->ru_stime = ns_to_timeval(usage->system);
    rusage->ru_maxrss = (long)(usage->max_rss / 1024);
    rusage->ru_minflt = (long)usage->minor_faults;
    rusage->ru_majflt = (long)usage->major_faults;
}

#endif
