/*
 * The floor: a TCP echo on one epoll loop in one thread, that looks at nothing. It moves the
 * bytes that a WebSocket echo moves, so what it costs is what the kernel costs.
 *
 * Usage: floor ADDRESS:PORT. It prints "floor on ADDRESS:PORT" with the port it got, and runs
 * until it is killed.
 *
 * The one thing it knows is the request for a broadcast: the three bytes of an unmasked frame
 * with the binary message "B" (RFC 6455 section 5.2). It answers by sending every connection
 * one frame of 128 bytes.
 *
 * The client never has more outstanding than a socket buffer holds, so nothing is queued
 * here: a connection whose socket is full is closed, which the client reports.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 512, READ = 64 << 10, BACKLOG = 4096, ACCEPTS = 64, DESCRIPTORS = 1 << 20, FRAME = 132 };

static unsigned char frame[FRAME] = {0x82, 126, 0, 128};
static const unsigned char request[3] = {0x82, 1, 'B'};

static char buffer[READ];
static unsigned char open_now[DESCRIPTORS]; /* by descriptor */
static int highest;                         /* descriptor seen */

static void die(const char *what) {
	perror(what);
	exit(1);
}

static void drop(int fd) {
	open_now[fd] = 0;
	close(fd);
}

static void send_all(int fd, const void *p, ssize_t n) {
	if (write(fd, p, n) != n) {
		fprintf(stderr, "floor: connection %d does not read: closed\n", fd);
		drop(fd);
	}
}

static void broadcast(void) {
	for (int fd = 0; fd <= highest; fd++)
		if (open_now[fd])
			send_all(fd, frame, FRAME);
}

static void serve(int fd) {
	ssize_t n = read(fd, buffer, READ);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		drop(fd);
	else if (n == sizeof request && memcmp(buffer, request, sizeof request) == 0)
		broadcast();
	else
		send_all(fd, buffer, n);
}

static void accept_all(int epoll, int listener) {
	for (int i = 0; i < ACCEPTS; i++) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
		if (fd >= DESCRIPTORS || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) < 0) {
			close(fd);
			continue;
		}
		open_now[fd] = 1;
		if (fd > highest)
			highest = fd;
	}
}

/* listen_on takes ADDRESS:PORT and prints what it got. */
static int listen_on(char *where) {
	struct sockaddr_in a = {.sin_family = AF_INET};
	socklen_t len = sizeof a;
	int on = 1;
	char *colon = strrchr(where, ':');
	if (colon == NULL)
		goto usage;
	*colon = 0;
	a.sin_port = htons(atoi(colon + 1));
	if (inet_pton(AF_INET, where, &a.sin_addr) != 1)
		goto usage;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* accepted sockets inherit it */
	if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, BACKLOG) < 0)
		die("listen");
	getsockname(fd, (struct sockaddr *)&a, &len);
	printf("floor on %s:%d\n", where, ntohs(a.sin_port));
	fflush(stdout);
	return fd;
usage:
	fprintf(stderr, "usage: floor ADDRESS:PORT\n");
	exit(2);
}

int main(int argc, char **argv) {
	struct rlimit limit;
	static struct epoll_event events[EVENTS];
	signal(SIGPIPE, SIG_IGN);
	signal(SIGUSR1, SIG_IGN); /* others return free memory then; here is none */
	memset(frame + 4, 'b', FRAME - 4);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	int listener = listen_on(argc == 2 ? argv[1] : "");
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e = {.events = EPOLLIN, .data.fd = listener};
	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e) < 0)
		die("epoll");
	for (;;) {
		int n = epoll_wait(epoll, events, EVENTS, -1);
		if (n < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < n; i++) {
			if (events[i].data.fd == listener)
				accept_all(epoll, listener);
			else
				serve(events[i].data.fd);
		}
	}
}
