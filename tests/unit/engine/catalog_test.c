#include "scratch.h"

#include <sqlite3.h>
#include <sys/wait.h>

#include "catalog_db.h"

static struct catalog *open_at(const struct scratch *s)
{
    struct catalog *c = NULL;
    struct err err = {0};
    if (catalog_open(s->path, &c, &err) < 0)
        fail_msg("%s", err.message);
    return c;
}

static struct catalog_slot slot_named(const char *name)
{
    struct catalog_slot slot = {.attr = {.uid = 1, .gid = 2, .mode = 0755, .changed_ns = 3}, .state_ns = 4};
    snprintf(slot.name, sizeof(slot.name), "%s", name);
    snprintf(slot.key.id, sizeof(slot.key.id), "id-%s", name);
    memset(slot.key.secret, 7, sizeof(slot.key.secret));
    return slot;
}

static struct catalog_running running_of(const char *name, uint8_t content)
{
    struct catalog_running r = {.created_ns = 5, .files = 6, .bytes = 1ull << 40, .chunks = 8};
    snprintf(r.name, sizeof(r.name), "%s", name);
    memset(r.content.bytes, content, sizeof(r.content.bytes));
    return r;
}

static int add(struct catalog *c, const char *name, uint8_t content, bool clean, struct catalog_running *r)
{
    *r = running_of(name, content);
    return catalog_running_add(c, r, clean, NULL);
}

struct slots {
    struct catalog_slot at[8];
    size_t count;
};

static int take_slot(void *arg, const struct catalog_slot *slot)
{
    struct slots *slots = arg;
    assert_true(slots->count < 8);
    slots->at[slots->count++] = *slot;
    return 0;
}

static void slots_come_back(void **state)
{
    struct catalog *c = open_at(*state);
    uint8_t uuid[16];
    uint8_t again[16];
    catalog_uuid(c, uuid);
    struct catalog_slot a = slot_named("a");
    struct catalog_slot b = slot_named("b");
    struct catalog_slot twice = slot_named("a");
    assert_int_equal(catalog_slot_add(c, &a, NULL), 0);
    assert_int_equal(catalog_slot_add(c, &b, NULL), 0);
    assert_int_equal(catalog_slot_add(c, &twice, NULL), -EEXIST);
    assert_int_equal(catalog_slot_rename(c, b.id, "a", NULL), -EEXIST);
    assert_int_equal(catalog_slot_rename(c, b.id, "c", NULL), 0);
    assert_int_equal(catalog_slot_rename(c, 99, "d", NULL), -ENOENT);
    struct wire_key key = {.id = "new"};
    struct catalog_running r;
    assert_int_equal(add(c, "web", 1, false, &r), 1);
    assert_int_equal(catalog_slot_set_key(c, b.id, &key, &b.key, NULL), 0);
    assert_int_equal(catalog_slot_set_loaded(c, b.id, r.id, true, 11, NULL), 0);
    assert_int_equal(catalog_slot_set_error(c, b.id, "it's gone", NULL), 0);
    struct engine_attr attr = {.uid = 9, .gid = 8, .mode = 0600, .changed_ns = 7};
    assert_int_equal(catalog_attr_set(c, b.id, "", &attr, NULL, NULL), 0);
    catalog_close(c);

    c = open_at(*state);
    catalog_uuid(c, again);
    assert_memory_equal(uuid, again, 16);
    struct slots slots = {0};
    assert_int_equal(catalog_slots(c, take_slot, &slots, NULL), 0);
    assert_int_equal(slots.count, 2);
    assert_string_equal(slots.at[0].name, "a");
    assert_string_equal(slots.at[0].key.id, "id-a");
    assert_memory_equal(slots.at[0].key.secret, a.key.secret, sizeof(a.key.secret));
    assert_false(slots.at[0].has_old_key);
    assert_int_equal(slots.at[0].attr.mode, 0755);
    assert_int_equal(slots.at[0].running, 0);
    assert_string_equal(slots.at[1].name, "c");
    assert_string_equal(slots.at[1].key.id, "new");
    assert_true(slots.at[1].has_old_key);
    assert_string_equal(slots.at[1].old_key.id, "id-b");
    assert_int_equal(slots.at[1].running, r.id);
    assert_true(slots.at[1].stopped);
    assert_int_equal(slots.at[1].state_ns, 11);
    assert_string_equal(slots.at[1].error, "it's gone");
    assert_int_equal(slots.at[1].attr.uid, 9);

    /* Ids are not given twice, and what a slot runs cannot be removed. */
    assert_int_equal(catalog_running_remove(c, r.id, NULL), -ENOTEMPTY);
    assert_int_equal(catalog_slot_remove(c, b.id, NULL), 0);
    assert_int_equal(catalog_slot_remove(c, b.id, NULL), -ENOENT);
    assert_int_equal(catalog_running_remove(c, r.id, NULL), 0);
    struct catalog_slot d = slot_named("d");
    assert_int_equal(catalog_slot_add(c, &d, NULL), 0);
    assert_true(d.id > b.id);
    catalog_close(c);
}

