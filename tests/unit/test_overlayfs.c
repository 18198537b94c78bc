/*
 * overlayfs over two tmpfs: what a program sees, and that the lower one is never touched. The last
 * test makes the same random changes to an overlay and to a plain tmpfs that began alike, and wants
 * the trees to be alike after each.
 */
#include "vfs_test.h"

#include <pthread.h>
#include <unistd.h>

/* Directories are locked parent first, and who is the parent changes when they are moved: TSan
 * would call that an inversion. Where locks have a fixed order the ranks of lock_order.def check
 * it. */
#ifdef __SANITIZE_THREAD__
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
    return "detect_deadlocks=0";
}
#endif

struct overlay_test {
    struct vfs_test lower; /* the lower file system by itself */
    struct vfs_test merged;
};

static void context_start(struct vfs_test *t, struct super_block *sb) {
    struct mount_namespace *ns;

    assert_false(IS_ERR(sb));
    ns = mount_namespace_new(sb, "test", 0);
    assert_false(IS_ERR(ns));
    t->fs = fs_context_new(ns);
    assert_false(IS_ERR(t->fs));
    mount_namespace_put(ns);
    t->creds = credentials_new(0, 0);
    t->walk = (struct walk){.fs = t->fs, .creds = t->creds};
}

static void populate(struct vfs_test *t) {
    assert_int_equal(vfs_mkdir(&t->walk, "/dir", 0755), 0);
    assert_int_equal(vfs_mkdir(&t->walk, "/dir/sub", 0755), 0);
    assert_int_equal(vfs_mkdir(&t->walk, "/dir/sub/deep", 0700), 0);
    assert_int_equal(vfs_mkdir(&t->walk, "/empty", 0755), 0);
    vfs_test_write(t, "/dir/a", "lower a");
    vfs_test_write(t, "/dir/b", "lower b");
    vfs_test_write(t, "/dir/sub/c", "lower c");
    vfs_test_write(t, "/dir/sub/deep/d", "lower d");
    vfs_test_write(t, "/f", "lower f");
    assert_int_equal(vfs_link(&t->walk, "/f", &t->walk, "/g", 0), 0);
    assert_int_equal(vfs_symlink(&t->walk, "dir/a", "/link"), 0);
    assert_int_equal(vfs_mknod(&t->walk, "/fifo", S_IFIFO | 0644, 0), 0);
    vfs_test_chmod(t, "/dir/b", 0640);
}

static void overlay_start(struct overlay_test *t) {
    struct super_block *lower = tmpfs_new(0, 0755), *upper = tmpfs_new(0, 0755), *sb;

    context_start(&t->lower, lower);
    populate(&t->lower);
    sb = overlayfs_new(lower, upper);
    context_start(&t->merged, sb);
    super_block_put(sb);
    super_block_put(lower);
    super_block_put(upper);
}

static void overlay_finish(struct overlay_test *t) {
    fs_context_put(t->merged.fs);
    credentials_put(t->merged.creds);
    fs_context_put(t->lower.fs);
    credentials_put(t->lower.creds);
    dentry_set_limit(0);
    dentry_set_limit(8192);
}

/* ---- a directory's names, sorted, with spaces between ---- */

struct names {
    struct dir_context context;
    char names[256][32];
    size_t count, limit;
};

static bool names_emit(struct dir_context *context, const char *name, size_t length, ino_t ino,
                       unsigned char type, int64_t next) {
    struct names *names = container_of(context, struct names, context);

    if (names->limit && names->count == names->limit) {
        return false;
    }
    assert_true(names->count < 256);
    snprintf(names->names[names->count++], 32, "%.*s", (int)length, name);
    return true;
}

static int names_compare(const void *a, const void *b) {
    return strcmp(a, b);
}

static const char *list(struct vfs_test *t, const char *dir) {
    struct names names = {.context = {.emit = names_emit}};
    struct file *file;
    size_t length = 0;

    assert_int_equal(vfs_open(&t->walk, dir, O_RDONLY | O_DIRECTORY, 0, 0, &file), 0);
    assert_int_equal(file_readdir(file, &names.context), 0);
    file_put(file);
    qsort(names.names, names.count, 32, names_compare);
    t->text[0] = '\0';
    for (size_t i = 0; i < names.count; i++) {
        if (strcmp(names.names[i], ".") != 0 && strcmp(names.names[i], "..") != 0) {
            length += (size_t)snprintf(t->text + length, sizeof(t->text) - length, "%s%s",
                                       length ? " " : "", names.names[i]);
        }
    }
    return t->text;
}

