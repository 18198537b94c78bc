/*
 * procfs, sysfs and devfs over a mock kernel: what is there, in which format, for whom, and what
 * becomes of it when tasks end while it is looked at. No guest.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

#include "fail_alloc.h"
#include "pseudo/pseudo.h"

struct fixture {
    struct host_job *job;
    struct kernel *kernel;
    struct fs_context *fs;
    struct credentials *root;
    struct task_owner init;
};

static void mount_on(struct fixture *f, const char *name, struct super_block *sb) {
    struct walk walk = {.fs = f->fs, .creds = f->root};
    struct path at = {0};

    assert_false(IS_ERR(sb));
    assert_int_equal(vfs_mkdir(&walk, name, 0755), 0);
    assert_int_equal(path_lookup(&walk, name, LOOKUP_DIRECTORY, &at), 0);
    assert_int_equal(mount_attach(f->fs->namespace, sb, NULL, &at, "none", MS_NOSUID), 0);
    path_put(&at);
    super_block_put(sb);
}

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof(*f));

    f->job = host_job_new_mock();
    f->kernel = kernel_new(f->job, "test-kernel");
    f->root = credentials_new(0, 0);
    assert_int_equal(pseudo_register(f->kernel), 0);
    f->fs = fs_context_new_test();
    assert_false(IS_ERR(f->fs));
    mount_on(f, "/proc", procfs_new(f->kernel));
    mount_on(f, "/sys", sysfs_new(f->kernel));
    mount_on(f, "/dev", devfs_new());
    assert_int_equal(task_new_mock(f->kernel, f->fs, &f->init), 0);
    current_task_set(f->init.task);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;

    current_task_set(NULL);
    task_owner_release(&f->init);
    fs_context_put(f->fs);
    credentials_put(f->root);
    /* The mounts held it too: this is the last reference. */
    assert_int_equal(atomic_load(&f->kernel->ref.count), 1);
    kernel_put(f->kernel);
    host_job_put(f->job);
    free(f);
    return 0;
}

static int open_as(struct fixture *f, const struct credentials *creds, const char *name, int flags,
                   struct file **file) {
    struct walk walk = {.fs = f->fs, .creds = creds};

    return vfs_open(&walk, name, flags, 0, LOOKUP_FOLLOW, file);
}

static int open_file(struct fixture *f, const char *name, int flags, struct file **file) {
    return open_as(f, f->root, name, flags, file);
}

/* The whole text, NUL-terminated; its length or an error of open or read. */
static ssize_t read_text(struct fixture *f, const char *name, char *buffer, size_t size) {
    struct file *file CLEANUP(file_put) = NULL;
    size_t length = 0;
    int error = open_file(f, name, O_RDONLY, &file);

    if (error) {
        return error;
    }
    for (;;) {
        ssize_t got = file_read(file, buffer + length, size - 1 - length);

        if (got < 0) {
            return got;
        }
        if (got == 0) {
            buffer[length] = '\0';
            return (ssize_t)length;
        }
        length += (size_t)got;
    }
}

static void check_text(struct fixture *f, const char *name, const char *expected) {
    char text[8192];

    if (read_text(f, name, text, sizeof(text)) < 0) {
        fail_msg("%s cannot be read", name);
    }
    assert_string_equal(text, expected);
}

static int write_text(struct fixture *f, const struct credentials *creds, const char *name,
                      const char *text) {
    struct file *file CLEANUP(file_put) = NULL;
    int error = open_as(f, creds, name, O_WRONLY, &file);

    return error ? error : (int)file_write(file, text, strlen(text));
}

static ssize_t read_link(struct fixture *f, const char *name, char buffer[256]) {
    struct walk walk = {.fs = f->fs, .creds = f->root};
    struct path path CLEANUP(path_put) = {0};
    int error = path_lookup(&walk, name, 0, &path);
    ssize_t length = error ? error : vfs_readlink(&path, buffer, 255);

    if (length >= 0) {
        buffer[length] = '\0';
    }
    return length;
}

static int stat_path(struct fixture *f, const char *name, unsigned flags, struct kstat *stat) {
    struct walk walk = {.fs = f->fs, .creds = f->root};
    struct path path CLEANUP(path_put) = {0};
    int error = path_lookup(&walk, name, flags, &path);

    return error ? error : path_getattr(&path, stat);
}

/* ---- names ---- */

struct names {
    struct dir_context context;
    char text[16384];
    size_t room; /* entries until the buffer counts as full */
};

