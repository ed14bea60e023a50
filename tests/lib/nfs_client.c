/*
 * An NFSv4.0 client for the tests, on libnfs. nfs_client PORT EXPORT UID GID [VERB ARGUMENT...]: one command,
 * or without one each line of the standard input is one, whose output ends with the line "= 0" or "= ERRNO".
 *
 *   mkdir P | rmdir P | rm P | mv P Q | symlink TARGET P | readlink P | chmod OCTAL P | ls P
 *
 *   stat P: mode, uid, gid, size, inode.
 *
 *   put LOCAL P: makes or overwrites a file.
 *
 *   write P VALUE: one write at the beginning of an existing file; one space between the words of VALUE.
 *
 *   cat P: what is in a file, exactly as much as its size says, and nothing is behind.
 *
 *   pull P LOCAL: copies a tree; what is neither directory, file nor symlink is left out.
 *
 *   keep P: remembers the file handle of P, as the server gave it.
 *
 *   kept P: the inode of what that handle leads to.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <nfsc/libnfs.h>

/* Its other headers want this from whoever includes them. */
#ifndef EXTERN
#define EXTERN extern
#endif
#include <nfsc/libnfs-raw.h>

#include <nfsc/libnfs-raw-nfs4.h>

enum { WRITE_BYTES = 1024, HANDLES_MAX = 256, PATH_MAX_PARTS = 64, WORDS_MAX = 16, TARGET_BYTES = 4096 };

struct kept {
    char *path;
    char bytes[NFS4_FHSIZE];
    u_int len_bytes;
};

struct client {
    struct nfs_context *nfs;
    const char *export;
    struct kept kept[HANDLES_MAX];
    size_t kept_count;
};

/* Raw compounds, for handles: libnfs itself goes by paths. */
struct answer {
    bool done;
    int result;
    nfsstat4 status;
    char handle[NFS4_FHSIZE];
    u_int handle_bytes;
    uint64_t inode;
    char target[TARGET_BYTES]; /* of a symlink */
};

static void take(struct answer *answer, const nfs_resop4 *op)
{
    if (op->resop == OP_GETFH && op->nfs_resop4_u.opgetfh.status == NFS4_OK) {
        const nfs_fh4 *fh = &op->nfs_resop4_u.opgetfh.GETFH4res_u.resok4.object;
        answer->handle_bytes = fh->nfs_fh4_len;
        memcpy(answer->handle, fh->nfs_fh4_val, fh->nfs_fh4_len);
    }
    if (op->resop == OP_READLINK && op->nfs_resop4_u.opreadlink.status == NFS4_OK) {
        const linktext4 *link = &op->nfs_resop4_u.opreadlink.READLINK4res_u.resok4.link;
        snprintf(answer->target, sizeof(answer->target), "%.*s", (int)link->utf8string_len,
                 link->utf8string_val);
    }
    if (op->resop == OP_GETATTR && op->nfs_resop4_u.opgetattr.status == NFS4_OK) {
        const attrlist4 *values = &op->nfs_resop4_u.opgetattr.GETATTR4res_u.resok4.obj_attributes.attr_vals;
        for (u_int i = 0; i < 8 && i < values->attrlist4_len; i++)
            answer->inode = answer->inode << 8 | (uint8_t)values->attrlist4_val[i];
    }
}

static void on_answer(struct rpc_context *rpc, int status, void *data, void *arg)
{
    struct answer *answer = arg;
    const COMPOUND4res *res = data;
    (void)rpc;
    answer->done = true;
    answer->result = status == RPC_STATUS_SUCCESS ? 0 : -ECONNRESET;
    if (answer->result < 0)
        return;
    answer->status = res->status;
    for (u_int i = 0; i < res->resarray.resarray_len; i++) {
        nfs_resop4 op; /* libnfs aligns nothing */
        memcpy(&op, (const char *)res->resarray.resarray_val + i * sizeof(op), sizeof(op));
        take(answer, &op);
    }
}

static int errno_of(nfsstat4 status)
{
    switch (status) {
    case NFS4ERR_NAMETOOLONG:
        return ENAMETOOLONG;
    case NFS4ERR_NOTEMPTY:
        return ENOTEMPTY;
    case NFS4ERR_DQUOT:
        return EDQUOT;
    case NFS4ERR_STALE:
    case NFS4ERR_FHEXPIRED:
        return ESTALE;
    case NFS4ERR_BADHANDLE:
        return EBADF;
    case NFS4ERR_DELAY: /* a real client tries again, for ever */
        return EAGAIN;
    default: /* the numbers of old are errno's */
        return status <= NFS4ERR_MLINK ? (int)status : EREMOTEIO;
    }
}

