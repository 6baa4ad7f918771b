/* Sockets: every family, and the ways past a rule about ports.
 *
 * place: WRITE is the port (or path) that a policy would list, OTHER the one that it would not. A
 * connection that nobody takes, or a port that is taken, was let through.
 */
#include "probe.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { MPTCP = 262 };

static int port_of(const struct action *a)
{
	return a->place == OTHER ? given.other_port : given.port;
}

/* Loopback's address, and its length. number: the family. */
static socklen_t address(const struct action *a, struct sockaddr_storage *into)
{
	memset(into, 0, sizeof *into);
	into->ss_family = (sa_family_t)a->number;
	if (a->number == AF_INET6) {
		struct sockaddr_in6 *six = (void *)into;
		six->sin6_port = htons((uint16_t)port_of(a));
		six->sin6_addr = in6addr_loopback;
		return sizeof *six;
	}
	struct sockaddr_in *four = (void *)into;
	four->sin_port = htons((uint16_t)port_of(a));
	four->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return sizeof *four;
}

typedef int step(int fd, const struct sockaddr *to, socklen_t size);

static int with_socket(const struct action *a, int type, step *then)
{
	struct sockaddr_storage to;
	socklen_t size = address(a, &to);
	if (!port_of(a))
		return absent("no --port and --other-port were given");
	int fd = socket((int)a->number, type | SOCK_CLOEXEC, (int)a->extra);
	return failed(fd < 0 ? fd : then(fd, (void *)&to, size));
}

/* extra: the protocol. */
static int stream_connect(const struct action *a)
{
	return with_socket(a, SOCK_STREAM, connect);
}

static int stream_bind(const struct action *a)
{
	return with_socket(a, SOCK_STREAM, bind);
}

static int listen_only(int fd, const struct sockaddr *to, socklen_t size)
{
	(void)to, (void)size;
	return listen(fd, 1);
}

static int listen_unbound(const struct action *a)
{
	return with_socket(a, SOCK_STREAM, listen_only);
}

static int send_to(int fd, const struct sockaddr *to, socklen_t size)
{
	return (int)sendto(fd, "x", 1, 0, to, size);
}

static int datagram_send(const struct action *a)
{
	return with_socket(a, SOCK_DGRAM, send_to);
}

static int datagram_bind(const struct action *a)
{
	return with_socket(a, SOCK_DGRAM, bind);
}

static int send_fast(int fd, const struct sockaddr *to, socklen_t size)
{
	return (int)sendto(fd, "x", 1, MSG_FASTOPEN, to, size);
}

static int fast_open(const struct action *a)
{
	return with_socket(a, SOCK_STREAM, send_fast);
}

static int send_fast_message(int fd, const struct sockaddr *to, socklen_t size)
{
	struct iovec byte = {"x", 1};
	struct msghdr message = {
		.msg_name = (void *)to, .msg_namelen = size, .msg_iov = &byte, .msg_iovlen = 1};
	return (int)sendmsg(fd, &message, MSG_FASTOPEN);
}

static int fast_open_message(const struct action *a)
{
	return with_socket(a, SOCK_STREAM, send_fast_message);
}

/* number: the family; extra: the protocol; file: a digit, the type. */
static int make_socket(const struct action *a)
{
	return failed(socket((int)a->number, (a->file[0] - '0') | SOCK_CLOEXEC, (int)a->extra));
}

static int netlink(const struct action *a)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, (int)a->extra);
	return failed(fd < 0 ? fd : bind(fd, (void *)&kernel, sizeof kernel));
}

static int join_group(const struct action *a)
{
	struct ip_mreqn group = {
		.imr_multiaddr.s_addr = htonl(0xE0000178), .imr_address.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	(void)a;
	return failed(fd < 0 ? fd
			     : setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
}

/* On a socket without a connection. */
static int load_protocol(const struct action *a)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	(void)a;
	return failed(fd < 0 ? fd : setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", 3));
}

static int attach_program(const struct action *a)
{
	struct sock_filter all[] = {{BPF_RET | BPF_K, 0, 0, 0xFFFF}};
	struct sock_fprog program = {1, all};
	int pair[2];
	(void)a;
	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) < 0)
		return errno;
	return failed(
		setsockopt(pair[0], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
}

static int pair(const struct action *a)
{
	int both[2];
	(void)a;
	return failed(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both));
}

static int unix_step(const struct action *a, step *then, const char *name, size_t skip)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	if (strlen(name) >= sizeof to.sun_path - skip)
		return absent("the path is too long for a socket");
	memcpy(to.sun_path + skip, name, strlen(name));
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + skip + strlen(name));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	(void)a;
	return failed(fd < 0 ? fd : then(fd, (void *)&to, size));
}

static int unix_connect(const struct action *a)
{
	return unix_step(a, connect, path(a->place, "socket"), 0);
}

static int unix_bind(const struct action *a)
{
	return unix_step(a, bind, path(a->place, a->name), 0);
}

static int unix_abstract(const struct action *a)
{
	if (!given.abstract)
		return absent("no --abstract was given");
	return unix_step(a, connect, given.abstract, 1);
}

#define CONNECT {ECONNREFUSED}
#define BIND {EADDRINUSE}

