/*
 * The event thread: one thread that waits on host descriptors (pidfds, terminals, pipes that came
 * from outside, the launcher's socket) and on the earliest timer, so that kernel objects can
 * announce them on wait queues. It runs callbacks one at a time and sleeps without a time-out when
 * there is nothing to wait for.
 */
#ifndef STARLING_POLLER_H
#define STARLING_POLLER_H

#include "base/base.h"
#include "host/wait.h"

/* Runs in the event thread, with no lock held; must not sleep. */
typedef void poller_fn(void *arg, uint32_t events);

struct poller_watch {
    int fd; /* borrowed; stays open until poller_remove() returned */
    poller_fn *fn;
    void *arg;
    uint32_t events; /* EPOLL* flags, EPOLLET and EPOLLONESHOT allowed */
    bool active;
    uint32_t place; /* the poller's own */
};
/* Idempotent; adding a watch or setting a timer starts it as well. */
int MUST_CHECK poller_start(void);
int MUST_CHECK poller_add(struct poller_watch *watch);
int MUST_CHECK poller_modify(struct poller_watch *watch, uint32_t events);
/* After it returns the callback is not running and will not run (unless called from the callback
 * itself). The caller holds no lock that the callback takes. */
void poller_remove(struct poller_watch *watch);

/* One-shot timers on CLOCK_MONOTONIC (ns). A timer is embedded in its owner and off at first
 * (zeroed). */
struct poller_timer {
    deadline_ns deadline;
    poller_fn *fn; /* called with events = 0 */
    void *arg;
    int heap_index; /* 0: not armed */
};
/* Arms, or moves an armed timer. */
int MUST_CHECK poller_timer_set(struct poller_timer *timer, deadline_ns deadline);
/* After it returns the callback is not running and will not run (unless called from the callback
 * itself). The caller holds no lock that the callback takes. */
void poller_timer_cancel(struct poller_timer *timer);

#endif