static int compound(struct client *client, nfs_argop4 *ops, u_int count, struct answer *answer)
{
    struct rpc_context *rpc = nfs_get_rpc_context(client->nfs);
    COMPOUND4args args = {.argarray = {.argarray_len = count, .argarray_val = ops}};
    if (rpc_nfs4_compound_async(rpc, on_answer, &args, answer) != 0)
        return -ECONNRESET;
    while (!answer->done) {
        struct pollfd ready = {.fd = rpc_get_fd(rpc), .events = (short)rpc_which_events(rpc)};
        if (poll(&ready, 1, 60000) <= 0 || rpc_service(rpc, ready.revents) < 0)
            return -ETIMEDOUT;
    }
    if (answer->result < 0)
        return answer->result;
    if (errno_of(answer->status) == EREMOTEIO)
        fprintf(stderr, "NFS status %d\n", (int)answer->status);
    return -errno_of(answer->status);
}

static nfs_argop4 op_inode(void)
{
    static uint32_t mask[] = {1U << FATTR4_FILEID};
    nfs_argop4 op = {.argop = OP_GETATTR};
    op.nfs_argop4_u.opgetattr.attr_request.bitmap4_len = 1;
    op.nfs_argop4_u.opgetattr.attr_request.bitmap4_val = mask;
    return op;
}

/* From the root to `path` of the export, whose room the caller keeps until the compound is answered. */
static u_int go_to(nfs_argop4 *ops, char *path)
{
    u_int count = 1;
    char *rest = NULL;
    ops[0] = (nfs_argop4){.argop = OP_PUTROOTFH};
    for (char *part = strtok_r(path, "/", &rest); part && count <= PATH_MAX_PARTS;
         part = strtok_r(NULL, "/", &rest)) {
        ops[count] = (nfs_argop4){.argop = OP_LOOKUP};
        ops[count].nfs_argop4_u.oplookup.objname.utf8string_len = (u_int)strlen(part);
        ops[count++].nfs_argop4_u.oplookup.objname.utf8string_val = part;
    }
    return count;
}

/* `op` on what is at `path`; then its inode. */
static int at_path(struct client *client, const char *path, const nfs_argop4 *op, struct answer *answer)
{
    char *whole = NULL;
    nfs_argop4 ops[PATH_MAX_PARTS + 3];
    if (asprintf(&whole, "%s/%s", client->export, path) < 0)
        return -ENOMEM;
    u_int count = go_to(ops, whole);
    ops[count++] = *op;
    ops[count++] = op_inode();
    int r = compound(client, ops, count, answer);
    free(whole);
    return r;
}

static int do_keep(struct client *client, char **words)
{
    struct answer answer = {0};
    if (client->kept_count == HANDLES_MAX)
        return -ENOSPC;
    int r = at_path(client, words[0], &(nfs_argop4){.argop = OP_GETFH}, &answer);
    if (r < 0)
        return r;
    struct kept *kept = &client->kept[client->kept_count++];
    kept->path = strdup(words[0]);
    kept->len_bytes = answer.handle_bytes;
    memcpy(kept->bytes, answer.handle, answer.handle_bytes);
    printf("%llu\n", (unsigned long long)answer.inode);
    return 0;
}

static int do_kept(struct client *client, char **words)
{
    for (size_t i = 0; i < client->kept_count; i++) {
        struct kept *kept = &client->kept[i];
        if (strcmp(kept->path, words[0]) != 0)
            continue;
        nfs_argop4 ops[2] = {{.argop = OP_PUTFH}, op_inode()};
        ops[0].nfs_argop4_u.opputfh.object.nfs_fh4_len = kept->len_bytes;
        ops[0].nfs_argop4_u.opputfh.object.nfs_fh4_val = kept->bytes;
        struct answer answer = {0};
        int r = compound(client, ops, 2, &answer);
        if (r == 0)
            printf("%llu\n", (unsigned long long)answer.inode);
        return r;
    }
    return -ENOKEY;
}

static int do_mkdir(struct client *client, char **words)
{
    return nfs_mkdir(client->nfs, words[0]);
}

static int do_rmdir(struct client *client, char **words)
{
    return nfs_rmdir(client->nfs, words[0]);
}

static int do_rm(struct client *client, char **words)
{
    return nfs_unlink(client->nfs, words[0]);
}

static int do_mv(struct client *client, char **words)
{
    return nfs_rename(client->nfs, words[0], words[1]);
}

static int do_symlink(struct client *client, char **words)
{
    return nfs_symlink(client->nfs, words[0], words[1]);
}

