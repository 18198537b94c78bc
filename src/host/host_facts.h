/*
 * Facts about the host's machine that a guest may know: processors, memory, load. Texts of the
 * host's /proc and /sys/devices/system/cpu, read when they are asked for, through directories that
 * were opened before the jail. Nothing about the host's processes, mounts or command line comes
 * this way: callers name one of a few fixed files.
 */
#ifndef STARLING_HOST_FACTS_H
#define STARLING_HOST_FACTS_H

#include "base/base.h"

/* Before the jail: keeps a way to the two directories. Done by host_proc_setup(). */
void host_facts_setup(void);

/* `name`: "cpuinfo", "meminfo", "loadavg", "stat", "vmstat" of proc(5). The text, malloc'ed and
 * NUL-terminated, or NULL when the host does not give it. */
char *host_facts_proc(const char *name);
/* A file below /sys/devices/system/cpu, likewise: "online", "cpu0/topology/core_id". */
char *host_facts_cpu(const char *path);
/* MemTotal, and MemAvailable unless NULL, in bytes; 0: the host does not tell. */
uint64_t host_facts_memory(uint64_t *available);
/* Processors that are online, at least 1. */
unsigned host_facts_cpu_count(void);

#endif
