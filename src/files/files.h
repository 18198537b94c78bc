/*
 * files: what has a descriptor but no path of its own: pipes, eventfd, epoll, timerfd, signalfd,
 * inotify, pidfd, terminals, and poll/select over them.
 */
#ifndef STARLING_FILES_H
#define STARLING_FILES_H

#include <poll.h>
#include <sys/epoll.h>

#include "fs/file.h"
#include "task/task.h"

/* pipe2(2). A guest pipe is a host pipe whose ends the kernel holds (and will donate, design §6).
 */
int MUST_CHECK pipe_new(int flags, uid_t uid, gid_t gid, struct file **read_end,
                        struct file **write_end);
/* open(2) of a FIFO: fifo(7); installed as file_ops of S_IFIFO inodes by the VFS. */
extern const struct file_ops fifo_file_ops;
/* Registers what opening an S_IFIFO inode means; once at start. */
int MUST_CHECK fifo_register(void);
bool file_is_pipe(struct file *file);
bool pipe_same(struct file *a, struct file *b); /* two ends of one pipe? */
/* fcntl(2) F_GETPIPE_SZ, F_SETPIPE_SZ: bytes, -EBADF when it is no pipe, -EPERM, -EBUSY. */
int MUST_CHECK pipe_get_size(struct file *file);
int MUST_CHECK pipe_set_size(struct file *file, unsigned size);
/* Bytes went in or out by file_ops.host_fd (splice): wakes who waits for that. Any file. */
void pipe_host_moved(struct file *file);
int MUST_CHECK eventfd_new(uint64_t count, int flags, struct file **file);
int MUST_CHECK timerfd_new(clockid_t clock, int flags, struct file **file);
struct itimerspec;
int MUST_CHECK timerfd_set_time(struct file *file, int flags, const struct itimerspec *new_value,
                                struct itimerspec *old_value);
int MUST_CHECK timerfd_get_time(struct file *file, struct itimerspec *value);
int MUST_CHECK signalfd_new(kernel_sigset mask, int flags, struct file **file);
int MUST_CHECK signalfd_set_mask(struct file *file, kernel_sigset mask);
int MUST_CHECK pidfd_new(struct task *task, int flags, struct file **file);
struct task *pidfd_task(struct file *file); /* owned; NULL: not a pidfd */

/* inotify(7). `file` of add and remove must be one (file_is_inotify). add: the watch descriptor;
 * `mask` with IN_MASK_ADD, IN_MASK_CREATE, IN_ONESHOT. -EEXIST, -ENOSPC; remove: -EINVAL. */
int MUST_CHECK inotify_new(int flags, struct file **file);
bool file_is_inotify(struct file *file);
int MUST_CHECK inotify_add(struct file *file, struct inode *inode, uint32_t mask);
int MUST_CHECK inotify_remove(struct file *file, int wd);

int MUST_CHECK epoll_new(int flags, struct file **file);
int MUST_CHECK epoll_control(struct file *epoll, int operation, struct file *target, int fd,
                             const struct epoll_event *event);
/* How many events (0: timed out), or -errno. */
int MUST_CHECK epoll_wait_events(struct file *epoll, struct epoll_event *events, int max,
                                 deadline_ns deadline);
/* Called by file_put at the end of a file that an epoll instance watches; set as a hook in fs. */
void epoll_forget_file(struct file *file);

/* poll(2) over kernel copies: fills revents, returns the count, 0 at the deadline, or -ERESTART*.
 */
int MUST_CHECK poll_files(struct fd_table *files, struct pollfd *fds, size_t count,
                          deadline_ns deadline);

/* The terminal behind the sandbox's standard descriptors; takes over fd (a host terminal). */
int MUST_CHECK tty_host_file_new(int fd, int flags, struct file **file);
/* Makes the terminal of `file` the controlling terminal of the session that `leader` leads, with
 * the leader's process group in the foreground: for the first task. -ENOTTY: not a terminal. */
int MUST_CHECK tty_attach(struct file *file, struct task *leader);
/* The controlling terminal of the task's session and its foreground process group, for
 * /proc/PID/stat; false: there is none. */
bool tty_of_task(struct task *task, dev_t *rdev, pid_t *foreground);
/* From the launcher: the keys and the window of the outer terminal. */
void tty_host_signal(struct kernel *kernel, int signal);
/* Registers /dev/tty; once at start. */
int MUST_CHECK tty_register(void);
/* All of files/ that must be known before the first guest runs: FIFOs, terminals, hooks. */
int MUST_CHECK files_start(void);

#endif
