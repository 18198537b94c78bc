/*
 * Dentries and the dentry table: a hash of (parent, name) -> dentry that a path walk looks into
 * before it asks a file system.
 *
 * Invariants. The table's references are weak: an entry whose count has reached zero is skipped and
 * takes itself out (dentry_put) before it is freed, both under its bucket's lock. A bounded list of
 * recent dentries holds one reference each, so that what was just used stays; it is a clock: a hit
 * only sets ->recent, no list moves. A dentry with inode NULL says "no such name"; only the table
 * and its list ever hold one.
 *
 * Names, parents and `unlinked` change only under sb->dentry_lock, and, for a dentry in the table,
 * while it is taken out; so the hash chains compare names under the bucket's lock alone. Lock
 * order: inode lock of the directory, dentry_lock, bucket, list.
 *
 * Whoever changes a directory holds its inode lock over the file system's call and the change here,
 * so a walk that misses in the table and asks the file system (under the same lock) never sees one
 * without the other.
 */
#include <stdio.h>

#include "fs/vfs_internal.h"

#define BUCKET_BITS  13
#define BUCKETS      (1u << BUCKET_BITS)
#define BUCKET_LOCKS 64
#define LRU_DEFAULT  8192

static struct dentry *buckets[BUCKETS]; /* each guarded by bucket_lock() of its hash */
static struct lock bucket_locks[BUCKET_LOCKS];
static pthread_once_t bucket_once = PTHREAD_ONCE_INIT;

static struct lock lru_lock = {PTHREAD_MUTEX_INITIALIZER, LOCK_DENTRY_LRU};
static struct list_head lru = LIST_HEAD_INIT(lru); /* oldest first; guarded by lru_lock */
static size_t lru_count, lru_limit = LRU_DEFAULT;  /* guarded by lru_lock */

static void buckets_init(void) {
    for (int i = 0; i < BUCKET_LOCKS; i++) {
        lock_init(&bucket_locks[i], LOCK_DENTRY_HASH);
    }
}

static struct lock *bucket_lock(uint64_t hash) {
    return &bucket_locks[hash % BUCKET_LOCKS];
}

static struct dentry **bucket(uint64_t hash) {
    return &buckets[hash % BUCKETS];
}

static uint64_t name_hash(const struct dentry *parent, const char *name) {
    uint64_t hash = ((uintptr_t)parent >> 4) * 0x9e3779b97f4a7c15ull;

    for (; *name; name++) {
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3ull;
    }
    hash ^= hash >> 32;
    return hash * 0x9e3779b97f4a7c15ull >> 17;
}

/* ---- the table ---- */

static void hash_insert_locked(struct dentry *dentry) {
    struct dentry **head = bucket(dentry->hash);

    dentry->hash_next = *head;
    dentry->hash_prev = head;
    if (*head) {
        (*head)->hash_prev = &dentry->hash_next;
    }
    *head = dentry;
}

static void hash_remove_locked(struct dentry *dentry) {
    if (!dentry->hash_prev) {
        return;
    }
    *dentry->hash_prev = dentry->hash_next;
    if (dentry->hash_next) {
        dentry->hash_next->hash_prev = dentry->hash_prev;
    }
    dentry->hash_next = NULL;
    dentry->hash_prev = NULL;
}

static void hash_remove(struct dentry *dentry) {
    LOCK_GUARD(bucket_lock(dentry->hash));
    hash_remove_locked(dentry);
}

/* Owned, or NULL. */
static struct dentry *hash_find_locked(uint64_t hash, const struct dentry *parent,
                                       const char *name) {
    for (struct dentry *d = *bucket(hash); d; d = d->hash_next) {
        if (d->hash == hash && d->parent == parent && strcmp(d->name, name) == 0 &&
            ref_tryget(&d->ref)) {
            return d;
        }
    }
    return NULL;
}

static struct dentry *hash_find(uint64_t hash, const struct dentry *parent, const char *name) {
    struct dentry *dentry;

    lock_acquire(bucket_lock(hash));
    dentry = hash_find_locked(hash, parent, name);
    lock_release(bucket_lock(hash));
    if (dentry && !atomic_load_explicit(&dentry->recent, memory_order_relaxed)) {
        atomic_store_explicit(&dentry->recent, true, memory_order_relaxed);
    }
    return dentry;
}

/* ---- the list of recent ones ---- */

static void lru_forget_locked(struct dentry *dentry, struct list_head *victims) {
    list_del(&dentry->lru_link);
    lru_count--;
    dentry->cached = false;
    list_add_tail(&dentry->lru_link, victims);
}