/* libnfs's own reads beyond the end of the answer. */
static int link_target(struct client *client, const char *path, struct answer *answer)
{
    *answer = (struct answer){0};
    return at_path(client, path, &(nfs_argop4){.argop = OP_READLINK}, answer);
}

static int do_readlink(struct client *client, char **words)
{
    struct answer answer;
    int r = link_target(client, words[0], &answer);
    if (r == 0)
        puts(answer.target);
    return r;
}

static int do_chmod(struct client *client, char **words)
{
    return nfs_chmod(client->nfs, words[1], (int)strtol(words[0], NULL, 8));
}

static int do_stat(struct client *client, char **words)
{
    struct nfs_stat_64 st;
    int r = nfs_lstat64(client->nfs, words[0], &st);
    if (r == 0)
        printf("%o %u %u %llu %llu\n", (unsigned)st.nfs_mode & 07777, (unsigned)st.nfs_uid,
               (unsigned)st.nfs_gid, (unsigned long long)st.nfs_size, (unsigned long long)st.nfs_ino);
    return r;
}

static int write_all(struct client *client, struct nfsfh *file, const char *bytes, size_t len_bytes,
                     uint64_t at)
{
    for (size_t done = 0; done < len_bytes;) {
        size_t n = len_bytes - done < WRITE_BYTES ? len_bytes - done : WRITE_BYTES;
        int r = nfs_pwrite(client->nfs, file, at + done, n, bytes + done);
        if (r <= 0)
            return r < 0 ? r : -EIO;
        done += (size_t)r;
    }
    return 0;
}

static int do_put(struct client *client, char **words)
{
    char bytes[65536];
    struct nfsfh *file = NULL;
    uint64_t at = 0;
    ssize_t n = 0;
    int from = open(words[0], O_RDONLY | O_CLOEXEC);
    if (from < 0)
        return -errno;
    int r = nfs_open2(client->nfs, words[1], O_WRONLY | O_CREAT | O_TRUNC, 0644, &file);
    if (r == 0) {
        while (r == 0 && (n = read(from, bytes, sizeof(bytes))) > 0) {
            r = write_all(client, file, bytes, (size_t)n, at);
            at += (uint64_t)n;
        }
        int closed = nfs_close(client->nfs, file);
        r = r == 0 ? closed : r;
    }
    close(from);
    return n < 0 ? -EIO : r;
}

/* libnfs opens for writing only who may write to the directory, so this is a write without an open. */
static int do_write(struct client *client, char **words)
{
    char value[8192] = "";
    struct answer answer = {0};
    nfs_argop4 op = {.argop = OP_WRITE};
    for (size_t i = 1; words[i]; i++) {
        size_t at = strlen(value);
        snprintf(value + at, sizeof(value) - at, "%s%s", i > 1 ? " " : "", words[i]);
    }
    strncat(value, "\n", sizeof(value) - strlen(value) - 1);
    op.nfs_argop4_u.opwrite.stable = FILE_SYNC4;
    op.nfs_argop4_u.opwrite.data.data_len = (u_int)strlen(value);
    op.nfs_argop4_u.opwrite.data.data_val = value;
    return at_path(client, words[0], &op, &answer);
}

/* The whole file, whose size must be what it has. */
static int copy_out(struct client *client, const char *path, int to)
{
    char bytes[65536];
    struct nfs_stat_64 st;
    struct nfsfh *file = NULL;
    uint64_t at = 0;
    int r = nfs_open(client->nfs, path, O_RDONLY, &file);
    if (r < 0)
        return r;
    r = nfs_fstat64(client->nfs, file, &st);
    while (r == 0) {
        int n = nfs_pread(client->nfs, file, at, sizeof(bytes), bytes);
        if (n <= 0 || write(to, bytes, (size_t)n) != n) {
            r = n < 0 ? n : 0;
            break;
        }
        at += (uint64_t)n;
    }
    nfs_close(client->nfs, file);
    return r == 0 && at != st.nfs_size ? -EPROTO : r;
}

static int do_cat(struct client *client, char **words)
{
    fflush(stdout);
    return copy_out(client, words[0], STDOUT_FILENO);
}

static int do_ls(struct client *client, char **words)
{
    struct nfsdir *dir = NULL;
    int r = nfs_opendir(client->nfs, words[0], &dir);
    if (r < 0)
        return r;
    const struct nfsdirent *entry;
    while ((entry = nfs_readdir(client->nfs, dir)))
        if (strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0)
            puts(entry->name);
    nfs_closedir(client->nfs, dir);
    return 0;
}

static int pull(struct client *client, const char *path, const char *local);

