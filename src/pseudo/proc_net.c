/*
 * /proc/PID/net: the headers of the tables that programs read, and the loopback device.
 */
#include "pseudo/pseudo_internal.h"

static const char dev_text[] =
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop "
    "fifo colls carrier compressed\n"
    "    lo:       0       0    0    0    0     0          0         0        0       0    0    0 "
    "   0     0       0          0\n";
static const char tcp_text[] =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout "
    "inode                                                     \n";
static const char tcp6_text[] =
    "  sl  local_address                         remote_address                        st tx_queue "
    "rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
static const char udp_text[] =
    "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout "
    "inode ref pointer drops             \n";
static const char udp6_text[] =
    "  sl  local_address                         remote_address                        st tx_queue "
    "rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n";
static const char route_text[] =
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"
    "                                                       \n";

const struct pseudo_entry proc_net_entries[] = {
    PSEUDO_FILE("dev", 0444, .text = dev_text),
    PSEUDO_FILE("if_inet6", 0444, .text = ""),
    PSEUDO_FILE("raw", 0444, .text = udp_text),
    PSEUDO_FILE("route", 0444, .text = route_text),
    PSEUDO_FILE("tcp", 0444, .text = tcp_text),
    PSEUDO_FILE("tcp6", 0444, .text = tcp6_text),
    PSEUDO_FILE("udp", 0444, .text = udp_text),
    PSEUDO_FILE("udp6", 0444, .text = udp6_text),
    PSEUDO_FILE("unix", 0444, .text = "Num       RefCount Protocol Flags    Type St Inode Path\n"),
    {0},
};
