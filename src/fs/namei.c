/*
 * The path walk: one component at a time, by the rules of path_resolution(7) and, for RESOLVE_*,
 * openat2(2).
 *
 * A walk holds one path (mount and dentry) and no lock between components. Symlinks are followed by
 * pushing their text before what is left of the name; the stack never holds more than 40 of them.
 * Renames may happen meanwhile: each step is right at its moment, as on Linux; only a walk that
 * must stay below its start (RESOLVE_BENEATH, RESOLVE_IN_ROOT) checks after each ".." that it still
 * is.
 */
#include "fs/vfs_internal.h"

#define LOOKUP_SCOPED (LOOKUP_BENEATH | LOOKUP_IN_ROOT)

int nameidata_init(struct nameidata *nd, const struct walk *walk, const char *name,
                   unsigned flags) {
    nameidata_clear(nd);
    nd->path.mount = nd->root.mount = NULL;
    nd->creds = walk->creds;
    nd->flags = flags;
    nd->link_count = 0;
    nd->rest = name;
    nd->trailing_slash = false;
    nd->last_type = LAST_ROOT;
    nd->last[0] = '\0';
    nd->names_length = 0;
    nd->confirmed = true;
    nd->stat_known = nd->peeks = nd->peeked = false;
    if (!*name && !(flags & LOOKUP_EMPTY)) {
        return -ENOENT;
    }
    if (strnlen(name, PATH_MAX) == PATH_MAX) {
        return -ENAMETOOLONG;
    }
    if (*name == '/' && (flags & LOOKUP_BENEATH)) {
        return -EXDEV;
    }
    if ((flags & LOOKUP_SCOPED) && walk->start) {
        nd->root = *walk->start;
        path_get(&nd->root);
    } else if (flags & LOOKUP_SCOPED) {
        fs_context_cwd(walk->fs, &nd->root);
    } else {
        fs_context_root(walk->fs, &nd->root);
    }
    if (*name == '/') {
        nd->path = nd->root;
        path_get(&nd->path);
    } else if (walk->start) {
        nd->path = *walk->start;
        path_get(&nd->path);
    } else {
        fs_context_cwd(walk->fs, &nd->path);
    }
    return 0;
}

void nameidata_finish(struct nameidata *nd) {
    while (nd->depth > 0) {
        free(nd->stack[--nd->depth].buffer);
    }
    if (nd->base) {
        dentry_put(nd->base);
    }
    if (nd->path.dentry) {
        path_put(&nd->path);
    }
    if (nd->root.dentry) {
        path_put(&nd->root);
    }
}

static const char *skip_slashes(const char *name) {
    while (*name == '/') {
        name++;
    }
    return name;
}

static bool stack_is_empty(const struct nameidata *nd) {
    for (int i = 0; i < nd->depth; i++) {
        if (*nd->stack[i].rest) {
            return false;
        }
    }
    return true;
}

/* "..": up, over the roots of mounts, never above nd->root. */
static int walk_dotdot(struct nameidata *nd) {
    struct dentry *parent;

    while (!path_equal(&nd->path, &nd->root)) {
        if (!nd->path.mount) {
            return -ENOTDIR;
        }
        if (nd->path.dentry != nd->path.mount->root) {
            /* A directory that was moved out from under a bind mount's root: its parents are none
             * of the walker's business. */
            parent = dentry_parent_within(nd->path.dentry, nd->path.mount->root);
            if (!parent) {
                return -ENOENT;
            }
            dentry_put(nd->path.dentry);
            nd->path.dentry = parent;
            break;
        }
        if (nd->flags & LOOKUP_NO_XDEV) {
            return -EXDEV;
        }
        if (!path_climb_mount(&nd->path)) {
            break;
        }
    }
    if (path_follow_mounts(&nd->path) && (nd->flags & LOOKUP_NO_XDEV)) {
        return -EXDEV;
    }
    if ((nd->flags & LOOKUP_SCOPED) && !path_is_below(&nd->path, &nd->root)) {
        return -EAGAIN;
    }
    return 0;
}

static int walk_dots(struct nameidata *nd) {
    int error;

    if (nd->last_type != LAST_DOTDOT) {
        return 0;
    }
    error = walk_confirm_parent(nd);
    if (error) {
        return error;
    }
    walk_settle(nd);
    if ((nd->flags & LOOKUP_BENEATH) && path_equal(&nd->path, &nd->root)) {
        return -EXDEV;
    }
    return walk_dotdot(nd);
}

