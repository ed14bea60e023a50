#include "catalog_db.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* Of the reasons that the system gives these are ones that people can mend. */
static bool can_be_mended(int code)
{
    return code == ENOSPC || code == EDQUOT || code == EROFS;
}

/*
 * Why the disk failed. What SQLite kept of errno may be of something that it did since, so the file is asked:
 * to set its times is refused where it cannot be written, and harmless where it can. 0: the file itself is at
 * fault.
 */
static int disk_fault(const struct catalog *c)
{
    int kept = sqlite3_system_errno(c->db);
    if (can_be_mended(kept))
        return kept;
    return utimensat(AT_FDCWD, c->path, NULL, 0) < 0 ? errno : 0;
}

int catalog_fault(struct catalog *c, const char *doing, struct err *err)
{
    int extended = sqlite3_extended_errcode(c->db);
    int code = EIO, disk;
    switch (extended & 0xff) {
    case SQLITE_FULL:
        code = ENOSPC;
        break;
    case SQLITE_READONLY:
        code = EROFS;
        break;
    case SQLITE_NOMEM:
        code = ENOMEM;
        break;
    case SQLITE_IOERR:
    case SQLITE_CORRUPT: /* so it calls what it cannot read once writing has failed */
        disk = disk_fault(c);
        if (disk)
            return err_sys(err, can_be_mended(disk) ? disk : EIO, "%s: cannot %s", c->path, doing);
        break;
    case SQLITE_CONSTRAINT:
        if (extended == SQLITE_CONSTRAINT_UNIQUE || extended == SQLITE_CONSTRAINT_PRIMARYKEY)
            code = EEXIST;
        else if (extended == SQLITE_CONSTRAINT_FOREIGNKEY)
            code = ENOTEMPTY;
        break;
    default:
        break;
    }
    return err_set(err, code, "%s: cannot %s: %s", c->path, doing, sqlite3_errmsg(c->db));
}

struct query query_on(struct catalog *c, enum catalog_statement which)
{
    return (struct query){.catalog = c, .statement = c->statements[which], .bound = 0, .fault = SQLITE_OK};
}

void query_end(struct query *q)
{
    if (q->statement) {
        sqlite3_reset(q->statement);
        sqlite3_clear_bindings(q->statement);
    }
}

static void bound(struct query *q, int fault)
{
    if (q->fault == SQLITE_OK)
        q->fault = fault;
}

void query_int(struct query *q, int64_t value)
{
    bound(q, sqlite3_bind_int64(q->statement, ++q->bound, value));
}

void query_id(struct query *q, uint32_t id)
{
    if (id)
        query_int(q, id);
    else
        query_null(q);
}

void query_text(struct query *q, const char *text)
{
    bound(q, sqlite3_bind_text(q->statement, ++q->bound, text, -1, SQLITE_STATIC));
}

void query_blob(struct query *q, const void *bytes, size_t len_bytes)
{
    bound(q, sqlite3_bind_blob64(q->statement, ++q->bound, bytes, len_bytes, SQLITE_STATIC));
}

void query_null(struct query *q)
{
    bound(q, sqlite3_bind_null(q->statement, ++q->bound));
}

int query_step(struct query *q, const char *doing, struct err *err)
{
    if (q->fault != SQLITE_OK)
        return err_set(err, q->fault == SQLITE_NOMEM ? ENOMEM : EIO, "%s: cannot %s: %s", q->catalog->path,
                       doing, sqlite3_errstr(q->fault));
    int r = sqlite3_step(q->statement);
    if (r == SQLITE_ROW)
        return 1;
    if (r == SQLITE_DONE)
        return 0;
    return catalog_fault(q->catalog, doing, err);
}

int query_run(struct query *q, const char *doing, struct err *err)
{
    int r = query_step(q, doing, err);
    return r > 0 ? 0 : r;
}

int64_t column_int(const struct query *q, int column)
{
    return sqlite3_column_int64(q->statement, column);
}

uint32_t column_id(const struct query *q, int column)
{
    int64_t id = column_int(q, column);
    return id > 0 && id <= UINT32_MAX ? (uint32_t)id : 0;
}

bool column_text(const struct query *q, int column, char *out, size_t out_bytes)
{
    const char *text = (const char *)sqlite3_column_text(q->statement, column);
    int len = sqlite3_column_bytes(q->statement, column);
    if (!text || len < 0 || (size_t)len >= out_bytes || memchr(text, '\0', (size_t)len))
        return false;
    memcpy(out, text, (size_t)len + 1);
    return true;
}

bool column_blob(const struct query *q, int column, void *out, size_t len_bytes)
{
    const void *bytes = sqlite3_column_blob(q->statement, column);
    int len = sqlite3_column_bytes(q->statement, column);
    if (!bytes || len < 0 || (size_t)len != len_bytes)
        return false;
    memcpy(out, bytes, len_bytes);
    return true;
}

bool column_bytes(const struct query *q, int column, void *out, size_t room_bytes, size_t *len_bytes)
{
    const void *bytes = sqlite3_column_blob(q->statement, column);
    int len = sqlite3_column_bytes(q->statement, column);
    if (len < 0 || (size_t)len > room_bytes)
        return false;
    if (bytes && len)
        memcpy(out, bytes, (size_t)len);
    *len_bytes = bytes ? (size_t)len : 0;
    return true;
}

bool column_is_null(const struct query *q, int column)
{
    return sqlite3_column_type(q->statement, column) == SQLITE_NULL;
}

int catalog_damaged(const struct catalog *c, const char *table, struct err *err)
{
    return err_set(err, EIO, "%s: a row of the table %s is damaged: restore the store from a backup", c->path,
                   table);
}

int catalog_begin(struct catalog *c, struct err *err)
{
    QUERY q = query_on(c, CATALOG_BEGIN);
    return query_run(&q, "begin a transaction", err);
}

int catalog_end(struct catalog *c, int result, struct err *err)
{
    if (result >= 0) {
        QUERY q = query_on(c, CATALOG_COMMIT);
        int r = query_run(&q, "commit", err);
        if (r < 0)
            result = r;
    }
    /* Some faults have rolled it back already. */
    if (result < 0 && !sqlite3_get_autocommit(c->db)) {
        QUERY q = query_on(c, CATALOG_ROLLBACK);
        if (query_run(&q, "roll back", NULL) < 0)
            return result;
    }
    return result;
}
