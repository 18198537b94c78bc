/*
 * devpts: the directory of pseudo-terminals, /dev/pts/N and /dev/pts/ptmx. Names come and go with
 * the terminals of pty.c; an inode only carries the number.
 */
#include <stdio.h>
#include <sys/sysmacros.h>

#include "files/pty_internal.h"

#define DEVPTS_MAGIC 0x1cd1u
#define ROOT_INO     1
#define PTMX_INO     2
#define FIRST_INO    3 /* of /dev/pts/0 */

static const struct inode_ops pts_inode_ops, ptmx_inode_ops;

static unsigned index_of(const struct inode *inode) {
    return (unsigned)(inode->ino - FIRST_INO);
}

static bool parse_index(const char *name, unsigned *index) {
    char *end;
    unsigned long value = strtoul(name, &end, 10);

    if (name[0] < '0' || name[0] > '9' || *end || value > 9999 || (name[0] == '0' && name[1])) {
        return false;
    }
    *index = (unsigned)value;
    return true;
}

static int devpts_lookup(struct inode *dir, const char *name, struct inode **child) {
    unsigned index;
    struct inode *inode;

    if (strcmp(name, "ptmx") == 0) {
        inode = inode_new(dir->sb, PTMX_INO, S_IFCHR, &ptmx_inode_ops, NULL, NULL);
    } else if (parse_index(name, &index) && pty_exists(index)) {
        inode = inode_new(dir->sb, FIRST_INO + index, S_IFCHR, &pts_inode_ops, NULL, NULL);
    } else {
        return -ENOENT;
    }
    if (IS_ERR(inode)) {
        return (int)PTR_ERR(inode);
    }
    inode->rdev = inode->ino == PTMX_INO ? makedev(5, 2) : makedev(136, index_of(inode));
    *child = inode;
    return 0;
}

static bool devpts_revalidate(struct inode *dir, const char *name, struct inode *child) {
    unsigned index;

    if (strcmp(name, "ptmx") == 0) {
        return child != NULL;
    }
    return parse_index(name, &index) && pty_exists(index) ? child != NULL : child == NULL;
}

static void fill_stat(struct inode *inode, struct kstat *stat, mode_t mode) {
    stat->dev = inode->sb->dev;
    stat->ino = inode->ino;
    stat->mode = mode;
    stat->nlink = S_ISDIR(mode) ? 2 : 1;
    stat->rdev = inode->rdev;
    stat->blksize = 1024;
    stat->atime = stat->mtime = stat->ctime = inode_now();
}

static int devpts_getattr(struct inode *inode, struct kstat *stat) {
    fill_stat(inode, stat, S_IFDIR | 0755);
    return 0;
}

static int pts_getattr(struct inode *inode, struct kstat *stat) {
    fill_stat(inode, stat, S_IFCHR);
    return pty_attributes(index_of(inode), stat);
}

static int ptmx_getattr(struct inode *inode, struct kstat *stat) {
    fill_stat(inode, stat, S_IFCHR | 0666);
    return 0;
}

static int pts_setattr(struct inode *inode, const struct iattr *attr) {
    return pty_change_attributes(index_of(inode), attr);
}

static int pts_open(struct inode *inode, struct file *file) {
    return pty_open_slave(index_of(inode), file);
}

static int devpts_readdir(struct file *file, struct dir_context *context) {
    if (!dir_emit_dots(file, context)) {
        return 0;
    }
    if (context->pos == 2) {
        if (!context->emit(context, "ptmx", 4, PTMX_INO, 2 /* DT_CHR */, 3)) {
            return 0;
        }
        context->pos = 3;
    }
    for (int index = pty_next((unsigned)(context->pos - 3)); index >= 0;
         index = pty_next((unsigned)index + 1)) {
        char name[16];
        int length = snprintf(name, sizeof(name), "%d", index);

        if (!context->emit(context, name, (size_t)length, FIRST_INO + (ino_t)index, 2, index + 4)) {
            return 0;
        }
        context->pos = index + 4;
    }
    return 0;
}

static const struct file_ops devpts_directory_ops = {
    .readdir = devpts_readdir,
    .llseek = directory_llseek,
};

static const struct inode_ops devpts_root_ops = {
    .lookup_unlocked = true,
    .no_negative = true,
    .lookup = devpts_lookup,
    .revalidate = devpts_revalidate,
    .getattr = devpts_getattr,
};
static const struct inode_ops pts_inode_ops = {
    .getattr = pts_getattr,
    .setattr = pts_setattr,
    .open = pts_open,
};
static const struct inode_ops ptmx_inode_ops = {
    .getattr = ptmx_getattr,
    .open = pty_open_master,
};

/* Options (gid=, mode=, ptmxmode=, newinstance) are what it does anyway. */
static struct super_block *devpts_mount(const char *source, const char *data,
                                        const struct credentials *creds) {
    struct super_block *sb = super_block_new(&devpts_type, NULL);
    struct inode *root;

    if (IS_ERR(sb)) {
        return sb;
    }
    root = inode_new(sb, ROOT_INO, S_IFDIR, &devpts_root_ops, &devpts_directory_ops, NULL);
    if (IS_ERR(root)) {
        super_block_put(sb);
        return ERR_PTR(PTR_ERR(root));
    }
    sb->root = root;
    return sb;
}

static int devpts_statfs(struct super_block *sb, struct statfs *stat) {
    memset(stat, 0, sizeof(*stat));
    stat->f_type = DEVPTS_MAGIC;
    stat->f_bsize = PAGE_SIZE;
    stat->f_namelen = NAME_MAX;
    return 0;
}

const struct file_system_type devpts_type = {
    .name = "devpts",
    .nodev = true,
    .magic = DEVPTS_MAGIC,
    .mount = devpts_mount,
    .statfs = devpts_statfs,
};