static bool take_name(struct dir_context *context, const char *name, size_t length, ino_t ino,
                      unsigned char type, int64_t next) {
    struct names *names = container_of(context, struct names, context);

    if (names->room == 0) {
        return false;
    }
    names->room--;
    assert_true(ino != 0);
    assert_true(next > context->pos || context->pos == 0);
    strncat(names->text, name, length);
    strcat(names->text, " ");
    return true;
}

/* The names in order, `at_once` entries a call, each with a blank behind it. */
static int list(struct fixture *f, const char *name, size_t at_once, struct names *names) {
    struct file *file CLEANUP(file_put) = NULL;
    int error = open_file(f, name, O_RDONLY | O_DIRECTORY, &file);
    size_t before = 1;

    names->context.emit = take_name;
    names->text[0] = '\0';
    for (size_t length = 0; !error && before != length; length = strlen(names->text)) {
        before = length ? length : SIZE_MAX;
        names->room = at_once;
        error = file_readdir(file, &names->context);
        if (strlen(names->text) == length) {
            break;
        }
    }
    return error;
}

static void the_root_lists_its_processes(void **state) {
    struct fixture *f = *state;
    static struct names once, piecewise;
    struct task_owner child, thread;

    assert_int_equal(task_new_mock_child(f->init.task, &child), 0);
    assert_int_equal(task_new_mock_thread(f->init.task, &thread), 0);
    assert_int_equal(list(f, "/proc", SIZE_MAX, &once), 0);
    assert_non_null(strstr(once.text, ". .. "));
    assert_non_null(strstr(once.text, " meminfo "));
    assert_non_null(strstr(once.text, " self "));
    assert_non_null(strstr(once.text, " 1 2 "));
    /* A thread is no entry of its own, but can be looked up (proc(5)). */
    assert_null(strstr(once.text, " 3 "));
    {
        struct kstat stat;

        assert_int_equal(stat_path(f, "/proc/3", 0, &stat), 0);
        assert_int_equal(stat_path(f, "/proc/1/task/3", 0, &stat), 0);
        assert_int_equal(stat_path(f, "/proc/2/task/3", 0, &stat), -ENOENT);
        assert_int_equal(stat_path(f, "/proc/4", 0, &stat), -ENOENT);
    }
    for (size_t at_once = 1; at_once < 5; at_once++) {
        memset(&piecewise.context, 0, sizeof(piecewise.context));
        assert_int_equal(list(f, "/proc", at_once, &piecewise), 0);
        assert_string_equal(piecewise.text, once.text);
    }
    assert_int_equal(list(f, "/proc/1/task", SIZE_MAX, &once), 0);
    assert_string_equal(once.text, ". .. 1 3 ");
    task_owner_release(&thread);
    task_owner_release(&child);
    assert_int_equal(list(f, "/proc/1/task", SIZE_MAX, &once), 0);
    assert_string_equal(once.text, ". .. 1 ");
}

static void odd_names_are_not_there(void **state) {
    static const char *const names[] = {
        "/proc/0",
        "/proc/01",
        "/proc/-1",
        "/proc/1x",
        "/proc/+1",
        "/proc/ 1",
        "/proc/4294967297",
        "/proc/99999999999999999999",
        "/proc/1/task/01",
        "/proc/1/fd/",
        "/proc/1/fd/-1",
        "/proc/1/fd/0x0",
        "/proc/1/fd/9999999",
        "/proc/2",
        "/proc/1/fd/123",
        "/proc/nothing",
        "/sys/devices/system/cpu/cpu99999",
        "/sys/devices/system/cpu/cpu",
        "/sys/devices/system/cpu/cpu00",
    };
    struct fixture *f = *state;
    struct kstat stat;

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        int error = stat_path(f, names[i], 0, &stat);

        if (strcmp(names[i], "/proc/1/fd/") == 0) {
            assert_int_equal(error, 0);
        } else if (error != -ENOENT) {
            fail_msg("%s gives %d", names[i], error);
        }
    }
}

static void positions_from_nowhere_are_harmless(void **state) {
    static const int64_t positions[] = {
        0, 1, 2, 3, 1000, 0x7fffffff, 0x80000000, INT64_MAX - 5, INT64_MAX};
    static const char *const names[] = {"/proc",          "/proc/1",      "/proc/1/fd",
                                        "/proc/1/fdinfo", "/proc/1/task", "/sys/devices/system/cpu",
                                        "/proc/sys"};
    struct fixture *f = *state;
    static struct names out;

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct file *file CLEANUP(file_put) = NULL;

        assert_int_equal(open_file(f, names[i], O_RDONLY | O_DIRECTORY, &file), 0);
        for (size_t p = 0; p < ARRAY_SIZE(positions); p++) {
            assert_true(file_llseek(file, positions[p], SEEK_SET) == positions[p]);
            memset(&out, 0, sizeof(out));
            out.context.emit = take_name;
            out.room = SIZE_MAX;
            assert_int_equal(file_readdir(file, &out.context), 0);
        }
        assert_true(file_llseek(file, -1, SEEK_SET) == -EINVAL);
    }
}