static ino_t ino_of(struct vfs_test *t, const char *name) {
    struct kstat stat;

    assert_int_equal(vfs_test_stat(t, name, &stat), 0);
    return stat.ino;
}

static void assert_lower_untouched(struct overlay_test *t) {
    struct vfs_test *lower = &t->lower;

    assert_string_equal(list(lower, "/"), "dir empty f fifo g link");
    assert_string_equal(list(lower, "/dir"), "a b sub");
    assert_string_equal(list(lower, "/dir/sub"), "c deep");
    assert_string_equal(vfs_test_read(lower, "/dir/a"), "lower a");
    assert_string_equal(vfs_test_read(lower, "/dir/b"), "lower b");
    assert_string_equal(vfs_test_read(lower, "/dir/sub/c"), "lower c");
    assert_string_equal(vfs_test_read(lower, "/dir/sub/deep/d"), "lower d");
    assert_string_equal(vfs_test_read(lower, "/f"), "lower f");
    assert_int_equal(vfs_test_mode(lower, "/dir/b"), S_IFREG | 0640);
    assert_int_equal(vfs_test_mode(lower, "/dir"), S_IFDIR | 0755);
    assert_int_equal(vfs_test_links(lower, "/f"), 2);
}

static void test_reads_lower(void **state) {
    struct overlay_test t;
    struct kstat stat;

    overlay_start(&t);
    assert_string_equal(list(&t.merged, "/"), "dir empty f fifo g link");
    assert_string_equal(vfs_test_read(&t.merged, "/link"), "lower a");
    assert_int_equal(vfs_test_stat(&t.merged, "/dir/b", &stat), 0);
    assert_int_equal(stat.mode, S_IFREG | 0640);
    assert_int_equal(vfs_test_links(&t.merged, "/g"), 2);
    assert_int_equal(ino_of(&t.merged, "/f"), ino_of(&t.merged, "/g"));
    overlay_finish(&t);
}

static void test_copy_up(void **state) {
    struct overlay_test t;
    struct file *file, *reader;
    struct kstat before, after;
    char buffer[32] = "";

    overlay_start(&t);
    assert_int_equal(vfs_test_stat(&t.merged, "/dir/b", &before), 0);
    assert_int_equal(vfs_open(&t.merged.walk, "/dir/b", O_RDONLY, 0, 0, &reader), 0);
    assert_int_equal(vfs_open(&t.merged.walk, "/dir/b", O_RDWR, 0, 0, &file), 0);
    assert_int_equal(file_pwrite(file, "UPPER", 5, 0), 5);
    assert_int_equal(file_read(file, buffer, 31), 7);
    assert_string_equal(buffer, "UPPER b");
    file_put(file);
    /* A reader from before sees the change, as a follower of a log must. */
    assert_int_equal(file_read(reader, buffer, 31), 7);
    assert_string_equal(buffer, "UPPER b");
    file_put(reader);
    assert_int_equal(vfs_test_stat(&t.merged, "/dir/b", &after), 0);
    assert_true(before.ino == after.ino);
    assert_true(before.dev == after.dev);
    assert_int_equal(after.mode, S_IFREG | 0640);
    assert_lower_untouched(&t);
    /* O_APPEND, O_TRUNC, chmod, truncate. */
    assert_int_equal(vfs_open(&t.merged.walk, "/dir/a", O_WRONLY | O_APPEND, 0, 0, &file), 0);
    assert_int_equal(file_write(file, "+", 1), 1);
    file_put(file);
    assert_string_equal(vfs_test_read(&t.merged, "/dir/a"), "lower a+");
    vfs_test_write(&t.merged, "/dir/sub/c", "new");
    assert_string_equal(vfs_test_read(&t.merged, "/dir/sub/c"), "new");
    vfs_test_chmod(&t.merged, "/dir/sub/deep/d", 0600);
    assert_int_equal(vfs_test_mode(&t.merged, "/dir/sub/deep/d"), S_IFREG | 0600);
    assert_string_equal(vfs_test_read(&t.merged, "/dir/sub/deep/d"), "lower d");
    vfs_test_chmod(&t.merged, "/dir", 0711);
    assert_int_equal(vfs_test_mode(&t.merged, "/dir"), S_IFDIR | 0711);
    assert_string_equal(list(&t.merged, "/dir"), "a b sub");
    assert_lower_untouched(&t);
    overlay_finish(&t);
}