static void lru_trim_locked(struct list_head *victims) {
    size_t second_chances = lru_count;

    while (lru_count > lru_limit) {
        struct dentry *d = list_first_entry(&lru, struct dentry, lru_link);

        if (second_chances && atomic_load_explicit(&d->recent, memory_order_relaxed)) {
            second_chances--;
            atomic_store_explicit(&d->recent, false, memory_order_relaxed);
            list_del(&d->lru_link);
            list_add_tail(&d->lru_link, &lru);
            continue;
        }
        lru_forget_locked(d, victims);
    }
}

static void lru_put_victims(struct list_head *victims) {
    while (!list_empty(victims)) {
        struct dentry *d = list_first_entry(victims, struct dentry, lru_link);

        list_del(&d->lru_link);
        dentry_put(d);
    }
}

static void lru_add(struct dentry *dentry) {
    struct list_head victims;

    list_init(&victims);
    lock_acquire(&lru_lock);
    ref_get(&dentry->ref);
    dentry->cached = true;
    list_add_tail(&dentry->lru_link, &lru);
    lru_count++;
    lru_trim_locked(&victims);
    lock_release(&lru_lock);
    lru_put_victims(&victims);
}

static void lru_remove(struct dentry *dentry) {
    bool cached;

    lock_acquire(&lru_lock);
    cached = dentry->cached;
    if (cached) {
        list_del(&dentry->lru_link);
        lru_count--;
        dentry->cached = false;
    }
    lock_release(&lru_lock);
    if (cached) {
        dentry_put(dentry);
    }
}

void dentry_set_limit(size_t limit) {
    struct list_head victims;

    list_init(&victims);
    lock_acquire(&lru_lock);
    lru_limit = limit;
    lru_trim_locked(&victims);
    lock_release(&lru_lock);
    lru_put_victims(&victims);
}

void dentry_forget_super_block(struct super_block *sb) {
    struct list_head victims;
    struct dentry *d, *next;

    list_init(&victims);
    lock_acquire(&lru_lock);
    list_for_each_entry_safe (d, next, &lru, lru_link) {
        if (d->sb == sb) {
            lru_forget_locked(d, &victims);
        }
    }
    lock_release(&lru_lock);
    lru_put_victims(&victims);
}

/* ---- life ---- */

/* parent NULL: its own. inode NULL: an "absent" entry of parent's super block. */
static struct dentry *dentry_new(struct dentry *parent, const char *name, struct inode *inode) {
    struct dentry *dentry = calloc(1, sizeof(*dentry));

    if (!dentry) {
        return NULL;
    }
    pthread_once(&bucket_once, buckets_init);
    dentry->name = strdup(name);
    if (!dentry->name) {
        free(dentry);
        return NULL;
    }
    ref_init(&dentry->ref);
    dentry->sb = super_block_get(inode ? inode->sb : parent->sb);
    dentry->inode = inode ? inode_get(inode) : NULL;
    dentry->parent = parent ? dentry_get(parent) : dentry;
    list_init(&dentry->lru_link);
    return dentry;
}

struct dentry *super_block_root(struct super_block *sb) {
    struct dentry *root = NULL, *made;

    made = sb->root ? dentry_new(NULL, "/", sb->root) : NULL;
    lock_acquire(&sb->dentry_lock);
    if (!sb->root_dentry) {
        sb->root_dentry = STEAL(made);
    }
    if (sb->root_dentry) {
        root = dentry_get(sb->root_dentry);
    }
    lock_release(&sb->dentry_lock);
    if (made) {
        dentry_put(made);
    }
    return root;
}

struct dentry *dentry_new_anonymous(struct inode *inode, const char *name) {
    return dentry_new(NULL, name, inode);
}

struct dentry *dentry_new_tmpfile(struct dentry *parent, struct inode *inode) {
    char name[32];
    struct dentry *dentry;

    snprintf(name, sizeof(name), "#%llu", (unsigned long long)inode->ino);
    atomic_store(&inode->lost_name, true);
    dentry = dentry_new(parent, name, inode);
    if (dentry) {
        dentry->unlinked = true;
    }
    return dentry;
}

struct dentry *dentry_get(struct dentry *dentry) {
    ref_get(&dentry->ref);
    return dentry;
}

void dentry_put(struct dentry *dentry) {
    /* A loop, not recursion: a guest may nest directories as deep as it likes. */
    while (dentry && ref_put(&dentry->ref)) {
        struct dentry *parent = dentry->parent != dentry ? dentry->parent : NULL;
        struct super_block *sb = dentry->sb;

        if (parent) {
            hash_remove(dentry);
        }
        if (dentry->inode) {
            inode_put(dentry->inode);
        }
        free(dentry->name);
        free(dentry);
        super_block_put(sb);
        dentry = parent;
    }
}

struct dentry *dentry_parent(struct dentry *dentry) {
    LOCK_GUARD(&dentry->sb->dentry_lock);
    return dentry_get(dentry->parent);
}

