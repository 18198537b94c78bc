/*
 * The kernel process's own jail (design §7). Order at start: host_job_new(); host_proc_setup(); a
 * host_tree_open() for each host directory that the guest shall see; host_jail_prepare();
 * host_job_ready(); then host_jail_enter(), after which no path of the host can be named any more.
 */
#ifndef STARLING_JAIL_H
#define STARLING_JAIL_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"

/*
 * A host directory (or file) as a descriptor that keeps working in the jail: where the host lets
 * us, a private copy of the mount tree below `path`, read-only unless `writable`, without devices
 * and set-user-id; else a plain O_PATH descriptor. -errno. *no_symlinks: the host follows no
 * symlink below it, whoever asks (Linux 5.14), which is what host_statx_below() wants.
 */
int MUST_CHECK host_tree_open(const char *path, bool writable, bool *no_symlinks);

/* Before the jail: what breaks the kernel process itself is reported to the log with its place.
 * crash_report.c. */
void host_crash_report_start(void);
/* What threads of the kernel process block: all but the signals of a break, which the host would
 * make deadly before they could be reported. */
void host_signals_blocked(sigset_t *set);

struct host_jail {
    bool writable; /* some tree is writable: the calls that change files stay open */
};
/* The list of calls for host_jail_enter(), which takes a while to work out: before it, while the
 * zygote prepares itself. -errno. */
int MUST_CHECK host_jail_prepare(const struct host_jail *jail);
/*
 * An empty root, no capabilities, no new privileges, and a list of calls (seccomp) for every
 * thread. What the host refuses is logged at info level and told by `starling doctor`; -errno only
 * when nothing at all confines us.
 */
int MUST_CHECK host_jail_enter(const struct host_jail *jail);

/* The numbers of the calls that such a jail leaves open, some of them with few arguments only: the
 * first `room` of them; their number. At most HOST_JAIL_CALLS_MAX, but in sanitizer builds. */
#define HOST_JAIL_CALLS_MAX 60
size_t host_jail_calls(const struct host_jail *jail, int *calls, size_t room);

/* Guests' processes: from now on this process and its children open no file of the host by a path,
 * use no TCP port, and reach neither abstract sockets nor processes outside, as far as the host's
 * Landlock goes. Needs no_new_privs or CAP_SYS_ADMIN. -errno, also where there is no Landlock. */
int MUST_CHECK host_landlock_deny_all(void);
/* The host's version of it, from 1 on; -errno: it has none. */
int MUST_CHECK host_landlock_version(void);

#endif