/* Hard links below go on being one file after a copy-up. */
static void test_hard_links(void **state) {
    struct overlay_test t;

    overlay_start(&t);
    vfs_test_write(&t.merged, "/f", "both");
    assert_string_equal(vfs_test_read(&t.merged, "/g"), "both");
    assert_int_equal(vfs_test_links(&t.merged, "/g"), 2);
    assert_int_equal(vfs_link(&t.merged.walk, "/g", &t.merged.walk, "/dir/h", 0), 0);
    assert_int_equal(vfs_test_links(&t.merged, "/f"), 3);
    assert_true(ino_of(&t.merged, "/f") == ino_of(&t.merged, "/dir/h"));
    assert_int_equal(vfs_unlink(&t.merged.walk, "/f"), 0);
    assert_int_equal(vfs_unlink(&t.merged.walk, "/g"), 0);
    assert_int_equal(vfs_test_links(&t.merged, "/dir/h"), 1);
    assert_string_equal(vfs_test_read(&t.merged, "/dir/h"), "both");
    assert_string_equal(list(&t.merged, "/"), "dir empty fifo link");
    assert_lower_untouched(&t);
    overlay_finish(&t);
}

static void test_unlink_and_again(void **state) {
    struct overlay_test t;
    struct file *file;
    struct kstat stat;
    char buffer[16] = "";

    overlay_start(&t);
    assert_int_equal(vfs_open(&t.merged.walk, "/dir/a", O_RDONLY, 0, 0, &file), 0);
    assert_int_equal(vfs_unlink(&t.merged.walk, "/dir/a"), 0);
    assert_int_equal(file_read(file, buffer, 15), 7);
    assert_string_equal(buffer, "lower a");
    assert_int_equal(inode_getattr(file->inode, &stat), 0);
    assert_int_equal(stat.nlink, 0);
    file_put(file);
    assert_int_equal(vfs_test_mode(&t.merged, "/dir/a"), -ENOENT);
    assert_string_equal(list(&t.merged, "/dir"), "b sub");
    vfs_test_write(&t.merged, "/dir/a", "new");
    assert_string_equal(vfs_test_read(&t.merged, "/dir/a"), "new");
    assert_string_equal(list(&t.merged, "/dir"), "a b sub");
    assert_int_equal(vfs_unlink(&t.merged.walk, "/dir/a"), 0);
    assert_string_equal(list(&t.merged, "/dir"), "b sub");
    /* A directory in its place shows nothing of what was there. */
    assert_int_equal(vfs_rmdir(&t.merged.walk, "/dir/sub"), -ENOTEMPTY);
    assert_int_equal(vfs_unlink(&t.merged.walk, "/dir/sub/deep/d"), 0);
    assert_int_equal(vfs_rmdir(&t.merged.walk, "/dir/sub/deep"), 0);
    assert_int_equal(vfs_unlink(&t.merged.walk, "/dir/sub/c"), 0);
    assert_int_equal(vfs_rmdir(&t.merged.walk, "/dir/sub"), 0);
    assert_string_equal(list(&t.merged, "/dir"), "b");
    assert_int_equal(vfs_mkdir(&t.merged.walk, "/dir/sub", 0755), 0);
    assert_string_equal(list(&t.merged, "/dir/sub"), "");
    assert_int_equal(vfs_test_mode(&t.merged, "/dir/sub/c"), -ENOENT);
    assert_int_equal(vfs_rmdir(&t.merged.walk, "/empty"), 0);
    assert_int_equal(vfs_symlink(&t.merged.walk, "x", "/empty"), 0);
    assert_int_equal(vfs_test_mode(&t.merged, "/empty"), S_IFLNK | 0777);
    assert_lower_untouched(&t);
    overlay_finish(&t);
}

