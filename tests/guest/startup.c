/*
 * What every program finds when it starts: arguments, environment, auxiliary vector, stack
 * alignment, standard descriptors. getauxval(3), execve(2).
 */
#include "guest_test.h"

#include <cpuid.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

TEST(auxv_page_size) {
    CHECK_EQ(getauxval(AT_PAGESZ), 4096);
    CHECK_EQ(sysconf(_SC_PAGESIZE), 4096);
    CHECK_EQ(getauxval(AT_CLKTCK), 100);
}

TEST(auxv_ids) {
    CHECK_EQ(getauxval(AT_UID), getuid());
    CHECK_EQ(getauxval(AT_EUID), geteuid());
    CHECK_EQ(getauxval(AT_GID), getgid());
    CHECK_EQ(getauxval(AT_EGID), getegid());
    CHECK_EQ(getauxval(AT_SECURE), 0);
}

/* From the file: getauxval(3) has bits of the C library's own in this place. */
TEST(auxv_tells_of_the_processor) {
    unsigned eax, ebx, ecx, edx;
    ElfW(auxv_t) entry;
    bool found = false;
    FILE *file = fopen("/proc/self/auxv", "r");
    REQUIRE(file != NULL);
    REQUIRE(__get_cpuid(1, &eax, &ebx, &ecx, &edx));
    while (fread(&entry, sizeof entry, 1, file) == 1 && entry.a_type != AT_NULL) {
        if (entry.a_type != AT_HWCAP)
            continue;
        found = true;
        CHECK(entry.a_un.a_val & 1 << 26);                   /* SSE2, which every x86-64 has */
        CHECK_EQ(entry.a_un.a_val & ~(unsigned long)edx, 0); /* Linux may switch features off */
    }
    CHECK(found);
    fclose(file);
}

TEST(auxv_random_is_readable) {
    const unsigned char *random = (const unsigned char *)getauxval(AT_RANDOM);
    REQUIRE(random != NULL);
    int zero = 0;
    for (int i = 0; i < 16; i++)
        zero += random[i] == 0;
    CHECK(zero < 8);
}

TEST(auxv_program_headers) {
    const ElfW(Phdr) *phdr = (const ElfW(Phdr) *)getauxval(AT_PHDR);
    REQUIRE(phdr != NULL);
    CHECK_EQ(getauxval(AT_PHENT), sizeof *phdr);
    int loads = 0;
    for (unsigned long i = 0; i < getauxval(AT_PHNUM); i++)
        loads += phdr[i].p_type == PT_LOAD;
    CHECK(loads >= 2);
    CHECK(getauxval(AT_ENTRY) != 0);
}

TEST(auxv_execfn_exists) {
    const char *name = (const char *)getauxval(AT_EXECFN);
    REQUIRE(name != NULL);
    CHECK_OK(access(name, X_OK));
}

TEST(vdso_is_an_elf_image) {
    const unsigned char *vdso = (const unsigned char *)getauxval(AT_SYSINFO_EHDR);
    if (!vdso)
        SKIP("no vDSO on this machine");
    CHECK_EQ(memcmp(vdso, ELFMAG, SELFMAG), 0);
}

TEST(standard_descriptors_are_open) {
    for (int fd = 0; fd <= 2; fd++)
        CHECK_OK(fcntl(fd, F_GETFD));
}

static sigjmp_buf no_code;
static int no_code_signal;

static void on_no_code(int signal) {
    no_code_signal = signal;
    siglongjmp(no_code, 1);
}

/* PT_GNU_STACK, elf(5): whether the stack is executable. */
TEST(the_stack_is_as_the_program_says) {
    const ElfW(Phdr) *phdr = (const ElfW(Phdr) *)getauxval(AT_PHDR);
    volatile unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov $42,%eax; ret */
    bool executable = true;
    for (unsigned long i = 0; i < getauxval(AT_PHNUM); i++)
        if (phdr[i].p_type == PT_GNU_STACK)
            executable = phdr[i].p_flags & PF_X;
    signal(SIGSEGV, on_no_code);
    if (sigsetjmp(no_code, 1) == 0) {
        CHECK_EQ(((int (*)(void))(uintptr_t)code)(), 42);
        CHECK(executable);
    } else {
        CHECK_EQ(no_code_signal, SIGSEGV);
        CHECK(!executable);
    }
    signal(SIGSEGV, SIG_DFL);
}

/* The same of a copy of this program whose header says the opposite. */
TEST(a_program_that_says_the_opposite) {
    char name[] = "/tmp/startup-XXXXXX";
    int in = open("/proc/self/exe", O_RDONLY), out = mkstemp(name);
    struct stat stat;
    REQUIRE(in >= 0 && out >= 0);
    REQUIRE_OK(fstat(in, &stat));
    char *copy = malloc((size_t)stat.st_size);
    REQUIRE(copy != NULL);
    CHECK_EQ(read(in, copy, (size_t)stat.st_size), stat.st_size);
    ElfW(Ehdr) header;
    memcpy(&header, copy, sizeof header);
    ElfW(Phdr) *phdr = (ElfW(Phdr) *)(copy + header.e_phoff);
    for (int i = 0; i < header.e_phnum; i++)
        if (phdr[i].p_type == PT_GNU_STACK)
            phdr[i].p_flags ^= PF_X;
    CHECK_EQ(write(out, copy, (size_t)stat.st_size), stat.st_size);
    CHECK_OK(fchmod(out, 0700));
    close(in);
    close(out);
    free(copy);
    pid_t pid = fork();
    if (pid == 0) {
        execl(name, name, "the_stack_is_as_the_program_says", NULL);
        _exit(127);
    }
    CHECK_CHILD_OK(pid);
    CHECK_OK(unlink(name));
}

TEST(page_zero_is_not_mapped) {
    unsigned char resident;
    CHECK_ERR(mincore(NULL, 4096, &resident), ENOMEM);
}

TEST_MAIN()
