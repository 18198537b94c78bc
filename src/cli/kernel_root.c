/*
 * The first mount namespace of a sandbox: the host's directory, read-only, under a writable layer
 * in memory; /proc, /sys, /dev and /dev/pts; then --tmpfs and --bind in that order.
 */
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "cli/kernel_internal.h"

bool kernel_trees_open(const struct run_options *options, struct kernel_trees *trees) {
    const char *root = options->rootfs ? options->rootfs : "/";
    struct stat stat_root;

    memset(trees, 0, sizeof(*trees));
    if (stat(root, &stat_root) < 0) {
        cli_error("run: cannot use %s as the guest's root: %s", root, strerror(errno));
        return false;
    }
    if (!S_ISDIR(stat_root.st_mode)) {
        cli_error("run: cannot use %s as the guest's root: it is not a directory", root);
        return false;
    }
    if (access(root, R_OK | X_OK) < 0) {
        cli_error("run: cannot use %s as the guest's root: %s; its files could not be read", root,
                  strerror(errno));
        return false;
    }
    trees->root_fd = host_tree_open(root, false, &trees->root_no_symlinks);
    if (trees->root_fd < 0) {
        cli_error("run: cannot open %s as the guest's root: %s", root, strerror(-trees->root_fd));
        return false;
    }
    trees->bind_fds = calloc(options->bind_count + 1, sizeof(int));
    trees->bind_no_symlinks = calloc(options->bind_count + 1, sizeof(bool));
    if (!trees->bind_fds || !trees->bind_no_symlinks) {
        cli_error("run: out of memory");
        return false;
    }
    for (size_t i = 0; i < options->bind_count; i++) {
        const struct bind_option *bind = &options->binds[i];

        trees->bind_fds[i] =
            host_tree_open(bind->source, !bind->read_only, &trees->bind_no_symlinks[i]);
        if (trees->bind_fds[i] < 0) {
            cli_error("run: --bind %s: cannot open it: %s", bind->source,
                      strerror(-trees->bind_fds[i]));
            return false;
        }
        trees->writable |= !bind->read_only;
    }
    return true;
}

struct builder {
    struct mount_namespace *ns;
    struct fs_context *fs;
    struct credentials *creds; /* the guest's root: it makes mount points */
};

static struct walk builder_walk(const struct builder *builder) {
    return (struct walk){.fs = builder->fs, .creds = builder->creds};
}

/* Makes the directories that lead to `path`, and the last component as a directory or a file. */
static int make_mount_point(const struct builder *builder, const char *path, bool directory) {
    struct walk walk = builder_walk(builder);
    char *copy = strdup(path);
    int error = copy ? 0 : -ENOMEM;

    for (char *slash = copy; !error && slash && *slash;) {
        bool last;

        slash += strspn(slash, "/");
        slash += strcspn(slash, "/");
        last = slash[strspn(slash, "/")] == 0;
        if (last && !directory) {
            struct file *file = NULL;

            *slash = 0;
            error =
                vfs_open(&walk, copy, O_CREAT | O_RDONLY | O_NONBLOCK, 0644, LOOKUP_FOLLOW, &file);
            if (!error) {
                file_put(file);
            }
            break;
        }

        char kept = *slash;

        *slash = 0;
        error = *copy ? vfs_mkdir(&walk, copy, 0755) : 0;
        *slash = kept;
        error = error == -EEXIST ? 0 : error;
    }
    free(copy);
    return error;
}

/* Mounts sb (consumed) on the guest's path. */
static int attach(const struct builder *builder, struct super_block *sb, const char *path,
                  const char *source, unsigned long flags) {
    struct super_block *owned CLEANUP(super_block_put) = sb;
    struct path at CLEANUP(path_put) = {0};
    struct walk walk = builder_walk(builder);
    bool directory = S_ISDIR(owned->root->type);
    int error = path_lookup(&walk, path, LOOKUP_FOLLOW, &at);

    if (error == -ENOENT) {
        error = make_mount_point(builder, path, directory);
        if (!error) {
            error = path_lookup(&walk, path, LOOKUP_FOLLOW, &at);
        }
    }
    return error ? error : mount_attach(builder->ns, sb, NULL, &at, source, flags);
}

/* procfs and the like, by name, from whichever folder registered it. */
static bool attach_type(const struct builder *builder, const char *type_name, const char *path,
                        const char *data, unsigned long flags) {
    const struct file_system_type *type = file_system_find(type_name);
    struct super_block *sb;
    int error;

    if (!type || !type->mount) {
        cli_error("run: there is no file system '%s' to mount on %s", type_name, path);
        return false;
    }
    sb = type->mount(type_name, data, builder->creds);
    error = IS_ERR(sb) ? (int)PTR_ERR(sb) : attach(builder, sb, path, type_name, flags);
    if (error) {
        cli_error("run: cannot mount %s on the guest's %s: %s", type_name, path, strerror(-error));
    }
    return !error;
}

