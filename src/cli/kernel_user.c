/*
 * --user: names and numbers to ids. Names come from the guest's own /etc/passwd and /etc/group,
 * read before the jail with the host's help (no symbolic link of the root directory leads out of
 * it).
 */
#include <fcntl.h>
#include <grp.h>
#include <linux/openat2.h>
#include <pwd.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/kernel_internal.h"

static FILE *open_in_root(const struct run_options *options, const char *path) {
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK, .resolve = RESOLVE_IN_ROOT};
    int root = open(options->rootfs ? options->rootfs : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = root < 0 ? -1 : (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r");

    if (root >= 0) {
        close(root);
    }
    if (fd >= 0 && !file) {
        close(fd);
    }
    return file;
}

/* The entry of a name, or of a number; its group in *gid. */
static bool find_passwd(const struct run_options *options, const char *name, bool by_uid,
                        uid_t *uid, gid_t *gid, char *found_name, size_t size) {
    FILE *file = open_in_root(options, "/etc/passwd");
    const struct passwd *entry;
    bool found = false;

    while (file && !found && (entry = fgetpwent(file))) {
        if (by_uid ? entry->pw_uid == *uid : strcmp(entry->pw_name, name) == 0) {
            found = true;
            *uid = entry->pw_uid;
            *gid = entry->pw_gid;
            snprintf(found_name, size, "%s", entry->pw_name);
        }
    }
    if (file) {
        fclose(file);
    }
    return found;
}

/* Looks for a group by name, and collects those that list `member`. */
static bool find_groups(const struct run_options *options, const char *name, gid_t *gid,
                        const char *member, struct kernel_user *user) {
    FILE *file = open_in_root(options, "/etc/group");
    const struct group *entry;
    bool found = false;

    while (file && (entry = fgetgrent(file))) {
        if (name && strcmp(entry->gr_name, name) == 0) {
            found = true;
            *gid = entry->gr_gid;
        }
        for (char **who = entry->gr_mem; member && *who; who++) {
            if (strcmp(*who, member) == 0 && user->group_count < 1024) {
                gid_t *groups = realloc(user->groups, (user->group_count + 1) * sizeof(gid_t));

                if (groups) {
                    user->groups = groups;
                    groups[user->group_count++] = entry->gr_gid;
                }
            }
        }
    }
    if (file) {
        fclose(file);
    }
    return found;
}

bool kernel_user_find(const struct run_options *options, const struct launch *launch,
                      struct kernel_user *user) {
    char *text, *group, name[64] = "";
    uint64_t number;
    bool ok = true;

    memset(user, 0, sizeof(*user));
    if (!options->user) {
        user->uid = getuid();
        user->gid = getgid();
        user->groups = calloc(launch->group_count + 1, sizeof(gid_t));
        if (!user->groups) {
            return false;
        }
        memcpy(user->groups, launch->groups, launch->group_count * sizeof(gid_t));
        user->group_count = launch->group_count;
        return true;
    }
    text = strdup(options->user);
    if (!text) {
        return false;
    }
    group = strchr(text, ':');
    if (group) {
        *group++ = 0;
    }
    if (parse_count(text, UINT32_MAX - 1, &number)) {
        user->uid = (uid_t)number;
        user->gid = (gid_t)number; /* when the guest does not know better */
        (void)find_passwd(options, NULL, true, &user->uid, &user->gid, name, sizeof(name));
    } else if (!find_passwd(options, text, false, &user->uid, &user->gid, name, sizeof(name))) {
        cli_error("run: --user %s: the guest's /etc/passwd has no user '%s'", options->user, text);
        ok = false;
    }
    if (ok && *name) {
        (void)find_groups(options, NULL, NULL, name, user);
    }
    if (ok && group) {
        if (parse_count(group, UINT32_MAX - 1, &number)) {
            user->gid = (gid_t)number;
        } else if (!find_groups(options, group, &user->gid, NULL, user)) {
            cli_error("run: --user %s: the guest's /etc/group has no group '%s'", options->user,
                      group);
            ok = false;
        }
    }
    free(text);
    return ok;
}

static int compare_gids(const void *a, const void *b) {
    gid_t x = *(const gid_t *)a, y = *(const gid_t *)b;

    return (x > y) - (x < y);
}

struct credentials *kernel_user_credentials(const struct kernel_user *user) {
    struct credentials *creds = credentials_new(user->uid, user->gid);

    if (creds && user->group_count) {
        creds->groups = calloc(user->group_count, sizeof(gid_t));
        if (!creds->groups) {
            credentials_put(creds);
            return NULL;
        }
        memcpy(creds->groups, user->groups, user->group_count * sizeof(gid_t));
        creds->group_count = user->group_count;
        qsort(creds->groups, creds->group_count, sizeof(gid_t), compare_gids);
    }
    return creds;
}