struct attrs {
    size_t count;
    struct engine_attr last;
    struct engine_acl acl; /* of the last one */
    uint32_t slot;
    char file[64];
};

static int take_attr(void *arg, uint32_t slot, const char *file, const struct engine_attr *attr,
                     const struct engine_acl *acl)
{
    struct attrs *attrs = arg;
    attrs->count++;
    attrs->last = *attr;
    attrs->acl = *acl;
    attrs->slot = slot;
    snprintf(attrs->file, sizeof(attrs->file), "%s", file);
    return 0;
}

static void attrs_come_back(void **state)
{
    struct catalog *c = open_at(*state);
    struct catalog_slot a = slot_named("a");
    assert_int_equal(catalog_slot_add(c, &a, NULL), 0);
    struct engine_attr attr = {.uid = 4294967294u, .gid = 8, .mode = 0640, .changed_ns = 7};
    const struct engine_acl short_acl = {.len_bytes = 5, .bytes = "\0acl"};
    struct engine_acl long_acl = {.len_bytes = ENGINE_ACL_MAX_BYTES};
    memset(long_acl.bytes, 0xa5, sizeof(long_acl.bytes));
    assert_int_equal(catalog_attr_set(c, ENGINE_ANY, "load", &attr, NULL, NULL), 0);
    assert_int_equal(catalog_attr_set(c, a.id, "load", &attr, &long_acl, NULL), 0);
    assert_int_equal(catalog_attr_set(c, a.id, "", &attr, &short_acl, NULL), 0);
    catalog_close(c);
    c = open_at(*state);
    struct attrs attrs = {0};
    assert_int_equal(catalog_attrs(c, take_attr, &attrs, NULL), 0);
    assert_int_equal(attrs.count, 3);
    assert_string_equal(attrs.file, "load");
    assert_int_equal(attrs.acl.len_bytes, sizeof(long_acl.bytes));
    assert_memory_equal(attrs.acl.bytes, long_acl.bytes, sizeof(long_acl.bytes));
    attr.mode = 0600;
    assert_int_equal(catalog_attr_set(c, a.id, "load", &attr, &short_acl, NULL), 0);
    assert_int_equal(catalog_attrs(c, take_attr, &attrs, NULL), 0);
    assert_int_equal(attrs.acl.len_bytes, 5);
    assert_memory_equal(attrs.acl.bytes, short_acl.bytes, 5);
    assert_int_equal(catalog_attr_set(c, a.id, "load", &attr, NULL, NULL), 0);
    catalog_close(c);
    c = open_at(*state);
    attrs.count = 0;
    assert_int_equal(catalog_attrs(c, take_attr, &attrs, NULL), 0);
    assert_int_equal(attrs.count, 3);
    assert_int_equal(attrs.acl.len_bytes, 0);
    assert_int_equal(attrs.slot, a.id);
    assert_string_equal(attrs.file, "load");
    assert_int_equal(attrs.last.uid, attr.uid);
    assert_int_equal(attrs.last.gid, attr.gid);
    assert_int_equal(attrs.last.mode, attr.mode);
    assert_int_equal(attrs.last.changed_ns, attr.changed_ns);
    assert_int_equal(catalog_slot_remove(c, a.id, NULL), 0);
    attrs.count = 0;
    assert_int_equal(catalog_attrs(c, take_attr, &attrs, NULL), 0);
    assert_int_equal(attrs.count, 1);
    assert_int_equal(attrs.slot, ENGINE_ANY);
    catalog_close(c);
}