static void test_rename(void **state) {
    struct overlay_test t;
    struct walk *walk = &t.merged.walk;
    ino_t ino;

    overlay_start(&t);
    ino = ino_of(&t.merged, "/dir");
    assert_int_equal(vfs_rename(walk, "/dir", walk, "/moved", 0), 0);
    assert_true(ino_of(&t.merged, "/moved") == ino);
    assert_int_equal(vfs_test_mode(&t.merged, "/dir"), -ENOENT);
    assert_string_equal(list(&t.merged, "/moved"), "a b sub");
    assert_string_equal(vfs_test_read(&t.merged, "/moved/sub/deep/d"), "lower d");
    vfs_test_write(&t.merged, "/moved/sub/deep/d", "changed");
    assert_int_equal(vfs_unlink(walk, "/moved/a"), 0);
    /* Once more, below something else; then something new in its old place. */
    assert_int_equal(vfs_rename(walk, "/moved", walk, "/empty/again", 0), 0);
    assert_string_equal(list(&t.merged, "/empty/again"), "b sub");
    assert_string_equal(vfs_test_read(&t.merged, "/empty/again/sub/deep/d"), "changed");
    assert_int_equal(vfs_mkdir(walk, "/dir", 0755), 0);
    assert_string_equal(list(&t.merged, "/dir"), "");
    assert_int_equal(vfs_rename(walk, "/empty/again/sub", walk, "/dir", 0), 0);
    assert_string_equal(list(&t.merged, "/dir"), "c deep");
    assert_int_equal(vfs_rename(walk, "/f", walk, "/dir/c", 0), 0);
    assert_string_equal(vfs_test_read(&t.merged, "/dir/c"), "lower f");
    assert_int_equal(vfs_test_links(&t.merged, "/g"), 2);
    assert_int_equal(vfs_rename(walk, "/dir", walk, "/empty", RENAME_EXCHANGE), 0);
    assert_string_equal(list(&t.merged, "/empty"), "c deep");
    assert_string_equal(list(&t.merged, "/dir"), "again");
    assert_int_equal(vfs_rename(walk, "/link", walk, "/g", RENAME_EXCHANGE), 0);
    assert_int_equal(vfs_test_mode(&t.merged, "/g"), S_IFLNK | 0777);
    assert_int_equal(vfs_rename(walk, "/fifo", walk, "/pipe", 0), 0);
    assert_string_equal(list(&t.merged, "/"), "dir empty g link pipe");
    assert_lower_untouched(&t);
    overlay_finish(&t);
}

/* What is taken away or added behind the reader neither hides nor repeats another entry. */
static void test_readdir_stable(void **state) {
    struct overlay_test t;
    struct names names = {.context = {.emit = names_emit}, .limit = 30};
    struct file *file;
    char name[32];
    int seen[40] = {0};

    overlay_start(&t);
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "/dir/sub/n%02d", i);
        vfs_test_write(i % 2 ? &t.lower : &t.merged, name, "x");
    }
    assert_int_equal(vfs_open(&t.merged.walk, "/dir/sub", O_RDONLY, 0, 0, &file), 0);
    assert_int_equal(file_readdir(file, &names.context), 0);
    assert_int_equal(names.count, 30);
    for (size_t i = 0; i < names.count; i++) {
        if (names.names[i][0] == 'n') {
            seen[atoi(names.names[i] + 1)]++;
            snprintf(name, sizeof(name), "/dir/sub/%.20s", names.names[i]);
            assert_int_equal(vfs_unlink(&t.merged.walk, name), 0);
        }
    }
    vfs_test_write(&t.merged, "/dir/sub/late", "x");
    names.count = names.limit = 0;
    assert_int_equal(file_readdir(file, &names.context), 0);
    for (size_t i = 0; i < names.count; i++) {
        if (names.names[i][0] == 'n') {
            seen[atoi(names.names[i] + 1)]++;
        }
    }
    for (int i = 0; i < 40; i++) {
        assert_int_equal(seen[i], 1);
    }
    file_put(file);
    overlay_finish(&t);
}

