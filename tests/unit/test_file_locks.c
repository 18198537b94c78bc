/* Record locks and flock: splitting and joining, conflicts, waiting, deadlock, release. */
#include "vfs_test.h"

#include <sys/file.h>

static struct flock range(short type, int64_t start, int64_t length) {
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
}

static int lock(struct file *file, const void *owner, int command, short type, int64_t start,
                int64_t length) {
    struct flock flock = range(type, start, length);

    return file_lock_posix(file, owner, 100, command, &flock);
}

/* What stands in the way of a write lock on the range: "R start+length", or "-". */
static const char *conflict(struct file *file, const void *owner, int64_t start, int64_t length) {
    static char text[64];
    struct flock flock = range(F_WRLCK, start, length);

    assert_int_equal(file_lock_posix(file, owner, 200, F_GETLK, &flock), 0);
    if (flock.l_type == F_UNLCK) {
        return "-";
    }
    snprintf(text, sizeof(text), "%c %ld+%ld", flock.l_type == F_RDLCK ? 'R' : 'W',
             (long)flock.l_start, (long)flock.l_len);
    return text;
}

static struct file *open_file(struct vfs_test *t) {
    struct file *file;

    assert_int_equal(vfs_open(&t->walk, "/f", O_CREAT | O_RDWR, 0600, 0, &file), 0);
    return file;
}

static void test_ranges(void **state) {
    struct vfs_test t;
    struct file *file;
    int a, b;

    vfs_test_start(&t, 0);
    file = open_file(&t);
    assert_int_equal(lock(file, &a, F_SETLK, F_RDLCK, 0, 100), 0);
    assert_int_equal(lock(file, &b, F_SETLK, F_RDLCK, 50, 100), 0);
    assert_int_equal(lock(file, &b, F_SETLK, F_WRLCK, 60, 10), -EAGAIN);
    assert_string_equal(conflict(file, &b, 0, 0), "R 0+100");
    /* A write lock in the middle of a's range splits it. */
    assert_int_equal(lock(file, &b, F_SETLK, F_UNLCK, 0, 0), 0);
    assert_int_equal(lock(file, &a, F_SETLK, F_WRLCK, 40, 20), 0);
    assert_string_equal(conflict(file, &b, 0, 40), "R 0+40");
    assert_string_equal(conflict(file, &b, 41, 1), "W 40+20");
    assert_string_equal(conflict(file, &b, 60, 0), "R 60+40");
    /* Unlocking splits too; the same kind joins again. */
    assert_int_equal(lock(file, &a, F_SETLK, F_UNLCK, 45, 5), 0);
    assert_string_equal(conflict(file, &b, 45, 5), "-");
    assert_int_equal(lock(file, &a, F_SETLK, F_RDLCK, 40, 20), 0);
    assert_string_equal(conflict(file, &b, 99, 1), "R 0+100");
    /* To the end of the file, wherever that is; a negative length. */
    assert_int_equal(lock(file, &a, F_SETLK, F_WRLCK, 100, 0), 0);
    assert_string_equal(conflict(file, &b, INT64_MAX - 1, 1), "W 100+0");
    assert_int_equal(lock(file, &a, F_SETLK, F_UNLCK, 50, -50), 0);
    assert_string_equal(conflict(file, &b, 0, 50), "-");
    assert_int_equal(lock(file, &a, F_SETLK, F_WRLCK, 10, -11), -EINVAL);
    assert_int_equal(lock(file, &a, F_SETLK, F_WRLCK, -1, 1), -EINVAL);
    assert_int_equal(lock(file, &a, F_SETLK, F_WRLCK, INT64_MAX, 2), -EOVERFLOW);
    assert_int_equal(lock(file, &a, F_SETLK, 77, 0, 1), -EINVAL);
    file_locks_release(file, &a);
    assert_string_equal(conflict(file, &b, 0, 0), "-");
    file_put(file);
    vfs_test_finish(&t);
}

static void test_ofd_and_modes(void **state) {
    struct vfs_test t;
    struct file *one, *two, *reader;
    struct flock flock;
    int a;

    vfs_test_start(&t, 0);
    one = open_file(&t);
    two = open_file(&t);
    assert_int_equal(vfs_open(&t.walk, "/f", O_RDONLY, 0, 0, &reader), 0);
    assert_int_equal(lock(reader, &a, F_SETLK, F_WRLCK, 0, 1), -EBADF);
    flock = range(F_WRLCK, 0, 10);
    assert_int_equal(file_lock_posix(one, &a, 1, F_OFD_SETLK, &flock), 0);
    assert_int_equal(file_lock_posix(two, &a, 1, F_OFD_SETLK, &flock), -EAGAIN);
    assert_int_equal(lock(two, &a, F_SETLK, F_RDLCK, 9, 1), -EAGAIN);
    flock = range(F_RDLCK, 0, 1);
    assert_int_equal(file_lock_posix(two, &a, 1, F_GETLK, &flock), 0);
    assert_int_equal(flock.l_pid, -1);
    flock.l_pid = 1;
    assert_int_equal(file_lock_posix(two, &a, 1, F_OFD_GETLK, &flock), -EINVAL);
    file_put(one); /* an OFD lock goes with its file */
    assert_int_equal(lock(two, &a, F_SETLK, F_RDLCK, 9, 1), 0);
    file_put(two);
    file_put(reader);
    vfs_test_finish(&t);
}

