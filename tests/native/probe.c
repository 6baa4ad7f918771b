/* probe [OPTIONS] --all DIR | [OPTIONS] ACTION DIR | --list | --say NAME
 *
 * ACTION is a name, or its number as --list counts. --all tries each in a child of its own, after
 * at most two seconds. A line each: NAME ok | NAME ERRNO | NAME killed SIGNAL | NAME timeout |
 * NAME absent (reason) | NAME exited STATUS. For a single action, its death is for the caller to
 * see.
 * --filter FILE: an array of struct sock_filter, loaded (with NO_NEW_PRIVS) right before acting.
 * --say NAME is what exec actions start: it says that it was started.
 */
#include "probe.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct given given;

static const struct { const char *name; const struct action *actions; } groups[] = {
	{"file", file_actions},       {"metadata", metadata_actions}, {"exec", exec_actions},
	{"process", process_actions}, {"mount", mount_actions},       {"socket", socket_actions},
	{"kernel", kernel_actions},   {"call", call_actions},
};
enum { GROUPS = sizeof groups / sizeof *groups, SECONDS = 2 };

static struct sock_filter program[4096];  /* BPF_MAXINSNS */
static unsigned short program_length;
static const char *acting, *why;

static void say(const char *format, ...)
{
	char line[256];
	va_list arguments;
	va_start(arguments, format);
	int length = vsnprintf(line, sizeof line, format, arguments);
	va_end(arguments);
	if (write(STDOUT_FILENO, line, (size_t)length) != length)
		_exit(3);
}

static _Noreturn void fail(const char *what, const char *object)
{
	fprintf(stderr, "probe: cannot %s %s: %s; nothing is tried\n", what, object, strerror(errno));
	exit(2);
}

int absent(const char *reason)
{
	why = reason;
	return ABSENT;
}

const char *path(enum place place, const char *name)
{
	static const char *const places[] = {"read", "write", "exec", "other"};
	static char made[4][4096];
	static unsigned turn;
	char *into = made[turn++ % 4];
	snprintf(into, sizeof made[0], "%s/%s/%s", given.dir, places[place], name);
	return into;
}

int reap(pid_t child)
{
	int status;
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

static void load_filter(const char *name)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : read(fd, program, sizeof program);
	if (size < 0)
		fail("read", name);
	program_length = (unsigned short)((size_t)size / sizeof *program);
	close(fd);
}

static void on_alarm(int number)
{
	(void)number;
	say("%s timeout\n", acting);
	_exit(0);
}

/* Never returns to its caller's loop: an action may leave the process in any state. */
static _Noreturn void act(const struct action *action)
{
	acting = action->name;
	signal(SIGALRM, on_alarm);
	alarm(SECONDS);
	if (program_length) {
		struct sock_fprog filter = {program_length, program};
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) < 0)
			fail("load", given.filter);
	}
	int result = action->act(action);
	for (size_t i = 0; i < sizeof action->reached / sizeof(int); i++)
		if (result > 0 && result == action->reached[i])
			result = 0;
	if (result == 0)
		say("%s ok\n", action->name);
	else if (result == ABSENT)
		say("%s absent (%s)\n", action->name, why);
	else if (strerrorname_np(result))
		say("%s %s\n", action->name, strerrorname_np(result));
	else
		say("%s errno %d\n", action->name, result);
	_exit(0);
}

static void act_in_child(const struct action *action)
{
	int status;
	pid_t child = fork();
	if (child < 0)
		fail("fork for", action->name);
	if (!child)
		act(action);
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			fail("wait for", action->name);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)  /* of a program it became */
		say("%s timeout\n", action->name);
	else if (WIFSIGNALED(status))
		say("%s killed SIG%s\n", action->name, sigabbrev_np(WTERMSIG(status)));
	else if (WEXITSTATUS(status))
		say("%s exited %d\n", action->name, WEXITSTATUS(status));
}

static const struct action *find(const char *name)
{
	char *end;
	long number = strtol(name, &end, 10);
	for (size_t g = 0; g < GROUPS; g++)
		for (const struct action *a = groups[g].actions; a->name; a++)
			if (!strcmp(a->name, name) || (!*end && number-- == 0))
				return a;
	errno = EINVAL;
	fail("find the action", name);
}

static void list(void)
{
	for (size_t g = 0; g < GROUPS; g++)
		for (const struct action *a = groups[g].actions; a->name; a++)
			say("%s\t%s\t%s\n", a->name, groups[g].name, a->what);
}

static int option(char **arguments)
{
	const struct { const char *name, **text; int *number; } options[] = {
		{"--filter", &given.filter, NULL},   {"--loader", &given.loader, NULL},
		{"--block", &given.block, NULL},     {"--abstract", &given.abstract, NULL},
		{"--port", NULL, &given.port},       {"--other-port", NULL, &given.other_port},
		{"--peer", NULL, &given.peer},       {"--stranger", NULL, &given.stranger},
	};
	for (size_t i = 0; i < sizeof options / sizeof *options; i++)
		if (arguments[1] && !strcmp(arguments[0], options[i].name)) {
			if (options[i].text)
				*options[i].text = arguments[1];
			else
				*options[i].number = atoi(arguments[1]);
			return 1;
		}
	return 0;
}

int main(int count, char **arguments)
{
	arguments++;
	if (count == 2 && !strcmp(*arguments, "--list")) {
		list();
		return 0;
	}
	if (count == 3 && !strcmp(*arguments, "--say")) {
		say("%s ok\n", arguments[1]);
		return 0;
	}
	while (*arguments && option(arguments))
		arguments += 2;
	if (!arguments[0] || !arguments[1] || arguments[2]) {
		errno = EINVAL;
		fail("understand", *arguments ? *arguments : "no arguments");
	}
	given.dir = arguments[1];
	if (given.filter)
		load_filter(given.filter);
	if (strcmp(*arguments, "--all"))
		act(find(*arguments));
	for (size_t g = 0; g < GROUPS; g++)
		for (const struct action *a = groups[g].actions; a->name; a++)
			act_in_child(a);
	return 0;
}