static void test_tmpfile(void **state) {
    struct overlay_test t;
    struct file *file;
    struct kstat stat;

    overlay_start(&t);
    assert_int_equal(vfs_open(&t.merged.walk, "/dir", O_TMPFILE | O_RDWR, 0640, 0, &file), 0);
    assert_int_equal(file_write(file, "t", 1), 1);
    assert_int_equal(inode_getattr(file->inode, &stat), 0);
    assert_int_equal(stat.nlink, 0);
    assert_int_equal(stat.mode, S_IFREG | 0640);
    file_put(file);
    assert_string_equal(list(&t.merged, "/dir"), "a b sub");
    overlay_finish(&t);
}

/* ---- two tasks want the same copy ---- */

struct race {
    struct overlay_test *t;
    pthread_barrier_t *barrier;
    int number;
};

static void *race_write(void *arg) {
    struct race *race = arg;
    struct vfs_test *t = &race->t->merged;
    struct walk walk = t->walk;
    struct file *file;
    char byte = (char)('0' + race->number);

    pthread_barrier_wait(race->barrier);
    assert_int_equal(vfs_open(&walk, "/dir/sub/deep/d", O_WRONLY, 0, 0, &file), 0);
    assert_int_equal(file_pwrite(file, &byte, 1, race->number), 1);
    file_put(file);
    return NULL;
}

static void test_copy_up_race(void **state) {
    for (int round = 0; round < 50; round++) {
        struct overlay_test t;
        struct race races[4];
        pthread_barrier_t barrier;
        pthread_t threads[4];

        overlay_start(&t);
        pthread_barrier_init(&barrier, NULL, 4);
        for (int i = 0; i < 4; i++) {
            races[i] = (struct race){&t, &barrier, i};
            assert_int_equal(pthread_create(&threads[i], NULL, race_write, &races[i]), 0);
        }
        for (int i = 0; i < 4; i++) {
            pthread_join(threads[i], NULL);
        }
        pthread_barrier_destroy(&barrier);
        /* Every write is there: they all went to the one copy. */
        assert_string_equal(vfs_test_read(&t.merged, "/dir/sub/deep/d"), "0123r d");
        assert_lower_untouched(&t);
        overlay_finish(&t);
    }
}

/* ---- random changes, against a plain tmpfs ---- */

static uint64_t random_state;

static unsigned next_random(unsigned below) {
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(random_state >> 33) % below;
}

/* A path that exists, or one that could. */
static void random_path(char *path, size_t size) {
    static const char *const names[] = {"a",   "b",    "c",     "d", "dir",
                                        "sub", "deep", "empty", "f", "g"};
    unsigned depth = 1 + next_random(3);
    size_t length = 0;

    for (unsigned i = 0; i < depth; i++) {
        length += (size_t)snprintf(path + length, size - length, "/%s",
                                   names[next_random(ARRAY_SIZE(names))]);
    }
}

static int random_write(struct vfs_test *t, const char *path, int flags, const char *text) {
    struct file *file;
    int error = vfs_open(&t->walk, path, flags, 0644, 0, &file);

    if (!error) {
        assert_int_equal(file_write(file, text, strlen(text)), strlen(text));
        file_put(file);
    }
    return error;
}

static int random_change(struct vfs_test *t, unsigned kind, const char *one, const char *two,
                         unsigned number) {
    struct walk *walk = &t->walk;
    struct path path;
    char text[16];
    int error;

    snprintf(text, sizeof(text), "%u", number);
    switch (kind) {
    case 0:
        return random_write(t, one, O_CREAT | O_WRONLY, text);
    case 1:
        return random_write(t, one, O_WRONLY | O_TRUNC, text);
    case 2:
        return random_write(t, one, O_WRONLY | O_APPEND, text);
    case 3:
        return vfs_mkdir(walk, one, 0755);
    case 4:
        return vfs_unlink(walk, one);
    case 5:
        return vfs_rmdir(walk, one);
    case 6:
    case 7:
        return vfs_rename(walk, one, walk, two, 0);
    case 8:
        return vfs_rename(walk, one, walk, two, RENAME_EXCHANGE);
    case 9:
        return vfs_link(walk, one, walk, two, 0);
    case 10:
        return vfs_symlink(walk, two, one);
    case 11:
        return vfs_rename(walk, one, walk, two, RENAME_NOREPLACE);
    default:
        error = path_lookup(walk, one, 0, &path);
        if (!error) {
            struct iattr attr = {.valid = ATTR_MODE, .mode = 0600 | (number & 077)};

            error = S_ISLNK(path.dentry->inode->type) ? 0 : path_setattr(&path, &attr, t->creds);
            path_put(&path);
        }
        return error;
    }
}

