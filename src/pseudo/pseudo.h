/*
 * pseudo: file systems whose contents the kernel makes up: procfs (proc(5)), sysfs (sysfs(5)), and
 * the nodes of /dev with the memory devices (null(4), random(4)) behind them.
 *
 * They show the guest's kernel, never the host's: its tasks, its mounts, its limits. What they tell
 * of the machine (processors, memory, load) comes through host/host_facts.h.
 */
#ifndef STARLING_PSEUDO_H
#define STARLING_PSEUDO_H

#include "files/files.h"
#include "fs/file.h"
#include "task/task.h"

extern const struct file_system_type procfs_type, sysfs_type, devfs_type;

/*
 * Registers the types with mount(2) and the memory devices with the VFS. Once at start; twice is
 * harmless. `kernel` (borrowed, and there for as long as anything is mounted) is the one that
 * mounts made outside of any task show. -ENOSPC.
 */
int MUST_CHECK pseudo_register(struct kernel *kernel);

/* One super block each (ERR_PTR); procfs shows the tasks of `kernel`, which it holds. */
struct super_block *procfs_new(struct kernel *kernel);
struct super_block *sysfs_new(struct kernel *kernel);
/* pidfd_send_signal(2): the process whose directory in /proc is open here: owned. NULL: it is no
 * such directory; ERR_PTR(-ESRCH): the process has gone. */
struct task *procfs_file_task(const struct file *file);
/* A tmpfs with the nodes and links of /dev in it: the guest's root may change it. */
struct super_block *devfs_new(void);

#endif
