/*
 * overlayfs: reading directories. One that was never changed is read straight from the lower file
 * system, with its positions. Others are told from a listing made when the reading begins (or
 * begins again): upper entries, then the lower ones that they do not hide. So entries that come and
 * go meanwhile neither repeat nor skip others.
 *
 * The listing is shared by all who read the directory until a name in it changes; over a lower file
 * system that others change it is made anew for each.
 */
#include <errno.h>
#include <string.h>

#include "fs/overlayfs_internal.h"

/* ---- all names of a real directory ---- */

struct each_name {
    struct dir_context context;
    int (*fn)(void *arg, const char *name, ino_t ino, unsigned char type);
    void *arg;
    int error;
    size_t told;
};

static bool is_dot(const char *name, size_t length) {
    return name[0] == '.' && (length == 1 || (length == 2 && name[1] == '.'));
}

static bool each_name_emit(struct dir_context *context, const char *name, size_t length, ino_t ino,
                           unsigned char type, int64_t next) {
    struct each_name *each = container_of(context, struct each_name, context);

    each->told++;
    if (!is_dot(name, length)) {
        each->error = each->fn(each->arg, name, ino, type);
    }
    return !each->error;
}

static int open_directory(struct inode *real, struct file **file) {
    return overlay_open_real(real, O_RDONLY | O_DIRECTORY, NULL, file);
}

int overlay_each_name(struct inode *real,
                      int (*fn)(void *arg, const char *name, ino_t ino, unsigned char type),
                      void *arg) {
    struct each_name each = {.context = {.emit = each_name_emit}, .fn = fn, .arg = arg};
    struct file *file CLEANUP(file_put) = NULL;
    int error = open_directory(real, &file);

    do {
        each.told = 0;
        if (!error) {
            error = file->ops->readdir(file, &each.context);
        }
        if (!error) {
            error = each.error;
        }
    } while (!error && each.told);
    return error;
}

/* ---- the merged listing ---- */

void overlay_listing_put(struct overlay_listing *listing) {
    if (ref_put(&listing->ref)) {
        free(listing->entries);
        free(listing->names);
        free(listing);
    }
}

void overlay_listing_drop_locked(struct inode *dir) {
    struct overlay_listing *listing = STEAL(overlay_node(dir)->listing);

    if (listing) {
        overlay_listing_put(listing);
    }
}

static int listing_add(struct overlay_listing *listing, const char *name, ino_t ino,
                       unsigned char type) {
    size_t length = strlen(name) + 1;

    if (listing->count == listing->capacity) {
        size_t capacity = listing->capacity ? listing->capacity * 2 : 32;
        void *entries = realloc(listing->entries, capacity * sizeof(*listing->entries));

        if (!entries) {
            return -ENOMEM;
        }
        listing->entries = entries;
        listing->capacity = capacity;
    }
    if (listing->names_size + length > listing->names_capacity) {
        size_t capacity = MAX(listing->names_capacity * 2, (size_t)1024);
        char *names = capacity <= UINT32_MAX ? realloc(listing->names, capacity) : NULL;

        if (!names) {
            return -ENOMEM;
        }
        listing->names = names;
        listing->names_capacity = capacity;
    }
    memcpy(listing->names + listing->names_size, name, length);
    listing->entries[listing->count++] =
        (struct overlay_entry){.ino = ino, .name = (uint32_t)listing->names_size, .type = type};
    listing->names_size += length;
    return 0;
}

struct merge {
    struct inode *dir;
    struct overlay_listing *listing;
};

static int merge_upper(void *arg, const char *name, ino_t ino, unsigned char type) {
    struct merge *merge = arg;

    /* Whiteouts are known by their inode, and that is looked up when the reading is over: no lock
     * of the directory may be taken in here. */
    return listing_add(merge->listing, name, ino, type);
}

/* The lower file system folds the device into the inode numbers it gives its inodes, not into those
 * it tells here: the directory's own fold is right for all that are on its device. */
static ino_t fold_ino(const struct inode *lower_dir, ino_t ino) {
    return ino | (lower_dir->ino & ~((1ull << 52) - 1));
}

static int merge_lower(void *arg, const char *name, ino_t ino, unsigned char type) {
    struct merge *merge = arg;
    struct inode *entry = NULL;
    int error = overlay_upper_lookup(overlay_upper(merge->dir), name, &entry);

    if (error) {
        return error;
    }
    if (entry) {
        inode_put(entry);
        return 0;
    }
    return listing_add(merge->listing, name, fold_ino(overlay_node(merge->dir)->lower, ino), type);
}

/* Takes the whiteouts out and puts the right numbers in. */
static int finish_upper(struct inode *dir, struct overlay_listing *listing) {
    size_t kept = 0;

    for (size_t i = 0; i < listing->count; i++) {
        struct overlay_entry entry = listing->entries[i];
        struct inode *upper CLEANUP(inode_put) = NULL;
        int error = overlay_upper_lookup(overlay_upper(dir), listing->names + entry.name, &upper);

        if (error) {
            return error;
        }
        if (upper && !overlay_is_whiteout(dir->sb, upper)) {
            entry.ino = overlay_shown_ino(dir->sb, upper);
            listing->entries[kept++] = entry;
        }
    }
    listing->count = kept;
    return 0;
}

struct overlay_listing *overlay_listing_get_locked(struct inode *dir) {
    struct overlay_node *node = overlay_node(dir);
    struct overlay_listing *listing CLEANUP(overlay_listing_put) = NULL;
    struct merge merge = {.dir = dir};
    int error = 0;