static void describe_file(struct vfs_test *t, const char *path, const struct kstat *stat, char *to,
                          size_t size) {
    char text[128] = "";
    struct file *file;
    struct path found;
    ssize_t count = 0;

    if (S_ISREG(stat->mode)) {
        assert_int_equal(vfs_open(&t->walk, path, O_RDONLY, 0, 0, &file), 0);
        count = file_read(file, text, sizeof(text) - 1);
        file_put(file);
    } else if (S_ISLNK(stat->mode)) {
        assert_int_equal(path_lookup(&t->walk, path, 0, &found), 0);
        count = vfs_readlink(&found, text, sizeof(text) - 1);
        path_put(&found);
    }
    assert_true(count >= 0);
    text[count] = '\0';
    snprintf(to, size, "%s %o %d %s\n", path, stat->mode,
             S_ISDIR(stat->mode) ? 0 : (int)stat->nlink, text);
}

static void describe_tree(struct vfs_test *t, const char *path, char *to, size_t size) {
    char *copy = strdup(list(t, path)), *rest = copy, *name;

    while ((name = strsep(&rest, " "))) {
        char child[PATH_MAX], line[PATH_MAX + 256];
        struct kstat stat;

        if (!*name) {
            continue;
        }
        snprintf(child, sizeof(child), "%s/%s", strcmp(path, "/") == 0 ? "" : path, name);
        assert_int_equal(vfs_test_stat(t, child, &stat), 0);
        describe_file(t, child, &stat, line, sizeof(line));
        assert_true(strlen(to) + strlen(line) < size);
        strcat(to, line);
        if (S_ISDIR(stat.mode)) {
            describe_tree(t, child, to, size);
        }
    }
    free(copy);
}

#define TREE_TEXT 200000

static void test_against_model(void **state) {
    char *want = malloc(TREE_TEXT), *have = malloc(TREE_TEXT);

    for (unsigned seed = 1; seed <= 25; seed++) {
        struct overlay_test t;
        struct vfs_test model;
        struct super_block *sb = tmpfs_new(0, 0755);

        random_state = seed;
        overlay_start(&t);
        context_start(&model, sb);
        super_block_put(sb);
        populate(&model);
        for (unsigned i = 0; i < 300; i++) {
            char one[128], two[128];
            unsigned kind = next_random(13), number = next_random(1000);

            random_path(one, sizeof(one));
            random_path(two, sizeof(two));
            int expected = random_change(&model, kind, one, two, number);
            int got = random_change(&t.merged, kind, one, two, number);

            if (expected != got) {
                fail_msg("seed %u step %u kind %u %s %s: %d, tmpfs %d", seed, i, kind, one, two,
                         got, expected);
            }
            if (i % 10 == 9) {
                want[0] = have[0] = '\0';
                /* Half of the time nothing is cached: what is known must stand in the file system.
                 */
                if (i % 20 == 9) {
                    dentry_set_limit(0);
                    dentry_set_limit(8192);
                }
                describe_tree(&model, "/", want, TREE_TEXT);
                describe_tree(&t.merged, "/", have, TREE_TEXT);
                if (strcmp(want, have) != 0) {
                    fail_msg("seed %u step %u: the trees differ\n%s\n---\n%s", seed, i, want, have);
                }
            }
        }
        assert_lower_untouched(&t);
        fs_context_put(model.fs);
        credentials_put(model.creds);
        overlay_finish(&t);
    }
    free(want);
    free(have);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_lower),   cmocka_unit_test(test_copy_up),
        cmocka_unit_test(test_hard_links),    cmocka_unit_test(test_unlink_and_again),
        cmocka_unit_test(test_rename),        cmocka_unit_test(test_readdir_stable),
        cmocka_unit_test(test_tmpfile),       cmocka_unit_test(test_copy_up_race),
        cmocka_unit_test(test_against_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
