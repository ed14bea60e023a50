/*
 * What the parts of the catalog share: the database, its prepared statements, and how one is run. Everything
 * here is called with `lock` held (or before anybody else knows the catalog).
 */
#ifndef ENGINE_CATALOG_DB_H
#define ENGINE_CATALOG_DB_H

#include <pthread.h>
#include <sqlite3.h>

#include "catalog.h"

enum catalog_statement {
    CATALOG_BEGIN,
    CATALOG_COMMIT,
    CATALOG_ROLLBACK,
    CATALOG_META_GET,
    CATALOG_META_SET,
    CATALOG_SLOT_ADD,
    CATALOG_SLOT_REMOVE,
    CATALOG_SLOT_RENAME,
    CATALOG_SLOT_STARTING,
    CATALOG_SLOT_LOADED,
    CATALOG_SLOT_ERROR,
    CATALOG_SLOT_KEY,
    CATALOG_SLOTS,
    CATALOG_ATTR_SET,
    CATALOG_ATTRS_REMOVE,
    CATALOG_ATTRS,
    CATALOG_IMAGE_FIND,
    CATALOG_IMAGE_ADD,
    CATALOG_IMAGES_PRUNE,
    CATALOG_NAME_NEXT,
    CATALOG_RUNNING_NEWEST,
    CATALOG_RUNNING_ADD,
    CATALOG_RUNNING_REMOVE,
    CATALOG_RUNNINGS,
    CATALOG_CLEAN_GET,
    CATALOG_CLEAN_SET,
    CATALOG_CLEAN_DROP,
    CATALOG_CLEAN_DROP_ALL,
    CATALOG_PREPARED_GET,
    CATALOG_PREPARED_SET,
    CATALOG_PREPARED_DROP,
    CATALOG_PREPARED_DROP_ALL,
    CATALOG_PREPARED_ALL,
    CATALOG_STATEMENTS
};

struct catalog {
    pthread_mutex_t lock;
    sqlite3 *db;
    sqlite3_stmt *statements[CATALOG_STATEMENTS];
    int store_fd; /* for syncfs at the end */
    uint8_t uuid[16];
    char path[4096]; /* of the database, for sentences */
};

/* Fills `err` from the database's last fault: -ENOSPC, -EROFS, -ENOMEM, -EEXIST (a name twice), -ENOTEMPTY
 * (still referred to), else -EIO. `doing` is a verb with its object. */
int catalog_fault(struct catalog *c, const char *doing, struct err *err);

/*
 * A statement that is being run: values are bound in the order of its question marks, and a failure is kept
 * until the run.
 *   QUERY q = query_on(c, CATALOG_...); query_int(&q, 1); r = query_run(&q, "note a slot", err);
 */
struct query {
    struct catalog *catalog;
    sqlite3_stmt *statement;
    int bound;
    int fault; /* of the binds, SQLite's */
};
struct query query_on(struct catalog *c, enum catalog_statement which);
void query_end(struct query *q);
#define QUERY __attribute__((cleanup(query_end))) struct query

void query_int(struct query *q, int64_t value);
void query_id(struct query *q, uint32_t id); /* 0 as NULL */
/* Borrowed until the end of the query. */
void query_text(struct query *q, const char *text);
void query_blob(struct query *q, const void *bytes, size_t len_bytes);
void query_null(struct query *q);

/* Runs one that gives no rows. */
int query_run(struct query *q, const char *doing, struct err *err) MUST_CHECK;
/* 1: a row is there to be read, 0: the end, or -errno. */
int query_step(struct query *q, const char *doing, struct err *err) MUST_CHECK;

/* The row's columns, from 0. Text and blobs of another length than fits are a damaged catalog: false. */
int64_t column_int(const struct query *q, int column);
uint32_t column_id(const struct query *q, int column);
bool column_text(const struct query *q, int column, char *out, size_t out_bytes);
bool column_blob(const struct query *q, int column, void *out, size_t len_bytes);
/* One of any length up to `room_bytes`; NULL is none. */
bool column_bytes(const struct query *q, int column, void *out, size_t room_bytes, size_t *len_bytes);
bool column_is_null(const struct query *q, int column);
/* -EIO: a row of `table` is not what this program wrote. */
int catalog_damaged(const struct catalog *c, const char *table, struct err *err);

/* One transaction of several statements: begin; then end with the result so far, which commits on 0 or more
 * and rolls back otherwise. Returns `result`, or the commit's fault. */
int catalog_begin(struct catalog *c, struct err *err) MUST_CHECK;
int catalog_end(struct catalog *c, int result, struct err *err) MUST_CHECK;

#endif
