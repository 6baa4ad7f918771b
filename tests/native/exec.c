/* Which code may be run: programs, listed or not, or made by itself, and memory. */
#include "probe.h"

#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A whole program: writes the MESSAGE bytes that follow it and exits with 0. */
enum { MESSAGE = 32 };
extern const char tiny_code[], tiny_end[];
__asm__(".pushsection .rodata\n.globl tiny_code, tiny_end\n.balign 4\ntiny_code:\n"
#if defined __x86_64__
	"mov $1, %eax\nmov $1, %edi\nlea tiny_end(%rip), %rsi\nmov $32, %edx\nsyscall\n"
	"mov $231, %eax\nxor %edi, %edi\nsyscall\n"
#elif defined __aarch64__
	"mov x8, #64\nmov x0, #1\nadr x1, tiny_end\nmov x2, #32\nsvc #0\n"
	"mov x8, #94\nmov x0, #0\nsvc #0\n"
#else
#error "no code for this architecture"
#endif
	"tiny_end:\n.popsection\n");

static struct {
	Elf64_Ehdr header;
	Elf64_Phdr segment;
	char code[128];
} tiny;

/* The program that says NAME ok. */
static size_t make_tiny(const char *name)
{
	enum { BASE = 0x400000 };
	size_t length = (size_t)(tiny_end - tiny_code);
	tiny.header = (Elf64_Ehdr){
		.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		.e_type = ET_EXEC,
#if defined __x86_64__
		.e_machine = EM_X86_64,
#else
		.e_machine = EM_AARCH64,
#endif
		.e_version = EV_CURRENT, .e_entry = BASE + offsetof(__typeof__(tiny), code),
		.e_phoff = sizeof(Elf64_Ehdr), .e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1,
	};
	tiny.segment = (Elf64_Phdr){
		.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_vaddr = BASE, .p_filesz = sizeof tiny,
		.p_memsz = sizeof tiny, .p_align = 4096,
	};
	memcpy(tiny.code, tiny_code, length);
	memset(tiny.code + length, ' ', MESSAGE);
	memcpy(tiny.code + length, name, strlen(name));
	memcpy(tiny.code + length + strlen(name), " ok", 3);
	tiny.code[length + MESSAGE - 1] = '\n';
	return sizeof tiny;
}

static int execute(const struct action *a)
{
	char *const arguments[] = {"probe", "--say", (char *)a->name, NULL};
	return failed(execv(path(a->place, a->file), arguments));
}

static int execute_written(const struct action *a)
{
	const char *name = path(a->place, a->name);
	char *const arguments[] = {"tiny", NULL};
	size_t size = make_tiny(a->name);
	int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	if (fd < 0 || write(fd, &tiny, size) < 0)
		return errno;
	close(fd);
	return failed(execv(name, arguments));
}

static int execute_memory(const struct action *a)
{
	char *const arguments[] = {"tiny", NULL}, *const none[] = {NULL};
	size_t size = make_tiny(a->name);
	int fd = memfd_create("tiny", MFD_CLOEXEC);
	if (fd < 0 || write(fd, &tiny, size) < 0)
		return errno;
	return failed(syscall(SYS_execveat, fd, "", arguments, none, AT_EMPTY_PATH));
}

/* The loader starts any program that may be read: Landlock's right to execute is not asked. */
static int execute_by_loader(const struct action *a)
{
	if (!given.loader)
		return absent("no dynamic loader was given");
	char *const arguments[] = {(char *)given.loader, "/bin/echo", (char *)a->name, "ok", NULL};
	return failed(execv(given.loader, arguments));
}

static int map_writable_code(const struct action *a)
{
	(void)a;
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return page == MAP_FAILED ? errno : 0;
}

static int make_executable(const struct action *a)
{
	(void)a;
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return errno;
	*(volatile char *)page = 1;
	return failed(mprotect(page, 4096, PROT_READ | PROT_EXEC));
}

const struct action exec_actions[] = {
	{"exec", "start the program in exec", execute, EXEC, "program", 0, 0, {0}},
	{"exec-other", "start a program in other", execute, OTHER, "program", 0, 0, {0}},
	{"exec-write", "start a program in write", execute, WRITE, "program", 0, 0, {0}},
	{"exec-written", "write a program into write and start it", execute_written, WRITE, NULL, 0, 0,
	 {0}},
	{"exec-memory", "start a program from a memfd", execute_memory, OTHER, NULL, 0, 0, {0}},
	{"exec-loader", "start a program through the dynamic loader", execute_by_loader, OTHER, NULL,
	 0, 0, {0}},
	{"map-writable-code", "map memory writable and executable", map_writable_code, OTHER, NULL, 0,
	 0, {0}},
	{"make-executable", "make memory executable after writing to it", make_executable, OTHER, NULL,
	 0, 0, {0}},
	{0},
};
