/*
 * System V shared memory: shmget(2), shmat(2), shmdt(2), shmctl(2), and what fork, exec, exit,
 * mprotect and munmap do to what is attached.
 */
#include "guest_test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>

static long page;

static unsigned long attached(int id) {
    struct shmid_ds stat = {0};
    CHECK_OK(shmctl(id, IPC_STAT, &stat));
    return stat.shm_nattch;
}

static int make(size_t size) {
    page = sysconf(_SC_PAGESIZE);
    int id = shmget(IPC_PRIVATE, size, IPC_CREAT | 0600);
    CHECK_OK(id);
    return id;
}

TEST(keys_and_sizes) {
    key_t key = (key_t)(0x51000000 | (getpid() & 0xffff));
    int id = shmget(key, 5000, IPC_CREAT | IPC_EXCL | 0640);
    REQUIRE_OK(id);
    CHECK_EQ(shmget(key, 0, 0), id);
    CHECK_EQ(shmget(key, 5000, IPC_CREAT), id);
    CHECK_ERR(shmget(key, 5000, IPC_CREAT | IPC_EXCL), EEXIST);
    CHECK_ERR(shmget(key, 5001, 0), EINVAL);
    CHECK_ERR(shmget(key + 1, 5000, 0), ENOENT);
    CHECK_ERR(shmget(IPC_PRIVATE, 0, 0600), EINVAL);
    struct shmid_ds stat;
    REQUIRE_OK(shmctl(id, IPC_STAT, &stat));
    CHECK_EQ(stat.shm_segsz, 5000);
    CHECK_EQ(stat.shm_perm.mode, 0640);
    CHECK_EQ(stat.shm_perm.__key, key);
    CHECK_EQ(stat.shm_perm.cuid, geteuid());
    CHECK_EQ(stat.shm_cpid, getpid());
    CHECK_EQ(stat.shm_nattch, 0);
    CHECK_EQ(stat.shm_atime, 0);
    stat.shm_perm.mode = 0400;
    CHECK_OK(shmctl(id, IPC_SET, &stat));
    CHECK_OK(shmctl(id, IPC_STAT, &stat));
    CHECK_EQ(stat.shm_perm.mode, 0400);
    CHECK_ERR(shmctl(id, 77, &stat), EINVAL);
    CHECK_ERR(shmctl(id, IPC_STAT, (void *)8), EFAULT);
    CHECK_OK(shmctl(id, IPC_RMID, NULL));
    CHECK_ERR(shmctl(id, IPC_STAT, &stat), EINVAL);
    CHECK_ERR(shmget(key, 0, 0), ENOENT);
    CHECK(shmget(key, 100, IPC_CREAT | 0600) != id);
    CHECK_OK(shmctl(shmget(key, 0, 0), IPC_RMID, NULL));
}

