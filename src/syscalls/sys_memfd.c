/*
 * memfd_create(2), and the seals of fcntl(2). A memfd is a tmpfs file on no mount; its contents are
 * a host memfd, so the host keeps the seals, against writes of the kernel and maps of guests alike.
 */
#include <linux/memfd.h>
#include <stdio.h>

#include "syscalls/sys_install.h"

#ifndef MFD_NOEXEC_SEAL /* Linux 6.3 */
#define MFD_NOEXEC_SEAL 8u
#define MFD_EXEC        16u
#endif
#define NAME_PREFIX "memfd:"
#define MEMFD_NAME_MAX                                                                             \
    (NAME_MAX - (sizeof(NAME_PREFIX) - 1)) /* MFD_NAME_MAX_LEN, without the NUL */

int64_t sys_memfd_create(struct task *current, struct user_address name, unsigned flags) {
    char shown[NAME_MAX + 1] = NAME_PREFIX, *own = shown + sizeof(NAME_PREFIX) - 1;
    struct file *file;
    ssize_t length;
    int result = unsupported_flags("memfd_create", flags, FLAGS_MEMFD_KNOWN, EINVAL);

    if (result) {
        return result;
    }
    if ((flags & (MFD_EXEC | MFD_NOEXEC_SEAL)) == (MFD_EXEC | MFD_NOEXEC_SEAL)) {
        return -EINVAL;
    }
    length = copy_string_from_user(current->thread, own, name, MEMFD_NAME_MAX + 1);
    if (length < 0) {
        return length == -ENAMETOOLONG ? -EINVAL : length;
    }
    /* MFD_EXEC is what memfds are without it; hosts older than it would refuse the flag. */
    result = tmpfs_file_new(shown, (int)(flags & ~(MFD_CLOEXEC | MFD_EXEC)), &file);
    if (result) {
        return result;
    }
    return install_file(current, file, flags & MFD_CLOEXEC ? O_CLOEXEC : 0);
}

int64_t file_seals(struct file *file, int command, unsigned seals) {
    int fd;

    if (file->inode->sb->type != &tmpfs_type || !S_ISREG(file->inode->type) ||
        !file->ops->host_fd) {
        return -EINVAL;
    }
    if (command == F_ADD_SEALS && !(file->mode & FMODE_WRITE)) {
        return -EPERM;
    }
    fd = file->ops->host_fd(file);
    return fd < 0 ? fd : host_fcntl(fd, command, seals);
}