static int pull_dir(struct client *client, const char *path, const char *local)
{
    struct nfsdir *dir = NULL;
    if (mkdir(local, 0700) < 0)
        return -errno;
    int r = nfs_opendir(client->nfs, path, &dir);
    if (r < 0)
        return r;
    const struct nfsdirent *entry;
    while (r == 0 && (entry = nfs_readdir(client->nfs, dir))) {
        char *from = NULL, *to = NULL;
        if (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0)
            continue;
        r = -ENOMEM;
        if (asprintf(&from, "%s/%s", path, entry->name) >= 0) {
            if (asprintf(&to, "%s/%s", local, entry->name) >= 0) {
                r = pull(client, from, to);
                free(to);
            }
            free(from);
        }
    }
    nfs_closedir(client->nfs, dir);
    return r;
}

static int pull(struct client *client, const char *path, const char *local)
{
    struct nfs_stat_64 st;
    struct answer answer;
    int r = nfs_lstat64(client->nfs, path, &st);
    if (r < 0)
        return r;
    switch (st.nfs_mode & S_IFMT) {
    case S_IFDIR:
        r = pull_dir(client, path, local);
        break;
    case S_IFLNK:
        r = link_target(client, path, &answer);
        return r < 0 ? r : symlink(answer.target, local) < 0 ? -errno : 0;
    case S_IFREG: {
        int to = open(local, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        r = to < 0 ? -errno : copy_out(client, path, to);
        if (to >= 0)
            close(to);
        break;
    }
    default:
        return 0;
    }
    return r == 0 && chmod(local, (mode_t)st.nfs_mode & 07777) < 0 ? -errno : r;
}

static int do_pull(struct client *client, char **words)
{
    return pull(client, words[0], words[1]);
}

static const struct verb {
    const char *name;
    size_t words;
    int (*run)(struct client *client, char **words);
} verbs[] = {
    {"mkdir", 1, do_mkdir},     {"rmdir", 1, do_rmdir},       {"rm", 1, do_rm},       {"mv", 2, do_mv},
    {"symlink", 2, do_symlink}, {"readlink", 1, do_readlink}, {"chmod", 2, do_chmod}, {"stat", 1, do_stat},
    {"put", 2, do_put},         {"write", 1, do_write},       {"cat", 1, do_cat},     {"ls", 1, do_ls},
    {"pull", 2, do_pull},       {"keep", 1, do_keep},         {"kept", 1, do_kept},
};

static int run(struct client *client, char **words)
{
    size_t count = 0;
    while (words[count])
        count++;
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (count > 0 && strcmp(verbs[i].name, words[0]) == 0 && count > verbs[i].words)
            return verbs[i].run(client, words + 1);
    return -ENOSYS;
}

static const char *name_of(int r)
{
    const char *name = r == 0 ? "0" : strerrorname_np(-r);
    return name ? name : "?";
}

static int run_lines(struct client *client)
{
    char line[8192];
    while (fgets(line, sizeof(line), stdin)) {
        char *words[WORDS_MAX] = {0}, *rest = NULL;
        size_t count = 0;
        for (char *word = strtok_r(line, " \n", &rest); word && count + 1 < WORDS_MAX;
             word = strtok_r(NULL, " \n", &rest))
            words[count++] = word;
        printf("= %s\n", name_of(run(client, words)));
        fflush(stdout);
    }
    return 0;
}

static void client_end(struct client *client)
{
    for (size_t i = 0; i < client->kept_count; i++)
        free(client->kept[i].path);
    nfs_destroy_context(client->nfs);
}

static int start(struct client *client, char **argv)
{
    char url[512];
    snprintf(url, sizeof(url), "nfs://127.0.0.1%s?version=4&nfsport=%s&uid=%s&gid=%s", argv[2], argv[1],
             argv[3], argv[4]);
    struct nfs_url *parsed = nfs_parse_url_dir(client->nfs, url);
    if (!parsed)
        return -EINVAL;
    nfs_set_dircache(client->nfs, 0);
    int r = nfs_mount(client->nfs, parsed->server, parsed->path);
    nfs_destroy_url(parsed);
    return r;
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    struct client client = {.nfs = nfs_init_context(), .export = argv[2]};
    if (!client.nfs)
        return 2;
    int r = start(&client, argv);
    if (r < 0) {
        fprintf(stderr, "mount: %s\n", nfs_get_error(client.nfs));
    } else if (argc == 5) {
        r = run_lines(&client);
    } else {
        r = run(&client, argv + 5);
        fflush(stdout);
        if (r < 0)
            fprintf(stderr, "%s\n", name_of(r));
    }
    client_end(&client);
    return r < 0 ? 1 : 0;
}
