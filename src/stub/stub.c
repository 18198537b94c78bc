/*
 * The stub's C part. Runs in guest processes; untrusted by the kernel.
 */
typedef int stub_is_empty_so_far;
