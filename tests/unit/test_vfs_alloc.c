/* Every allocation of the VFS and tmpfs made to fail once: an errno comes, nothing is lost, nothing
 * lies, and the same call succeeds afterwards. */
#include "vfs_test.h"

#include "fail_alloc.h"

static int checked(int result) {
    assert_true(result >= 0 || result == -ENOMEM || result == -ENOSPC || result == -ENOLCK);
    return result;
}

static void test_contexts(void **state) {
    FAIL_EACH_ALLOCATION(n) {
        struct fs_context *fs = fs_context_new_test(), *copy;
        struct fd_table *table;

        if (IS_ERR(fs)) {
            assert_int_equal(PTR_ERR(fs), -ENOMEM);
            continue;
        }
        copy = fs_context_fork(fs);
        if (!IS_ERR(copy)) {
            (void)checked(fs_context_unshare_mounts(copy));
            fs_context_put(copy);
        }
        fs_context_put(fs);
        table = fd_table_new();
        if (!IS_ERR(table)) {
            fd_table_put(table);
        }
    }
    dentry_set_limit(0);
    dentry_set_limit(8192);
}

/* The failure may come late, in here: the second try gets its memory. */
static const char *vfs_test_read_retry(struct vfs_test *t, const char *name) {
    struct file *file;
    ssize_t count;

    if (vfs_open(&t->walk, name, O_RDONLY, 0, 0, &file)) {
        assert_int_equal(vfs_open(&t->walk, name, O_RDONLY, 0, 0, &file), 0);
    }
    count = file_read(file, t->text, sizeof(t->text) - 1);
    assert_true(count >= 0);
    t->text[count] = '\0';
    file_put(file);
    return t->text;
}

/* Each takes no memory for granted. `run` returns 0 or a negative errno; `undo` brings the tree
 * back whether `run` had done its work or not, and says whether that worked. */
struct operation {
    const char *name;
    int (*run)(struct vfs_test *t);
    int (*undo)(struct vfs_test *t);
};

static int gone(int error) {
    return error == -ENOENT ? 0 : error;
}

static int run_mkdir(struct vfs_test *t) {
    return vfs_mkdir(&t->walk, "/d/new", 0700);
}
static int undo_mkdir(struct vfs_test *t) {
    return gone(vfs_rmdir(&t->walk, "/d/new"));
}

static int run_write(struct vfs_test *t) {
    static const char big[60000];
    struct file *file;
    int error = vfs_open(&t->walk, "/d/new", O_CREAT | O_RDWR, 0600, 0, &file);
    ssize_t count;

    if (error) {
        return error;
    }
    count = file_write(file, "small", 5);
    if (count > 0) {
        count = file_pwrite(file, big, 10000, 5);
    }
    if (count > 0) {
        count = file_pwrite(file, big, sizeof(big), 5);
    }
    file_put(file);
    return count < 0 ? (int)count : 0;
}
static int run_symlink(struct vfs_test *t) {
    return vfs_symlink(&t->walk, "target", "/d/new");
}
static int run_link(struct vfs_test *t) {
    return vfs_link(&t->walk, "/d/old", &t->walk, "/d/new", 0);
}
static int run_tmpfile(struct vfs_test *t) {
    struct file *file;
    int error = vfs_open(&t->walk, "/d", O_TMPFILE | O_RDWR, 0600, 0, &file);

    if (!error) {
        file_put(file);
    }
    return error;
}
static int run_bind(struct vfs_test *t) {
    struct path path;
    int error = vfs_bind_socket(&t->walk, "/d/new", 0600, &path);

    if (!error) {
        path_put(&path);
    }
    return error;
}
static int undo_unlink(struct vfs_test *t) {
    return gone(vfs_unlink(&t->walk, "/d/new"));
}

static int run_rename(struct vfs_test *t) {
    return vfs_rename(&t->walk, "/d/old", &t->walk, "/d/sub/new", 0);
}
static int undo_rename(struct vfs_test *t) {
    return gone(vfs_rename(&t->walk, "/d/sub/new", &t->walk, "/d/old", 0));
}

static int run_exchange(struct vfs_test *t) {
    return vfs_rename(&t->walk, "/d/old", &t->walk, "/d/sub", RENAME_EXCHANGE);
}
static int undo_exchange(struct vfs_test *t) {
    int mode = vfs_test_mode(t, "/d/old");

    return mode < 0 ? mode : S_ISDIR(mode) ? run_exchange(t) : 0;
}

static int run_walk(struct vfs_test *t) {
    struct path path;
    int error = path_lookup(&t->walk, "/d/link/../old", LOOKUP_FOLLOW, &path);

    if (!error) {
        path_put(&path);
    }
    return error;
}
static int undo_nothing(struct vfs_test *t) {
    return 0;
}