static int walk_to_root(struct nameidata *nd) {
    if (nd->flags & LOOKUP_BENEATH) {
        return -EXDEV;
    }
    if ((nd->flags & LOOKUP_NO_XDEV) && nd->path.mount != nd->root.mount) {
        return -EXDEV;
    }
    path_put(&nd->path);
    nd->path = nd->root;
    path_get(&nd->path);
    walk_settle(nd);
    return 0;
}

int walk_symlink(struct nameidata *nd, struct inode *link) {
    char *text;
    ssize_t length;
    int error;

    if (nd->link_count++ >= SYMLINKS_MAX || (nd->flags & LOOKUP_NO_SYMLINKS)) {
        return -ELOOP;
    }
    if (link->ops->follow) {
        struct path target = {0};

        if (nd->flags & LOOKUP_NO_MAGIC) {
            return -ELOOP;
        }
        error = link->ops->follow(link, &target);
        if (error) {
            return error;
        }
        if ((nd->flags & LOOKUP_SCOPED) ||
            ((nd->flags & LOOKUP_NO_XDEV) && target.mount != nd->path.mount)) {
            path_put(&target);
            return -EXDEV;
        }
        path_put(&nd->path);
        nd->path = target;
        walk_settle(nd);
        return 0;
    }
    if (!link->ops->readlink) {
        return -EINVAL;
    }
    text = malloc(PATH_MAX);
    if (!text) {
        return -ENOMEM;
    }
    length = link->ops->readlink(link, text, PATH_MAX - 1);
    if (length <= 0) {
        free(text);
        return length ? (int)length : -ENOENT;
    }
    text[length] = '\0';
    if (text[0] == '/') {
        error = walk_to_root(nd);
        if (error) {
            free(text);
            return error;
        }
    }
    nd->stack[nd->depth].buffer = text;
    nd->stack[nd->depth].rest = nd->rest;
    nd->depth++;
    nd->rest = text;
    return 1;
}

int walk_step(struct nameidata *nd, struct dentry *child, bool follow) {
    struct path next = {nd->path.mount, child};
    struct dentry *old = nd->path.dentry;

    if (!atomic_load_explicit(&child->mounted, memory_order_acquire) &&
        !(follow && S_ISLNK(child->inode->type))) {
        nd->path.dentry = dentry_get(child);
        dentry_put(old);
        walk_settle(nd);
        return 0;
    }
    path_get(&next);
    if (path_follow_mounts(&next) && (nd->flags & LOOKUP_NO_XDEV)) {
        path_put(&next);
        return -EXDEV;
    }
    if (S_ISLNK(next.dentry->inode->type) && follow) {
        int result = walk_symlink(nd, next.dentry->inode);

        path_put(&next);
        return result;
    }
    path_put(&nd->path);
    nd->path = next;
    walk_settle(nd);
    return 0;
}

/* The last component of a walk that creates nothing. */
int walk_last(struct nameidata *nd, bool follow) {
    struct dentry *child;
    struct kstat stat UNINITIALIZED;
    bool known;
    int error;

    if (nd->last_type != LAST_NORMAL) {
        return walk_dots(nd);
    }
    error = walk_quick(nd, follow || nd->trailing_slash);
    if (error != WALK_UNKNOWN) {
        return error;
    }
    error = dentry_lookup_stat(nd->path.dentry, nd->last, &child, &stat, &known);
    if (error) {
        return error;
    }
    error = walk_step(nd, child, follow || nd->trailing_slash);
    if (!error && known && nd->path.dentry == child) {
        nd->stat = stat;
        nd->stat_known = true;
    }
    dentry_put(child);
    return error;
}

int walk_parent(struct nameidata *nd) {
    for (;;) {
        const char *name = skip_slashes(nd->rest), *end;
        size_t length;
        int error;

        if (!*name) {
            if (nd->depth == 0) {
                nd->last_type = LAST_ROOT;
                nd->last[0] = '\0';
                return 0;
            }
            nd->depth--;
            free(nd->stack[nd->depth].buffer);
            nd->rest = nd->stack[nd->depth].rest;
            continue;
        }
        error = walk_may_lookup(nd);
        if (error) {
            return error;
        }
        end = strchrnul(name, '/');
        length = (size_t)(end - name);
        if (length > NAME_MAX) {
            error = walk_confirm(nd);
            return error ? error : -ENAMETOOLONG;
        }
        memcpy(nd->last, name, length);
        nd->last[length] = '\0';
        nd->last_type = strcmp(nd->last, ".") == 0    ? LAST_DOT
                        : strcmp(nd->last, "..") == 0 ? LAST_DOTDOT
                                                      : LAST_NORMAL;
        nd->rest = skip_slashes(end);
        if (!*nd->rest && stack_is_empty(nd)) {
            nd->trailing_slash |= *end == '/';
            return 0;
        }
        error = walk_last(nd, true);
        if (error < 0) {
            return error;
        }
    }
}

