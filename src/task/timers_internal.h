/* What timers.c and posix_timers.c share: one timer, and those of a thread group. */
#ifndef STARLING_TIMERS_INTERNAL_H
#define STARLING_TIMERS_INTERNAL_H

#include <sys/time.h>

#include "task/signal_internal.h"

#define MSEC   1000000LL
#define SECOND 1000000000LL
/* So that deadlines can be added to without a look at overflow. */
#define TIME_MAX (INT64_MAX / 4)
/* Behind ITIMER_*: expires at RLIMIT_CPU, and each second after that. */
#define ITIMER_LIMIT 3
#define ITIMER_COUNT 4

enum timer_source { SOURCE_WALL, SOURCE_GROUP_CPU, SOURCE_GROUP_USER, SOURCE_THREAD_CPU };

struct posix_timer {
    struct list_head link;       /* timers->list; guarded by timers->lock */
    struct posix_timers *timers; /* immutable, like all up to `value` */
    int id;                      /* -1: an interval timer */
    uint64_t number;             /* unique for ever: what queued signals know it by */
    clockid_t clock;
    enum timer_source source;
    pid_t source_tid; /* SOURCE_THREAD_CPU */
    int notify, signal;
    pid_t tid; /* who gets the signal, 0: the group */
    union sigval value;

    /* guarded by timers->lock */
    bool linked;   /* not deleted */
    unsigned pins; /* users besides the list: the last one frees it when it was deleted */
    bool armed;
    bool waiting;    /* periodic, expired, and its signal not taken yet */
    uint64_t arming; /* counts settings: a callback can tell that it came too late */
    int64_t deadline, interval;
    int64_t overrun, last_overrun;
    struct poller_timer timer;
};

struct posix_timers {
    struct thread_group *group; /* weak; immutable: outlives this */
    struct lock lock;           /* class TIMERS */
    struct list_head list;      /* POSIX timers; guarded by lock */
    int next_id;                /* guarded by lock */
    size_t count;               /* guarded by lock */
    _Atomic bool limited;       /* ITIMER_LIMIT was ever set */
    struct posix_timer itimers[ITIMER_COUNT];
};

/* timers.c */

void timer_init(struct posix_timers *timers, struct posix_timer *timer);
/* Takes it out of the list, so that nothing arms it any more; the caller gets a pin. */
void timer_unlink_locked(struct posix_timer *timer);
/* The last pin of a deleted timer frees it. No lock held. */
void timer_unpin(struct posix_timer *timer);
int64_t timer_source_now(const struct posix_timer *timer);
void timer_get_locked(const struct posix_timer *timer, int64_t now, struct timer_spec *spec);
int timer_set(struct posix_timer *timer, bool absolute, const struct timer_spec *spec,
              struct timer_spec *old);
/* What timer_getoverrun(2) and si_overrun can show of a count. */
int timer_overrun_count(int64_t overrun);

#endif
