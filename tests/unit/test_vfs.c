/* The VFS core over a tmpfs: walks, names, descriptors, attributes. No guest. */
#include "vfs_test.h"

static void test_lookup_and_open(void **state) {
    struct vfs_test t;
    struct path path;
    struct file *file;
    char buffer[64];

    vfs_test_start(&t, 0);
    assert_int_equal(vfs_mkdir(&t.walk, "/a", 0777), 0);
    assert_int_equal(vfs_mkdir(&t.walk, "/a/b/", 0777), 0);
    assert_int_equal(vfs_mkdir(&t.walk, "/a", 0777), -EEXIST);
    assert_int_equal(vfs_open(&t.walk, "/a/b/f", O_RDWR | O_CREAT, 0666, 0, &file), 0);
    assert_int_equal(file_write(file, "hello", 5), 5);
    assert_int_equal(file_llseek(file, 1, SEEK_SET), 1);
    assert_int_equal(file_read(file, buffer, sizeof(buffer)), 4);
    assert_memory_equal(buffer, "ello", 4);
    file_put(file);
    assert_int_equal(vfs_test_mode(&t, "/a/b/f"), S_IFREG | 0644);
    assert_int_equal(path_lookup(&t.walk, "/a/./b/../b/f", 0, &path), 0);
    path_put(&path);
    assert_int_equal(path_lookup(&t.walk, "/a/b/f/", 0, &path), -ENOTDIR);
    assert_int_equal(path_lookup(&t.walk, "/a/b/f/x", 0, &path), -ENOTDIR);
    assert_int_equal(path_lookup(&t.walk, "/a/b/f/.", 0, &path), -ENOTDIR);
    assert_int_equal(path_lookup(&t.walk, "", 0, &path), -ENOENT);
    assert_int_equal(path_lookup(&t.walk, "/../../a/../..", 0, &path), 0);
    assert_string_equal(vfs_test_name(&t, &path), "/");
    path_put(&path);
    assert_int_equal(path_lookup(&t.walk, "/a/none/x", 0, &path), -ENOENT);
    assert_int_equal(vfs_open(&t.walk, "/a", O_RDWR, 0, 0, &file), -EISDIR);
    assert_int_equal(vfs_open(&t.walk, "/a/b/f", O_CREAT | O_EXCL, 0600, 0, &file), -EEXIST);
    assert_int_equal(vfs_open(&t.walk, "/a/b/f", O_DIRECTORY, 0, 0, &file), -ENOTDIR);
    assert_int_equal(vfs_open(&t.walk, "/a/new/", O_CREAT, 0600, 0, &file), -EISDIR);
    vfs_test_finish(&t);
}