static void numbers_of_inodes_are_stable_and_differ(void **state) {
    struct fixture *f = *state;
    struct kstat a, b, c;

    assert_int_equal(stat_path(f, "/proc/1/status", 0, &a), 0);
    assert_int_equal(stat_path(f, "/proc/1/stat", 0, &b), 0);
    dentry_set_limit(0); /* forgets what is cached */
    dentry_set_limit(8192);
    assert_int_equal(stat_path(f, "/proc/1/status", 0, &c), 0);
    assert_int_equal(a.ino, c.ino);
    assert_int_not_equal(a.ino, b.ino);
    assert_int_equal(a.size, 0);
    assert_int_equal(a.mode, S_IFREG | 0444);
}

/* ---- formats ---- */

static void set_comm(struct task *task, const char *comm) {
    LOCK_GUARD(&task->lock);
    snprintf(task->comm, sizeof(task->comm), "%s", comm);
}

static void stat_has_52_fields_behind_any_name(void **state) {
    struct fixture *f = *state;
    char text[2048], *rest;
    int fields = 0;

    set_comm(f->init.task, "a) R (b 1");
    assert_true(read_text(f, "/proc/1/stat", text, sizeof(text)) > 0);
    assert_memory_equal(text, "1 (a) R (b 1) ", 14);
    rest = strrchr(text, ')');
    assert_non_null(rest);
    for (char *save = NULL, *field = strtok_r(rest + 1, " \n", &save); field;
         field = strtok_r(NULL, " \n", &save)) {
        fields++;
    }
    assert_int_equal(fields, 50); /* from the third on */
    set_comm(f->init.task, "mock");
}

