/*
 * The event thread: see poller.h. It owns an epoll descriptor, on which stand the watched host
 * descriptors and one timerfd, armed for the earliest timer of a heap. So whoever adds a watch or
 * an earlier timer changes what the thread sleeps on by one host call of his own; nobody has to
 * wake it, and with nothing to wait for it sleeps without end.
 *
 * A watch is known to epoll by the number of its place and that place's generation, never by its
 * address: an event that was fetched before poller_remove() finds its place empty or reused and is
 * dropped. `running` names what the thread is calling at present; remove and cancel wait for it.
 * So whoever calls them holds no lock that the callback takes.
 */
#include "host/poller.h"
#include "host/host_fd.h"
#include "host/jail.h"

#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define EVENTS_AT_ONCE 32
#define TIMERFD_ID     UINT64_MAX

struct place {
    struct poller_watch *watch; /* NULL: free */
    uint32_t generation;
    uint32_t next_free; /* valid while free */
};

static struct {
    pthread_t thread;
    bool started;
    int epoll, timer;
    struct lock lock;    /* class HOST_POLLER; guards what follows */
    pthread_cond_t idle; /* `running` changed and somebody waits */
    const void *running; /* the watch or timer whose callback runs */
    struct place *places;
    uint32_t place_count, free_place; /* free_place == place_count: none is free */
    struct poller_timer **heap;       /* from 1 on, the earliest first */
    int heap_count, heap_room;
    deadline_ns armed; /* what the timerfd is set to; WAIT_FOREVER: nothing */
} poller = {.epoll = -1, .timer = -1, .armed = WAIT_FOREVER};

static pthread_mutex_t start_mutex = PTHREAD_MUTEX_INITIALIZER;

static bool in_event_thread(void) {
    return poller.started && pthread_equal(pthread_self(), poller.thread);
}

/* ---- the heap ---- */

static void heap_place(int index, struct poller_timer *timer) {
    poller.heap[index] = timer;
    timer->heap_index = index;
}

static void heap_sift(int index) {
    struct poller_timer *timer = poller.heap[index];

    while (index > 1 && poller.heap[index / 2]->deadline > timer->deadline) {
        heap_place(index, poller.heap[index / 2]);
        index /= 2;
    }
    for (;;) {
        int child = index * 2;

        if (child < poller.heap_count &&
            poller.heap[child + 1]->deadline < poller.heap[child]->deadline) {
            child++;
        }
        if (child > poller.heap_count || poller.heap[child]->deadline >= timer->deadline) {
            break;
        }
        heap_place(index, poller.heap[child]);
        index = child;
    }
    heap_place(index, timer);
}

static void heap_remove(struct poller_timer *timer) {
    int index = timer->heap_index;
    struct poller_timer *last = poller.heap[poller.heap_count--];

    timer->heap_index = 0;
    if (last != timer) {
        heap_place(index, last);
        heap_sift(index);
    }
}

/* Sets the timerfd to the earliest timer, if that is earlier than what it is set to. One that is
 * set too early only costs a look. */
static void arm_locked(void) {
    deadline_ns first = poller.heap_count ? poller.heap[1]->deadline : WAIT_FOREVER;

    if (first >= poller.armed) {
        return;
    }
    poller.armed = first;
    first = MAX(first, (deadline_ns)1); /* zero would disarm */
    struct itimerspec value = {
        .it_value = {.tv_sec = first / 1000000000, .tv_nsec = first % 1000000000}};

    if (timerfd_settime(poller.timer, TFD_TIMER_ABSTIME, &value, NULL)) {
        panic("timerfd_settime: %s", strerror(errno));
    }
}

/* ---- the thread ---- */

/* The caller holds the lock; it is released over the callback. */
static void call_locked(const void *what, poller_fn *fn, void *arg, uint32_t events) {
    poller.running = what;
    lock_release(&poller.lock);
    fn(arg, events);
    lock_acquire(&poller.lock);
    poller.running = NULL;
    pthread_cond_broadcast(&poller.idle);
}

static void run_timers_locked(void) {
    uint64_t expirations;

    if (host_read(poller.timer, &expirations, sizeof(expirations)) < 0) {
        /* Nothing yet: armed anew by somebody, after the event was fetched. */
    }
    poller.armed = WAIT_FOREVER;
    int64_t now = host_clock_monotonic();

    while (poller.heap_count && poller.heap[1]->deadline <= now) {
        struct poller_timer *timer = poller.heap[1];

        heap_remove(timer);
        call_locked(timer, timer->fn, timer->arg, 0);
    }
    arm_locked();
}

static void *event_thread(void *arg UNUSED) {
    struct epoll_event events[EVENTS_AT_ONCE];

    for (;;) {
        int count = epoll_wait(poller.epoll, events, EVENTS_AT_ONCE, -1);

        if (count < 0 && errno != EINTR) {
            panic("event thread: epoll_wait: %s", strerror(errno));
        }
        lock_acquire(&poller.lock);
        for (int i = 0; i < count; i++) {
            uint64_t id = events[i].data.u64;

            if (id == TIMERFD_ID) {
                run_timers_locked();
                continue;
            }
            struct place *place = &poller.places[(uint32_t)id];

            if (place->watch && place->generation == (uint32_t)(id >> 32)) {
                struct poller_watch *watch = place->watch;

                call_locked(watch, watch->fn, watch->arg, events[i].events);
            }
        }
        lock_release(&poller.lock);
    }
    return NULL;
}