const struct action socket_actions[] = {
	{"tcp-connect", "connect to the listed port", stream_connect, WRITE, NULL, AF_INET, 0, CONNECT},
	{"tcp-connect-other", "connect to another port", stream_connect, OTHER, NULL, AF_INET, 0,
	 CONNECT},
	{"tcp6-connect", "connect to the listed port over IPv6", stream_connect, WRITE, NULL, AF_INET6,
	 0, CONNECT},
	{"tcp6-connect-other", "connect to another port over IPv6", stream_connect, OTHER, NULL,
	 AF_INET6, 0, CONNECT},
	{"tcp-bind", "bind the listed port", stream_bind, WRITE, NULL, AF_INET, 0, BIND},
	{"tcp-bind-other", "bind another port", stream_bind, OTHER, NULL, AF_INET, 0, BIND},
	{"tcp6-bind-other", "bind another port over IPv6", stream_bind, OTHER, NULL, AF_INET6, 0, BIND},
	{"tcp-listen-unbound", "listen on a socket without a port: the kernel picks one",
	 listen_unbound, OTHER, NULL, AF_INET, 0, {0}},
	{"udp-send", "send to the listed port by UDP", datagram_send, WRITE, NULL, AF_INET, 0, CONNECT},
	{"udp-send-other", "send to another port by UDP", datagram_send, OTHER, NULL, AF_INET, 0,
	 CONNECT},
	{"udp-bind", "bind the listed port of UDP", datagram_bind, WRITE, NULL, AF_INET, 0, BIND},
	{"udp-bind-other", "bind another port of UDP", datagram_bind, OTHER, NULL, AF_INET, 0, BIND},
	{"fast-open", "connect to another port by sendto and MSG_FASTOPEN", fast_open, OTHER, NULL,
	 AF_INET, 0, {ECONNREFUSED, EINPROGRESS}},
	{"fast-open-message", "the same by sendmsg", fast_open_message, OTHER, NULL, AF_INET, 0,
	 {ECONNREFUSED, EINPROGRESS}},
	{"mptcp-connect", "connect to another port by MPTCP", stream_connect, OTHER, NULL, AF_INET,
	 MPTCP, CONNECT},
	{"mptcp-bind", "bind another port of MPTCP", stream_bind, OTHER, NULL, AF_INET, MPTCP, BIND},
	{"sctp", "make an SCTP socket", make_socket, OTHER, "1", AF_INET, IPPROTO_SCTP, {0}},
	{"dccp", "make a DCCP socket", make_socket, OTHER, "6", AF_INET, IPPROTO_DCCP, {0}},
	{"udp-lite", "make a UDP-Lite socket", make_socket, OTHER, "2", AF_INET, IPPROTO_UDPLITE, {0}},
	{"ping", "make a socket for ping", make_socket, OTHER, "2", AF_INET, IPPROTO_ICMP, {0}},
	{"raw", "make a raw ICMP socket", make_socket, OTHER, "3", AF_INET, IPPROTO_ICMP, {0}},
	{"raw6", "make a raw ICMPv6 socket", make_socket, OTHER, "3", AF_INET6, IPPROTO_ICMPV6, {0}},
	{"packet", "make a packet socket", make_socket, OTHER, "3", AF_PACKET, 0, {0}},
	{"multicast", "join a multicast group on loopback", join_group, OTHER, NULL, 0, 0, {0}},
	{"tcp-upper-layer", "load a protocol into an unconnected socket", load_protocol, OTHER, NULL,
	 0, 0, {ENOTCONN, ENOENT}},
	{"socket-filter", "attach a program to a socket", attach_program, OTHER, NULL, 0, 0, {0}},
	{"netlink-route", "bind a netlink socket for routes", netlink, OTHER, NULL, 0, NETLINK_ROUTE,
	 {0}},
	{"netlink-uevent", "bind a netlink socket for devices", netlink, OTHER, NULL, 0,
	 NETLINK_KOBJECT_UEVENT, {0}},
	{"netlink-netfilter", "bind a netlink socket for packet filters", netlink, OTHER, NULL, 0,
	 NETLINK_NETFILTER, {0}},
	{"unix-pair", "make a pair of unix sockets", pair, OTHER, NULL, 0, 0, {0}},
	{"unix-connect", "connect to a socket in write", unix_connect, WRITE, NULL, 0, 0, CONNECT},
	{"unix-connect-other", "connect to a socket in other", unix_connect, OTHER, NULL, 0, 0,
	 CONNECT},
	{"unix-bind", "bind a socket in write", unix_bind, WRITE, NULL, 0, 0, {0}},
	{"unix-bind-other", "bind a socket in other", unix_bind, OTHER, NULL, 0, 0, {0}},
	{"unix-abstract", "connect to a stranger's abstract socket", unix_abstract, OTHER, NULL, 0, 0,
	 CONNECT},
	{"crypto", "make a socket for the kernel's ciphers (AF_ALG)", make_socket, OTHER, "5", AF_ALG,
	 0, {0}},
	{"vsock", "make a socket to the hypervisor", make_socket, OTHER, "1", AF_VSOCK, 0, {0}},
	{"bluetooth", "make a Bluetooth socket", make_socket, OTHER, "3", AF_BLUETOOTH, 1, {0}},
	{"xdp", "make an XDP socket", make_socket, OTHER, "3", AF_XDP, 0, {0}},
	{"key", "make an IPsec key socket (AF_KEY)", make_socket, OTHER, "3", AF_KEY, 2, {0}},
	{0},
};
