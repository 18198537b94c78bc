/*
 * /proc/sysvipc: a line for each System V IPC object, proc(5). Ids and owners are the guest's.
 */
#include "pseudo/pseudo_internal.h"

static struct ipc_caller reader(const struct pseudo_node *node) {
    return (struct ipc_caller){.ns = node->kernel->ipc};
}

static int msg_show(const struct pseudo_node *node, struct text *text) {
    struct ipc_caller caller = reader(node);
    struct msginfo info;
    int last = msg_limits(&caller, true, &info);

    text_puts(text, "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  "
                    "cuid  cgid      stime      rtime      ctime\n");
    for (int i = 0; i <= last; i++) {
        struct msqid64_ds stat;
        int id = msg_stat(&caller, i, IPC_BY_INDEX_ANY, &stat);

        if (id >= 0) {
            text_printf(text,
                        "%10d %10d  %4o  %10lu %10lu %5d %5d %5u %5u %5u %5u %10ld %10ld %10ld\n",
                        stat.msg_perm.key, id, stat.msg_perm.mode, stat.msg_cbytes, stat.msg_qnum,
                        stat.msg_lspid, stat.msg_lrpid, stat.msg_perm.uid, stat.msg_perm.gid,
                        stat.msg_perm.cuid, stat.msg_perm.cgid, stat.msg_stime, stat.msg_rtime,
                        stat.msg_ctime);
        }
    }
    return 0;
}

static int sem_show(const struct pseudo_node *node, struct text *text) {
    struct ipc_caller caller = reader(node);
    struct seminfo info;
    int last = sem_limits(&caller, true, &info);

    text_puts(text, "       key      semid perms      nsems   uid   gid  cuid  cgid      otime"
                    "      ctime\n");
    for (int i = 0; i <= last; i++) {
        struct semid64_ds stat;
        int id = sem_stat(&caller, i, IPC_BY_INDEX_ANY, &stat);

        if (id >= 0) {
            text_printf(text, "%10d %10d  %4o %10lu %5u %5u %5u %5u %10ld %10ld\n",
                        stat.sem_perm.key, id, stat.sem_perm.mode, stat.sem_nsems,
                        stat.sem_perm.uid, stat.sem_perm.gid, stat.sem_perm.cuid,
                        stat.sem_perm.cgid, stat.sem_otime, stat.sem_ctime);
        }
    }
    return 0;
}

/* How much of a segment is resident is not known one by one: all of it is shown so. */
static int shm_show(const struct pseudo_node *node, struct text *text) {
    struct ipc_caller caller = reader(node);
    struct shm_info info;
    int last = shm_usage(&caller, &info);

    text_puts(text, "       key      shmid perms                  size  cpid  lpid nattch   uid"
                    "   gid  cuid  cgid      atime      dtime      ctime                   rss"
                    "                  swap\n");
    for (int i = 0; i <= last; i++) {
        struct shmid64_ds stat;
        int id = shm_stat(&caller, i, IPC_BY_INDEX_ANY, &stat);

        if (id >= 0) {
            text_printf(text,
                        "%10d %10d  %4o %21lu %5d %5d  %5lu %5u %5u %5u %5u %10ld %10ld %10ld "
                        "%21lu %21lu\n",
                        stat.shm_perm.key, id, stat.shm_perm.mode, stat.shm_segsz, stat.shm_cpid,
                        stat.shm_lpid, stat.shm_nattch, stat.shm_perm.uid, stat.shm_perm.gid,
                        stat.shm_perm.cuid, stat.shm_perm.cgid, stat.shm_atime, stat.shm_dtime,
                        stat.shm_ctime, (unsigned long)ALIGN_UP(stat.shm_segsz, PAGE_SIZE), 0ul);
        }
    }
    return 0;
}

const struct pseudo_entry proc_sysvipc_entries[] = {
    PSEUDO_FILE("msg", 0444, .show = msg_show),
    PSEUDO_FILE("sem", 0444, .show = sem_show),
    PSEUDO_FILE("shm", 0444, .show = shm_show),
    {0},
};