bool dentry_name(struct dentry *dentry, char name[NAME_MAX + 1]) {
    LOCK_GUARD(&dentry->sb->dentry_lock);
    snprintf(name, NAME_MAX + 1, "%s", dentry->name);
    return !dentry->unlinked;
}

bool dentry_unlinked(struct dentry *dentry) {
    LOCK_GUARD(&dentry->sb->dentry_lock);
    return dentry->unlinked;
}

static bool is_below_locked(struct dentry *dentry, const struct dentry *ancestor) {
    while (dentry != ancestor) {
        if (dentry->parent == dentry) {
            return false;
        }
        dentry = dentry->parent;
    }
    return true;
}

bool dentry_is_below(struct dentry *dentry, struct dentry *ancestor) {
    LOCK_GUARD(&dentry->sb->dentry_lock);
    return is_below_locked(dentry, ancestor);
}

struct dentry *dentry_parent_within(struct dentry *dentry, struct dentry *ancestor) {
    LOCK_GUARD(&dentry->sb->dentry_lock);
    return is_below_locked(dentry->parent, ancestor) ? dentry_get(dentry->parent) : NULL;
}

/* ---- look-up and change ---- */

/* The new dentry, or the one that another walk put there for the same inode meanwhile. */
static struct dentry *dentry_insert(struct dentry *parent, const char *name, struct inode *inode) {
    struct dentry *dentry = dentry_new(parent, name, inode), *old;

    if (!dentry) {
        return NULL;
    }
    dentry->hash = name_hash(parent, name);
    lock_acquire(bucket_lock(dentry->hash));
    old = hash_find_locked(dentry->hash, parent, name);
    if (old && old->inode != inode) {
        hash_remove_locked(old);
    }
    if (!old || old->inode != inode) {
        hash_insert_locked(dentry);
    }
    lock_release(bucket_lock(dentry->hash));
    if (old && old->inode == inode) {
        dentry_put(dentry);
        return old;
    }
    if (old) {
        lru_remove(old);
        dentry_put(old);
    }
    if (!dentry->sb->type->names_pass) {
        lru_add(dentry);
    }
    return dentry;
}

void dentry_invalidate(struct dentry *dentry) {
    lock_acquire(&dentry->sb->dentry_lock);
    hash_remove(dentry);
    dentry->unlinked = true;
    lock_release(&dentry->sb->dentry_lock);
    lru_remove(dentry);
}

/* What is known to be absent in a directory that has gone: it would keep the directory. */
static void forget_children(struct dentry *dentry) {
    struct list_head victims;
    struct dentry *d, *next;

    list_init(&victims);
    lock_acquire(&dentry->sb->dentry_lock);
    lock_acquire(&lru_lock);
    list_for_each_entry_safe (d, next, &lru, lru_link) {
        if (d->sb == dentry->sb && d->parent == dentry) {
            lru_forget_locked(d, &victims);
        }
    }
    lock_release(&lru_lock);
    lock_release(&dentry->sb->dentry_lock);
    lru_put_victims(&victims);
}

void dentry_unlink(struct dentry *dentry) {
    dentry_invalidate(dentry);
    /* Somebody beside the caller holds it: perhaps such children. */
    if (dentry->inode && S_ISDIR(dentry->inode->type) && atomic_load(&dentry->ref.count) > 1) {
        forget_children(dentry);
    }
}

/* The name was found to mean something else than `dentry`, which was there; unless the guest has
 * moved it meanwhile: then it is right where it is. */
static void dentry_drop_stale(struct dentry *dentry, const struct dentry *parent,
                              const char *name) {
    bool stale;

    lock_acquire(&dentry->sb->dentry_lock);
    stale = dentry->parent == parent && strcmp(dentry->name, name) == 0;
    if (stale) {
        hash_remove(dentry);
        dentry->unlinked = true;
    }
    lock_release(&dentry->sb->dentry_lock);
    if (stale) {
        lru_remove(dentry);
    }
}

struct dentry *dentry_find(struct dentry *parent, const char *name) {
    return hash_find(name_hash(parent, name), parent, name);
}

/* From the table: 0 with a dentry, -ENOENT for an "absent" entry, 1 when the table does not know.
 */
static int dentry_lookup_cached(struct dentry *parent, const char *name, struct dentry **child) {
    const struct inode_ops *ops = parent->inode->ops;
    struct dentry *dentry = hash_find(name_hash(parent, name), parent, name);
    int result;

    if (!dentry) {
        return 1;
    }
    if (ops->revalidate && !ops->revalidate(parent->inode, name, dentry->inode)) {
        dentry_drop_stale(dentry, parent, name);
        dentry_put(dentry);
        return 1;
    }
    result = dentry->inode ? 0 : -ENOENT;
    if (result) {
        dentry_put(dentry);
    } else {
        *child = dentry;
    }
    return result;
}

