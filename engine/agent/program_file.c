#include "program_file.h"

#include <elf.h>
#include <link.h>
#include <string.h>

#include "base/fdio.h"

#define HEADERS_MAX 64
#define SCRIPT_LINE_BYTES 256 /* BINPRM_BUF_SIZE of the kernel */

/* The machine that this program was made for. */
static int own_machine(Elf64_Half *machine, unsigned char *class)
{
    ElfW(Ehdr) own;
    OWNED_FILE self = fopen("/proc/self/exe", "re");
    if (!self || fread(&own, sizeof(own), 1, self) != 1)
        return -ENOENT;
    *machine = own.e_machine;
    *class = own.e_ident[EI_CLASS];
    return 0;
}

static int read_elf(int fd, const ElfW(Ehdr) * header, struct program_file *out)
{
    if (header->e_phentsize != sizeof(ElfW(Phdr)))
        return 0; /* the kernel will say what it thinks of it */
    unsigned count = header->e_phnum < HEADERS_MAX ? header->e_phnum : HEADERS_MAX;
    for (unsigned i = 0; i < count; i++) {
        ElfW(Phdr) part;
        ssize_t n = fd_read_at(fd, &part, sizeof(part), header->e_phoff + (uint64_t)i * sizeof(part));
        if (n < (ssize_t)sizeof(part))
            return n < 0 ? (int)n : 0;
        if (part.p_type != PT_INTERP || part.p_filesz == 0 || part.p_filesz >= sizeof(out->interpreter))
            continue;
        n = fd_read_at(fd, out->interpreter, part.p_filesz, part.p_offset);
        if (n < 0)
            return (int)n;
        out->interpreter[n] = '\0';
    }
    return 0;
}

static void read_script(const char *line, size_t len_bytes, struct program_file *out)
{
    size_t from = 2, to;
    while (from < len_bytes && (line[from] == ' ' || line[from] == '\t'))
        from++;
    for (to = from; to < len_bytes && !strchr(" \t\n", line[to]); to++)
        ;
    memcpy(out->interpreter, line + from, to - from);
    out->interpreter[to - from] = '\0';
}

int program_file_read(int fd, struct program_file *out)
{
    union {
        ElfW(Ehdr) elf;
        char line[SCRIPT_LINE_BYTES];
    } head = {0};
    struct program_file file = {.kind = PROGRAM_UNKNOWN};
    ssize_t n = fd_read_at(fd, &head, sizeof(head), 0);
    if (n < 0)
        return (int)n;
    if (n > 2 && memcmp(head.line, "#!", 2) == 0) {
        file.kind = PROGRAM_SCRIPT;
        read_script(head.line, (size_t)n, &file);
    } else if (n >= (ssize_t)sizeof(head.elf) && memcmp(head.elf.e_ident, ELFMAG, SELFMAG) == 0) {
        Elf64_Half machine = 0;
        unsigned char class = 0;
        int r = own_machine(&machine, &class);
        if (r < 0)
            return r;
        file.kind = PROGRAM_ELF;
        if (head.elf.e_ident[EI_CLASS] == class) {
            if (head.elf.e_machine != machine)
                file.kind = PROGRAM_FOREIGN;
            else
                r = read_elf(fd, &head.elf, &file);
        } /* else: a 32-bit program on a 64-bit kernel, perhaps: execve tells */
        if (r < 0)
            return r;
    }
    *out = file;
    return 0;
}
