# The front door. meson.build says what is built; this file only drives it. `make help` lists the targets.
# Variables: BUILD (build directory), BUILDTYPE, JOBS, CC, PREFIX, DESTDIR, TESTS (arguments to tests/run),
# BENCH (arguments to bench/run).
BUILD     ?= build
BUILDTYPE ?= debugoptimized
JOBS      ?= $(shell nproc)
PREFIX    ?= /usr/local
DESTDIR   ?=
TESTS     ?=
BENCH     ?=

MESON ?= meson
NINJA ?= ninja

# Only a CC that somebody chose reaches meson; make's own default does not.
ifneq ($(filter command environment,$(firstword $(origin CC))),)
export CC
endif

# The attacks that race; attack_event_files takes eight minutes there.
TSAN_ATTACKS := $(addprefix attack/,donated_files inotify_races path_races pidfd_races proc_files scm_rights slot_fields slot_garbage)

.DEFAULT_GOAL := all
.PHONY: all help deps-build deps-test deps-check demo test check check-format check-layering check-docs check-tidy check-clang \
        check-unit check-sanitizers check-classes bench docs format install clean
.SUFFIXES:

all: $(BUILD)/build.ninja ## build $(BUILD)/starling
	@$(NINJA) -C $(BUILD) -j $(JOBS)

$(BUILD)/build.ninja:
	@command -v $(MESON) >/dev/null && command -v $(NINJA) >/dev/null || \
	    { echo "make: meson or ninja is missing; run: tools/install-deps build" >&2; exit 1; }
	@$(MESON) setup $(BUILD) --buildtype $(BUILDTYPE) --prefix $(PREFIX) >$(BUILD).log 2>&1 || \
	    { cat $(BUILD).log; echo "make: configuring failed; if a dependency is missing, run: tools/install-deps build" >&2; \
	      rm -f $(BUILD).log; exit 1; }
	@mv $(BUILD).log $(BUILD)/setup.log

demo: deps-build ## build, then run real Debian programs under Starling
	@$(MAKE) --no-print-directory all
	@tools/demo $(BUILD)/starling

test: deps-test ## build and run every test
	@$(MAKE) --no-print-directory all
	@tests/run --build $(BUILD) -j $(JOBS) $(TESTS)

check: deps-check check-format check-layering check-docs check-tidy check-sanitizers check-classes ## format, lint, layering, clang, sanitizers, tests
	@$(MAKE) --no-print-directory test

check-format: ## is every C file as clang-format leaves it?
	@tools/check-format

check-layering: all ## do the folders of src/ depend only downwards, and who makes host calls?
	@tools/check-layering --build $(BUILD)

check-docs: ## does the documentation say what the source says?
	@tools/check-docs

check-clang: ## does clang build it without a warning?
	@CC=clang $(MAKE) --no-print-directory BUILD=$(BUILD)-clang all

check-tidy: check-clang ## clang-tidy over src/
	@tools/check-tidy --build $(BUILD)-clang -j $(JOBS)

check-unit: all ## the unit tests alone
	@tests/run --build $(BUILD) -j $(JOBS) --suite unit

check-sanitizers: all ## unit tests, and guests and attacks on a kernel process, under ASan+UBSan and under TSan
	@[ -f $(BUILD)-asan/build.ninja ] || $(MESON) setup $(BUILD)-asan -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
	@[ -f $(BUILD)-tsan/build.ninja ] || $(MESON) setup $(BUILD)-tsan -Db_sanitize=thread -Db_lundef=false >/dev/null
	@$(NINJA) -C $(BUILD)-asan -j $(JOBS) && tests/run --build $(BUILD)-asan -j $(JOBS) --slower 4 --suite unit
	@ASAN_OPTIONS=detect_leaks=0:halt_on_error=1:print_stacktrace=1 tests/run --build $(BUILD) -j $(JOBS) \
	    --starling $(BUILD)-asan/starling --slower 4 'guest/*/starling' attack
	@$(NINJA) -C $(BUILD)-tsan -j $(JOBS) && tests/run --build $(BUILD)-tsan -j $(JOBS) --slower 4 --suite unit
	@TSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 tests/run --build $(BUILD) -j $(JOBS) \
	    --starling $(BUILD)-tsan/starling --slower 4 'guest/*/starling' $(TSAN_ATTACKS)

check-classes: all ## the tests without calls that guests answer themselves (classes L and D), without patched sites
	@for without in --no-direct --no-local '--no-direct --no-local' --no-patch; do \
	    echo "run $$without:"; \
	    tests/run --build $(BUILD) -j $(JOBS) --slower 4 --starling-args="$$without" 'guest/*/starling' cli programs || exit 1; \
	done

bench: deps-test ## measure beside native and the peers; writes docs/performance.md and .svg
	@$(MAKE) --no-print-directory BUILD=$(BUILD)-release BUILDTYPE=release all
	@bench/run --build $(BUILD)-release --install --limit 840 --json $(BUILD)-release/bench.json --svg docs/performance.svg \
	    --markdown docs/performance.md $(BENCH)

docs: ## regenerate what is made from the source: docs/syscalls.md, docs/locking.md
	@tools/gen_syscalls.py markdown src/syscalls/syscalls.def src/syscalls/forms.def src/syscalls/flags.def docs/syscalls.md
	@tools/gen_locking.py src/base/lock_order.def src docs/locking.md

format: ## clang-format every C file in place
	@tools/check-format --fix

install: all ## install under $(DESTDIR)$(PREFIX), stripped
	@$(MESON) configure $(BUILD) -Dprefix=$(PREFIX) && $(NINJA) -C $(BUILD) -j $(JOBS) >/dev/null
	@DESTDIR=$(DESTDIR) $(MESON) install -C $(BUILD) --no-rebuild --strip --quiet

clean: ## remove the build directories
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan $(BUILD)-clang $(BUILD)-release

deps-build deps-test deps-check: deps-%:
	@tools/install-deps $*

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
