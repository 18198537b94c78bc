/*
 * credentials(7), capabilities(7): user and group ids, supplementary groups, capability sets,
 * securebits, no_new_privs. Most of it needs to start as root; each TEST runs in a child.
 */
#include "guest_test.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef PR_CAP_AMBIENT
#define PR_CAP_AMBIENT 47
#endif

static struct __user_cap_data_struct caps[2];

static int cap_get(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    return (int)syscall(SYS_capget, &header, caps);
}

static int cap_set(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    return (int)syscall(SYS_capset, &header, caps);
}

static bool can_set_ids(void) {
    return geteuid() == 0 && cap_get() == 0 && (caps[0].effective >> CAP_SETUID & 1) &&
           (caps[0].effective >> CAP_SETGID & 1);
}

/* As root, in a child, so that the next TEST starts anew. */
#define AS_ROOT(...)                                                                               \
    do {                                                                                           \
        if (!can_set_ids())                                                                        \
            SKIP("needs CAP_SETUID and CAP_SETGID");                                               \
        pid_t as_root_pid = fork();                                                                \
        if (as_root_pid == 0) {                                                                    \
            __VA_ARGS__;                                                                           \
            CHILD_EXIT();                                                                          \
        }                                                                                          \
        CHECK_CHILD_OK(as_root_pid);                                                               \
    } while (0)

static void check_uids(uid_t r, uid_t e, uid_t s) {
    uid_t uid, euid, suid;
    CHECK_OK(getresuid(&uid, &euid, &suid));
    CHECK_EQ(uid, r);
    CHECK_EQ(euid, e);
    CHECK_EQ(suid, s);
    CHECK_EQ(getuid(), r);
    CHECK_EQ(geteuid(), e);
}

static void check_gids(gid_t r, gid_t e, gid_t s) {
    gid_t gid, egid, sgid;
    CHECK_OK(getresgid(&gid, &egid, &sgid));
    CHECK_EQ(gid, r);
    CHECK_EQ(egid, e);
    CHECK_EQ(sgid, s);
    CHECK_EQ(getgid(), r);
    CHECK_EQ(getegid(), e);
}

TEST(setuid_of_root_is_for_good) {
    AS_ROOT({
        CHECK_OK(setuid(1000));
        check_uids(1000, 1000, 1000);
        CHECK_ERR(setuid(0), EPERM);
        CHECK_ERR(seteuid(0), EPERM);
        CHECK_ERR(setreuid(0, (uid_t)-1), EPERM);
        CHECK_OK(cap_get());
        CHECK_EQ(caps[0].effective, 0);
        CHECK_EQ(caps[0].permitted, 0);
        CHECK_ERR(setgid(0) ? -1 : setgid(5), EPERM);
    });
}

TEST(seteuid_can_come_back) {
    AS_ROOT({
        CHECK_OK(cap_get());
        unsigned permitted = caps[0].permitted;
        CHECK_OK(seteuid(1000));
        check_uids(0, 1000, 0);
        CHECK_OK(cap_get());
        CHECK_EQ(caps[0].effective, 0);
        CHECK_EQ(caps[0].permitted, permitted);
        CHECK_ERR(setuid(1001), EPERM);
        CHECK_OK(seteuid(0));
        check_uids(0, 0, 0);
        CHECK_OK(cap_get());
        CHECK_EQ(caps[0].effective, permitted);
    });
}

TEST(setresuid_moves_among_the_three) {
    AS_ROOT({
        CHECK_OK(setresuid(1000, 1001, 1002));
        check_uids(1000, 1001, 1002);
        CHECK_OK(setresuid((uid_t)-1, 1002, (uid_t)-1));
        check_uids(1000, 1002, 1002);
        CHECK_OK(setresuid(1002, 1000, (uid_t)-1));
        check_uids(1002, 1000, 1002);
        CHECK_ERR(setresuid(1001, (uid_t)-1, (uid_t)-1), EPERM);
        CHECK_ERR(setresuid((uid_t)-1, (uid_t)-1, 0), EPERM);
    });
}

TEST(setreuid_and_the_saved_one) {
    AS_ROOT({
        CHECK_OK(setreuid(1000, 1001));
        check_uids(1000, 1001, 1001);
        CHECK_OK(setreuid(1001, 1000));
        check_uids(1001, 1000, 1000);
        CHECK_ERR(setreuid(5, (uid_t)-1), EPERM);
    });
}

TEST(groups_ids) {
    AS_ROOT({
        CHECK_OK(setresgid(100, 101, 102));
        check_gids(100, 101, 102);
        CHECK_OK(setregid(103, 104));
        check_gids(103, 104, 104);
        CHECK_OK(setgid(105));
        check_gids(105, 105, 105);
        CHECK_OK(setuid(1000));
        CHECK_ERR(setgid(106), EPERM);
        CHECK_OK(setgid(105));
        CHECK_ERR(setresgid(1, 1, 1), EPERM);
    });
}