static void test_symlinks(void **state) {
    struct vfs_test t;
    struct path path;
    struct file *file;
    char name[32], target[32], buffer[32];

    vfs_test_start(&t, 0);
    vfs_test_write(&t, "/f", "x");
    assert_int_equal(vfs_symlink(&t.walk, "f", "/l0"), 0);
    for (int i = 1; i <= 40; i++) {
        snprintf(name, sizeof(name), "/l%d", i);
        snprintf(target, sizeof(target), "l%d", i - 1);
        assert_int_equal(vfs_symlink(&t.walk, target, name), 0);
    }
    assert_int_equal(path_lookup(&t.walk, "/l39", LOOKUP_FOLLOW, &path), 0);
    assert_string_equal(vfs_test_name(&t, &path), "/f");
    path_put(&path);
    assert_int_equal(path_lookup(&t.walk, "/l40", LOOKUP_FOLLOW, &path), -ELOOP);
    assert_int_equal(path_lookup(&t.walk, "/l40", 0, &path), 0);
    assert_int_equal(vfs_readlink(&path, buffer, 2), 2);
    assert_memory_equal(buffer, "l3", 2);
    path_put(&path);
    assert_int_equal(vfs_open(&t.walk, "/l0", O_NOFOLLOW, 0, 0, &file), -ELOOP);
    assert_int_equal(vfs_open(&t.walk, "/l0", O_NOFOLLOW | O_DIRECTORY, 0, 0, &file), -ENOTDIR);
    assert_int_equal(vfs_open(&t.walk, "/l0", O_NOFOLLOW | O_PATH, 0, 0, &file), 0);
    assert_true(S_ISLNK(file->inode->type));
    file_put(file);
    /* Dangling: O_CREAT makes the target, O_EXCL does not follow, mkdir and mknod see the link. */
    assert_int_equal(vfs_symlink(&t.walk, "made", "/dangling"), 0);
    assert_int_equal(vfs_open(&t.walk, "/dangling", O_CREAT | O_EXCL, 0600, 0, &file), -EEXIST);
    assert_int_equal(vfs_mkdir(&t.walk, "/dangling", 0700), -EEXIST);
    assert_int_equal(path_lookup(&t.walk, "/dangling", LOOKUP_FOLLOW, &path), -ENOENT);
    assert_int_equal(vfs_open(&t.walk, "/dangling", O_CREAT | O_WRONLY, 0600, 0, &file), 0);
    file_put(file);
    assert_int_equal(vfs_test_mode(&t, "/made"), S_IFREG | 0600);
    /* A trailing slash follows. */
    assert_int_equal(vfs_mkdir(&t.walk, "/d", 0755), 0);
    assert_int_equal(vfs_symlink(&t.walk, "/d", "/ld"), 0);
    assert_int_equal(path_lookup(&t.walk, "/ld/", 0, &path), 0);
    assert_true(S_ISDIR(path.dentry->inode->type));
    path_put(&path);
    assert_int_equal(vfs_rmdir(&t.walk, "/ld/"), -ENOTDIR);
    assert_int_equal(vfs_unlink(&t.walk, "/ld/"), -ENOTDIR);
    vfs_test_finish(&t);
}

static void test_rename(void **state) {
    struct vfs_test t;
    struct path path;

    vfs_test_start(&t, 0);
    assert_int_equal(vfs_mkdir(&t.walk, "/a", 0755), 0);
    assert_int_equal(vfs_mkdir(&t.walk, "/a/b", 0755), 0);
    assert_int_equal(vfs_mkdir(&t.walk, "/c", 0755), 0);
    vfs_test_write(&t, "/a/f", "f");
    vfs_test_write(&t, "/c/g", "g");
    assert_int_equal(vfs_rename(&t.walk, "/a", &t.walk, "/a/b/x", 0), -EINVAL);
    assert_int_equal(vfs_rename(&t.walk, "/a/f", &t.walk, "/c", 0), -EISDIR);
    assert_int_equal(vfs_rename(&t.walk, "/c", &t.walk, "/a/f", 0), -ENOTDIR);
    assert_int_equal(vfs_rename(&t.walk, "/a/b", &t.walk, "/a", 0), -ENOTEMPTY);
    assert_int_equal(vfs_rename(&t.walk, "/a", &t.walk, "/c", 0), -ENOTEMPTY);
    assert_int_equal(vfs_rename(&t.walk, "/a/f", &t.walk, "/c/g", RENAME_NOREPLACE), -EEXIST);
    assert_int_equal(vfs_rename(&t.walk, "/a/f", &t.walk, "/c/none", RENAME_EXCHANGE), -ENOENT);
    assert_int_equal(vfs_rename(&t.walk, "/a/f", &t.walk, "/c/h/", 0), -ENOTDIR);
    assert_int_equal(vfs_rename(&t.walk, "/a/.", &t.walk, "/x", 0), -EBUSY);
    assert_int_equal(path_lookup(&t.walk, "/a/b", 0, &path), 0);
    assert_int_equal(vfs_rename(&t.walk, "/a/b", &t.walk, "/c/b2/", 0), 0);
    assert_string_equal(vfs_test_name(&t, &path), "/c/b2");
    assert_int_equal(vfs_test_links(&t, "/a"), 2);
    assert_int_equal(vfs_test_links(&t, "/c"), 3);
    assert_int_equal(vfs_rename(&t.walk, "/a/f", &t.walk, "/c/b2", RENAME_EXCHANGE), 0);
    assert_string_equal(vfs_test_name(&t, &path), "/a/f");
    assert_int_equal(vfs_test_mode(&t, "/c/b2"), S_IFREG | 0644);
    assert_int_equal(vfs_test_links(&t, "/a"), 3);
    assert_int_equal(vfs_test_links(&t, "/c"), 2);
    assert_int_equal(vfs_rename(&t.walk, "/c/b2", &t.walk, "/c/g", 0), 0);
    assert_string_equal(vfs_test_read(&t, "/c/g"), "f");
    assert_int_equal(vfs_test_mode(&t, "/c/b2"), -ENOENT);
    /* Hard links to one file: nothing happens. */
    assert_int_equal(vfs_link(&t.walk, "/c/g", &t.walk, "/c/g2", 0), 0);
    assert_int_equal(vfs_rename(&t.walk, "/c/g", &t.walk, "/c/g2", 0), 0);
    assert_int_equal(vfs_test_links(&t, "/c/g"), 2);
    assert_int_equal(vfs_rmdir(&t.walk, "/a/f"), 0);
    assert_string_equal(vfs_test_name(&t, &path), "/a/f (deleted)");
    path_put(&path);
    vfs_test_finish(&t);
}