static void test_flock(void **state) {
    struct vfs_test t;
    struct file *one, *two;

    vfs_test_start(&t, 0);
    one = open_file(&t);
    two = open_file(&t);
    assert_int_equal(file_flock(one, LOCK_SH), 0);
    assert_int_equal(file_flock(two, LOCK_SH), 0);
    assert_int_equal(file_flock(one, LOCK_EX | LOCK_NB), -EWOULDBLOCK);
    /* The failed conversion lost the shared lock (flock(2)). */
    assert_int_equal(file_flock(two, LOCK_EX | LOCK_NB), 0);
    assert_int_equal(file_flock(one, LOCK_SH | LOCK_NB), -EWOULDBLOCK);
    assert_int_equal(lock(one, one, F_SETLK, F_WRLCK, 0, 0), 0);
    assert_int_equal(file_flock(two, LOCK_UN), 0);
    assert_int_equal(file_flock(one, LOCK_EX | LOCK_NB), 0);
    assert_int_equal(file_flock(one, 99), -EINVAL);
    file_put(one);
    assert_int_equal(file_flock(two, LOCK_EX | LOCK_NB), 0);
    file_put(two);
    vfs_test_finish(&t);
}

struct sleeper {
    struct file *file;
    const void *owner;
    int64_t start;
    int result;
    struct waiter *_Atomic waiter;
};
static void *sleep_for_lock(void *arg) {
    struct sleeper *sleeper = arg;

    atomic_store(&sleeper->waiter, waiter_current());
    do {
        /* The one that closes the circle is refused: this one, when the other happens to be in the
         * middle of its call. */
        sleeper->result = lock(sleeper->file, sleeper->owner, F_SETLKW, F_WRLCK, sleeper->start, 1);
    } while (sleeper->result == -EDEADLK);
    return NULL;
}

static void test_deadlock(void **state) {
    struct vfs_test t;
    struct file *file;
    struct sleeper sleeper;
    pthread_t thread;
    int a, b, result;

    vfs_test_start(&t, 0);
    file = open_file(&t);
    assert_int_equal(lock(file, &a, F_SETLK, F_WRLCK, 0, 1), 0);
    assert_int_equal(lock(file, &b, F_SETLK, F_WRLCK, 1, 1), 0);
    sleeper = (struct sleeper){.file = file, .owner = &b, .start = 0};
    assert_int_equal(pthread_create(&thread, NULL, sleep_for_lock, &sleeper), 0);
    /* a wants b's: EDEADLK once b sleeps for a's. Before that a would sleep itself: interrupted,
     * it tries again. */
    while (!atomic_load(&sleeper.waiter)) {
        sched_yield();
    }
    do {
        waiter_interrupt(waiter_current());
        result = lock(file, &a, F_SETLKW, F_WRLCK, 1, 1);
        waiter_clear_interrupt(waiter_current());
    } while (result == -ERESTARTSYS);
    assert_int_equal(result, -EDEADLK);
    file_locks_release(file, &a);
    pthread_join(thread, NULL);
    assert_int_equal(sleeper.result, 0);
    assert_int_equal(lock(file, &a, F_SETLK, F_RDLCK, 0, 2), -EAGAIN);
    file_locks_release(file, &b);
    assert_int_equal(lock(file, &a, F_SETLK, F_RDLCK, 0, 2), 0);
    file_locks_release(file, &a);
    file_put(file);
    vfs_test_finish(&t);
}

static void test_interrupted(void **state) {
    struct vfs_test t;
    struct file *file;
    int a, b;

    vfs_test_start(&t, 0);
    file = open_file(&t);
    assert_int_equal(lock(file, &a, F_SETLK, F_WRLCK, 0, 0), 0);
    waiter_interrupt(waiter_current());
    assert_int_equal(lock(file, &b, F_SETLKW, F_RDLCK, 0, 1), -ERESTARTSYS);
    assert_int_equal(file_flock(file, LOCK_EX), 0);
    waiter_clear_interrupt(waiter_current());
    file_locks_release(file, &a);
    assert_int_equal(lock(file, &b, F_SETLKW, F_RDLCK, 0, 1), 0);
    file_locks_release(file, &b);
    file_put(file);
    vfs_test_finish(&t);
}

/* Counters that only the holder of a lock touches: exact, and silent under TSan, if it excludes. */
struct counters {
    struct vfs_test *t;
    long records, flocks;
};
static void *count_locked(void *arg) {
    struct counters *counters = arg;
    struct file *file = open_file(counters->t);

    for (int i = 0; i < 200; i++) {
        assert_int_equal(lock(file, file, F_SETLKW, F_WRLCK, 0, 0), 0);
        counters->records++;
        assert_int_equal(lock(file, file, F_SETLKW, F_UNLCK, 0, 0), 0);
        assert_int_equal(file_flock(file, LOCK_EX), 0);
        counters->flocks++;
        assert_int_equal(file_flock(file, LOCK_UN), 0);
    }
    file_put(file);
    return NULL;
}

static void test_exclusion(void **state) {
    struct vfs_test t;
    struct counters counters = {.t = &t};
    pthread_t threads[8];

    vfs_test_start(&t, 0);
    for (int i = 0; i < 8; i++) {
        pthread_create(&threads[i], NULL, count_locked, &counters);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(counters.records, 8 * 200);
    assert_int_equal(counters.flocks, 8 * 200);
    vfs_test_finish(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),      cmocka_unit_test(test_ofd_and_modes),
        cmocka_unit_test(test_flock),       cmocka_unit_test(test_deadlock),
        cmocka_unit_test(test_interrupted), cmocka_unit_test(test_exclusion),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