static char *line_of(char *text, const char *name) {
    char *line = text;

    while (line && strncmp(line, name, strlen(name)) != 0) {
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    return line;
}

static void status_tells_what_the_task_is(void **state) {
    struct fixture *f = *state;
    char text[8192], expected[128];
    struct task_owner child;
    struct credentials *creds = credentials_new(1000, 100);

    assert_int_equal(task_new_mock_child(f->init.task, &child), 0);
    task_set_creds(child.task, creds);
    signal_set_mask(child.task, SIGNAL_BIT(SIGINT) | SIGNAL_BIT(64));
    set_comm(child.task, "with\nline");
    assert_true(read_text(f, "/proc/2/status", text, sizeof(text)) > 0);
    assert_memory_equal(text, "Name:\twith\\012line\n", 19);
    assert_non_null(line_of(text, "Pid:\t2\n"));
    assert_non_null(line_of(text, "Tgid:\t2\n"));
    assert_non_null(line_of(text, "PPid:\t1\n"));
    assert_non_null(line_of(text, "Uid:\t1000\t1000\t1000\t1000\n"));
    assert_non_null(line_of(text, "Gid:\t100\t100\t100\t100\n"));
    assert_non_null(line_of(text, "SigBlk:\t8000000000000002\n"));
    assert_non_null(line_of(text, "CapEff:\t0000000000000000\n"));
    assert_non_null(line_of(text, "Threads:\t1\n"));
    assert_non_null(line_of(text, "Umask:\t0022\n"));
    assert_non_null(line_of(text, "VmSize:\t"));
    snprintf(expected, sizeof(expected), "State:\t%c ", atomic_load(&child.task->state));
    assert_non_null(line_of(text, expected));
    task_owner_release(&child);
}

static void small_files_have_their_formats(void **state) {
    struct fixture *f = *state;
    char text[65536];
    unsigned long a, b, c, d, e, g, h;
    double up, idle;

    assert_true(read_text(f, "/proc/1/statm", text, sizeof(text)) > 0);
    assert_int_equal(sscanf(text, "%lu %lu %lu %lu %lu %lu %lu\n", &a, &b, &c, &d, &e, &g, &h), 7);
    assert_true(read_text(f, "/proc/uptime", text, sizeof(text)) > 0);
    assert_int_equal(sscanf(text, "%lf %lf\n", &up, &idle), 2);
    assert_true(up > 0);
    assert_true(read_text(f, "/proc/loadavg", text, sizeof(text)) > 0);
    assert_int_equal(sscanf(text, "%lf %lf %*f %lu/%lu %lu\n", &up, &idle, &a, &b, &c), 5);
    assert_int_equal(b, 1);
    assert_true(read_text(f, "/proc/meminfo", text, sizeof(text)) > 0);
    assert_memory_equal(text, "MemTotal:       ", 16);
    assert_non_null(line_of(text, "MemAvailable:"));
    assert_true(read_text(f, "/proc/stat", text, sizeof(text)) > 0);
    assert_memory_equal(text, "cpu  ", 5);
    assert_non_null(line_of(text, "btime "));
    assert_true(read_text(f, "/proc/cpuinfo", text, sizeof(text)) > 0);
    assert_non_null(line_of(text, "processor\t: 0\n"));
    assert_true(read_text(f, "/proc/1/limits", text, sizeof(text)) > 0);
    assert_non_null(line_of(text, "Max open files            "));
    assert_true(read_text(f, "/proc/version", text, sizeof(text)) > 0);
    assert_memory_equal(text, "Linux version ", 14);
    check_text(f, "/proc/sys/kernel/osrelease", UTS_RELEASE "\n");
    check_text(f, "/proc/sys/kernel/hostname", "test-kernel\n");
    check_text(f, "/proc/sys/kernel/pid_max", "32768\n");
    check_text(f, "/proc/1/comm", "mock\n");
    check_text(f, "/proc/1/cgroup", "0::/\n");
    check_text(f, "/proc/1/uid_map", "         0          0 4294967295\n");
    assert_true(read_text(f, "/proc/filesystems", text, sizeof(text)) > 0);
    assert_non_null(line_of(text, "nodev\tproc\n"));
}

static void every_file_can_be_read(void **state) {
    struct fixture *f = *state;
    static struct names names;
    static char text[1 << 20];
    static const char *const directories[] = {"/proc",
                                              "/proc/1",
                                              "/proc/1/net",
                                              "/proc/sys/kernel",
                                              "/proc/sys/vm",
                                              "/proc/sys/fs",
                                              "/proc/sys/kernel/random",
                                              "/proc/1/task/1"};

    for (size_t i = 0; i < ARRAY_SIZE(directories); i++) {
        memset(&names.context, 0, sizeof(names.context));
        assert_int_equal(list(f, directories[i], SIZE_MAX, &names), 0);
        for (char *save = NULL, *name = strtok_r(names.text, " ", &save); name;
             name = strtok_r(NULL, " ", &save)) {
            char path[128];
            struct kstat stat;
            ssize_t got;

            snprintf(path, sizeof(path), "%s/%s", directories[i], name);
            assert_int_equal(stat_path(f, path, 0, &stat), 0);
            if (!S_ISREG(stat.mode) || strcmp(name, "mem") == 0 ||
                strcmp(name, "clear_refs") == 0 || strcmp(name, "smaps_rollup") == 0) {
                continue;
            }
            got = read_text(f, path, text, sizeof(text));
            if (got < 0) {
                fail_msg("%s: %zd", path, got);
            }
        }
    }
}

static void mounts_and_mountinfo(void **state) {
    struct fixture *f = *state;
    char text[4096];

    assert_true(read_text(f, "/proc/mounts", text, sizeof(text)) > 0);
    assert_non_null(line_of(text, "tmpfs / tmpfs rw 0 0\n"));
    assert_non_null(line_of(text, "none /proc proc rw,nosuid 0 0\n"));
    assert_non_null(line_of(text, "none /sys sysfs rw,nosuid 0 0\n"));
    assert_true(read_text(f, "/proc/self/mountinfo", text, sizeof(text)) > 0);
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        int id, parent;
        unsigned major_number, minor_number;
        char root[64], where[64];

        assert_int_equal(sscanf(line, "%d %d %u:%u %63s %63s ", &id, &parent, &major_number,
                                &minor_number, root, where),
                         6);
        assert_string_equal(root, "/");
        assert_non_null(strstr(line, " - "));
    }
}

/* ---- links ---- */

static void self_is_who_asks(void **state) {
    struct fixture *f = *state;
    struct task_owner child, thread;
    char link[256];

    assert_int_equal(task_new_mock_child(f->init.task, &child), 0);
    assert_int_equal(task_new_mock_thread(child.task, &thread), 0);
    assert_int_equal(read_link(f, "/proc/self", link), 1);
    assert_string_equal(link, "1");
    current_task_set(child.task);
    assert_true(read_link(f, "/proc/self", link) > 0);
    assert_string_equal(link, "2");
    check_text(f, "/proc/self/comm", "mock\n");
    current_task_set(thread.task);
    assert_true(read_link(f, "/proc/self", link) > 0);
    assert_string_equal(link, "2");
    assert_true(read_link(f, "/proc/thread-self", link) > 0);
    assert_string_equal(link, "2/task/3");
    current_task_set(NULL);
    assert_int_equal(read_link(f, "/proc/self", link), -ENOENT);
    current_task_set(f->init.task);
    task_owner_release(&thread);
    task_owner_release(&child);
}