static void test_unlinked_file_lives(void **state) {
    struct vfs_test t;
    struct file *file;
    struct kstat stat;
    char buffer[8];

    vfs_test_start(&t, 0);
    assert_int_equal(vfs_open(&t.walk, "f", O_CREAT | O_RDWR, 0600, 0, &file), 0);
    assert_int_equal(file_write(file, "abc", 3), 3);
    assert_int_equal(vfs_unlink(&t.walk, "f"), 0);
    assert_int_equal(vfs_test_mode(&t, "f"), -ENOENT);
    assert_int_equal(path_getattr(&file->path, &stat), 0);
    assert_int_equal(stat.nlink, 0);
    assert_int_equal(file_pread(file, buffer, 8, 0), 3);
    assert_string_equal(vfs_test_name(&t, &file->path), "/f (deleted)");
    file_put(file);
    vfs_test_finish(&t);
}

static void test_permissions(void **state) {
    struct vfs_test t;
    struct file *file;

    vfs_test_start(&t, 0);
    assert_int_equal(vfs_mkdir(&t.walk, "/sticky", 0777), 0);
    assert_int_equal(vfs_mkdir(&t.walk, "/private", 0700), 0);
    vfs_test_chmod(&t, "/sticky", 01777);
    vfs_test_write(&t, "/sticky/roots", "r");
    vfs_test_become(&t, 1000);
    assert_int_equal(vfs_unlink(&t.walk, "/sticky/roots"), -EPERM);
    assert_int_equal(vfs_rename(&t.walk, "/sticky/roots", &t.walk, "/sticky/x", 0), -EPERM);
    assert_int_equal(vfs_open(&t.walk, "/sticky/roots", O_RDWR, 0, 0, &file), -EACCES);
    assert_int_equal(vfs_open(&t.walk, "/sticky/roots", O_RDONLY | O_TRUNC, 0, 0, &file), -EACCES);
    assert_int_equal(vfs_open(&t.walk, "/private/x", O_RDONLY, 0, 0, &file), -EACCES);
    assert_int_equal(vfs_mkdir(&t.walk, "/x", 0700), -EACCES);
    assert_int_equal(vfs_open(&t.walk, "/sticky/mine", O_CREAT | O_RDWR, 0400, 0, &file), 0);
    file_put(file);
    assert_int_equal(vfs_open(&t.walk, "/sticky/mine", O_RDWR, 0, 0, &file), -EACCES);
    assert_int_equal(vfs_mknod(&t.walk, "/sticky/dev", S_IFCHR | 0600, 0x103), -EPERM);
    assert_int_equal(vfs_unlink(&t.walk, "/sticky/mine"), 0);
    vfs_test_finish(&t);
}

struct names {
    struct dir_context context;
    char list[4096];
    int room;
};
static bool take_name(struct dir_context *context, const char *name, size_t length, ino_t ino,
                      unsigned char type, int64_t next) {
    struct names *names = container_of(context, struct names, context);

    if (names->room-- <= 0) {
        return false;
    }
    snprintf(names->list + strlen(names->list), sizeof(names->list) - strlen(names->list), "%s ",
             name);
    return true;
}

