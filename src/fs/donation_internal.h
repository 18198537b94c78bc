/* What the files of donation share; donation.c tells about the whole. */
#ifndef STARLING_DONATION_INTERNAL_H
#define STARLING_DONATION_INTERNAL_H

#include "fs/vfs_internal.h"

struct donation {
    /* guarded by donation_lock */
    struct file *file;          /* of the table's descriptor; owned only while closing and in use */
    struct list_head file_link; /* of file->donated.given */
    struct list_head link;      /* of table->closing */
    struct fd_table *table;
    int fd;     /* the guest's */
    int number; /* the host's, in the guest's process */
    uint32_t rights;
    bool live; /* to be named by the process's table */
};

extern struct lock donation_lock;
extern struct list_head donated_files;  /* guarded by it: file->donated.link */
extern _Atomic unsigned donation_holds; /* written under it: donation_hold() */

/* Enters the file's list. */
void donation_link_locked(struct donation *donation, struct file *file);
/* From a descriptor's donation to one that waits to be closed. */
void donation_close_locked(struct donation *donation);
/* Names it in the process's table, if it is live; and no longer. */
void donation_publish_locked(struct donation *donation);
void donation_withdraw_locked(struct donation *donation);
/* Does RLIMIT_FSIZE forbid it (donation_limit)? donation_lock held. */
bool donation_is_limited(const struct fd_table *table, const struct file *file);

#endif
