/*
 * timeout: 180
 *
 * Damaged programs: a good ELF file with fields of its headers changed at random and to edge
 * values, then executed. Each execve fails with an errno or makes a process that dies by itself;
 * the kernel goes on. Scripts whose lines are as hostile come along.
 */
#include <elf.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "stub_probe.h"

static unsigned state = 12345;

static unsigned next_random(void) {
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

static unsigned char image[4 << 20];
static size_t image_size;

/* Each TEST begins with it: SIGCHLD blocked for wait_or_kill(), no cores, the good program read. */
static void prepare(void) {
    struct rlimit none = {0, 0};
    int fd = open("/proc/self/exe", O_RDONLY);
    ssize_t size = read(fd, image, sizeof image);

    setrlimit(RLIMIT_CORE, &none);
    block_sigchld();
    REQUIRE(size > (ssize_t)sizeof(Elf64_Ehdr) && size < (ssize_t)sizeof image);
    image_size = (size_t)size;
    close(fd);
}

/* Executes the bytes, counts whether execve failed or something ran (and ended somehow). */
static void execute(const char *name, const unsigned char *bytes, size_t size, int *failed,
                    int *ran) {
    int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY, 0700), status;

    REQUIRE_OK(fd);
    for (size_t done = 0; done < size;) {
        ssize_t n = write(fd, bytes + done, size - done);
        REQUIRE(n > 0);
        done += (size_t)n;
    }
    close(fd);
    pid_t child = fork();
    REQUIRE_OK(child);
    if (child == 0) {
        char text[] = "--victim";
        char first[] = "x", *argv[] = {first, text, NULL}, *envp[] = {NULL};
        execve(name, argv, envp);
        _exit(errno == ENOEXEC || errno == ENOMEM || errno == EINVAL || errno == ELIBBAD ||
                      errno == EIO || errno == ENOENT || errno == EACCES || errno == EPERM ||
                      errno == EFAULT || errno == ELOOP || errno == ENOTDIR || errno == ENAMETOOLONG
                  ? 100
                  : 101);
    }
    status = wait_or_kill(child, 2000);
    CHECK(!WIFEXITED(status) || WEXITSTATUS(status) != 101);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 100)
        ++*failed;
    else
        ++*ran;
    unlink(name);
}

TEST(headers) {
    static const uint64_t edges[] = {0,
                                     1,
                                     0xfff,
                                     0x1000,
                                     0x7fffffffffff,
                                     1ULL << 47,
                                     UINT64_MAX,
                                     1ULL << 63,
                                     UINT32_MAX,
                                     0x7ffffffff000,
                                     0x10000,
                                     INT64_MAX,
                                     0xffffffffff600000};
    int failed = 0, ran = 0;

    prepare();
    size_t span = sizeof(Elf64_Ehdr) + ((Elf64_Ehdr *)image)->e_phnum * sizeof(Elf64_Phdr);
    unsigned char saved[4096];
    REQUIRE(span <= sizeof saved);
    memcpy(saved, image, span);

    execute("good", image, image_size, &failed, &ran);
    CHECK_EQ(ran, 1);
    for (int i = 0; i < 250; i++) {
        for (unsigned k = 0; k <= next_random() % 3; k++) {
            size_t at = 16 + next_random() % (span - 24);
            if (next_random() % 2) {
                uint64_t edge = edges[next_random() % (sizeof edges / sizeof *edges)];
                memcpy(image + (at & ~7UL), &edge, 8);
            } else {
                image[at] = (unsigned char)next_random();
            }
        }
        execute("bad", image, next_random() % 16 ? image_size : next_random() % image_size, &failed,
                &ran);
        memcpy(image, saved, span);
    }
    CHECK(failed > 20); /* the damage is damage */
    CHECK(ran > 20);    /* and not all of it is found at once */
    check_kernel_serves();
}

TEST(many_headers) {
    /* 1170 loads on one page each, all over the address space. */
    static unsigned char file[1 << 17];
    Elf64_Ehdr *header = (Elf64_Ehdr *)file;
    Elf64_Phdr *programs = (Elf64_Phdr *)(file + sizeof *header);
    int failed = 0, ran = 0;

    prepare();
    memcpy(file, image, sizeof *header);
    header->e_type = ET_EXEC;
    header->e_phoff = sizeof *header;
    header->e_phnum = 65536 / sizeof *programs;
    header->e_entry = 0x400000;
    for (unsigned i = 0; i < header->e_phnum; i++) {
        programs[i] = (Elf64_Phdr){.p_type = PT_LOAD,
                                   .p_flags = PF_R | PF_W | PF_X,
                                   .p_vaddr = 0x400000 + i * 0x300000ul,
                                   .p_filesz = 4096,
                                   .p_memsz = 8192 + i % 2 * 0x1000};
    }
    for (int i = 0; i < 5; i++)
        execute("many", file, sizeof file, &failed, &ran);
    /* The same, one over the other. */
    for (unsigned i = 0; i < header->e_phnum; i++)
        programs[i].p_vaddr = 0x400000 + i % 3 * 0x1000;
    execute("overlapping", file, sizeof file, &failed, &ran);
    /* Memory for the whole address space. */
    programs[0].p_vaddr = 0x10000;
    programs[0].p_memsz = 0x7fff00000000;
    execute("huge", file, sizeof file, &failed, &ran);
    /* Interpreters of all kinds. */
    programs[0] = (Elf64_Phdr){.p_type = PT_INTERP, .p_offset = 0x1f000, .p_filesz = 16};
    static const char *const names[] = {"/",
                                        "",
                                        "/dev/null",
                                        "/dev/zero",
                                        "overlapping",
                                        "interpreter",
                                        "/proc/self/mem",
                                        "/proc/self/exe"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        memset(file + 0x1f000, 0, 16);
        memcpy(file + 0x1f000, names[i], strlen(names[i]));
        execute("interpreter", file, sizeof file, &failed, &ran);
    }
    check_kernel_serves();
}

TEST(scripts) {
    int failed = 0, ran = 0;
    unsigned char line[512];

    prepare();
    for (int i = 0; i < 60; i++) {
        size_t size = 2 + next_random() % 400;
        for (size_t k = 0; k < size; k++)
            line[k] = next_random() % 4
                          ? (unsigned char)(next_random() % 2 ? '/' : 'a' + next_random() % 4)
                          : (unsigned char)next_random();
        memcpy(line, "#!", 2);
        execute("script", line, size, &failed, &ran);
    }
    check_kernel_serves();
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--victim") == 0)
        return 7;
    return guest_test_main(argc, argv);
}