static int run_xattr(struct vfs_test *t) {
    struct path path;
    char list[64];
    ssize_t count;
    int error = path_lookup(&t->walk, "/d/old", 0, &path);

    if (!error) {
        error = path_setxattr(&path, "user.a", "value", 5, 0, t->creds);
        count = error ? 0 : path_listxattr(&path, list, sizeof(list), t->creds);
        error = count < 0 ? (int)count : error;
        path_put(&path);
    }
    return error;
}

static int run_lock(struct vfs_test *t) {
    struct flock flock = {.l_type = F_WRLCK};
    struct file *file;
    int error = vfs_open(&t->walk, "/d/old", O_RDWR, 0, 0, &file);

    if (!error) {
        error = file_lock_posix(file, file, 1, F_SETLK, &flock);
        file_put(file);
    }
    return error;
}

static int run_mount(struct vfs_test *t) {
    struct super_block *sb = tmpfs_new(0, 0755);
    struct path at = {0};
    int error;

    if (IS_ERR(sb)) {
        return (int)PTR_ERR(sb);
    }
    error = path_lookup(&t->walk, "/d/sub", 0, &at);
    if (!error) {
        error = mount_attach(t->fs->namespace, sb, NULL, &at, "source", 0);
        path_put(&at);
    }
    if (error) {
        super_block_kill(sb);
    }
    super_block_put(sb);
    return error;
}
static int undo_mount(struct vfs_test *t) {
    struct path at;
    int error = path_lookup(&t->walk, "/d/sub", 0, &at);

    if (!error) {
        error = mount_detach(t->fs->namespace, &at, 0);
        path_put(&at);
    }
    return error == -EINVAL ? 0 : error;
}

static int run_descriptors(struct vfs_test *t) {
    struct fd_table *table = fd_table_new(), *copy;
    struct file *file = NULL;
    int error;

    if (IS_ERR(table)) {
        return (int)PTR_ERR(table);
    }
    error = vfs_open(&t->walk, "/d/old", O_RDWR, 0, 0, &file);
    if (!error) {
        error = fd_table_install(table, file, 500, 1024, false);
        file_put(file);
    }
    if (error >= 0) {
        copy = fd_table_fork(table);
        error = IS_ERR(copy) ? (int)PTR_ERR(copy) : 0;
        if (!error) {
            fd_table_put(copy);
        }
    }
    fd_table_put(table);
    return error;
}

static const struct operation operations[] = {
    {"mkdir", run_mkdir, undo_mkdir},
    {"write", run_write, undo_unlink},
    {"symlink", run_symlink, undo_unlink},
    {"link", run_link, undo_unlink},
    {"tmpfile", run_tmpfile, undo_nothing},
    {"bind", run_bind, undo_unlink},
    {"rename", run_rename, undo_rename},
    {"exchange", run_exchange, undo_exchange},
    {"walk", run_walk, undo_nothing},
    {"xattr", run_xattr, undo_nothing},
    {"lock", run_lock, undo_nothing},
    {"mount", run_mount, undo_mount},
    {"descriptors", run_descriptors, undo_nothing},
};

static void test_operations(void **state) {
    for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
        const struct operation *operation = &operations[i];
        struct vfs_test t;
        int failed = 0, last = -1;

        vfs_test_start(&t, 0);
        assert_int_equal(vfs_mkdir(&t.walk, "/d", 0755), 0);
        assert_int_equal(vfs_mkdir(&t.walk, "/d/sub", 0755), 0);
        assert_int_equal(vfs_symlink(&t.walk, "/d/sub", "/d/link"), 0);
        vfs_test_write(&t, "/d/old", "old");
        FAIL_EACH_ALLOCATION(n) {
            /* Cold: what the dentry table remembers would hide allocations. */
            dentry_set_limit(0);
            dentry_set_limit(8192);
            last = checked(operation->run(&t));
            failed += last < 0;
            if (operation->undo(&t) && operation->undo(&t)) {
                fail_msg("%s: not undone after failure %lu", operation->name, n);
            }
            assert_string_equal(vfs_test_read_retry(&t, "/d/old"), "old");
        }
        assert_int_equal(last, 0);
        assert_true(failed > 0);
        assert_int_equal(vfs_unlink(&t.walk, "/d/old"), 0);
        assert_int_equal(vfs_unlink(&t.walk, "/d/link"), 0);
        assert_int_equal(vfs_rmdir(&t.walk, "/d/sub"), 0);
        assert_int_equal(vfs_rmdir(&t.walk, "/d"), 0);
        vfs_test_finish(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contexts),
        cmocka_unit_test(test_operations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