static bool attach_kernel_file_systems(const struct builder *builder) {
    const unsigned long plain = MS_NOSUID | MS_NODEV | MS_NOEXEC;

    return attach_type(builder, "proc", "/proc", "", plain) &&
           attach_type(builder, "sysfs", "/sys", "", plain | MS_RDONLY) &&
           attach_type(builder, "devtmpfs", "/dev", "", MS_NOSUID) &&
           (!file_system_find("devpts") ||
            attach_type(builder, "devpts", "/dev/pts", "", MS_NOSUID | MS_NOEXEC)) &&
           attach_type(builder, "tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV);
}

static bool attach_options(const struct builder *builder, const struct run_options *options,
                           struct kernel_trees *trees) {
    for (size_t i = 0; i < options->tmpfs_count; i++) {
        if (!attach_type(builder, "tmpfs", options->tmpfs[i], "mode=1777", MS_NOSUID | MS_NODEV)) {
            return false;
        }
    }
    for (size_t i = 0; i < options->bind_count; i++) {
        const struct bind_option *bind = &options->binds[i];
        unsigned flags = (bind->read_only ? HOSTFS_READ_ONLY : 0) |
                         (trees->bind_no_symlinks[i] ? HOSTFS_NO_SYMLINKS : 0);
        struct super_block *sb = hostfs_new(trees->bind_fds[i], flags);
        int error = IS_ERR(sb) ? (int)PTR_ERR(sb)
                               : attach(builder, sb, bind->target, bind->source,
                                        MS_NOSUID | MS_NODEV | (bind->read_only ? MS_RDONLY : 0));

        if (error) {
            cli_error("run: --bind %s:%s: cannot mount it there: %s", bind->source, bind->target,
                      strerror(-error));
            return false;
        }
    }
    return true;
}

/* --cwd must exist; the caller's directory is taken when the guest has it. */
static bool enter_cwd(const struct builder *builder, const struct run_options *options,
                      const char *caller_cwd) {
    const char *wanted = options->cwd ? options->cwd : caller_cwd;
    struct path path CLEANUP(path_put) = {0};
    struct walk walk = builder_walk(builder);
    int error;

    if (!wanted) {
        return true;
    }
    error = path_lookup(&walk, wanted, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &path);
    if (!error) {
        fs_context_set_cwd(builder->fs, &path);
    } else if (options->cwd) {
        cli_error("run: --cwd %s: cannot enter it in the guest: %s", wanted, strerror(-error));
        return false;
    }
    return true;
}

struct fs_context *kernel_root_build(const struct run_options *options, struct kernel_trees *trees,
                                     const char *caller_cwd) {
    struct builder builder = {.creds = credentials_new(0, 0)};
    struct super_block *lower, *upper, *overlay;
    bool ok = false;

    lower = hostfs_new(trees->root_fd, HOSTFS_READ_ONLY |
                                           (options->rootfs_exclusive ? HOSTFS_EXCLUSIVE : 0) |
                                           (trees->root_no_symlinks ? HOSTFS_NO_SYMLINKS : 0));
    upper = tmpfs_new(0, 0755);
    overlay = IS_ERR(lower) ? lower : IS_ERR(upper) ? upper : overlayfs_new(lower, upper);
    if (IS_ERR(overlay) || !builder.creds) {
        cli_error("run: cannot make the guest's root: %s",
                  strerror(builder.creds ? (int)-PTR_ERR(overlay) : ENOMEM));
        return NULL;
    }
    super_block_put(lower);
    super_block_put(upper);
    builder.ns = mount_namespace_new(overlay, "overlay", 0);
    super_block_put(overlay);
    builder.fs = builder.ns ? fs_context_new(builder.ns) : NULL;
    if (!builder.fs) {
        cli_error("run: cannot make the guest's root: %s", strerror(ENOMEM));
    } else {
        ok = attach_kernel_file_systems(&builder) && attach_options(&builder, options, trees) &&
             enter_cwd(&builder, options, caller_cwd);
    }
    if (builder.ns) {
        mount_namespace_put(builder.ns);
    }
    credentials_put(builder.creds);
    if (!ok && builder.fs) {
        fs_context_put(builder.fs);
        return NULL;
    }
    return ok ? builder.fs : NULL;
}
