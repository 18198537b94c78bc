/* What the unit tests of fs/ share: a fresh tmpfs root and short ways to make and look at files. */
#ifndef VFS_TEST_H
#define VFS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mount.h>

#include <cmocka.h>

#include "fs/file.h"

struct vfs_test {
    struct fs_context *fs;
    struct credentials *creds;
    struct walk walk;
    char text[PATH_MAX + 64];
};

UNUSED static void vfs_test_start(struct vfs_test *t, uid_t uid) {
    t->fs = fs_context_new_test();
    t->creds = credentials_new(uid, uid);
    assert_false(IS_ERR(t->fs));
    assert_false(IS_ERR(t->creds));
    t->walk = (struct walk){.fs = t->fs, .creds = t->creds};
}

UNUSED static void vfs_test_become(struct vfs_test *t, uid_t uid) {
    credentials_put(t->creds);
    t->creds = credentials_new(uid, uid);
    t->walk.creds = t->creds;
}

UNUSED static void vfs_test_finish(struct vfs_test *t) {
    fs_context_put(t->fs);
    credentials_put(t->creds);
    dentry_set_limit(0);
    dentry_set_limit(8192);
}

UNUSED static int vfs_test_stat(struct vfs_test *t, const char *name, struct kstat *stat) {
    struct path path;
    int error = path_lookup(&t->walk, name, 0, &path);

    if (!error) {
        error = path_getattr(&path, stat);
        path_put(&path);
    }
    return error;
}

UNUSED static int vfs_test_mode(struct vfs_test *t, const char *name) {
    struct kstat stat;
    int error = vfs_test_stat(t, name, &stat);

    return error ? error : (int)stat.mode;
}

UNUSED static int vfs_test_links(struct vfs_test *t, const char *name) {
    struct kstat stat;
    int error = vfs_test_stat(t, name, &stat);

    return error ? error : (int)stat.nlink;
}

UNUSED static void vfs_test_chmod(struct vfs_test *t, const char *name, mode_t mode) {
    struct iattr attr = {.valid = ATTR_MODE, .mode = mode};
    struct path path;

    assert_int_equal(path_lookup(&t->walk, name, LOOKUP_FOLLOW, &path), 0);
    assert_int_equal(path_setattr(&path, &attr, t->creds), 0);
    path_put(&path);
}

UNUSED static void vfs_test_write(struct vfs_test *t, const char *name, const char *text) {
    struct file *file;

    assert_int_equal(vfs_open(&t->walk, name, O_CREAT | O_WRONLY | O_TRUNC, 0666, 0, &file), 0);
    assert_int_equal(file_write(file, text, strlen(text)), strlen(text));
    file_put(file);
}

UNUSED static const char *vfs_test_read(struct vfs_test *t, const char *name) {
    struct file *file;
    ssize_t count;

    assert_int_equal(vfs_open(&t->walk, name, O_RDONLY, 0, 0, &file), 0);
    count = file_read(file, t->text, sizeof(t->text) - 1);
    assert_true(count >= 0);
    t->text[count] = '\0';
    file_put(file);
    return t->text;
}

UNUSED static const char *vfs_test_name(struct vfs_test *t, const struct path *path) {
    struct path root;

    fs_context_root(t->fs, &root);
    assert_true(path_name(path, &root, t->text, sizeof(t->text)) > 0);
    path_put(&root);
    return t->text;
}

#endif
