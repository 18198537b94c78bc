#ifndef BENCH_H
#define BENCH_H
/* What the benchmark's parts share: a row, and how its operations report an error. */
#include <errno.h>
#include <stdint.h>
#include <sys/types.h>

enum { PAGE = 4096, MANY = 10000, THREAD_CALLS = 20000 };

/* The call's result, or the end of the operation with its errno. */
#define TRY(call)                                                                                  \
    ({                                                                                             \
        long try_result = (long)(call);                                                            \
        if (try_result == -1)                                                                      \
            return errno;                                                                          \
        try_result;                                                                                \
    })

struct row {
    const char *name;
    int (*run)(void); /* One run; 0 or an errno. */
    int (*open)(void);
    int (*close)(void);
    double per; /* Operations in a run; 0 means one. */
    int single; /* A run is long: it is timed by itself, and one is enough. */
};

extern const struct row call_rows[], process_rows[],
    thread_rows[];       /* Each ends with a null name. */
extern const char *self; /* How this program was called. */

int wait_for(pid_t pid); /* 0 when it ended with status 0. */
void burn(long rounds);  /* Computes, without a system call. */
#endif