static int start_locked(void) {
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = TIMERFD_ID};
    sigset_t all, old;
    int error = 0;

    if (epoll < 0 || timer < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event)) {
        error = errno;
    } else {
        poller.epoll = epoll;
        poller.timer = timer;
        lock_init(&poller.lock, LOCK_HOST_POLLER);
        pthread_cond_init(&poller.idle, NULL);
        /* Host signals belong to the main thread: this one would swallow them. */
        host_signals_blocked(&all);
        pthread_sigmask(SIG_BLOCK, &all, &old);
        error = pthread_create(&poller.thread, NULL, event_thread, NULL);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    if (error) {
        if (epoll >= 0) {
            close(epoll);
        }
        if (timer >= 0) {
            close(timer);
        }
        return -error;
    }
    pthread_detach(poller.thread);
    poller.started = true;
    return 0;
}

int poller_start(void) {
    int result = 0;

    pthread_mutex_lock(&start_mutex);
    if (!poller.started) {
        result = start_locked();
    }
    pthread_mutex_unlock(&start_mutex);
    return result;
}

static void wait_until_idle_locked(const void *what) {
    while (poller.running == what && !in_event_thread()) {
        pthread_cond_wait(&poller.idle, &poller.lock.mutex);
    }
}

/* ---- watches ---- */

static int place_find_locked(uint32_t *index) {
    if (poller.free_place == poller.place_count) {
        uint32_t count = poller.place_count ? poller.place_count * 2 : 16;
        struct place *places = realloc(poller.places, count * sizeof(*places));

        if (!places) {
            return -ENOMEM;
        }
        for (uint32_t i = poller.place_count; i < count; i++) {
            places[i] = (struct place){.next_free = i + 1};
        }
        poller.places = places;
        poller.place_count = count;
    }
    *index = poller.free_place;
    poller.free_place = poller.places[*index].next_free;
    return 0;
}

static uint32_t place_of_locked(const struct poller_watch *watch) {
    if (!watch->active || watch->place >= poller.place_count ||
        poller.places[watch->place].watch != watch) {
        panic("a watch that is not registered");
    }
    return watch->place;
}

static uint64_t place_id_locked(uint32_t index) {
    return (uint64_t)poller.places[index].generation << 32 | index;
}

static void place_free_locked(uint32_t index) {
    struct place *place = &poller.places[index];

    place->watch = NULL;
    place->generation++;
    place->next_free = poller.free_place;
    poller.free_place = index;
}

int poller_add(struct poller_watch *watch) {
    uint32_t index;
    int result = poller_start();

    if (result) {
        return result;
    }
    LOCK_GUARD(&poller.lock);
    result = place_find_locked(&index);
    if (result) {
        return result;
    }
    poller.places[index].watch = watch;
    watch->place = index;
    watch->active = true;
    struct epoll_event event = {.events = watch->events, .data.u64 = place_id_locked(index)};

    if (epoll_ctl(poller.epoll, EPOLL_CTL_ADD, watch->fd, &event)) {
        result = -errno;
        watch->active = false;
        place_free_locked(index);
    }
    return result;
}

int poller_modify(struct poller_watch *watch, uint32_t events) {
    LOCK_GUARD(&poller.lock);
    struct epoll_event event = {.events = events,
                                .data.u64 = place_id_locked(place_of_locked(watch))};

    watch->events = events;
    return epoll_ctl(poller.epoll, EPOLL_CTL_MOD, watch->fd, &event) ? -errno : 0;
}

void poller_remove(struct poller_watch *watch) {
    if (!poller.started) {
        return;
    }
    LOCK_GUARD(&poller.lock);
    if (watch->active) {
        (void)epoll_ctl(poller.epoll, EPOLL_CTL_DEL, watch->fd, NULL);
        place_free_locked(place_of_locked(watch));
        watch->active = false;
    }
    wait_until_idle_locked(watch);
}

/* ---- timers ---- */

int poller_timer_set(struct poller_timer *timer, deadline_ns deadline) {
    int result = poller_start();

    if (result) {
        return result;
    }
    LOCK_GUARD(&poller.lock);
    timer->deadline = deadline;
    if (!timer->heap_index) {
        if (poller.heap_count + 1 >= poller.heap_room) {
            int room = poller.heap_room ? poller.heap_room * 2 : 16;
            struct poller_timer **heap =
                realloc(poller.heap, (size_t)room * sizeof(struct poller_timer *));

            if (!heap) {
                return -ENOMEM;
            }
            poller.heap = heap;
            poller.heap_room = room;
        }
        heap_place(++poller.heap_count, timer);
    }
    heap_sift(timer->heap_index);
    arm_locked();
    return 0;
}

void poller_timer_cancel(struct poller_timer *timer) {
    if (!poller.started) {
        return;
    }
    LOCK_GUARD(&poller.lock);
    if (timer->heap_index) {
        heap_remove(timer);
    }
    wait_until_idle_locked(timer);
    /* The callback may have armed it again. */
    if (timer->heap_index) {
        heap_remove(timer);
    }
}