/* stat NULL: not wanted. */
static int lookup_locked(struct dentry *parent, const char *name, struct dentry **child,
                         struct kstat *stat, bool *known) {
    struct inode *dir = parent->inode, *inode = NULL;
    int error = dentry_lookup_cached(parent, name, child);

    if (error <= 0) {
        return error;
    }
    if (!dir->ops || !dir->ops->lookup) {
        return -ENOTDIR;
    }
    if (stat && dir->ops->lookup_stat) {
        error = dir->ops->lookup_stat(dir, name, &inode, stat);
        *known = !error;
    } else {
        error = dir->ops->lookup(dir, name, &inode);
    }
    if (error == -ENOENT && !dir->ops->no_negative && !dir->ops->lookup_unlocked && !dir->dead) {
        struct dentry *absent = dentry_insert(parent, name, NULL);

        if (absent) {
            dentry_put(absent);
        }
    }
    if (error) {
        return error;
    }
    *child = dentry_insert(parent, name, inode);
    inode_put(inode);
    return *child ? 0 : -ENOMEM;
}

int dentry_lookup_locked(struct dentry *parent, const char *name, struct dentry **child) {
    return lookup_locked(parent, name, child, NULL, NULL);
}

int dentry_lookup_stat(struct dentry *parent, const char *name, struct dentry **child,
                       struct kstat *stat, bool *known) {
    struct inode *dir = parent->inode;
    int error = dentry_lookup_cached(parent, name, child);

    *known = false;
    if (error <= 0) {
        return error;
    }
    if (dir->ops && dir->ops->lookup_unlocked) {
        return dentry_lookup_locked(parent, name, child);
    }
    lock_acquire(&dir->lock);
    error = lookup_locked(parent, name, child, stat, known);
    lock_release(&dir->lock);
    return error;
}

int dentry_lookup(struct dentry *parent, const char *name, struct dentry **child) {
    struct kstat stat;
    bool known;

    return dentry_lookup_stat(parent, name, child, &stat, &known);
}

struct dentry *dentry_add(struct dentry *parent, const char *name, struct inode *inode) {
    uint64_t hash = name_hash(parent, name);
    struct dentry *absent = hash_find(hash, parent, name);

    /* First, so that no memory for the new one does not leave a lie behind. */
    if (absent) {
        dentry_invalidate(absent);
        dentry_put(absent);
    }
    return dentry_insert(parent, name, inode);
}

int dentry_move_prepare(struct dentry_move *move, const char *from, const char *to) {
    move->from_name = strdup(from);
    move->to_name = strdup(to);
    if (!move->from_name || !move->to_name) {
        dentry_move_abort(move);
        return -ENOMEM;
    }
    return 0;
}

void dentry_move_abort(struct dentry_move *move) {
    free(STEAL(move->from_name));
    free(STEAL(move->to_name));
}

/* Gives the dentry its new place; the old parent's reference and the old name go to the caller. */
static void dentry_place_locked(struct dentry *dentry, struct dentry *parent, char **name) {
    char *old_name = dentry->name;

    hash_remove(dentry);
    dentry->parent = parent;
    dentry->name = *name;
    dentry->unlinked = false; /* a walk saw it gone, between the file system's rename and now */
    *name = old_name;
    dentry->hash = name_hash(parent, dentry->name);
    lock_acquire(bucket_lock(dentry->hash));
    hash_insert_locked(dentry);
    lock_release(bucket_lock(dentry->hash));
}

void dentry_move(struct dentry_move *move, struct dentry *dentry, struct dentry *to_parent,
                 struct dentry *replaced) {
    struct dentry *from_parent, *absent;

    if (replaced) {
        dentry_unlink(replaced);
    } else {
        absent = hash_find(name_hash(to_parent, move->to_name), to_parent, move->to_name);
        if (absent) {
            dentry_invalidate(absent);
            dentry_put(absent);
        }
    }
    lock_acquire(&dentry->sb->dentry_lock);
    from_parent = dentry->parent;
    dentry_get(to_parent);
    dentry_place_locked(dentry, to_parent, &move->to_name);
    lock_release(&dentry->sb->dentry_lock);
    dentry_put(from_parent);
    dentry_move_abort(move);
}

void dentry_exchange(struct dentry_move *move, struct dentry *a, struct dentry *b) {
    struct dentry *parent;

    lock_acquire(&a->sb->dentry_lock);
    parent = a->parent;
    hash_remove(b);
    dentry_place_locked(a, b->parent, &move->to_name);
    dentry_place_locked(b, parent, &move->from_name);
    lock_release(&a->sb->dentry_lock);
    dentry_move_abort(move);
}