static void descriptors_are_links_to_their_files(void **state) {
    struct fixture *f = *state;
    struct file *file, *again = NULL;
    static struct names names;
    struct kstat stat;
    char link[256], text[1024];
    int fd;

    assert_int_equal(open_file(f, "/dev/null", O_RDWR, &file), 0);
    fd = fd_table_install(f->init.task->files, file, 5, 64, true);
    assert_int_equal(fd, 5);
    file_put(file);
    assert_true(read_link(f, "/proc/self/fd/5", link) > 0);
    assert_string_equal(link, "/dev/null");
    assert_int_equal(stat_path(f, "/proc/self/fd/5", 0, &stat), 0);
    assert_int_equal(stat.mode, S_IFLNK | 0700);
    assert_int_equal(stat_path(f, "/proc/self/fd/5", LOOKUP_FOLLOW, &stat), 0);
    assert_int_equal(stat.rdev, makedev(1, 3));
    assert_int_equal(open_file(f, "/dev/fd/5", O_RDONLY, &again), 0);
    file_put(again);
    assert_true(read_text(f, "/proc/self/fdinfo/5", text, sizeof(text)) > 0);
    assert_non_null(line_of(text, "pos:\t0\n"));
    assert_non_null(line_of(text, "flags:\t02"));
    assert_int_equal(list(f, "/proc/self/fd", SIZE_MAX, &names), 0);
    assert_string_equal(names.text, ". .. 5 ");
    assert_int_equal(fd_table_close(f->init.task->files, 5), 0);
    assert_int_equal(read_link(f, "/proc/self/fd/5", link), -ENOENT);
    assert_int_equal(stat_path(f, "/proc/self/fdinfo/5", 0, &stat), -ENOENT);
}

static void a_descriptor_of_its_own_info_can_be_read(void **state) {
    struct fixture *f = *state;
    struct file *null, *info;
    char text[256];

    assert_int_equal(open_file(f, "/dev/zero", O_RDONLY, &null), 0);
    assert_int_equal(fd_table_install(f->init.task->files, null, 0, 64, false), 0);
    assert_int_equal(open_file(f, "/proc/self/fdinfo/0", O_RDONLY, &info), 0);
    assert_int_equal(fd_table_replace(f->init.task->files, 0, info, 64, false), 0);
    assert_true(file_read(info, text, sizeof(text)) > 0);
    assert_int_equal(fd_table_close(f->init.task->files, 0), 0);
    file_put(info);
    file_put(null);
}

static void cwd_and_root_lead_to_the_places(void **state) {
    struct fixture *f = *state;
    struct walk walk = {.fs = f->fs, .creds = f->root};
    struct path path CLEANUP(path_put) = {0};
    struct kstat stat;
    char link[256];

    assert_int_equal(vfs_mkdir(&walk, "/a", 0755), 0);
    assert_int_equal(path_lookup(&walk, "/a", 0, &path), 0);
    fs_context_set_cwd(f->fs, &path);
    assert_true(read_link(f, "/proc/self/cwd", link) > 0);
    assert_string_equal(link, "/a");
    assert_true(read_link(f, "/proc/self/root", link) > 0);
    assert_string_equal(link, "/");
    assert_int_equal(read_link(f, "/proc/self/exe", link), -ENOENT); /* a mock runs nothing */
    assert_int_equal(stat_path(f, "/proc/self/cwd/../proc/self/root/a", LOOKUP_FOLLOW, &stat), 0);
    assert_int_equal(vfs_rmdir(&walk, "/a"), 0);
    assert_true(read_link(f, "/proc/self/cwd", link) > 0);
    assert_string_equal(link, "/a (deleted)");
}

/* ---- writing ---- */

