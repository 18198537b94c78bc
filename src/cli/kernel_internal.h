/* What the files of the kernel process's start share. */
#ifndef STARLING_KERNEL_INTERNAL_H
#define STARLING_KERNEL_INTERNAL_H

#include "cli/cli.h"
#include "syscalls/syscalls.h"

/* Reports the status to the launcher and ends the process. */
void kernel_end(const struct launch *launch, int status) NORETURN;

/* ---- kernel_user.c: who the first program is ---- */

struct kernel_user {
    uid_t uid;
    gid_t gid;
    gid_t *groups; /* owned */
    size_t group_count;
};
/* Before the jail. False: an error was printed. */
bool kernel_user_find(const struct run_options *options, const struct launch *launch,
                      struct kernel_user *user);
struct credentials *kernel_user_credentials(const struct kernel_user *user); /* NULL: no memory */

/* ---- kernel_root.c: what the first program sees ---- */

/* The host's side of the mounts, opened before the jail. */
struct kernel_trees {
    int root_fd;
    bool root_no_symlinks;  /* as host_tree_open() says */
    int *bind_fds;          /* as many as there are --bind; owned */
    bool *bind_no_symlinks; /* likewise */
    bool writable;          /* one of them */
};
/* False: an error was printed. */
bool kernel_trees_open(const struct run_options *options, struct kernel_trees *trees);
/* After the jail: the mount namespace, root and cwd. NULL: an error was printed. */
struct fs_context *kernel_root_build(const struct run_options *options, struct kernel_trees *trees,
                                     const char *caller_cwd);

/* ---- kernel_control.c: the launcher's wishes, --memory ---- */

/* --tty, before the jail and any thread: the terminal's keys reach us as signals. -errno. */
int MUST_CHECK kernel_keys_open(void);
/* After the jail. `init` (borrowed) is the first task; it lives as long as the process. */
int MUST_CHECK kernel_control_start(const struct run_options *options, const struct launch *launch,
                                    struct kernel *kernel, struct thread_group *init,
                                    bool has_terminal);

/* ---- kernel_pause.c: --pause-every ---- */

int MUST_CHECK kernel_pause_start(const struct run_options *options, struct kernel *kernel);
/* One line about how often and how long; nothing without --pause-every. */
void kernel_pause_print(int fd);

#endif
