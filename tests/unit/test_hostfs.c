/*
 * hostfs over a real directory: reading, changing, and what somebody outside does meanwhile.
 * Nothing that is not below the directory may ever be read or written through it.
 */
#include "vfs_test.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct host_test {
    char base[64]; /* "in" is the shared directory, "out" is beside it */
    int in, out;
    struct vfs_test v;
};

static void write_host(int dir, const char *name, const char *text) {
    int fd = openat(dir, name, O_CREAT | O_WRONLY | O_TRUNC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static const char *read_host(int dir, const char *name) {
    static char text[64];
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW);
    ssize_t count = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;

    if (fd >= 0) {
        close(fd);
    }
    text[MAX(count, 0)] = '\0';
    return count >= 0 ? text : NULL;
}

/* The tests run twice: with a plain descriptor, a step at a time; and with a tree in which the host
 * follows no symlinks, as the kernel process has it. */
static bool as_tree, under_overlay, as_user;
#define USER 1234

static int use_tree(void **state) {
    as_tree = true;
    return 0;
}

static struct super_block *open_shared(struct host_test *t, unsigned flags) {
    char path[80];
    bool no_symlinks = false;
    int fd;

    if (as_tree) {
        snprintf(path, sizeof(path), "%s/in", t->base);
        fd = host_tree_open(path, !(flags & HOSTFS_READ_ONLY), &no_symlinks);
        flags |= no_symlinks ? HOSTFS_NO_SYMLINKS : 0;
    } else {
        fd = openat(t->in, ".", O_PATH | O_DIRECTORY);
    }
    assert_true(fd >= 0);
    return hostfs_new(fd, flags);
}

static void host_start(struct host_test *t, bool read_only) {
    unsigned flags = read_only ? HOSTFS_READ_ONLY : 0;
    struct mount_namespace *ns;
    struct super_block *sb;
    int base;

    snprintf(t->base, sizeof(t->base), "/tmp/test_hostfs.XXXXXX");
    assert_non_null(mkdtemp(t->base));
    base = open(t->base, O_RDONLY | O_DIRECTORY);
    assert_int_equal(mkdirat(base, "in", 0755), 0);
    assert_int_equal(mkdirat(base, "out", 0755), 0);
    t->in = openat(base, "in", O_RDONLY | O_DIRECTORY);
    t->out = openat(base, "out", O_RDONLY | O_DIRECTORY);
    close(base);
    assert_int_equal(mkdirat(t->in, "d", 0755), 0);
    write_host(t->in, "d/f", "inside");
    write_host(t->in, "f", "first");
    write_host(t->out, "secret", "secret");
    assert_int_equal(symlinkat("../out/secret", t->in, "leak"), 0);
    assert_int_equal(symlinkat("../out", t->in, "leakdir"), 0);
    assert_int_equal(mkfifoat(t->in, "fifo", 0644), 0);
    sb = hostfs_new(open(t->base, O_PATH | O_DIRECTORY), flags);
    assert_false(IS_ERR(sb));
    super_block_kill(sb);
    super_block_put(sb);
    sb = open_shared(t, flags);
    assert_false(IS_ERR(sb));
    if (under_overlay) {
        struct super_block *lower = sb, *upper = tmpfs_new(0, 0755);

        sb = overlayfs_new(lower, upper);
        assert_false(IS_ERR(sb));
        super_block_put(lower);
        super_block_put(upper);
    }
    ns = mount_namespace_new(sb, "test", read_only ? MS_RDONLY : 0);
    super_block_put(sb);
    t->v.fs = fs_context_new(ns);
    mount_namespace_put(ns);
    t->v.creds = credentials_new(geteuid(), getegid());
    t->v.walk = (struct walk){.fs = t->v.fs, .creds = t->v.creds};
}

static void host_finish(struct host_test *t) {
    char command[128];

    fs_context_put(t->v.fs);
    credentials_put(t->v.creds);
    dentry_set_limit(0);
    dentry_set_limit(8192);
    close(t->in);
    close(t->out);
    snprintf(command, sizeof(command), "rm -rf %s", t->base);
    assert_int_equal(system(command), 0);
}

static int open_fds(void) {
    int count = 0;

    for (int fd = 0; fd < 4096; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

static void test_reading(void **state) {
    struct host_test t;
    struct kstat stat;
    struct stat host;
    struct file *file;
    struct path path;
    char target[64] = "";

    host_start(&t, true);
    assert_string_equal(vfs_test_read(&t.v, "/d/f"), "inside");
    assert_int_equal(vfs_test_stat(&t.v, "/d/f", &stat), 0);
    assert_int_equal(fstatat(t.in, "d/f", &host, 0), 0);
    assert_true(stat.ino == host.st_ino && stat.dev == host.st_dev);
    assert_int_equal(stat.size, 6);
    assert_int_equal(path_lookup(&t.v.walk, "/leak", 0, &path), 0);
    assert_int_equal(vfs_readlink(&path, target, sizeof(target) - 1), 13);
    assert_string_equal(target, "../out/secret");
    path_put(&path);
    /* The link is the guest's to follow: from the guest's root, where there is no "out". */
    assert_int_equal(path_lookup(&t.v.walk, "/leak", LOOKUP_FOLLOW, &path), -ENOENT);
    assert_int_equal(path_lookup(&t.v.walk, "/leakdir/secret", LOOKUP_FOLLOW, &path), -ENOENT);
    assert_int_equal(path_lookup(&t.v.walk, "/../out/secret", LOOKUP_FOLLOW, &path), -ENOENT);
    /* A FIFO of the host is not opened: no FIFO is registered in this test. */
    assert_int_equal(vfs_open(&t.v.walk, "/fifo", O_RDONLY, 0, 0, &file), -ENXIO);
    assert_int_equal(vfs_open(&t.v.walk, "/f", O_WRONLY, 0, 0, &file), -EROFS);
    assert_int_equal(vfs_unlink(&t.v.walk, "/f"), -EROFS);
    host_finish(&t);
}

static void test_changing(void **state) {
    struct host_test t;
    struct walk *walk;
    struct file *file;
    struct kstat stat;

    host_start(&t, false);
    walk = &t.v.walk;
    vfs_test_write(&t.v, "/d/new", "new");
    assert_string_equal(read_host(t.in, "d/new"), "new");
    assert_int_equal(vfs_test_mode(&t.v, "/d/new"), S_IFREG | 0644);
    assert_int_equal(vfs_open(walk, "/d/new", O_RDWR | O_APPEND, 0, 0, &file), 0);
    assert_int_equal(file_write(file, "er", 2), 2);
    assert_int_equal(file_llseek(file, 0, SEEK_CUR), 5);
    /* Away from under the open file: it stays readable, and has no link. */
    assert_int_equal(vfs_unlink(walk, "/d/new"), 0);
    assert_null(read_host(t.in, "d/new"));
    assert_int_equal(inode_getattr(file->inode, &stat), 0);
    assert_int_equal(stat.nlink, 0);
    assert_int_equal(stat.size, 5);
    file_put(file);
    assert_int_equal(vfs_rename(walk, "/d", walk, "/e", 0), 0);
    assert_string_equal(vfs_test_read(&t.v, "/e/f"), "inside");
    assert_string_equal(read_host(t.in, "e/f"), "inside");
    assert_int_equal(vfs_link(walk, "/e/f", walk, "/g", 0), 0);
    assert_int_equal(vfs_test_links(&t.v, "/g"), 2);
    vfs_test_write(&t.v, "/g", "both");
    assert_string_equal(vfs_test_read(&t.v, "/e/f"), "both");
    vfs_test_chmod(&t.v, "/g", 0600);
    assert_int_equal(vfs_test_mode(&t.v, "/e/f"), S_IFREG | 0600);
    assert_int_equal(vfs_mkdir(walk, "/m", 0700), 0);
    assert_int_equal(vfs_rmdir(walk, "/m"), 0);
    assert_int_equal(vfs_symlink(walk, "../out/secret", "/s"), 0);
    assert_int_equal(vfs_open(walk, "/s", O_WRONLY | O_CREAT | O_EXCL, 0600, 0, &file), -EEXIST);
    assert_int_equal(vfs_mknod(walk, "/dev", S_IFCHR | 0666, 0x103), -EPERM);
    assert_int_equal(vfs_mknod(walk, "/suid", S_IFREG | 04755, 0), -EPERM);
    assert_string_equal(read_host(t.out, "secret"), "secret");
    host_finish(&t);
}

/* What others do on the host shows at once; what was replaced is never taken for the old. */
static void test_others_change(void **state) {
    struct host_test t;
    struct file *file;
    char text[16] = "";

    host_start(&t, false);
    assert_string_equal(vfs_test_read(&t.v, "/f"), "first");
    assert_int_equal(vfs_test_mode(&t.v, "/later"), -ENOENT);
    write_host(t.in, "later", "later");
    assert_string_equal(vfs_test_read(&t.v, "/later"), "later");
    assert_int_equal(vfs_open(&t.v.walk, "/f", O_RDONLY, 0, 0, &file), 0);
    write_host(t.in, "tmp", "second");
    assert_int_equal(renameat(t.in, "tmp", t.in, "f"), 0);
    assert_string_equal(vfs_test_read(&t.v, "/f"), "second");
    assert_int_equal(file_read(file, text, sizeof(text)), 5);
    assert_string_equal(text, "first");
    file_put(file);
    assert_int_equal(unlinkat(t.in, "f", 0), 0);
    assert_int_equal(vfs_test_mode(&t.v, "/f"), -ENOENT);
    host_finish(&t);
}

/* ---- whatever is done outside, the guest sees what the host would see ---- */

static unsigned random_below(unsigned *seed, unsigned limit) {
    *seed = *seed * 1664525 + 1013904223;
    return (*seed >> 16) % limit;
}

/* One to four components out of few, so that paths meet. */
static void random_path(unsigned *seed, char path[64], bool dots) {
    static const char *const names[] = {"a", "b", "c", "..", "."};
    unsigned count = 1 + random_below(seed, 4);

    path[0] = '\0';
    for (unsigned i = 0; i < count; i++) {
        if (i) {
            strcat(path, "/");
        }
        strcat(path, names[random_below(seed, dots && i ? 5 : 3)]);
    }
}

static void change_host(struct host_test *t, unsigned *seed) {
    char from[64], to[64];
    int fd;

    random_path(seed, from, false);
    random_path(seed, to, false);
    switch (random_below(seed, 8)) {
    case 0:
    case 1:
        (void)!mkdirat(t->in, from, 0755);
        break;
    case 2:
        fd = openat(t->in, from, O_CREAT | O_WRONLY, 0644);
        if (fd >= 0) {
            close(fd);
        }
        break;
    case 3:
        (void)!renameat(t->in, from, t->in, to);
        break;
    case 4:
        (void)!renameat2(t->in, from, t->in, to, RENAME_EXCHANGE);
        break;
    case 5:
        (void)!linkat(t->in, from, t->in, to, 0);
        break;
    case 6:
        (void)!symlinkat(random_below(seed, 2) ? "b" : "../a", t->in, from);
        break;
    default:
        if (unlinkat(t->in, from, 0)) {
            (void)!unlinkat(t->in, from, AT_REMOVEDIR);
        }
        break;
    }
}

/* As in a chroot(2) to the directory, by the guest's user. */
static int host_open(struct host_test *t, const char *path, int flags) {
    struct open_how how = {.flags = (uint64_t)(unsigned)flags, .resolve = RESOLVE_IN_ROOT};
    int fd;

    if (as_user) { /* from root's to another, and the powers over files go with it */
        (void)setfsgid(USER);
        (void)setfsuid(USER);
    }
    do { /* EAGAIN: anything was renamed anywhere on the host */
        fd = (int)syscall(SYS_openat2, t->in, path, &how, sizeof(how));
    } while (fd < 0 && errno == EAGAIN);
    fd = fd < 0 ? -errno : fd;
    if (as_user) {
        (void)setfsuid(0);
        (void)setfsgid(0);
    }
    return fd;
}

static int host_stat(struct host_test *t, const char *path, bool follow, struct stat *stat) {
    int fd = host_open(t, path, O_PATH | (follow ? 0 : O_NOFOLLOW));

    if (fd < 0) {
        return fd;
    }
    assert_int_equal(fstat(fd, stat), 0);
    close(fd);
    return 0;
}

static void compare(struct host_test *t, const char *path, bool follow) {
    struct stat host;
    struct kstat stat;
    struct file *file;
    int expected = host_stat(t, path, follow, &host);
    int error = path_stat(&t->v.walk, path, follow ? LOOKUP_FOLLOW : 0, &stat, NULL);

    if (error != expected ||
        (!error && (stat.ino != host.st_ino || stat.mode != host.st_mode ||
                    (stat.nlink != host.st_nlink && !S_ISDIR(host.st_mode))))) {
        fail_msg("%s: %d on the host, %d in the guest", path, expected, error);
    }
    if (!error && follow && !S_ISLNK(host.st_mode)) {
        int fd = host_open(t, path, O_RDONLY);

        error = vfs_open(&t->v.walk, path, O_RDONLY, 0, 0, &file);
        assert_int_equal(error, MIN(fd, 0));
        if (error) {
            return;
        }
        close(fd);
        assert_int_equal(inode_getattr(file->inode, &stat), 0);
        assert_int_equal(stat.ino, host.st_ino);
        file_put(file);
    }
}

/* What the guest makes and removes is made and removed where the name leads now. */
static void change_guest(struct host_test *t, unsigned *seed) {
    char path[64];
    struct stat host;
    int before, made;

    random_path(seed, path, false);
    before = host_stat(t, path, false, &host);
    made = vfs_mkdir(&t->v.walk, path, 0755);
    assert_int_equal(made == 0, before == -ENOENT && host_stat(t, path, false, &host) == 0);
    if (made == 0) {
        assert_true(S_ISDIR(host.st_mode));
        compare(t, path, false);
    }
    random_path(seed, path, false);
    before = host_stat(t, path, false, &host);
    made = vfs_unlink(&t->v.walk, path);
    assert_int_equal(made == 0, before == 0 && !S_ISDIR(host.st_mode));
    assert_true(made || host_stat(t, path, false, &host) == -ENOENT);
}

static void test_mirror(void **state) {
    struct host_test t;
    unsigned seed = 1;
    char path[64];

    host_start(&t, under_overlay || as_user);
    if (as_user) {
        vfs_test_become(&t.v, USER);
    }
    for (int i = 0; i < 10000; i++) {
        change_host(&t, &seed);
        if (as_user) {
            random_path(&seed, path, false);
            (void)!fchmodat(t.in, path, random_below(&seed, 01000) | 0444, 0);
        }
        if (i % 5 == 0 && !under_overlay && !as_user) {
            change_guest(&t, &seed);
        }
        for (int j = 0; j < 3; j++) {
            random_path(&seed, path, true);
            compare(&t, path, random_below(&seed, 2));
        }
    }
    host_finish(&t);
}

static void test_mirror_overlay(void **state) {
    under_overlay = true;
    test_mirror(state);
    under_overlay = false;
}

/* By a user whom the modes of the directories keep out of some. */
static void test_mirror_user(void **state) {
    if (geteuid() != 0) {
        skip(); /* only root can ask the host as somebody else */
    }
    assert_int_equal(setgroups(0, NULL), 0);
    as_user = true;
    test_mirror(state);
    test_mirror_overlay(state);
    as_user = false;
}

/* Nobody changes the tree, so it is not asked: what we change behind its back is not seen. */
static void test_exclusive(void **state) {
    struct host_test t;
    struct super_block *sb;
    struct mount_namespace *ns;
    struct kstat stat;
    char target[32] = "";
    struct path path;

    host_start(&t, true);
    fs_context_put(t.v.fs);
    sb = open_shared(&t, HOSTFS_READ_ONLY | HOSTFS_EXCLUSIVE);
    assert_false(IS_ERR(sb));
    ns = mount_namespace_new(sb, "test", MS_RDONLY);
    super_block_put(sb);
    t.v.fs = t.v.walk.fs = fs_context_new(ns);
    mount_namespace_put(ns);
    assert_int_equal(vfs_test_mode(&t.v, "/d/f"), S_IFREG | 0644);
    assert_int_equal(vfs_test_mode(&t.v, "/d/none"), -ENOENT);
    assert_int_equal(path_lookup(&t.v.walk, "/leak", 0, &path), 0);
    assert_int_equal(vfs_readlink(&path, target, sizeof(target)), 13);
    assert_string_equal(vfs_test_read(&t.v, "/d/f"), "inside");
    assert_int_equal(fchmodat(t.in, "d/f", 0600, 0), 0);
    write_host(t.in, "d/none", "");
    assert_int_equal(renameat(t.in, "leak", t.in, "leak2"), 0);
    assert_int_equal(vfs_test_mode(&t.v, "/d/f"), S_IFREG | 0644);
    assert_int_equal(vfs_test_mode(&t.v, "/d/none"), -ENOENT);
    assert_int_equal(vfs_readlink(&path, target, sizeof(target)), 13);
    assert_string_equal(target, "../out/secret");
    path_put(&path);
    assert_int_equal(path_stat(&t.v.walk, "/d/../d/f", 0, &stat, NULL), 0);
    assert_int_equal(stat.size, 6);
    host_finish(&t);
}

/*
 * stat of a name that nobody has looked up makes no inode, and still tells what the guest has done
 * to the file under another name: "a" and "b" are one file of the host, "c" and "e" another.
 */
static void test_stat_of_unknown(void **state) {
    struct host_test t;
    struct stat host;
    struct kstat before, stat;
    struct stat_place place;
    struct file *file;

    under_overlay = true;
    host_start(&t, false);
    under_overlay = false;
    write_host(t.in, "d/a", "one");
    write_host(t.in, "d/c", "other");
    assert_int_equal(linkat(t.in, "d/a", t.in, "d/b", 0), 0);
    assert_int_equal(linkat(t.in, "d/c", t.in, "d/e", 0), 0);
    assert_int_equal(fstatat(t.in, "d/a", &host, 0), 0);

    assert_int_equal(path_stat(&t.v.walk, "/d/b", 0, &before, &place), 0);
    assert_int_equal(before.ino, host.st_ino);
    assert_int_equal(before.nlink, 2);
    assert_int_equal(before.size, 3);
    assert_false(place.mount_root);
    assert_int_equal(path_stat(&t.v.walk, "/d/b/", 0, &stat, NULL), -ENOTDIR);
    assert_int_equal(path_stat(&t.v.walk, "/d/b/x", 0, &stat, NULL), -ENOTDIR);
    assert_int_equal(path_stat(&t.v.walk, "/d/none", 0, &stat, NULL), -ENOENT);
    assert_int_equal(path_stat(&t.v.walk, "/none/b", 0, &stat, NULL), -ENOENT);

    assert_int_equal(vfs_open(&t.v.walk, "/d/a", O_WRONLY | O_APPEND, 0, 0, &file), 0);
    assert_int_equal(file_write(file, "12345", 5), 5);
    file_put(file);
    dentry_set_limit(0);
    dentry_set_limit(8192);
    assert_int_equal(path_stat(&t.v.walk, "/d/b", 0, &stat, &place), 0);
    assert_int_equal(stat.size, 8);
    assert_int_equal(stat.ino, before.ino);
    assert_int_equal(stat.dev, before.dev);
    assert_int_equal(stat.nlink, 2);

    assert_int_equal(vfs_unlink(&t.v.walk, "/d/c"), 0);
    dentry_set_limit(0);
    dentry_set_limit(8192);
    assert_int_equal(path_stat(&t.v.walk, "/d/e", 0, &stat, NULL), 0);
    assert_int_equal(stat.nlink, 1);
    assert_int_equal(path_stat(&t.v.walk, "/d/c", 0, &stat, NULL), -ENOENT);
    assert_int_equal(vfs_unlink(&t.v.walk, "/d/e"), 0);
    assert_int_equal(path_stat(&t.v.walk, "/d/e", 0, &stat, NULL), -ENOENT);
    write_host(t.in, "d/late", "x");
    assert_int_equal(path_stat(&t.v.walk, "/d/late", 0, &stat, NULL), 0);
    host_finish(&t);
}

/* ".." of a directory that was moved is the directory that it is in now. */
static void test_parent_moved(void **state) {
    struct host_test t;
    struct kstat stat;

    host_start(&t, false);
    assert_int_equal(mkdirat(t.in, "a", 0755), 0);
    assert_int_equal(mkdirat(t.in, "a/b", 0755), 0);
    assert_int_equal(mkdirat(t.in, "a/b/c", 0755), 0);
    for (int i = 0; i < 20; i++) {
        struct stat host;

        compare(&t, "a/b/c", false);
        assert_int_equal(fstatat(t.in, "a/b/c/..", &host, 0), 0);
        assert_int_equal(vfs_test_stat(&t.v, "a/b/c/..", &stat), 0);
        assert_int_equal(stat.ino, host.st_ino);
        assert_int_equal(mkdirat(t.in, "new", 0755), 0);
        assert_int_equal(renameat(t.in, "a/b/c", t.in, "new/c"), 0);
        assert_int_equal(renameat2(t.in, "new", t.in, "a/b", RENAME_EXCHANGE), 0);
        assert_int_equal(unlinkat(t.in, "new", AT_REMOVEDIR), 0);
    }
    host_finish(&t);
}

/* Many more files than descriptors are kept. */
static void test_descriptors(void **state) {
    struct host_test t;
    struct file *files[20];
    struct path paths[400];
    int before, during;

    host_start(&t, false);
    before = open_fds();
    for (int i = 0; i < 400; i++) {
        char name[32];

        snprintf(name, sizeof(name), "/d/dir%d", i);
        assert_int_equal(vfs_mkdir(&t.v.walk, name, 0755), 0);
        assert_int_equal(path_lookup(&t.v.walk, name, 0, &paths[i]), 0);
    }
    during = open_fds();
    assert_true(during - before <= (int)MIN(MAX(host_fd_limit() / 8, 16u), 1024u) + 2);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(vfs_open(&t.v.walk, "/d/f", O_RDONLY, 0, 0, &files[i]), 0);
    }
    for (int i = 0; i < 20; i++) {
        file_put(files[i]);
    }
    for (int i = 0; i < 400; i++) {
        struct kstat stat;

        assert_int_equal(path_getattr(&paths[i], &stat), 0);
        path_put(&paths[i]);
    }
    host_finish(&t);
}

/* ---- somebody outside swaps names as fast as he can ---- */

struct swapper {
    struct host_test *t;
    _Atomic bool stop;
    const char *with; /* "leak": a symlink to a file; "leakdir"; "fifo" */
    const char *name;
};

static void *swap(void *arg) {
    struct swapper *swapper = arg;

    while (!swapper->stop) {
        if (renameat2(swapper->t->in, swapper->with, swapper->t->in, swapper->name,
                      RENAME_EXCHANGE)) {
            break;
        }
    }
    return NULL;
}

static void race(struct host_test *t, const char *name, const char *with, const char *inside) {
    struct swapper swapper = {.t = t, .with = with, .name = name};
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, swap, &swapper), 0);
    for (int i = 0; i < 3000; i++) {
        struct file *file;
        char text[16] = "";
        struct path path;
        int error = vfs_open(&t->v.walk, inside, i % 2 ? O_RDONLY : O_RDWR, 0, 0, &file);

        if (!error) {
            ssize_t count = file_read(file, text, sizeof(text) - 1);

            assert_true(count < 0 || strcmp(text, "secret") != 0);
            if (i % 2 == 0 && count >= 0) {
                assert_int_equal(file_pwrite(file, text, (size_t)count, 0), count);
            }
            file_put(file);
        }
        if (i % 16 == 0 && vfs_open(&t->v.walk, inside, O_WRONLY | O_TRUNC, 0, 0, &file) == 0) {
            ssize_t count UNUSED = file_write(file, "inside", 6);

            file_put(file);
        }
        if (path_lookup(&t->v.walk, inside, LOOKUP_FOLLOW, &path) == 0) {
            struct iattr attr = {.valid = ATTR_MODE, .mode = 0600};
            int changed UNUSED = path_setattr(&path, &attr, t->v.creds);

            path_put(&path);
        }
    }
    swapper.stop = true;
    pthread_join(thread, NULL);
}