static void what_may_be_written(void **state) {
    struct fixture *f = *state;
    struct credentials *user CLEANUP(credentials_put) = credentials_new(1000, 1000);
    struct task_owner child;
    static char big[8192];

    assert_int_equal(write_text(f, f->root, "/proc/self/comm", "a name that is too long\n"), 24);
    check_text(f, "/proc/1/comm", "a name that is \n");
    assert_int_equal(task_new_mock_child(f->init.task, &child), 0);
    assert_int_equal(write_text(f, f->root, "/proc/2/comm", "x"), -EINVAL);
    assert_int_equal(write_text(f, f->root, "/proc/2/oom_score_adj", "500\n"), 4);
    check_text(f, "/proc/2/oom_score_adj", "500\n");
    check_text(f, "/proc/2/oom_adj", "8\n");
    assert_int_equal(write_text(f, f->root, "/proc/2/oom_score_adj", "1001"), -EINVAL);
    assert_int_equal(write_text(f, f->root, "/proc/2/oom_score_adj", "-1001"), -EINVAL);
    assert_int_equal(write_text(f, f->root, "/proc/2/oom_score_adj", "x"), -EINVAL);
    assert_int_equal(write_text(f, f->root, "/proc/2/oom_score_adj", ""), -EINVAL);
    memset(big, '1', sizeof(big) - 1);
    assert_int_equal(write_text(f, f->root, "/proc/2/oom_score_adj", big), -EINVAL);
    assert_int_equal(write_text(f, f->root, "/proc/2/oom_adj", "15"), 2);
    check_text(f, "/proc/2/oom_score_adj", "1000\n");
    assert_int_equal(write_text(f, user, "/proc/2/oom_score_adj", "0"), -EACCES);
    assert_int_equal(write_text(f, user, "/proc/meminfo", "0"), -EACCES);
    assert_int_equal(write_text(f, f->root, "/proc/meminfo", "0"), -EIO);
    assert_int_equal(write_text(f, f->root, "/proc/1/stat", "0"), -EIO);
    assert_int_equal(write_text(f, f->root, "/proc/sys/kernel/hostname", "other\nx"), 7);
    check_text(f, "/proc/sys/kernel/hostname", "other\n");
    assert_int_equal(write_text(f, user, "/proc/sys/kernel/hostname", "z"), -EACCES);
    {
        struct walk walk = {.fs = f->fs, .creds = f->root};

        assert_true(vfs_mkdir(&walk, "/proc/made", 0755) < 0);
        assert_true(vfs_unlink(&walk, "/proc/1/stat") < 0);
        assert_true(vfs_rmdir(&walk, "/proc/1") < 0);
        assert_true(vfs_symlink(&walk, "x", "/proc/1/fd/9") < 0);
        assert_true(vfs_rename(&walk, "/proc/1", &walk, "/proc/7", 0) < 0);
    }
    task_owner_release(&child);
}

/* ---- who may look ---- */

static void others_do_not_look_into_a_task(void **state) {
    static const char *const guarded[] = {"maps",  "mem", "environ",     "auxv",
                                          "smaps", "io",  "personality", "smaps_rollup"};
    struct fixture *f = *state;
    struct credentials *user = credentials_new(1000, 1000);
    struct task_owner child;
    struct file *file = NULL;
    char link[256];

    assert_int_equal(task_new_mock_child(f->init.task, &child), 0);
    task_set_creds(child.task, credentials_get(user));
    current_task_set(child.task);
    for (size_t i = 0; i < ARRAY_SIZE(guarded); i++) {
        char path[64];

        snprintf(path, sizeof(path), "/proc/1/%s", guarded[i]);
        if (open_as(f, user, path, O_RDONLY, &file) != -EACCES) {
            fail_msg("%s can be opened", path);
        }
        /* Past the mode bits too: the check is for the task, not for the file's owner. */
        if (open_as(f, f->root, path, O_RDONLY, &file) != -EACCES) {
            fail_msg("%s can be opened", path);
        }
    }
    assert_int_equal(read_link(f, "/proc/1/cwd", link), -EACCES);
    assert_int_equal(read_link(f, "/proc/1/exe", link), -EACCES);
    assert_int_equal(read_link(f, "/proc/1/ns/pid", link), -EACCES);
    assert_int_equal(open_as(f, user, "/proc/1/fd", O_RDONLY, &file), -EACCES);
    assert_int_equal(open_as(f, user, "/proc/1/status", O_RDONLY, &file), 0);
    file_put(file);
    assert_true(read_link(f, "/proc/2/cwd", link) > 0);
    current_task_set(f->init.task);
    credentials_put(user);
    task_owner_release(&child);
}

/* ---- the end of tasks ---- */

static void files_of_a_task_that_has_gone(void **state) {
    struct fixture *f = *state;
    struct task_owner child;
    struct file *status, *task_dir, *mem;
    static struct names names;
    char text[4096];

    assert_int_equal(task_new_mock_child(f->init.task, &child), 0);
    assert_int_equal(open_file(f, "/proc/2/status", O_RDONLY, &status), 0);
    assert_int_equal(open_file(f, "/proc/2/mem", O_RDWR, &mem), 0);
    assert_int_equal(open_file(f, "/proc/2/task", O_RDONLY | O_DIRECTORY, &task_dir), 0);
    assert_true(file_read(status, text, 10) == 10);
    assert_int_equal(file_pread(mem, text, 10, 0x10000), -EIO);
    assert_int_equal(file_pread(mem, text, 10, 0x7fffffffffff), -EIO);
    assert_int_equal(file_pread(mem, text, 10, INT64_MAX - 10), -EIO);
    assert_int_equal(file_pwrite(mem, text, 10, 0x10000), -EIO);
    task_owner_release(&child);
    /* What was made can still be read; from the start it would be made anew. */
    assert_true(file_read(status, text, sizeof(text)) > 0);
    assert_int_equal(file_pread(status, text, sizeof(text), 0), -ESRCH);
    assert_int_equal(file_pread(mem, text, 10, 0x10000), 0);
    names.context.emit = take_name;
    names.room = SIZE_MAX;
    assert_int_equal(file_readdir(task_dir, &names.context), -ENOENT);
    file_put(status);
    file_put(task_dir);
    file_put(mem);
    assert_int_equal(read_text(f, "/proc/2/status", text, sizeof(text)), -ENOENT);
}