static void numbers_are_never_reused(void **state)
{
    struct catalog *c = open_at(*state);
    struct catalog_running a;
    struct catalog_running same;
    struct catalog_running b;
    struct catalog_running other;
    assert_int_equal(add(c, "web", 1, false, &a), 1);
    assert_int_equal(a.n, 1);
    assert_int_equal(add(c, "web", 1, false, &same), 0);
    assert_int_equal(same.id, a.id);
    assert_int_equal(add(c, "web", 2, false, &b), 1);
    assert_int_equal(b.n, 2);
    assert_int_not_equal(b.image, a.image);
    /* The older content again is a new running snapshot of the same image. */
    assert_int_equal(add(c, "web", 1, false, &same), 1);
    assert_int_equal(same.n, 3);
    assert_int_equal(same.image, a.image);
    assert_int_equal(add(c, "db", 2, false, &other), 1);
    assert_int_equal(other.n, 1);
    assert_int_equal(other.image, b.image);
    uint32_t ids[] = {a.id, b.id, same.id, other.id};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(catalog_running_remove(c, ids[i], NULL), 0);
    assert_int_equal(catalog_running_remove(c, a.id, NULL), -ENOENT);
    catalog_close(c);

    c = open_at(*state);
    struct catalog_running r;
    assert_int_equal(add(c, "web", 1, false, &r), 1);
    assert_int_equal(r.n, 4);
    assert_true(r.id > other.id);
    assert_true(r.image > b.image);
    catalog_close(c);
}

static uint32_t clean_of(struct catalog *c, const char *name)
{
    uint32_t running = 99;
    assert_int_equal(catalog_source_clean(c, name, &running, NULL), 0);
    return running;
}

static void clean_is_kept(void **state)
{
    struct catalog *c = open_at(*state);
    struct catalog_running r;
    assert_int_equal(clean_of(c, "web"), 0);
    assert_int_equal(add(c, "web", 1, true, &r), 1);
    assert_int_equal(clean_of(c, "web"), r.id);
    catalog_close(c);
    c = open_at(*state);
    assert_int_equal(clean_of(c, "web"), r.id);
    assert_int_equal(catalog_source_dirty(c, "web", NULL), 0);
    assert_int_equal(clean_of(c, "web"), 0);
    assert_int_equal(catalog_source_dirty(c, "web", NULL), 0);
    assert_int_equal(add(c, "web", 1, true, &r), 0);
    assert_int_equal(clean_of(c, "web"), r.id);
    assert_int_equal(add(c, "web", 2, false, &r), 1);
    assert_int_equal(clean_of(c, "web"), 0);
    assert_int_equal(add(c, "web", 3, true, &r), 1);
    assert_int_equal(catalog_running_remove(c, r.id, NULL), 0);
    assert_int_equal(clean_of(c, "web"), 0);
    catalog_close(c);
}

static struct catalog_running last_running;
static int take_running(void *arg, const struct catalog_running *r)
{
    last_running = *r;
    ++*(int *)arg;
    return 0;
}

