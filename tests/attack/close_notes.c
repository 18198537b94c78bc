/*
 * timeout: 120
 * run-args: --user 0
 *
 * Notes about closed descriptors (class L), in the hands of a guest that writes them itself: for
 * numbers that were never open, for descriptors that it may not close so, with every bit set, and
 * over and over while other threads open, close and fork. The kernel takes them for the wish to
 * close a number of this process's own and for nothing else; what it shows can not be written.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "bystander.h"
#include "host/slot.h"
#include "stub_probe.h"

static unsigned char *stub;

static void set_up(void) {
    block_sigchld();
    stub = stub ? stub : stub_find();
    REQUIRE(stub != NULL);
}

/* Of the first process of an address space. */
static volatile uint64_t *notes(void) {
    return ((struct slot *)(stub + STUB_SLOTS_OFFSET))->notes;
}

static volatile struct slot_fd *page(void) {
    return (struct slot_fd *)(stub + STUB_PUBLIC_OFFSET + STUB_TABLES_OFFSET);
}

static uint64_t random_word(uint64_t *state) {
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state ^ *state >> 29;
}

TEST(page_can_not_be_written) {
    struct sigaction action = {.sa_handler = probe_fault, .sa_flags = SA_NODEFER}, old;
    volatile int faults = 0;
    int fd = open("/", O_RDONLY);

    set_up();
    REQUIRE_OK(fd);
    CHECK(page()[fd].shown & SLOT_SHOWN); /* else nothing is tried */
    sigaction(SIGSEGV, &action, &old);
    if (sigsetjmp(probe_failed, 1) == 0) {
        page()[fd].shown = ~0ull;
    } else {
        faults++;
    }
    sigaction(SIGSEGV, &old, NULL);
    CHECK_EQ(faults, 1);
    CHECK(mprotect((void *)((uintptr_t)&page()[0] & ~4095ul), 4096, PROT_READ | PROT_WRITE) < 0);
    CHECK_OK(close(fd));
    check_kernel_serves();
}

/* Each kind of descriptor that a note must not close, and what a note may close. */
static void forge_each(void) {
    int ends[2], plain = open("/", O_RDONLY), writes = open("f", O_CREAT | O_RDWR, 0600);
    int locked = open("g", O_CREAT | O_RDWR, 0600), reads = open("g", O_RDONLY);
    struct flock lock = {.l_type = F_WRLCK};
    int fds[5];

    CHECK_OK(pipe(ends));
    CHECK_OK(fcntl(locked, F_SETLK, &lock));
    fds[0] = writes;
    fds[1] = ends[0];
    fds[2] = ends[1];
    fds[3] = locked;
    fds[4] = reads;
    for (int i = 0; i < 5; i++) {
        uint64_t shown = page()[fds[i]].shown;
        int copy;

        CHECK(!(shown & SLOT_SHOWN_CLOSES));
        notes()[fds[i] % SLOT_NOTES] = SLOT_NOTE(shown, (unsigned)fds[i]);
        copy = (int)syscall(SYS_dup, fds[i]);
        CHECK_OK(copy);
        notes()[fds[i] % SLOT_NOTES] = 0;
        CHECK_OK(fcntl(fds[i], F_GETFD));
        CHECK_OK(close(copy));
    }
    CHECK(page()[plain].shown & SLOT_SHOWN_CLOSES);
    /* Another time's: nothing. */
    notes()[plain % SLOT_NOTES] = SLOT_NOTE(page()[plain].shown - (1ull << 32), (unsigned)plain);
    (void)syscall(SYS_getuid);
    CHECK_OK(syscall(SYS_dup, plain));
    /* Its own: closed, and the note is gone. */
    notes()[plain % SLOT_NOTES] = SLOT_NOTE(page()[plain].shown, (unsigned)plain);
    CHECK_ERR(syscall(SYS_dup, plain), EBADF);
    CHECK_EQ(notes()[plain % SLOT_NOTES], 0);
    CHECK_EQ(page()[plain].shown, 0);
    CHECK_ERR(close(plain), EBADF);
}

TEST(each_kind) {
    pid_t pid;

    set_up();
    pid = fork();
    REQUIRE_OK(pid);
    if (pid == 0) {
        forge_each();
        CHILD_EXIT();
    }
    CHECK_EQ(wait_or_kill(pid, 20000), 0);
    check_kernel_serves();
}

static volatile int stop;

/* Words of every kind, into the notes of all slots. */
static void *forge(void *arg) {
    uint64_t state = (uint64_t)(uintptr_t)arg * 77 + 1;

    while (!stop) {
        uint64_t word = random_word(&state);
        unsigned fd = (unsigned)(word >> 40) % SLOT_SHOWN_FDS;
        volatile uint64_t *at =
            &((struct slot *)(stub + STUB_SLOTS_OFFSET + word % 4 * STUB_SLOT_STRIDE))
                 ->notes[word / 8 % SLOT_NOTES];

        switch (word >> 33 & 7) {
        case 0:
            *at = ~0ull;
            break;
        case 1:
            *at = word;
            break;
        case 2:
            *at = word | 0x80000000u;
            break;
        case 3:
            *at = 0x80000000ull | fd;
            break;
        case 4:
            *at = 0;
            break;
        default:
            notes()[fd % SLOT_NOTES] = SLOT_NOTE(page()[fd].shown, fd);
        }
    }
    return NULL;
}

static void *open_and_close(void *arg) {
    struct stat stat;

    while (!stop) {
        int fd = open("/", O_RDONLY), other = open("f", O_CREAT | O_RDWR | O_CLOEXEC, 0600);

        (void)fstat(fd, &stat);
        (void)dup2(fd, 100);
        (void)fcntl(other, F_GETFL);
        (void)fcntl(other, F_SETFL, O_NONBLOCK);
        (void)close(other);
        (void)close(fd);
        (void)close(fd);
        (void)close(100);
    }
    return arg;
}

TEST(racing_forgers) {
    int mine = open("/", O_RDONLY);
    pid_t pid;

    set_up();
    bystander_start();
    REQUIRE_OK(mine);
    pid = fork();
    REQUIRE_OK(pid);
    if (pid == 0) {
        pthread_t threads[4];

        for (int i = 0; i < 4; i++) {
            if (pthread_create(&threads[i], NULL, i % 2 ? forge : open_and_close,
                               (void *)(uintptr_t)(i + 1))) {
                _exit(1);
            }
        }
        for (int i = 0; i < 60; i++) {
            pid_t child = fork();

            if (child == 0) {
                (void)fcntl(mine, F_GETFL);
                (void)close(mine);
                _exit(0);
            }
            waitpid(child, NULL, 0);
            (void)open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
        }
        _exit(0); /* amid it all */
    }
    for (int i = 0; i < 50; i++) {
        char name[64];
        int other;

        /* Somebody looks at its descriptors meanwhile. */
        snprintf(name, sizeof(name), "/proc/%d/fd/0", (int)pid);
        other = open(name, O_PATH | O_NOFOLLOW);
        if (other >= 0) {
            CHECK_OK(close(other));
        }
        CHECK_OK(syscall(SYS_dup2, mine, 150));
        CHECK_OK(fcntl(mine, F_GETFD));
    }
    (void)wait_or_kill(pid, 60000);
    bystander_check();
    CHECK_OK(close(150));
    CHECK_OK(close(mine));
    check_kernel_serves();
}

TEST_MAIN()
