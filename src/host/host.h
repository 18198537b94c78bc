/*
 * host: the substrate, what Zircon is to Starnix. Processes, threads and address spaces of guests
 * on the Linux host, host descriptors, waiting, timers, the jail. The only folder (with stub/) that
 * makes host calls; it knows nothing of guest pids, files or signals.
 */
#ifndef STARLING_HOST_H
#define STARLING_HOST_H

#include "host/host_facts.h"
#include "host/host_fd.h"
#include "host/host_process.h"
#include "host/jail.h"
#include "host/poller.h"
#include "host/wait.h"

#endif