static void test_readdir_while_unlinking(void **state) {
    struct vfs_test t;
    struct names names = {.context = {.emit = take_name}};
    struct file *file;
    char name[32];
    int seen = 0;

    vfs_test_start(&t, 0);
    assert_int_equal(vfs_mkdir(&t.walk, "/d", 0755), 0);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "/d/f%d", i);
        vfs_test_write(&t, name, "");
    }
    assert_int_equal(vfs_open(&t.walk, "/d", O_RDONLY | O_DIRECTORY, 0, 0, &file), 0);
    for (;;) {
        char *rest = names.list, *one;

        names.list[0] = '\0';
        names.room = 7;
        assert_int_equal(file_readdir(file, &names.context), 0);
        if (!names.list[0]) {
            break;
        }
        while ((one = strsep(&rest, " "))) {
            if (*one == 'f') {
                snprintf(name, sizeof(name), "/d/%s", one);
                assert_int_equal(vfs_unlink(&t.walk, name), 0);
                seen++;
            }
        }
    }
    assert_int_equal(seen, 100);
    assert_int_equal(vfs_rmdir(&t.walk, "/d"), 0);
    assert_int_equal(file_readdir(file, &names.context), -ENOENT);
    assert_int_equal(vfs_open(&t.walk, "/d/x", O_CREAT, 0600, 0, &file), -ENOENT);
    file_put(file);
    vfs_test_finish(&t);
}

static void test_fd_table(void **state) {
    struct vfs_test t;
    struct fd_table *table = fd_table_new(), *copy;
    struct file *file, *found;

    vfs_test_start(&t, 0);
    assert_int_equal(vfs_open(&t.walk, "/f", O_CREAT | O_RDWR, 0600, 0, &file), 0);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(fd_table_install(table, file, 0, 1024, i % 2), i);
    }
    assert_int_equal(fd_table_close(table, 5), 0);
    assert_int_equal(fd_table_close(table, 5), -EBADF);
    assert_int_equal(fd_table_close(table, 200), 0);
    assert_int_equal(fd_table_install(table, file, 6, 1024, false), 200);
    assert_int_equal(fd_table_install(table, file, 0, 1024, false), 5);
    assert_int_equal(fd_table_install(table, file, 0, 300, false), -EMFILE);
    assert_int_equal(fd_table_install(table, file, 500, 1024, false), 500);
    assert_int_equal(fd_table_install(table, file, 0, 1024, false), 300);
    assert_int_equal(fd_table_replace(table, 7, file, 1024, true), 7);
    assert_int_equal(fd_table_replace(table, 1024, file, 1024, true), -EBADF);
    assert_int_equal(fd_table_get_flags(table, 7), FD_CLOEXEC);
    assert_int_equal(fd_table_next(table, 301), 500);
    assert_int_equal(fd_table_next(table, 501), -1);
    copy = fd_table_fork(table);
    fd_table_close_on_exec(copy);
    assert_null(fd_table_get(copy, 7));
    found = fd_table_get(copy, 500);
    assert_ptr_equal(found, file);
    file_put(found);
    fd_table_close_range(table, 3, ~0u, false);
    assert_int_equal(fd_table_next(table, 3), -1);
    assert_null(fd_table_get(table, -1));
    fd_table_put(copy);
    fd_table_put(table);
    assert_int_equal(atomic_load(&file->fd_refs), 0);
    file_put(file);
    vfs_test_finish(&t);
}

