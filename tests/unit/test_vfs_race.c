/* The VFS under threads: renames against walks, creators and removers of one name, descriptors.
 * What each thread asserts holds in every interleaving; TSan looks at the rest. */
#include "vfs_test.h"

#define ROUNDS 400

static _Atomic bool stop;

static void start_threads(pthread_t *threads, int count, void *(*fn)(void *), void *arg) {
    for (int i = 0; i < count; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, fn, arg), 0);
    }
}

static void join_threads(pthread_t *threads, int count) {
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
}

/* ---- a walk below a directory that moves never leaves its root ---- */

static void *mover(void *arg) {
    struct vfs_test *t = arg;

    while (!atomic_load(&stop)) {
        assert_int_equal(vfs_rename(&t->walk, "/jail/a/b", &t->walk, "/jail/b", 0), 0);
        assert_int_equal(vfs_rename(&t->walk, "/jail/b", &t->walk, "/jail/a/b", 0), 0);
    }
    return NULL;
}

static void *swapper(void *arg) {
    struct vfs_test *t = arg;

    while (!atomic_load(&stop)) {
        assert_int_equal(
            vfs_rename(&t->walk, "/jail/real", &t->walk, "/jail/link", RENAME_EXCHANGE), 0);
    }
    return NULL;
}

static void *walker(void *arg) {
    struct vfs_test *t = arg;
    struct walk walk = t->walk;
    struct path start, path;
    static const char *const names[] = {
        "a/b/c/../../../secret", "b/c/../../secret", "a/b/c/../../../../secret",
        "link/../../secret",     "real/../secret",   "a/b/c/../../../../../../secret"};

    assert_int_equal(path_lookup(&walk, "/jail", 0, &start), 0);
    walk.start = &start;
    for (int i = 0; i < ROUNDS * 10; i++) {
        unsigned flags = (i & 1 ? LOOKUP_BENEATH : LOOKUP_IN_ROOT) | LOOKUP_FOLLOW;
        int error = path_lookup(&walk, names[i % (int)ARRAY_SIZE(names)], flags, &path);

        if (error) {
            assert_true(error == -ENOENT || error == -EXDEV || error == -EAGAIN);
            continue;
        }
        /* /secret is a directory, /jail/secret a file: the outer one must never be reached. */
        assert_true(S_ISREG(path.dentry->inode->type));
        path_put(&path);
    }
    path_put(&start);
    return NULL;
}

static void test_walk_against_rename(void **state) {
    struct vfs_test t;
    pthread_t movers[2], walkers[4];

    vfs_test_start(&t, 0);
    atomic_store(&stop, false);
    assert_int_equal(vfs_mkdir(&t.walk, "/secret", 0755), 0);
    assert_int_equal(vfs_mkdir(&t.walk, "/jail", 0755), 0);
    assert_int_equal(vfs_mkdir(&t.walk, "/jail/a", 0755), 0);
    assert_int_equal(vfs_mkdir(&t.walk, "/jail/a/b", 0755), 0);
    assert_int_equal(vfs_mkdir(&t.walk, "/jail/a/b/c", 0755), 0);
    assert_int_equal(vfs_mkdir(&t.walk, "/jail/real", 0755), 0);
    assert_int_equal(vfs_symlink(&t.walk, "/", "/jail/link"), 0);
    vfs_test_write(&t, "/jail/secret", "");
    start_threads(&movers[0], 1, mover, &t);
    start_threads(&movers[1], 1, swapper, &t);
    start_threads(walkers, 4, walker, &t);
    join_threads(walkers, 4);
    atomic_store(&stop, true);
    join_threads(movers, 2);
    vfs_test_finish(&t);
}

/* ---- crossing renames do not deadlock, and nothing is lost ---- */

struct crossing {
    struct vfs_test *t;
    int number;
};
static void *crosser(void *arg) {
    struct crossing *c = arg;
    char here[64], there[64];

    snprintf(here, sizeof(here), "/x/f%d", c->number);
    snprintf(there, sizeof(there), "/x/y/f%d", c->number);
    for (int i = 0; i < ROUNDS; i++) {
        const char *from = i & 1 ? there : here, *to = i & 1 ? here : there;

        assert_int_equal(vfs_rename(&c->t->walk, from, &c->t->walk, to, 0), 0);
    }
    return NULL;
}

static void test_crossing_renames(void **state) {
    struct vfs_test t;
    struct crossing crossings[4];
    pthread_t threads[4];

    vfs_test_start(&t, 0);
    assert_int_equal(vfs_mkdir(&t.walk, "/x", 0755), 0);
    assert_int_equal(vfs_mkdir(&t.walk, "/x/y", 0755), 0);
    for (int i = 0; i < 4; i++) {
        char name[64];

        snprintf(name, sizeof(name), "/x/f%d", i);
        vfs_test_write(&t, name, "");
        crossings[i] = (struct crossing){&t, i};
        pthread_create(&threads[i], NULL, crosser, &crossings[i]);
    }
    join_threads(threads, 4);
    for (int i = 0; i < 4; i++) {
        char name[64];

        snprintf(name, sizeof(name), "/x/f%d", i);
        assert_int_equal(vfs_unlink(&t.walk, name), 0);
    }
    assert_int_equal(vfs_rmdir(&t.walk, "/x/y"), 0);
    assert_int_equal(vfs_rmdir(&t.walk, "/x"), 0);
    vfs_test_finish(&t);
}