/* A child commits and is gone without a word: everything is there, and sources stay trusted (same boot). */
static void survives_kill(void **state)
{
    pid_t child = fork();
    if (child == 0) {
        struct catalog *c = NULL;
        struct catalog_running r = running_of("web", 1);
        r.files = 1234;
        int bad = catalog_open(((struct scratch *)*state)->path, &c, NULL) != 0 ||
                  catalog_running_add(c, &r, true, NULL) != 1;
        r = running_of("web", 2);
        bad = bad || catalog_running_add(c, &r, true, NULL) != 1;
        _exit(bad);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    struct catalog *c = open_at(*state);
    int count = 0;
    assert_int_equal(catalog_runnings(c, take_running, &count, NULL), 0);
    assert_int_equal(count, 2);
    assert_string_equal(last_running.name, "web");
    assert_int_equal(last_running.n, 2);
    assert_int_equal(last_running.bytes, 1ull << 40);
    assert_int_equal(clean_of(c, "web"), last_running.id);
    catalog_close(c);
}

/* The database as another program sees it, between two openings. */
static void with_sqlite(const struct scratch *s, const char *sql)
{
    char path[512];
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(scratch_path(s, "catalog.db", path), &db), SQLITE_OK);
    char *message = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s", message);
    sqlite3_close(db);
}

static void distrusts_after_a_crash(void **state)
{
    struct catalog *c = open_at(*state);
    struct catalog_running r;
    assert_int_equal(add(c, "web", 1, true, &r), 1);
    catalog_close(c);
    /* Closed in order and then copied elsewhere: what was clean is clean. */
    with_sqlite(*state, "UPDATE meta SET value = zeroblob(length(value)) WHERE key = 'place'");
    c = open_at(*state);
    assert_int_equal(clean_of(c, "web"), r.id);
    catalog_close(c);
    /* Another boot, and not closed in order: it is not. */
    with_sqlite(*state, "UPDATE meta SET value = zeroblob(length(value)) WHERE key = 'place';"
                        "UPDATE meta SET value = x'00' WHERE key = 'closed'");
    c = open_at(*state);
    assert_int_equal(clean_of(c, "web"), 0);
    catalog_close(c);
}

/* As up to version 3. */
#define WITHOUT_STARTING "DROP INDEX slots_starting; ALTER TABLE slots DROP COLUMN starting;"

/* The table of version 1, word for word, with a row in it. */
static void the_previous_format_is_taken_up(void **state)
{
    struct catalog *c = open_at(*state);
    struct catalog_slot a = slot_named("a");
    assert_int_equal(catalog_slot_add(c, &a, NULL), 0);
    catalog_close(c);
    with_sqlite(*state, "DROP TABLE attrs; DROP TABLE prepared; " WITHOUT_STARTING
                        "CREATE TABLE attrs (slot INTEGER NOT NULL, file TEXT NOT NULL, uid INTEGER NOT NULL,"
                        " gid INTEGER NOT NULL, mode INTEGER NOT NULL, changed_ns INTEGER NOT NULL,"
                        " PRIMARY KEY (slot, file)) WITHOUT ROWID, STRICT;"
                        "INSERT INTO attrs VALUES (1, '', 11, 12, 448, 13), (1, 'load', 14, 15, 432, 16);"
                        "PRAGMA user_version = 1");
    const struct engine_acl acl = {.len_bytes = 3, .bytes = "acl"};
    for (int i = 0; i < 2; i++) {
        struct attrs attrs = {0};
        struct slots slots = {0};
        c = open_at(*state);
        assert_int_equal(catalog_slots(c, take_slot, &slots, NULL), 0);
        assert_int_equal(slots.count, 1);
        assert_int_equal(slots.at[0].attr.mode, 0700);
        assert_int_equal(catalog_attrs(c, take_attr, &attrs, NULL), 0);
        assert_int_equal(attrs.count, 2);
        assert_string_equal(attrs.file, "load");
        assert_int_equal(attrs.last.uid, 14);
        assert_int_equal(attrs.last.mode, 0660);
        assert_int_equal(attrs.acl.len_bytes, i == 0 ? 0 : 3);
        assert_int_equal(catalog_attr_set(c, 1, "load", &attrs.last, &acl, NULL), 0);
        catalog_close(c);
    }
}

static int take_prepared(void *arg, const struct catalog_running *r)
{
    struct catalog_running *last = arg;
    last->n++;
    last->content = r->content;
    return 0;
}

