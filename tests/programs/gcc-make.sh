# gcc and make -j2 build a project of 40 files with a library, run it, and rebuild after a change.
. "$TESTS/lib.sh"
need gcc make ar

prepare() {
    local i
    mkdir src
    for i in $(seq 40); do
        printf '#include "all.h"\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <math.h>\nint f%d(int x) { char b[32]; snprintf(b, sizeof b, "%%d", x * %d); return atoi(b) + (int)strlen(b) + (int)sqrt(x); }\n' "$i" "$i" >"src/f$i.c"
        echo "int f$i(int x);"
    done >src/all.h
    {
        printf '#include "all.h"\n#include <stdio.h>\n#include <errno.h>\n#include <string.h>\nint main(int argc, char **argv) {\n    long s = 0;\n'
        for i in $(seq 40); do echo "    s += f$i($i);"; done
        printf '    printf("%%ld %%s %%d\\n", s, argv[0], argc);\n    return argc - 1;\n}\n'
    } >src/main.c
    cat >Makefile <<'M'
CFLAGS = -O1 -Wall -g
OBJ = $(patsubst src/%.c,out/%.o,$(sort $(wildcard src/f*.c)))
prog: out/main.o libf.a
	@gcc -o $@ $^ -lm
libf.a: $(OBJ)
	@ar rcD $@ $^
out/%.o: src/%.c src/all.h | out
	@gcc $(CFLAGS) -c -o $@ $<
out:
	@mkdir -p out
clean:
	@rm -rf out libf.a prog
M
}

LIMIT=150
same "make -j2, run, rebuild" /bin/bash -c 'set -e; make -s -j2 && ./prog && ls out | wc -l && sha256sum libf.a && touch src/f7.c && make -j2 -n | wc -l && make -s -j2 && ./prog 1 2 || echo "status $?"; make -s clean; ls'
expect_native "./prog 1"
same "gcc: errors, pipes, shared libraries, static" /bin/bash -c 'set -e; printf "int main(void) { return x; }" >bad.c; gcc bad.c 2>&1 | grep -c "undeclared" || true; printf "int g(void) { return 5; }" | gcc -pipe -x c -shared -fPIC -o libg.so -; printf "int g(void); int main(void) { return g(); }" >m.c; gcc m.c -L. -lg -Wl,-rpath,\$ORIGIN -o m; ./m || echo $?; gcc -static -O2 -x c - -o s <<<"#include <stdio.h>
int main(void) { puts(\"static\"); }" && ./s; gcc -pthread -x c - -o t <<<"#include <pthread.h>
static void *f(void *a) { ++*(int *)a; return 0; } int main(void) { int n = 0; for (int i = 0; i < 1000; i++) { pthread_t t; if (pthread_create(&t, 0, f, &n)) return 1; pthread_join(t, 0); } return n != 1000; }" && ./t && echo threads'
expect_native threads
finish
