/*
 * base: what every other folder stands on and that knows nothing of Linux calls: compiler words,
 * cleanup helpers, reference counts, intrusive lists, ranked locks, the log.
 */
#ifndef STARLING_BASE_H
#define STARLING_BASE_H

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/ref.h"

#endif
