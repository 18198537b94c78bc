/*
 * kernel_thread: the kernel's own threads, one for each task that runs. A thread whose task has
 * ended stays for the next one: making a thread and taking it down again costs more than a
 * short-lived guest thread does itself.
 *
 * Idle threads sleep without end and are few (IDLE_MAX); the others end. Nothing of a task is left
 * in an idle thread: what a kernel thread knows of its task is cleared by task_main().
 */
#include <pthread.h>
#include <signal.h>

#include "host/jail.h"
#include "task/task_internal.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KERNEL_STACK_SIZE (2UL << 20)
#else
#define KERNEL_STACK_SIZE (256UL << 10)
#endif

#define IDLE_MAX 4

/* On the stack of an idle thread. */
struct idle_thread {
    struct list_head link;
    struct waiter *waiter;
    struct task *_Atomic next; /* set when it is taken off the list */
};

static pthread_mutex_t idle_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct list_head idle_threads = {&idle_threads, &idle_threads}; /* guarded by idle_mutex */
static int idle_count;                                                 /* guarded by idle_mutex */

/* The task that this thread runs next; NULL: it is not needed. */
static struct task *idle_wait(void) {
    struct idle_thread self = {.waiter = waiter_current()};
    bool stays;

    pthread_mutex_lock(&idle_mutex);
    stays = idle_count < IDLE_MAX;
    if (stays) {
        idle_count++;
        list_add(&self.link, &idle_threads);
    }
    pthread_mutex_unlock(&idle_mutex);
    /* Without the mutex, which whoever wakes it still holds. */
    while (stays && !atomic_load(&self.next)) {
        (void)!wait_sleep_uninterruptible(WAIT_FOREVER);
    }
    return self.next;
}

static bool give_to_idle(struct task *task) {
    struct idle_thread *idle;
    struct waiter *waiter;
    bool given = false;

    pthread_mutex_lock(&idle_mutex);
    if (!list_empty(&idle_threads)) {
        /* The one that came last: its stack is warm. */
        idle = container_of(idle_threads.next, struct idle_thread, link);
        list_del(&idle->link);
        idle_count--;
        waiter = idle->waiter;
        atomic_store(&idle->next, task);
        /* With the mutex held, which every thread takes before it ends: it is still there. */
        waiter_wake(waiter);
        given = true;
    }
    pthread_mutex_unlock(&idle_mutex);
    return given;
}

static void *thread_main(void *arg) {
    for (struct task *task = arg; task; task = idle_wait()) {
        task_main(task);
        wait_thread_ends(); /* what is known of this task's core is not the next one's */
    }
    return NULL;
}

int kernel_thread_start(struct task *task) {
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all;
    int error;

    if (give_to_idle(task)) {
        return 0;
    }
    error = pthread_attr_init(&attr);
    if (error) {
        return -error;
    }
    host_signals_blocked(&all);
    error = pthread_attr_setstacksize(&attr, KERNEL_STACK_SIZE);
    error = error ? error : pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    error = error ? error : pthread_attr_setsigmask_np(&attr, &all);
    error = error ? error : pthread_create(&thread, &attr, thread_main, task);
    pthread_attr_destroy(&attr);
    return -error;
}