static void test_mounts(void **state) {
    struct vfs_test t;
    struct super_block *sb;
    struct path at, path;
    struct file *file;

    vfs_test_start(&t, 0);
    assert_int_equal(vfs_mkdir(&t.walk, "/m", 0755), 0);
    assert_int_equal(vfs_mkdir(&t.walk, "/m/under", 0755), 0);
    sb = tmpfs_new(1 << 20, 0755);
    assert_int_equal(path_lookup(&t.walk, "/m", 0, &at), 0);
    assert_int_equal(mount_attach(t.fs->namespace, sb, NULL, &at, "t", MS_RDONLY), 0);
    super_block_put(sb);
    assert_int_equal(vfs_test_mode(&t, "/m/under"), -ENOENT);
    assert_int_equal(vfs_mkdir(&t.walk, "/m/x", 0755), -EROFS);
    path_put(&at);
    assert_int_equal(path_lookup(&t.walk, "/m", 0, &at), 0);
    assert_int_equal(mount_remount(t.fs->namespace, &at, 0), 0);
    assert_int_equal(vfs_mkdir(&t.walk, "/m/x", 0755), 0);
    assert_int_equal(path_lookup(&t.walk, "/m/x", 0, &path), 0);
    assert_string_equal(vfs_test_name(&t, &path), "/m/x");
    assert_int_equal(mount_detach(t.fs->namespace, &at, 0), -EBUSY);
    path_put(&path);
    assert_int_equal(path_lookup(&t.walk, "/m/x/../..", 0, &path), 0);
    assert_string_equal(vfs_test_name(&t, &path), "/");
    path_put(&path);
    assert_int_equal(vfs_rmdir(&t.walk, "/m"), -EBUSY);
    assert_int_equal(vfs_rename(&t.walk, "/m", &t.walk, "/n", 0), -EBUSY);
    assert_int_equal(path_lookup(&t.walk, "m/x", LOOKUP_NO_XDEV, &path), -EXDEV);
    /* A bind mount of a subtree, and the root never left from within it. */
    assert_int_equal(vfs_mkdir(&t.walk, "/b", 0755), 0);
    assert_int_equal(path_lookup(&t.walk, "/m/x", 0, &path), 0);
    path_put(&at);
    assert_int_equal(path_lookup(&t.walk, "/b", 0, &at), 0);
    assert_int_equal(mount_bind(t.fs->namespace, &path, &at, true), 0);
    path_put(&path);
    vfs_test_write(&t, "/b/f", "bound");
    assert_string_equal(vfs_test_read(&t, "/m/x/f"), "bound");
    path_put(&at);
    assert_int_equal(vfs_open(&t.walk, "/b/f", O_RDONLY, 0, 0, &file), 0);
    assert_int_equal(path_lookup(&t.walk, "/b", 0, &at), 0);
    assert_int_equal(mount_detach(t.fs->namespace, &at, 0), -EBUSY);
    assert_int_equal(mount_detach(t.fs->namespace, &at, MNT_DETACH), 0);
    assert_int_equal(mount_detach(t.fs->namespace, &at, 0), -EINVAL);
    path_put(&at);
    file_put(file);
    assert_int_equal(path_lookup(&t.walk, "/m", 0, &at), 0);
    assert_int_equal(mount_detach(t.fs->namespace, &at, 0), 0);
    path_put(&at);
    assert_int_equal(vfs_test_mode(&t, "/m/under"), S_IFDIR | 0755);
    vfs_test_finish(&t);
}

static void test_resolve(void **state) {
    struct vfs_test t;
    struct path start, path;
    struct walk walk;

    vfs_test_start(&t, 0);
    assert_int_equal(vfs_mkdir(&t.walk, "/jail", 0755), 0);
    assert_int_equal(vfs_mkdir(&t.walk, "/jail/d", 0755), 0);
    vfs_test_write(&t, "/secret", "s");
    vfs_test_write(&t, "/jail/secret", "not");
    assert_int_equal(vfs_symlink(&t.walk, "/secret", "/jail/abs"), 0);
    assert_int_equal(vfs_symlink(&t.walk, "../../secret", "/jail/d/rel"), 0);
    assert_int_equal(path_lookup(&t.walk, "/jail", 0, &start), 0);
    walk = t.walk;
    walk.start = &start;
    assert_int_equal(path_lookup(&walk, "d/../..", LOOKUP_BENEATH, &path), -EXDEV);
    assert_int_equal(path_lookup(&walk, "abs", LOOKUP_BENEATH | LOOKUP_FOLLOW, &path), -EXDEV);
    assert_int_equal(path_lookup(&walk, "d/rel", LOOKUP_BENEATH | LOOKUP_FOLLOW, &path), -EXDEV);
    assert_int_equal(path_lookup(&walk, "/d", LOOKUP_BENEATH, &path), -EXDEV);
    assert_int_equal(path_lookup(&walk, "d/..", LOOKUP_BENEATH, &path), 0);
    assert_string_equal(vfs_test_name(&t, &path), "/jail");
    path_put(&path);
    assert_int_equal(path_lookup(&walk, "abs", LOOKUP_IN_ROOT | LOOKUP_FOLLOW, &path), 0);
    assert_string_equal(vfs_test_name(&t, &path), "/jail/secret");
    path_put(&path);
    assert_int_equal(path_lookup(&walk, "d/rel", LOOKUP_IN_ROOT | LOOKUP_FOLLOW, &path), 0);
    assert_string_equal(vfs_test_name(&t, &path), "/jail/secret");
    path_put(&path);
    assert_int_equal(path_lookup(&walk, "abs", LOOKUP_NO_SYMLINKS | LOOKUP_FOLLOW, &path), -ELOOP);
    path_put(&start);
    vfs_test_finish(&t);
}