static void test_races(void **state) {
    struct host_test t;
    struct stat before, after;

    host_start(&t, false);
    assert_int_equal(fstatat(t.out, "secret", &before, 0), 0);
    race(&t, "d", "leakdir", "/d/f");
    race(&t, "f", "leak", "/f");
    race(&t, "f", "fifo", "/f");
    race(&t, "d", "leakdir", "/d/secret");
    assert_int_equal(fstatat(t.out, "secret", &after, 0), 0);
    assert_int_equal(before.st_mode, after.st_mode);
    assert_true(before.st_mtim.tv_sec == after.st_mtim.tv_sec &&
                before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
    assert_string_equal(read_host(t.out, "secret"), "secret");
    host_finish(&t);
}

static void *rename_in_guest(void *arg) {
    struct swapper *swapper = arg;
    struct walk *walk = &swapper->t->v.walk;

    while (!swapper->stop) {
        assert_int_equal(vfs_rename(walk, "/d", walk, "/e", 0), 0);
        assert_int_equal(vfs_rename(walk, "/e/f", walk, "/e/g", 0), 0);
        assert_int_equal(vfs_rename(walk, "/e", walk, "/d", 0), 0);
        assert_int_equal(vfs_rename(walk, "/d/g", walk, "/d/f", 0), 0);
    }
    return NULL;
}

/* Guest threads rename what others walk over: a name is there or not, and it is that file. */
static void test_guest_renames(void **state) {
    static const char *const names[] = {"/d/f", "/e/f", "/e/g", "/d/g", "/d/../d/f", "/e"};
    struct host_test t;
    struct swapper swapper = {.t = &t};
    struct stat dir, inside;
    pthread_t thread;
    int found = 0;

    host_start(&t, false);
    assert_int_equal(fstatat(t.in, "d", &dir, 0), 0);
    assert_int_equal(fstatat(t.in, "d/f", &inside, 0), 0);
    assert_int_equal(pthread_create(&thread, NULL, rename_in_guest, &swapper), 0);
    for (int i = 0; i < 6000; i++) {
        const char *name = names[i % 6];
        struct kstat stat;
        struct file *file;
        int error = path_stat(&t.v.walk, name, 0, &stat, NULL);

        assert_true(error == 0 || error == -ENOENT);
        if (!error) {
            assert_int_equal(stat.ino, name[2] ? inside.st_ino : dir.st_ino);
            found++;
        }
        error = vfs_open(&t.v.walk, name, O_RDONLY, 0, 0, &file);
        assert_true(error == 0 || error == -ENOENT);
        if (!error) {
            assert_int_equal(inode_getattr(file->inode, &stat), 0);
            assert_int_equal(stat.ino, name[2] ? inside.st_ino : dir.st_ino);
            file_put(file);
        }
    }
    swapper.stop = true;
    pthread_join(thread, NULL);
    assert_true(found > 0);
    host_finish(&t);
}

static void *move_away(void *arg) {
    struct swapper *swapper = arg;

    while (!swapper->stop) {
        (void)!renameat(swapper->t->in, "d", swapper->t->out, "d");
        (void)!renameat(swapper->t->out, "d", swapper->t->in, "d");
    }
    return NULL;
}

/* A directory that is moved out of the tree while the guest is in it: ".." is the guest's own, and
 * new names go where the directory is, never beside it. */
static void test_moved_out(void **state) {
    struct host_test t;
    struct swapper swapper = {.t = &t};
    pthread_t thread;

    host_start(&t, false);
    assert_int_equal(pthread_create(&thread, NULL, move_away, &swapper), 0);
    for (int i = 0; i < 3000; i++) {
        struct file *file;

        if (vfs_open(&t.v.walk, "/d/../secret", O_RDONLY, 0, 0, &file) == 0) {
            fail_msg("reached a file outside by way of ..");
        }
        if (vfs_open(&t.v.walk, "/d/../made", O_CREAT | O_WRONLY, 0600, 0, &file) == 0) {
            file_put(file);
        }
        int removed UNUSED = vfs_unlink(&t.v.walk, "/d/../secret");
    }
    swapper.stop = true;
    pthread_join(thread, NULL);
    assert_string_equal(read_host(t.out, "secret"), "secret");
    assert_null(read_host(t.out, "made"));
    host_finish(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading),         cmocka_unit_test(test_changing),
        cmocka_unit_test(test_others_change),   cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_mirror),          cmocka_unit_test(test_mirror_overlay),
        cmocka_unit_test(test_exclusive),       cmocka_unit_test(test_mirror_user),
        cmocka_unit_test(test_stat_of_unknown), cmocka_unit_test(test_parent_moved),
        cmocka_unit_test(test_races),           cmocka_unit_test(test_moved_out),
        cmocka_unit_test(test_guest_renames),
    };

    if (cmocka_run_group_tests_name("plain", tests, NULL, NULL)) {
        return 1;
    }

    return cmocka_run_group_tests_name("tree", tests, use_tree, NULL);
}
