/*
 * The host's /proc, as seen from our own pid namespace: kept as a directory descriptor that was
 * made before the jail. Where the host allows it, a fresh detached mount; else the /proc that is
 * there (right only when we share its pid namespace).
 */
#include "host/host_facts.h"
#include "host/host_internal.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

static int proc_fd = -1;

int host_proc_setup(void) {
    int context = (int)syscall(SYS_fsopen, "proc", FSOPEN_CLOEXEC);

    host_facts_setup();
    if (context >= 0) {
        if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0) {
            proc_fd = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID);
        }
        close(context);
    }
    if (proc_fd < 0) {
        proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    return proc_fd < 0 ? -errno : 0;
}

int host_proc_open(const char *path, int flags) {
    return host_open_path(proc_fd, path, flags);
}