static bool is_prepared(struct catalog *c, const char *name)
{
    struct catalog_running r;
    int found = catalog_source_prepared(c, name, &r, NULL);
    assert_true(found >= 0);
    return found > 0;
}

static void what_is_prepared_ends_with_the_next_change(void **state)
{
    struct catalog *c = open_at(*state);
    struct catalog_running made, found, all = {0};
    struct catalog_running ahead = {.name = "web", .files = 1, .bytes = 2, .chunks = 3};
    ahead.new_chunks = 4;
    ahead.new_raw_bytes = 5;
    ahead.new_stored_bytes = 6;
    ahead.content.bytes[3] = 7;
    assert_false(is_prepared(c, "web"));
    assert_int_equal(catalog_source_prepare(c, &ahead, NULL), 0);
    catalog_close(c);
    c = open_at(*state);
    assert_int_equal(catalog_source_prepared(c, "web", &found, NULL), 1);
    assert_memory_equal(&found, &ahead, sizeof(found));
    assert_int_equal(catalog_prepared(c, take_prepared, &all, NULL), 0);
    assert_int_equal(all.n, 1);
    assert_memory_equal(&all.content, &ahead.content, sizeof(all.content));
    assert_int_equal(catalog_source_dirty(c, "web", NULL), 0);
    assert_false(is_prepared(c, "web"));
    assert_int_equal(catalog_source_prepare(c, &ahead, NULL), 0);
    assert_int_equal(add(c, "web", 1, true, &made), 1);
    assert_false(is_prepared(c, "web"));
    /* After a crash it is distrusted as well. */
    assert_int_equal(catalog_source_prepare(c, &ahead, NULL), 0);
    catalog_close(c);
    with_sqlite(*state, "UPDATE meta SET value = zeroblob(length(value)) WHERE key = 'place';"
                        "UPDATE meta SET value = x'00' WHERE key = 'closed'");
    c = open_at(*state);
    assert_false(is_prepared(c, "web"));
    catalog_close(c);
}

/* Version 2 had everything but the table prepared. */
static void format_2_is_taken_up(void **state)
{
    struct catalog_running r = {.name = "web"};
    catalog_close(open_at(*state));
    with_sqlite(*state, "DROP TABLE prepared; " WITHOUT_STARTING "PRAGMA user_version = 2");
    struct catalog *c = open_at(*state);
    assert_int_equal(catalog_source_prepare(c, &r, NULL), 0);
    assert_true(is_prepared(c, "web"));
    catalog_close(c);
}

static uint32_t starting_of(const struct scratch *s)
{
    struct catalog *c = open_at(s);
    struct slots slots = {0};
    assert_int_equal(catalog_slots(c, take_slot, &slots, NULL), 0);
    assert_int_equal(slots.count, 1);
    catalog_close(c);
    return slots.at[0].starting;
}

/* Nor did version 3 know what a blade was told to start. */
static void what_is_started_is_noted(void **state)
{
    struct catalog *c = open_at(*state);
    struct catalog_slot a = slot_named("a");
    struct catalog_running r;
    struct err err = {0};
    assert_int_equal(catalog_slot_add(c, &a, NULL), 0);
    assert_int_equal(add(c, "web", 1, false, &r), 1);
    catalog_close(c);
    with_sqlite(*state, WITHOUT_STARTING "PRAGMA user_version = 3");
    assert_int_equal(starting_of(*state), 0);
    c = open_at(*state);
    assert_int_equal(catalog_slot_set_starting(c, a.id, r.id, &err), 0);
    assert_int_equal(catalog_slot_set_starting(c, a.id + 1, r.id, &err), -ENOENT);
    assert_true(catalog_running_remove(c, r.id, &err) < 0); /* whoever asks for it */
    catalog_close(c);
    assert_int_equal(starting_of(*state), r.id);
    c = open_at(*state);
    assert_int_equal(catalog_slot_set_loaded(c, a.id, 0, false, 1, &err), 0);
    catalog_close(c);
    assert_int_equal(starting_of(*state), 0);
    c = open_at(*state);
    assert_int_equal(catalog_slot_set_starting(c, a.id, r.id, &err), 0);
    assert_int_equal(catalog_slot_set_starting(c, a.id, 0, &err), 0);
    assert_int_equal(catalog_running_remove(c, r.id, &err), 0);
    catalog_close(c);
}