TEST(attach_and_share) {
    int id = make(3 * 4096);
    char *a = shmat(id, NULL, 0), *b = shmat(id, NULL, SHM_RDONLY);
    REQUIRE(a != (void *)-1 && b != (void *)-1);
    CHECK_EQ(attached(id), 2);
    struct shmid_ds stat;
    CHECK_OK(shmctl(id, IPC_STAT, &stat));
    CHECK(stat.shm_atime > 0);
    CHECK_EQ(stat.shm_dtime, 0);
    strcpy(a + page, "seen by all");
    CHECK(strcmp(b + page, "seen by all") == 0);
    CHECK_ERR(mprotect(b, (size_t)page, PROT_READ | PROT_WRITE), EACCES);
    pid_t child = fork();
    if (child == 0) {
        CHECK_EQ(attached(id), 4);
        strcpy(a, "from the child");
        CHECK_OK(shmdt(a));
        CHECK_EQ(attached(id), 3);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(child);
    CHECK_EQ(attached(id), 2);
    CHECK(strcmp(a, "from the child") == 0);
    CHECK_OK(shmdt(b));
    CHECK_ERR(shmdt(b), EINVAL);
    CHECK_ERR(shmdt(a + page), EINVAL);
    CHECK_ERR(shmdt(a + 1), EINVAL);
    CHECK_OK(shmdt(a));
    CHECK_EQ(attached(id), 0);
    /* Nobody is attached, and it is still there. */
    a = shmat(id, NULL, 0);
    CHECK(strcmp(a + page, "seen by all") == 0);
    CHECK_OK(shmdt(a));
    CHECK_OK(shmctl(id, IPC_RMID, NULL));
    CHECK(shmat(id, NULL, 0) == (void *)-1 && errno == EINVAL);
}

TEST(places) {
    int id = make(4 * 4096);
    char *room = mmap(NULL, (size_t)(16 * page), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(room != MAP_FAILED);
    REQUIRE_OK(munmap(room, (size_t)(8 * page)));
    CHECK(shmat(id, room, 0) == room);
    CHECK(shmat(id, room + page, 0) == (void *)-1 && errno == EINVAL);
    CHECK(shmat(id, room + 4 * page + 5, 0) == (void *)-1 && errno == EINVAL);
    CHECK(shmat(id, room + 4 * page + 5, SHM_RND) == room + 4 * page);
    CHECK(shmat(id, room + 8 * page, SHM_REMAP) == room + 8 * page);
    CHECK(shmat(id, NULL, SHM_REMAP) == (void *)-1 && errno == EINVAL);
    CHECK_EQ(attached(id), 3);
    room[8 * page] = 'x';
    CHECK_EQ(room[0], 'x');
    /* Parts: each row counts; shmdt takes all that is left. */
    CHECK_OK(mprotect(room + page, (size_t)page, PROT_READ));
    CHECK_EQ(attached(id), 5);
    CHECK_OK(munmap(room + 2 * page, (size_t)page));
    CHECK_EQ(attached(id), 5);
    CHECK_OK(munmap(room, (size_t)page));
    CHECK_EQ(attached(id), 4);
    CHECK_OK(shmdt(room));
    CHECK_EQ(attached(id), 2);
    unsigned char in_core;
    CHECK_ERR(mincore(room + 3 * page, (size_t)page, &in_core), ENOMEM);
    CHECK_OK(shmdt(room + 4 * page));
    CHECK_OK(munmap(room + 8 * page, (size_t)(8 * page)));
    CHECK_EQ(attached(id), 0);
    CHECK_OK(shmctl(id, IPC_RMID, NULL));
}

TEST(removed_while_attached) {
    int id = make(4096);
    char *a = shmat(id, NULL, 0);
    struct shmid_ds stat;
    REQUIRE(a != (void *)-1);
    CHECK_OK(shmctl(id, IPC_RMID, NULL));
    CHECK_OK(shmctl(id, IPC_STAT, &stat));
    CHECK_EQ(stat.shm_perm.mode, 01600);
    CHECK_EQ(stat.shm_perm.__key, IPC_PRIVATE);
    *a = 'k';
    char *again = shmat(id, NULL, 0);
    REQUIRE(again != (void *)-1);
    CHECK_EQ(*again, 'k');
    pid_t child = fork();
    if (child == 0)
        _exit(0); /* its end detaches */
    CHECK_CHILD_OK(child);
    CHECK_OK(shmdt(again));
    CHECK_OK(shmdt(a));
    CHECK_ERR(shmctl(id, IPC_STAT, &stat), EINVAL);
}

TEST(exec_detaches) {
    int id = make(4096);
    REQUIRE(shmat(id, NULL, 0) != (void *)-1);
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/true", "true", (char *)NULL);
        _exit(1);
    }
    CHECK_CHILD_OK(child);
    CHECK_EQ(attached(id), 1);
    CHECK_OK(shmctl(id, IPC_RMID, NULL));
}

TEST(maps_show_it) {
    char line[512];
    bool found = false;
    int id = make(4096);
    char *a = shmat(id, NULL, 0);
    FILE *maps = fopen("/proc/self/maps", "r");
    REQUIRE(maps && a != (void *)-1);
    while (fgets(line, sizeof line, maps))
        found |= strstr(line, "/SYSV00000000 (deleted)") && strstr(line, "rw-s");
    fclose(maps);
    CHECK(found);
    CHECK_OK(shmdt(a));
    CHECK_OK(shmctl(id, IPC_RMID, NULL));
}

TEST(proc_shows_it) {
    char line[512];
    bool found = false;
    int id = make(5000), other;
    FILE *file = fopen("/proc/sysvipc/shm", "r");
    unsigned mode, size;
    REQUIRE(file && shmat(id, NULL, 0) != (void *)-1);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "%*d %d %o %u %*d %*d", &other, &mode, &size) == 3 && other == id)
            found = mode == 0600 && size == 5000;
    fclose(file);
    CHECK(found);
    CHECK_OK(shmctl(id, IPC_RMID, NULL));
}

TEST(permissions) {
    if (geteuid() != 0)
        SKIP("only root can become another");
    int id = make(4096);
    pid_t child = fork();
    if (child == 0) {
        struct shmid_ds stat;
        CHECK_OK(setgid(1234));
        CHECK_OK(setuid(1234));
        CHECK(shmat(id, NULL, SHM_RDONLY) == (void *)-1 && errno == EACCES);
        CHECK_ERR(shmctl(id, IPC_STAT, &stat), EACCES);
        CHECK_ERR(shmctl(id, IPC_RMID, NULL), EPERM);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(child);
    struct shmid_ds stat;
    CHECK_OK(shmctl(id, IPC_STAT, &stat));
    stat.shm_perm.mode = 0644;
    CHECK_OK(shmctl(id, IPC_SET, &stat));
    child = fork();
    if (child == 0) {
        CHECK_OK(setgid(1234));
        CHECK_OK(setuid(1234));
        CHECK(shmat(id, NULL, SHM_RDONLY) != (void *)-1);
        CHECK(shmat(id, NULL, 0) == (void *)-1 && errno == EACCES);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(child);
    CHECK_OK(shmctl(id, IPC_RMID, NULL));
}

TEST_MAIN()