TEST(supplementary_groups) {
    AS_ROOT({
        gid_t groups[4] = {30, 10, 20, 10};
        gid_t got[8];
        CHECK_OK(setgroups(4, groups));
        CHECK_EQ(getgroups(0, NULL), 4);
        CHECK_EQ(getgroups(8, got), 4);
        CHECK_EQ(got[0], 10);
        CHECK_EQ(got[3], 30);
        CHECK_ERR(getgroups(3, got), EINVAL);
        CHECK_ERR(syscall(SYS_getgroups, -1, got), EINVAL);
        CHECK_ERR(syscall(SYS_setgroups, 70000, groups), EINVAL);
        CHECK_ERR(syscall(SYS_setgroups, 4, 8), EFAULT);
        CHECK_OK(setgroups(0, NULL));
        CHECK_EQ(getgroups(8, got), 0);
        CHECK_OK(setuid(1000));
        CHECK_ERR(setgroups(0, NULL), EPERM);
    });
}

TEST(fs_ids) {
    AS_ROOT({
        CHECK_EQ(setfsuid(1000), 0);
        CHECK_EQ(setfsuid((uid_t)-1), 1000);
        CHECK_OK(cap_get());
        CHECK_EQ(caps[0].effective >> CAP_DAC_OVERRIDE & 1, 0);
        CHECK_EQ(caps[0].effective >> CAP_SETUID & 1, 1);
        CHECK_EQ(setfsuid(0), 1000);
        CHECK_OK(cap_get());
        CHECK_EQ(caps[0].effective >> CAP_SETUID & 1, 1);
        CHECK_EQ(setfsgid(50), (int)getegid());
        CHECK_EQ(setfsgid((gid_t)-1), 50);
        CHECK_OK(setresuid(1000, 1000, 1000));
        CHECK_EQ(setfsuid(0), 1000);
        CHECK_EQ(setfsuid((uid_t)-1), 1000); /* was not allowed */
    });
}

/* Who makes a pipe or a socket owns it, and so may open the pipe again by its name. */
static void check_owner_of_pipes(uid_t uid, gid_t gid) {
    int p[2], s[2];
    char name[32], c;
    struct stat st;
    CHECK_OK(pipe(p));
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    CHECK_OK(fstat(p[0], &st));
    CHECK_EQ(st.st_mode, S_IFIFO | 0600);
    CHECK_EQ(st.st_uid, uid);
    CHECK_EQ(st.st_gid, gid);
    CHECK_OK(fstat(s[0], &st));
    CHECK_EQ(st.st_mode, S_IFSOCK | 0777);
    CHECK_EQ(st.st_uid, uid);
    CHECK_EQ(st.st_gid, gid);
    CHECK_EQ(write(p[1], "x", 1), 1);
    snprintf(name, sizeof name, "/proc/self/fd/%d", p[0]);
    int again = open(name, O_RDONLY);
    CHECK_OK(again);
    CHECK_EQ(read(again, &c, 1), 1);
    close(again);
    for (int i = 0; i < 2; i++) {
        close(p[i]);
        close(s[i]);
    }
}

TEST(pipes_have_an_owner) {
    int root_s[2];
    check_owner_of_pipes(geteuid(), getegid());
    CHECK_OK(pipe(root_s));
    AS_ROOT({
        char name[32];
        CHECK_OK(setresgid(5, 5, 5));
        CHECK_OK(setresuid(1000, 1000, 1000));
        CHECK_OK(prctl(PR_SET_DUMPABLE, 1));
        check_owner_of_pipes(1000, 5);
        snprintf(name, sizeof name, "/proc/self/fd/%d", root_s[0]);
        CHECK_ERR(open(name, O_RDONLY | O_NONBLOCK), EACCES);
    });
    close(root_s[0]);
    close(root_s[1]);
}

static void check_changes(int fd, int other_end) {
    struct stat s;
    CHECK_OK(fchmod(fd, 0640));
    CHECK_OK(fchown(fd, 1000, 5));
    CHECK_OK(fstat(fd, &s));
    CHECK_EQ(s.st_mode & 07777, 0640);
    CHECK_EQ(s.st_uid, 1000);
    CHECK_EQ(s.st_gid, 5);
    if (other_end >= 0) {
        CHECK_OK(fstat(other_end, &s));
        CHECK_EQ(s.st_uid, 1000);
    }
}

/* What a container's start script does to its standard output: chown, then another user opens it.
 */
TEST(pipes_and_sockets_change_owners) {
    AS_ROOT({
        int p[2], s[2];
        char name[32];
        CHECK_OK(pipe(p));
        CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
        check_changes(p[1], p[0]);
        check_changes(s[0], -1);
        CHECK_OK(fchmod(p[1], 0600));
        CHECK_OK(setresgid(5, 5, 5));
        CHECK_OK(setresuid(1000, 1000, 1000));
        CHECK_OK(prctl(PR_SET_DUMPABLE, 1));
        snprintf(name, sizeof name, "/proc/self/fd/%d", p[1]);
        CHECK_OK(open(name, O_WRONLY | O_NONBLOCK));
        CHECK_OK(fchmod(p[1], 0400));
        CHECK_ERR(open(name, O_WRONLY | O_NONBLOCK), EACCES);
        CHECK_ERR(fchown(p[1], 0, -1), EPERM);
    });
}