    lock_assert_held(&dir->lock);
    if (node->listing) {
        ref_get(&node->listing->ref);
        return node->listing;
    }
    listing = calloc(1, sizeof(*listing));
    if (!listing) {
        return ERR_PTR(-ENOMEM);
    }
    ref_init(&listing->ref);
    merge.listing = listing;
    if (overlay_upper(dir)) {
        error = overlay_each_name(overlay_upper(dir), merge_upper, &merge);
        if (!error) {
            error = finish_upper(dir, listing);
        }
    }
    if (!error && node->lower) {
        error = overlay_each_name(node->lower, merge_lower, &merge);
    }
    if (error) {
        return ERR_PTR(error);
    }
    if (!node->lower || !node->lower->ops->revalidate) {
        node->listing = listing;
        ref_get(&listing->ref);
    }
    return STEAL(listing);
}

/* ---- open directories ---- */

struct overlay_directory { /* guarded by the file's pos_lock */
    enum { UNDECIDED, STRAIGHT, MERGED } mode;
    struct file *real;               /* STRAIGHT: owned; of the lower file system */
    struct overlay_listing *listing; /* MERGED: owned */
};

/* The lower directory is opened at once: so it is the one that the walk found, and its descriptor
 * serves what is looked up below it. */
int overlay_open_directory(struct inode *inode, struct file *file) {
    struct overlay_directory *state = calloc(1, sizeof(*state));
    int error = 0;

    if (!state) {
        return -ENOMEM;
    }
    if (!overlay_upper(inode)) {
        error =
            overlay_open_lower(inode, O_RDONLY | O_DIRECTORY, NULL, file->opening, &state->real);
        state->mode = error ? UNDECIDED : STRAIGHT;
        /* The guest may and we may not: then it is the reading that fails, not a use as a start. */
        error = error == -EACCES ? 0 : error;
    } else if (file->opening) {
        error = -ESTALE;
    }
    if (error) {
        free(state);
        return error;
    }
    file->private = state;
    return 0;
}

static void directory_reset(struct overlay_directory *state) {
    if (state->real) {
        file_put(STEAL(state->real));
    }
    if (state->listing) {
        overlay_listing_put(STEAL(state->listing));
    }
    state->mode = UNDECIDED;
}

static int directory_decide(struct inode *dir, struct overlay_directory *state) {
    int error;

    if (overlay_upper(dir)) {
        LOCK_GUARD(&dir->lock);
        struct overlay_listing *listing = overlay_listing_get_locked(dir);

        if (IS_ERR(listing)) {
            return (int)PTR_ERR(listing);
        }
        state->listing = listing;
        state->mode = MERGED;
        return 0;
    }
    error = open_directory(overlay_node(dir)->lower, &state->real);
    if (!error) {
        state->mode = STRAIGHT;
    }
    return error;
}

static int tell_merged(struct overlay_directory *state, struct dir_context *context) {
    const struct overlay_listing *listing = state->listing;

    for (size_t at = (size_t)context->pos - 2; at < listing->count; at++) {
        const struct overlay_entry *entry = &listing->entries[at];
        const char *name = listing->names + entry->name;

        if (!context->emit(context, name, strlen(name), entry->ino, entry->type, (int64_t)at + 3)) {
            return 0;
        }
        context->pos = (int64_t)at + 3;
    }
    return 0;
}

struct straight {
    struct dir_context context;
    struct dir_context *outer;
    struct inode *dir;
};

static bool straight_emit(struct dir_context *context, const char *name, size_t length, ino_t ino,
                          unsigned char type, int64_t next) {
    struct straight *straight = container_of(context, struct straight, context);
    struct inode *upper = overlay_upper(straight->dir);

    ino = fold_ino(overlay_node(straight->dir)->lower, ino);
    if (upper) {
        /* It was changed since the reading began: what is gone is not told. */
        struct inode *entry CLEANUP(inode_put) = NULL;

        if (overlay_upper_lookup(upper, name, &entry) == 0 && entry &&
            overlay_is_whiteout(straight->dir->sb, entry)) {
            return true;
        }
    }
    return straight->outer->emit(straight->outer, name, length, ino, type, next);
}

static int tell_straight(struct file *file, struct overlay_directory *state,
                         struct dir_context *context) {
    struct straight straight = {
        .context = {.emit = straight_emit, .pos = context->pos},
        .outer = context,
        .dir = file->inode,
    };
    int error = state->real->ops->readdir(state->real, &straight.context);

    context->pos = straight.context.pos;
    return error;
}

static int overlay_readdir(struct file *file, struct dir_context *context) {
    struct overlay_directory *state = file->private;

    /* From the start: what has changed since shall be seen. */
    if (context->pos == 0 && (state->mode == MERGED || overlay_upper(file->inode))) {
        directory_reset(state);
    }
    if (!dir_emit_dots(file, context)) {
        return 0;
    }
    if (state->mode == UNDECIDED) {
        int error = directory_decide(file->inode, state);

        if (error) {
            return error;
        }
    }
    return state->mode == MERGED ? tell_merged(state, context)
                                 : tell_straight(file, state, context);
}

static int overlay_directory_fsync(struct file *file, bool data_only) {
    return 0; /* the upper file system is memory */
}

static void overlay_directory_release(struct file *file) {
    struct overlay_directory *state = file->private;

    directory_reset(state);
    free(state);
}

const struct file_ops overlay_directory_file_ops = {
    .closes_unseen = true,
    .llseek = directory_llseek,
    .readdir = overlay_readdir,
    .fsync = overlay_directory_fsync,
    .release = overlay_directory_release,
};