static void test_tmpfs_limit(void **state) {
    struct vfs_test t;
    struct super_block *sb;
    struct path at;
    struct file *file;
    struct kstat stat;
    static char block[65536];

    vfs_test_start(&t, 0);
    assert_int_equal(vfs_mkdir(&t.walk, "/m", 0755), 0);
    sb = tmpfs_new(256 * 1024, 0755);
    assert_int_equal(path_lookup(&t.walk, "/m", 0, &at), 0);
    assert_int_equal(mount_attach(t.fs->namespace, sb, NULL, &at, "t", 0), 0);
    super_block_put(sb);
    path_put(&at);
    assert_int_equal(vfs_open(&t.walk, "/m/f", O_CREAT | O_RDWR, 0600, 0, &file), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(file_write(file, block, sizeof(block)), sizeof(block));
    }
    assert_int_equal(file_write(file, block, 1), -ENOSPC);
    assert_int_equal(file_pwrite(file, block, sizeof(block), 1000), sizeof(block));
    assert_int_equal(file_truncate(file, 100000), 0);
    assert_int_equal(file_pwrite(file, block, sizeof(block), 1 << 20), sizeof(block));
    assert_int_equal(path_getattr(&file->path, &stat), 0);
    assert_int_equal(stat.size, (1 << 20) + 65536);
    assert_true(stat.blocks * 512 <= 256 * 1024);
    assert_int_equal(file_llseek(file, 102400, SEEK_DATA), 1 << 20);
    assert_int_equal(file_llseek(file, 0, SEEK_HOLE), 102400);
    /* Partly: as far as there is room. */
    assert_int_equal(file_pwrite(file, block, sizeof(block), 2 << 20), sizeof(block));
    assert_int_equal(file_pwrite(file, block, sizeof(block), 3 << 20),
                     256 * 1024 - 102400 - 131072);
    assert_int_equal(vfs_unlink(&t.walk, "/m/f"), 0);
    file_put(file);
    assert_int_equal(vfs_open(&t.walk, "/m/f", O_CREAT | O_RDWR, 0600, 0, &file), 0);
    assert_int_equal(file_write(file, block, sizeof(block)), sizeof(block));
    file_put(file);
    vfs_test_finish(&t);
}

/* What was looked for in vain in a directory does not keep it when it has gone. */
static void test_absent_names_do_not_keep_a_directory(void **state) {
    struct vfs_test t;
    struct path path, none;

    vfs_test_start(&t, 0);
    assert_int_equal(vfs_mkdir(&t.walk, "/d", 0755), 0);
    assert_int_equal(path_lookup(&t.walk, "/d", 0, &path), 0);
    for (int i = 0; i < 3; i++) {
        char name[16];

        snprintf(name, sizeof(name), "/d/absent%d", i);
        assert_int_equal(path_lookup(&t.walk, name, 0, &none), -ENOENT);
    }
    assert_true(atomic_load(&path.dentry->ref.count) > 1);
    assert_int_equal(vfs_rmdir(&t.walk, "/d"), 0);
    assert_int_equal(atomic_load(&path.dentry->ref.count), 1);
    path_put(&path);
    vfs_test_finish(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_absent_names_do_not_keep_a_directory),
        cmocka_unit_test(test_lookup_and_open),
        cmocka_unit_test(test_symlinks),
        cmocka_unit_test(test_rename),
        cmocka_unit_test(test_unlinked_file_lives),
        cmocka_unit_test(test_permissions),
        cmocka_unit_test(test_readdir_while_unlinking),
        cmocka_unit_test(test_fd_table),
        cmocka_unit_test(test_mounts),
        cmocka_unit_test(test_resolve),
        cmocka_unit_test(test_tmpfs_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