static void newer_is_refused(void **state)
{
    const struct scratch *s = *state;
    catalog_close(open_at(s));
    with_sqlite(s, "PRAGMA user_version = 5");
    struct catalog *c = NULL;
    struct err err = {0};
    assert_int_equal(catalog_open(s->path, &c, &err), -EPROTONOSUPPORT);
    assert_null(c);
    assert_non_null(strstr(err.message, "format 5, this program reads up to 4"));
    with_sqlite(s, "PRAGMA user_version = 4; PRAGMA application_id = 1");
    assert_int_equal(catalog_open(s->path, &c, &err), -EINVAL);
    scratch_write(s->fd, "catalog.db", "this is not a database, whatever its name may say to people");
    assert_int_equal(catalog_open(s->path, &c, &err), -EIO);
}

static void pragma(struct catalog *c, const char *sql)
{
    assert_int_equal(sqlite3_exec(c->db, sql, NULL, NULL, NULL), SQLITE_OK);
}

/* A full disk and a read-only one are said as such, change nothing, and are got over. */
static void faults_change_nothing(void **state)
{
    struct catalog *c = open_at(*state);
    struct catalog_running r;
    struct err err = {0};
    assert_int_equal(add(c, "web", 1, true, &r), 1);
    uint32_t id = r.id;
    pragma(c, "PRAGMA max_page_count = 1"); /* as few as there are */
    int result = 0;
    for (unsigned i = 0; i < 1000 && result == 0; i++) {
        struct engine_attr attr = {.mode = 0600};
        char file[32];
        snprintf(file, sizeof(file), "file-%u", i);
        result = catalog_attr_set(c, 1, file, &attr, NULL, &err);
    }
    assert_int_equal(result, -ENOSPC);
    assert_non_null(
        strstr(err.message, "catalog.db: cannot note an owner and mode: database or disk is full"));
    for (unsigned i = 0; i < 200 && result != 1; i++) {
        r = running_of("web", (uint8_t)(2 + i));
        result = catalog_running_add(c, &r, true, NULL);
        if (result < 0)
            break;
        id = r.id;
        result = 0;
    }
    assert_int_equal(result, -ENOSPC);
    assert_int_equal(clean_of(c, "web"), id);
    pragma(c, "PRAGMA max_page_count = 100000; PRAGMA query_only = ON");
    assert_int_equal(catalog_source_dirty(c, "web", &err), -EROFS);
    assert_int_equal(clean_of(c, "web"), id);
    pragma(c, "PRAGMA query_only = OFF");
    assert_int_equal(catalog_source_dirty(c, "web", &err), 0);
    assert_int_equal(add(c, "web", 250, true, &r), 1);
    catalog_close(c);
}

static void the_file_is_private(void **state)
{
    const struct scratch *s = *state;
    struct catalog *c = open_at(s);
    struct catalog_running r;
    assert_int_equal(add(c, "web", 1, true, &r), 1);
    struct stat st;
    assert_int_equal(fstatat(s->fd, "catalog.db", &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(fstatat(s->fd, "catalog.db-wal", &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(fstatat(s->fd, "catalog.db-shm", &st, 0), -1);
    catalog_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(slots_come_back, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(attrs_come_back, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(numbers_are_never_reused, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(clean_is_kept, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(survives_kill, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(distrusts_after_a_crash, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(the_previous_format_is_taken_up, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(format_2_is_taken_up, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(what_is_started_is_noted, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(what_is_prepared_ends_with_the_next_change, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(newer_is_refused, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(faults_change_nothing, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(the_file_is_private, scratch_make, scratch_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