/* nd->path is what the name means (or its directory, when nd->peeked). */
static int walk_whole(struct nameidata *nd, const struct walk *walk, const char *name,
                      unsigned flags, bool peeks) {
    int error = nameidata_init(nd, walk, name, flags);

    if (error) {
        return error;
    }
    do {
        error = walk_parent(nd);
        if (!error) {
            nd->peeks = peeks && !(flags & LOOKUP_DIRECTORY) && !nd->trailing_slash;
            error = walk_last(nd, flags & LOOKUP_FOLLOW);
            nd->peeks = false;
        }
    } while (error == 1);
    if (error || nd->peeked) {
        return error;
    }
    error = walk_confirm(nd);
    if (!error && ((flags & LOOKUP_DIRECTORY) || nd->trailing_slash) &&
        !S_ISDIR(nd->path.dentry->inode->type)) {
        error = -ENOTDIR;
    }
    return error;
}

static int lookup_once(const struct walk *walk, const char *name, unsigned flags,
                       struct path *path) {
    struct nameidata nd CLEANUP(nameidata) UNINITIALIZED;
    int error = walk_whole(&nd, walk, name, flags, false);

    if (!error) {
        *path = nd.path;
        memset(&nd.path, 0, sizeof(nd.path));
    }
    return error;
}

int path_lookup(const struct walk *walk, const char *name, unsigned flags, struct path *path) {
    int error = lookup_once(walk, name, flags, path);

    for (int i = 0; error == -ESTALE && i < STALE_TRIES; i++) {
        error = lookup_once(walk, name, flags | LOOKUP_REVAL, path);
    }
    return error;
}

static int stat_once(const struct walk *walk, const char *name, unsigned flags, struct kstat *stat,
                     struct stat_place *place) {
    struct nameidata nd CLEANUP(nameidata) UNINITIALIZED;
    int error = walk_whole(&nd, walk, name, flags, true);

    if (error) {
        return error;
    }
    if (place) {
        const struct mount *mount = nd.path.mount;

        place->mount_id = mount ? mount->id : 0;
        place->mount_root = mount && !nd.peeked && nd.path.dentry == mount->root;
    }
    if (nd.stat_known || nd.peeked) {
        *stat = nd.stat;
        return 0;
    }
    return inode_getattr(nd.path.dentry->inode, stat);
}

int path_stat(const struct walk *walk, const char *name, unsigned flags, struct kstat *stat,
              struct stat_place *place) {
    int error = stat_once(walk, name, flags, stat, place);

    for (int i = 0; error == -ESTALE && i < STALE_TRIES; i++) {
        error = stat_once(walk, name, flags | LOOKUP_REVAL, stat, place);
    }
    return error;
}

static int walk_to_parent_once(struct nameidata *nd, const struct walk *walk, const char *name,
                               unsigned flags) {
    int error = nameidata_init(nd, walk, name, flags);

    if (!error) {
        error = walk_parent(nd);
    }
    return error ? error : walk_confirm(nd);
}

int walk_to_parent(struct nameidata *nd, const struct walk *walk, const char *name,
                   unsigned flags) {
    int error = walk_to_parent_once(nd, walk, name, flags);

    for (int i = 0; error == -ESTALE && i < STALE_TRIES; i++) {
        nameidata_finish(nd);
        nameidata_clear(nd);
        error = walk_to_parent_once(nd, walk, name, flags | LOOKUP_REVAL);
    }
    return error;
}

int path_lookup_parent(const struct walk *walk, const char *name, unsigned flags,
                       struct path *parent, char last[NAME_MAX + 1], enum last_type *type,
                       bool *trailing_slash) {
    struct nameidata nd CLEANUP(nameidata);
    int error = walk_to_parent(&nd, walk, name, flags);

    if (error) {
        return error;
    }
    *parent = nd.path;
    memset(&nd.path, 0, sizeof(nd.path));
    memcpy(last, nd.last, sizeof(nd.last));
    *type = nd.last_type;
    *trailing_slash = nd.trailing_slash;
    return 0;
}
