/*
 * Calls that a program makes often take their small structures to the kernel, and bring their
 * results back, by another way than rare ones: what happens when the memory is not there, and when
 * signals come in between.
 */
#include "guest_test.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/utsname.h>

#define HOT 300

static long page;

/* Two pages, the second one with that protection; -1: not mapped. */
static char *two_pages(int protection) {
    char *at =
        mmap(NULL, (size_t)page * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (protection < 0) {
        munmap(at + page, (size_t)page);
    } else {
        mprotect(at + page, (size_t)page, protection);
    }
    return at;
}

TEST(results_into_memory_that_is_not_there) {
    char *read_only = two_pages(PROT_READ), *unmapped = two_pages(-1), *none = two_pages(PROT_NONE);
    struct stat good;
    struct utsname name;
    char *bad[] = {NULL,
                   read_only + page,
                   unmapped + page,
                   none + page,
                   read_only + page - 8,
                   unmapped + page - 8,
                   (char *)0x7fffffffff00,
                   (char *)-4096,
                   (char *)0xffff800000000000};

    for (int i = 0; i < HOT; i++) {
        memset(&good, 0, sizeof(good));
        CHECK_OK(stat("/proc/self", &good));
        CHECK(S_ISDIR(good.st_mode));
        for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
            CHECK_ERR(fstat(0, (struct stat *)bad[k]), EFAULT);
            CHECK_ERR(uname((struct utsname *)bad[k]), EFAULT);
        }
        CHECK_OK(uname(&name));
        CHECK_STREQ(name.sysname, "Linux");
        CHECK(getcwd(read_only + page, 100) == NULL && errno == EFAULT);
    }
}

TEST(a_mask_changes_even_if_the_old_one_goes_nowhere) {
    char *unmapped = two_pages(-1);
    sigset_t set, old, *same = &set, *edge = (sigset_t *)(unmapped + page - 4);

    for (int i = 0; i < HOT; i++) {
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        CHECK_ERR(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, unmapped + page, 8), EFAULT);
        CHECK_OK(sigprocmask(SIG_BLOCK, NULL, &old));
        CHECK(sigismember(&old, SIGUSR1));
        CHECK_ERR(syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, edge, NULL, 8), EFAULT);
        /* The same memory for both. */
        CHECK_OK(syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, same, same, 8));
        CHECK(sigismember(&set, SIGUSR1));
        CHECK_OK(sigprocmask(SIG_BLOCK, NULL, &set));
        CHECK(!sigismember(&set, SIGUSR1));
    }
}

TEST(structures_at_the_end_of_memory) {
    char *unmapped = two_pages(-1);
    int event = eventfd(0, EFD_NONBLOCK), epoll = epoll_create1(0);
    uint64_t *number = (uint64_t *)(unmapped + page - 8), got;
    struct pollfd *polled = (struct pollfd *)(unmapped + page - sizeof(struct pollfd));
    struct epoll_event *watch =
        (struct epoll_event *)(unmapped + page - sizeof(struct epoll_event));

    for (int i = 0; i < HOT; i++) {
        *number = (uint64_t)i + 1;
        CHECK_EQ(write(event, number, 8), 8);
        *polled = (struct pollfd){.fd = event, .events = POLLIN};
        CHECK_EQ(poll(polled, 1, 0), 1);
        CHECK_EQ(polled->revents, POLLIN);
        CHECK_ERR(poll((struct pollfd *)((char *)polled + 4), 1, 0), EFAULT);
        CHECK_EQ(read(event, &got, 8), 8);
        CHECK_EQ(got, (uint64_t)i + 1);
        *watch = (struct epoll_event){.events = EPOLLIN, .data.u32 = (uint32_t)i};
        CHECK_OK(epoll_ctl(epoll, EPOLL_CTL_ADD, event, watch));
        CHECK_ERR(epoll_ctl(epoll, EPOLL_CTL_MOD, event, (void *)((char *)watch + 4)), EFAULT);
        CHECK_OK(epoll_ctl(epoll, EPOLL_CTL_DEL, event, NULL));
    }
    close(event);
    close(epoll);
}

static ino_t handler_inode;
static volatile int handled, handler_wrong;

static void on_alarm(int signo) {
    struct stat seen;

    (void)signo;
    handled++;
    if (stat("/dev", &seen) || seen.st_ino != handler_inode) {
        handler_wrong++;
    }
}

TEST(signals_between_a_result_and_its_memory) {
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
    struct stat seen, other;
    ino_t inode;

    REQUIRE_OK(stat("/dev", &seen));
    handler_inode = seen.st_ino;
    REQUIRE_OK(stat("/proc/self", &seen));
    inode = seen.st_ino;
    REQUIRE_OK(stat("/", &other));
    REQUIRE_OK(sigaction(SIGALRM, &action, NULL));
    REQUIRE_OK(setitimer(ITIMER_REAL, &often, NULL));
    for (int i = 0; i < 20000 || handled < 20; i++) {
        memset(&seen, 0, sizeof(seen));
        if (stat(i & 1 ? "/proc/self" : "/", &seen) ||
            seen.st_ino != (i & 1 ? inode : other.st_ino)) {
            CHECK_EQ(seen.st_ino, i & 1 ? inode : other.st_ino);
            break;
        }
    }
    CHECK_OK(setitimer(ITIMER_REAL, &never, NULL));
    CHECK_EQ(handler_wrong, 0);
}

static char *volatile moving;
static volatile bool stop;

static void *protect(void *arg) {
    while (!stop) {
        mprotect(moving, (size_t)page, PROT_READ);
        mprotect(moving, (size_t)page, PROT_READ | PROT_WRITE);
    }
    return arg;
}

TEST(memory_that_changes_meanwhile) {
    struct stat *seen;
    pthread_t thread;
    int arrived = 0;

    moving = two_pages(PROT_READ | PROT_WRITE);
    seen = (struct stat *)moving;
    for (int i = 0; i < HOT; i++) {
        CHECK_OK(stat("/", seen));
    }
    REQUIRE_EQ(pthread_create(&thread, NULL, protect, NULL), 0);
    for (int i = 0; i < 5000; i++) {
        int result = stat("/", seen);

        if (result == 0) {
            CHECK(S_ISDIR(seen->st_mode));
            arrived++;
        } else {
            CHECK_EQ(errno, EFAULT);
        }
    }
    stop = true;
    pthread_join(thread, NULL);
    CHECK(arrived > 0);
}

int main(int argc, char **argv) {
    page = sysconf(_SC_PAGESIZE);
    return guest_test_main(argc, argv);
}