static void a_number_used_again_is_another_task(void **state) {
    struct fixture *f = *state;
    struct task_owner first, second;
    struct file *comm;
    char text[64];

    assert_int_equal(task_new_mock_child(f->init.task, &first), 0);
    assert_int_equal(open_file(f, "/proc/2/comm", O_RDONLY, &comm), 0);
    task_owner_release(&first);
    {
        WRITE_GUARD(&f->kernel->pids_lock);
        f->kernel->pids->last_pid = 1;
    }
    assert_int_equal(task_new_mock_child(f->init.task, &second), 0);
    assert_int_equal(task_get_pid(second.task), 2);
    assert_int_equal(file_read(comm, text, sizeof(text)), -ESRCH);
    check_text(f, "/proc/2/comm", "mock\n");
    file_put(comm);
    task_owner_release(&second);
}

/* ---- /dev and /sys ---- */

static void memory_devices(void **state) {
    struct fixture *f = *state;
    struct file *file;
    char buffer[64], other[64];
    static const char zeros[64];

    assert_int_equal(open_file(f, "/dev/null", O_RDWR, &file), 0);
    assert_int_equal(file_read(file, buffer, 64), 0);
    assert_int_equal(file_write(file, buffer, 64), 64);
    file_put(file);
    assert_int_equal(open_file(f, "/dev/zero", O_RDWR, &file), 0);
    memset(buffer, 1, 64);
    assert_int_equal(file_read(file, buffer, 64), 64);
    assert_memory_equal(buffer, zeros, 64);
    {
        struct memory_object *object = file_memory_object(file, PROT_READ, MAP_SHARED);
        char name[64];
        dev_t dev;
        ino_t ino;

        assert_false(IS_ERR(object));
        assert_true(object->ops->host_fd(object, PROT_READ | PROT_WRITE, true) >= 0);
        assert_int_equal(object->ops->describe(object, name, sizeof(name), &dev, &ino), 0);
        assert_string_equal(name, "/dev/zero (deleted)");
        memory_object_put(object);
    }
    file_put(file);
    assert_int_equal(open_file(f, "/dev/full", O_RDWR, &file), 0);
    assert_int_equal(file_write(file, buffer, 64), -ENOSPC);
    assert_int_equal(file_read(file, buffer, 64), 64);
    file_put(file);
    assert_int_equal(open_file(f, "/dev/urandom", O_RDONLY, &file), 0);
    assert_int_equal(file_read(file, buffer, 64), 64);
    assert_int_equal(file_read(file, other, 64), 64);
    assert_memory_not_equal(buffer, other, 64);
    file_put(file);
}

static void processors_in_sysfs(void **state) {
    struct fixture *f = *state;
    static struct names names;
    char text[256];
    unsigned count = host_facts_cpu_count();

    assert_true(read_text(f, "/sys/devices/system/cpu/online", text, sizeof(text)) > 0);
    assert_memory_equal(text, "0", 1);
    assert_int_equal(list(f, "/sys/devices/system/cpu", SIZE_MAX, &names), 0);
    for (unsigned cpu = 0; cpu < count; cpu++) {
        char name[32];

        snprintf(name, sizeof(name), " cpu%u ", cpu);
        assert_non_null(strstr(names.text, name));
    }
    check_text(f, "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "2097152\n");
    assert_int_equal(list(f, "/sys/fs/cgroup", SIZE_MAX, &names), 0);
    assert_string_equal(names.text, ". .. ");
}

/* ---- memory runs out; tasks come and go ---- */

static void each_allocation_may_fail(void **state) {
    static const char *const names[] = {
        "/proc/1/status", "/proc/1/maps", "/proc/mounts",   "/proc/self/fdinfo/0",
        "/proc/loadavg",  "/proc/stat",   "/proc/1/limits", "/sys/devices/system/cpu/online"};
    struct fixture *f = *state;
    struct file *zero;
    static char text[65536];

    assert_int_equal(open_file(f, "/dev/zero", O_RDONLY, &zero), 0);
    assert_int_equal(fd_table_install(f->init.task->files, zero, 0, 64, false), 0);
    file_put(zero);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        FAIL_EACH_ALLOCATION(n) {
            ssize_t got;

            dentry_set_limit(0);
            got = read_text(f, names[i], text, sizeof(text));
            if (got < 0 && got != -ENOMEM) {
                fail_alloc_at(0);
                fail_msg("%s: allocation %lu: %zd", names[i], n, got);
            }
        }
    }
    dentry_set_limit(8192);
    for (int kind = 0; kind < 3; kind++) {
        FAIL_EACH_ALLOCATION(n) {
            struct super_block *sb = kind == 0   ? procfs_new(f->kernel)
                                     : kind == 1 ? sysfs_new(f->kernel)
                                                 : devfs_new();

            if (!IS_ERR(sb)) {
                super_block_kill(sb);
                super_block_put(sb);
            }
        }
    }
}