/* ---- one name, many makers and removers ---- */

static _Atomic int created, removed;

static void *maker(void *arg) {
    struct vfs_test *t = arg;
    struct file *file;

    for (int i = 0; i < ROUNDS; i++) {
        int error = vfs_open(&t->walk, "/d/one", O_CREAT | O_EXCL | O_WRONLY, 0600, 0, &file);

        if (!error) {
            atomic_fetch_add(&created, 1);
            file_put(file);
        } else {
            assert_int_equal(error, -EEXIST);
        }
        error = vfs_unlink(&t->walk, "/d/one");
        if (!error) {
            atomic_fetch_add(&removed, 1);
        } else {
            assert_int_equal(error, -ENOENT);
        }
        error = vfs_mkdir(&t->walk, "/d/two", 0700);
        assert_true(error == 0 || error == -EEXIST);
        error = vfs_rmdir(&t->walk, "/d/two");
        assert_true(error == 0 || error == -ENOENT);
    }
    return NULL;
}

static void test_makers_and_removers(void **state) {
    struct vfs_test t;
    pthread_t threads[4];
    int left;

    vfs_test_start(&t, 0);
    assert_int_equal(vfs_mkdir(&t.walk, "/d", 0755), 0);
    atomic_store(&created, 0);
    atomic_store(&removed, 0);
    start_threads(threads, 4, maker, &t);
    join_threads(threads, 4);
    left = vfs_test_mode(&t, "/d/one") > 0;
    assert_int_equal(atomic_load(&created), atomic_load(&removed) + left);
    if (left) {
        assert_int_equal(vfs_unlink(&t.walk, "/d/one"), 0);
    }
    assert_int_equal(vfs_rmdir(&t.walk, "/d"), 0);
    vfs_test_finish(&t);
}

/* ---- descriptors ---- */

struct descriptors {
    struct fd_table *table;
    struct file *file;
};
static void *descriptor_user(void *arg) {
    struct descriptors *d = arg;

    for (int i = 0; i < ROUNDS * 4; i++) {
        int fd = fd_table_install(d->table, d->file, 0, 64, i & 1);
        struct file *file;

        assert_true(fd >= 0);
        file = fd_table_get(d->table, fd);
        assert_ptr_equal(file, d->file);
        file_put(file);
        assert_int_equal(fd_table_close(d->table, fd), 0);
        if (i % 50 == 0) {
            struct fd_table *copy = fd_table_fork(d->table);

            assert_false(IS_ERR(copy));
            fd_table_put(copy);
        }
    }
    return NULL;
}

static void test_descriptors(void **state) {
    struct vfs_test t;
    struct descriptors d;
    pthread_t threads[4];

    vfs_test_start(&t, 0);
    d.table = fd_table_new();
    assert_int_equal(vfs_open(&t.walk, "/f", O_CREAT | O_RDWR, 0600, 0, &d.file), 0);
    start_threads(threads, 4, descriptor_user, &d);
    join_threads(threads, 4);
    assert_int_equal(fd_table_next(d.table, 0), -1);
    assert_int_equal(atomic_load(&d.file->ref.count), 1);
    fd_table_put(d.table);
    file_put(d.file);
    vfs_test_finish(&t);
}

/* ---- appends of several openers ---- */

static void *appender(void *arg) {
    struct vfs_test *t = arg;
    struct file *file;

    assert_int_equal(vfs_open(&t->walk, "/log", O_WRONLY | O_APPEND, 0, 0, &file), 0);
    for (int i = 0; i < ROUNDS; i++) {
        assert_int_equal(file_write(file, "0123456789012345678901234567890\n", 32), 32);
    }
    file_put(file);
    return NULL;
}

static void test_appends(void **state) {
    struct vfs_test t;
    struct file *file;
    struct kstat stat;
    pthread_t threads[4];
    char line[32];

    vfs_test_start(&t, 0);
    vfs_test_write(&t, "/log", "");
    start_threads(threads, 4, appender, &t);
    join_threads(threads, 4);
    assert_int_equal(vfs_test_stat(&t, "/log", &stat), 0);
    assert_int_equal(stat.size, 4 * ROUNDS * 32);
    assert_int_equal(vfs_open(&t.walk, "/log", O_RDONLY, 0, 0, &file), 0);
    for (int i = 0; i < 4 * ROUNDS; i++) {
        assert_int_equal(file_read(file, line, 32), 32);
        assert_int_equal(line[31], '\n');
        assert_int_equal(line[0], '0');
    }
    file_put(file);
    vfs_test_finish(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_walk_against_rename),
        cmocka_unit_test(test_crossing_renames),
        cmocka_unit_test(test_makers_and_removers),
        cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_appends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
