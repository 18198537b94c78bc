/* Inside files/: what devpts shows of the pseudo-terminals. */
#ifndef STARLING_PTY_INTERNAL_H
#define STARLING_PTY_INTERNAL_H

#include "files/tty_internal.h"

int MUST_CHECK pty_register(void);
int MUST_CHECK pty_open_master(struct inode *inode, struct file *file);
int MUST_CHECK pty_open_slave(unsigned index, struct file *file);
bool pty_exists(unsigned index);
int pty_next(unsigned from); /* the next one's number, or -1 */
int MUST_CHECK pty_attributes(unsigned index, struct kstat *stat);
int MUST_CHECK pty_change_attributes(unsigned index, const struct iattr *attr);

extern const struct file_system_type devpts_type;

#endif