struct reader {
    struct fixture *f;
    _Atomic bool *stop;
    pthread_t thread;
};

static void *read_everything(void *arg) {
    struct reader *reader = arg;
    struct walk walk = {.fs = reader->f->fs, .creds = reader->f->root};
    static const char *const files[] = {"stat",   "status", "comm",  "cmdline", "maps",
                                        "limits", "mounts", "smaps", "fd",      "task"};
    char text[4096];

    while (!atomic_load(reader->stop)) {
        for (int pid = 1; pid < 8; pid++) {
            for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
                struct file *file = NULL;
                char path[64];

                snprintf(path, sizeof(path), "/proc/%d/%s", pid, files[i]);
                if (vfs_open(&walk, path, O_RDONLY, 0, LOOKUP_FOLLOW, &file) == 0) {
                    if (i < 8) {
                        (void)!file_read(file, text, sizeof(text));
                    } else {
                        static _Thread_local struct names names;

                        memset(&names, 0, sizeof(names));
                        names.context.emit = take_name;
                        names.room = SIZE_MAX;
                        (void)!file_readdir(file, &names.context);
                    }
                    file_put(file);
                }
            }
        }
    }
    return NULL;
}

static void tasks_come_and_go_while_they_are_read(void **state) {
    struct fixture *f = *state;
    _Atomic bool stop = false;
    struct reader readers[3];

    for (size_t i = 0; i < ARRAY_SIZE(readers); i++) {
        readers[i] = (struct reader){.f = f, .stop = &stop};
        assert_int_equal(pthread_create(&readers[i].thread, NULL, read_everything, &readers[i]), 0);
    }
    for (int i = 0; i < 300; i++) {
        struct task_owner child, thread;

        {
            WRITE_GUARD(&f->kernel->pids_lock);
            f->kernel->pids->last_pid = 1;
        }
        assert_int_equal(task_new_mock_child(f->init.task, &child), 0);
        assert_int_equal(task_new_mock_thread(child.task, &thread), 0);
        set_comm(child.task, i % 2 ? "odd" : "even");
        task_owner_release(i % 3 ? &child : &thread);
        task_owner_release(i % 3 ? &thread : &child);
    }
    atomic_store(&stop, true);
    for (size_t i = 0; i < ARRAY_SIZE(readers); i++) {
        pthread_join(readers[i].thread, NULL);
    }
}

#define PROC_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        PROC_TEST(the_root_lists_its_processes),
        PROC_TEST(odd_names_are_not_there),
        PROC_TEST(positions_from_nowhere_are_harmless),
        PROC_TEST(numbers_of_inodes_are_stable_and_differ),
        PROC_TEST(stat_has_52_fields_behind_any_name),
        PROC_TEST(status_tells_what_the_task_is),
        PROC_TEST(small_files_have_their_formats),
        PROC_TEST(every_file_can_be_read),
        PROC_TEST(mounts_and_mountinfo),
        PROC_TEST(self_is_who_asks),
        PROC_TEST(descriptors_are_links_to_their_files),
        PROC_TEST(a_descriptor_of_its_own_info_can_be_read),
        PROC_TEST(cwd_and_root_lead_to_the_places),
        PROC_TEST(what_may_be_written),
        PROC_TEST(others_do_not_look_into_a_task),
        PROC_TEST(files_of_a_task_that_has_gone),
        PROC_TEST(a_number_used_again_is_another_task),
        PROC_TEST(memory_devices),
        PROC_TEST(processors_in_sysfs),
        PROC_TEST(each_allocation_may_fail),
        PROC_TEST(tasks_come_and_go_while_they_are_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
