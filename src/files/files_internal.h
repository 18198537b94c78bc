/* Inside files/: helpers that its files share. */
#ifndef STARLING_FILES_INTERNAL_H
#define STARLING_FILES_INTERNAL_H

#include "files/files.h"

/* The credentials for a file made now: the running task's, or root's where there is none (tests,
 * start). One reference; NULL: out of memory. */
static inline struct credentials *files_creds(void) {
    struct task *current = current_task();

    return current ? task_creds(current) : credentials_new(0, 0);
}

/* May this operation sleep? */
static inline bool file_nonblocking(struct file *file) {
    return atomic_load(&file->flags) & O_NONBLOCK;
}

#endif