TEST(keepcaps) {
    AS_ROOT({
        CHECK_EQ(prctl(PR_GET_KEEPCAPS), 0);
        CHECK_OK(prctl(PR_SET_KEEPCAPS, 1));
        CHECK_EQ(prctl(PR_GET_KEEPCAPS), 1);
        CHECK_ERR(prctl(PR_SET_KEEPCAPS, 2), EINVAL);
        CHECK_OK(cap_get());
        unsigned permitted = caps[0].permitted;
        CHECK_OK(setuid(1000));
        CHECK_OK(cap_get());
        CHECK_EQ(caps[0].permitted, permitted);
        CHECK_EQ(caps[0].effective, 0);
    });
}

TEST(capset_only_takes_away) {
    AS_ROOT({
        CHECK_OK(cap_get());
        caps[0].effective &= ~(1u << CAP_SETGID);
        CHECK_OK(cap_set());
        CHECK_ERR(setgroups(0, NULL), EPERM);
        caps[0].effective |= 1u << CAP_SETGID; /* still permitted */
        CHECK_OK(cap_set());
        caps[0].effective &= ~(1u << CAP_SETGID);
        caps[0].permitted &= ~(1u << CAP_SETGID);
        CHECK_OK(cap_set());
        caps[0].permitted |= 1u << CAP_SETGID;
        CHECK_ERR(cap_set(), EPERM);
        CHECK_OK(cap_get());
        caps[0].effective |= 1u << CAP_SETGID; /* effective beyond permitted */
        CHECK_ERR(cap_set(), EPERM);
    });
}

TEST(capget_versions) {
    struct __user_cap_header_struct header = {0x1234, 0};
    CHECK_OK(syscall(SYS_capget, &header, NULL));
    CHECK_EQ(header.version, _LINUX_CAPABILITY_VERSION_3);
    header.version = 0x1234;
    CHECK_ERR(syscall(SYS_capget, &header, caps), EINVAL);
    header.pid = -1;
    CHECK_ERR(syscall(SYS_capget, &header, caps), EINVAL);
    header.pid = 1 << 30;
    CHECK_ERR(syscall(SYS_capget, &header, caps), ESRCH);
    CHECK_ERR(syscall(SYS_capget, NULL, caps), EFAULT);
}

TEST(the_bounding_set) {
    CHECK_ERR(prctl(PR_CAPBSET_READ, 1000), EINVAL);
    AS_ROOT({
        CHECK_OK(cap_get());
        if (prctl(PR_CAPBSET_READ, CAP_SYS_BOOT) == 1 && (caps[0].effective >> CAP_SETPCAP & 1)) {
            CHECK_OK(prctl(PR_CAPBSET_DROP, CAP_SYS_BOOT));
            CHECK_EQ(prctl(PR_CAPBSET_READ, CAP_SYS_BOOT), 0);
        }
        CHECK_OK(setuid(1000));
        CHECK_ERR(prctl(PR_CAPBSET_DROP, CAP_CHOWN), EPERM);
    });
}

TEST(ambient_capabilities) {
    AS_ROOT({
        CHECK_EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_SETUID, 0, 0), 0);
        /* Only what is permitted and inheritable. */
        CHECK_ERR(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SETUID, 0, 0), EPERM);
        CHECK_OK(cap_get());
        caps[0].inheritable |= 1u << CAP_SETUID;
        CHECK_OK(cap_set());
        CHECK_OK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SETUID, 0, 0));
        CHECK_EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_SETUID, 0, 0), 1);
        CHECK_OK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, CAP_SETUID, 0, 0));
        CHECK_EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_SETUID, 0, 0), 0);
        CHECK_OK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
        CHECK_ERR(prctl(PR_CAP_AMBIENT, 99, CAP_SETUID, 0, 0), EINVAL);
        CHECK_ERR(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, 1000, 0, 0), EINVAL);
    });
}

TEST(a_program_keeps_or_loses_rights) {
    AS_ROOT({
        /* Another uid, but still root as effective one: exec gives nothing up. */
        pid_t pid = fork();
        if (pid == 0) {
            CHECK_OK(setresuid(1000, 1000, 1000));
            execl("/bin/sh", "sh", "-c", "test $(id -u) = 1000 && test $(id -ru) = 1000", NULL);
            _exit(127);
        }
        CHECK_CHILD_OK(pid);
    });
}

TEST(no_new_privs_stays) {
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_ERR(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), EINVAL);
        CHECK_ERR(prctl(PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0), EINVAL);
        CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
        pid_t child = fork();
        if (child == 0) {
            CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
            CHILD_EXIT();
        }
        CHECK_CHILD_OK(child);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
}

TEST_MAIN()
