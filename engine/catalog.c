/*
 * The catalog's file: opening, the tables and the statements. Version 3:
 *
 *   meta      key -> value: `uuid` (16 bytes, of the store), `place` (boot id, device and inode of STORE when
 *             it was opened last), `closed` (1: it was closed in order)
 *   slots     the blades' places; a key is the slot's permanent id and 32 bytes; `running` is what was
 *             acknowledged last and not unloaded
 *   attrs     owner and mode of a slot (`file` '') and of its control files; slot 0 is blades/any; `acl`: as
 *             the xattr system.posix_acl_access has it, NULL: none
 *   images    content id -> the number that the wire uses
 *   names     the last n that a source's name was given; it stays when the running snapshots go
 *   runnings  the running snapshots
 *   clean     a row: nothing was written to the source of that name since this running snapshot was taken
 *   prepared  a row: nothing was written to it since it was captured as this image, of which no running
 *             snapshot was made yet
 *
 * Version 1 had no attrs.acl, version 2 no table prepared: they are added when such a catalog is opened.
 *
 * A full disk must not keep anybody from removing files, and that a source changes is noted here first: so
 * the log is given its room once, keeps it over a close, and is taken up from its beginning again before it
 * has outgrown it.
 *
 * AUTOINCREMENT (https://www.sqlite.org/autoinc.html) is what keeps ids and image numbers from coming twice.
 * Exclusive locking is chosen before WAL, so that there is no shared-memory file
 * (https://www.sqlite.org/wal.html, section 8).
 */
#include "catalog_db.h"

#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/fdio.h"
#include "base/log.h"

#define CATALOG_VERSION 4
#define LOG_ROOM_BYTES (1 << 20)
/* Pages of 4 KiB; the largest transaction comes on top. SQLite's own default would need four times the room.
 */
#define LOG_CHECKPOINT "PRAGMA wal_autocheckpoint = 64"
#define CATALOG_APPLICATION_ID 0x626c6473 /* "blds" */

#define PREPARED_TABLE                                                                                       \
    "CREATE TABLE prepared (name TEXT PRIMARY KEY, content BLOB NOT NULL, files INTEGER NOT NULL,"           \
    " bytes INTEGER NOT NULL, chunks INTEGER NOT NULL, new_chunks INTEGER NOT NULL,"                         \
    " new_raw_bytes INTEGER NOT NULL, new_stored_bytes INTEGER NOT NULL) WITHOUT ROWID, STRICT;"

static const char schema[] =
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID, STRICT;"
    "CREATE TABLE images (number INTEGER PRIMARY KEY AUTOINCREMENT, content BLOB NOT NULL UNIQUE) STRICT;"
    "CREATE TABLE names (name TEXT PRIMARY KEY, last_n INTEGER NOT NULL) WITHOUT ROWID, STRICT;"
    "CREATE TABLE runnings (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, n INTEGER NOT NULL,"
    " image INTEGER NOT NULL REFERENCES images, created_ns INTEGER NOT NULL, files INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL, chunks INTEGER NOT NULL, new_chunks INTEGER NOT NULL,"
    " new_raw_bytes INTEGER NOT NULL, new_stored_bytes INTEGER NOT NULL, UNIQUE (name, n)) STRICT;"
    "CREATE INDEX runnings_image ON runnings (image);"
    "CREATE TABLE clean (name TEXT PRIMARY KEY, running INTEGER NOT NULL"
    " REFERENCES runnings ON DELETE CASCADE) WITHOUT ROWID, STRICT;"
    "CREATE INDEX clean_running ON clean (running);"
    "CREATE TABLE slots (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,"
    " key_id TEXT NOT NULL, key_secret BLOB NOT NULL, old_key_id TEXT, old_key_secret BLOB,"
    " running INTEGER REFERENCES runnings, stopped INTEGER NOT NULL, state_ns INTEGER NOT NULL,"
    " error TEXT NOT NULL, starting INTEGER REFERENCES runnings) STRICT;"
    "CREATE INDEX slots_running ON slots (running); CREATE INDEX slots_starting ON slots (starting);"
    "CREATE TABLE attrs (slot INTEGER NOT NULL, file TEXT NOT NULL, uid INTEGER NOT NULL,"
    " gid INTEGER NOT NULL, mode INTEGER NOT NULL, changed_ns INTEGER NOT NULL, acl BLOB,"
    " PRIMARY KEY (slot, file))"
    " WITHOUT ROWID, STRICT;" PREPARED_TABLE;

#define RUNNING_COLUMNS                                                                                      \
    "r.id, r.name, r.n, r.image, i.content, r.created_ns, r.files, r.bytes, r.chunks, r.new_chunks,"         \
    " r.new_raw_bytes, r.new_stored_bytes FROM runnings r JOIN images i ON i.number = r.image"

#define PREPARED_COLUMNS                                                                                     \
    "name, content, files, bytes, chunks, new_chunks, new_raw_bytes, new_stored_bytes FROM prepared"

static const char *const statement_text[CATALOG_STATEMENTS] = {
    [CATALOG_BEGIN] = "BEGIN IMMEDIATE",
    [CATALOG_COMMIT] = "COMMIT",
    [CATALOG_ROLLBACK] = "ROLLBACK",
    [CATALOG_META_GET] = "SELECT value FROM meta WHERE key = ?",
    [CATALOG_META_SET] = "INSERT OR REPLACE INTO meta VALUES (?, ?)",
    [CATALOG_SLOT_ADD] = "INSERT INTO slots (name, key_id, key_secret, old_key_id, old_key_secret, running,"
                         " stopped, state_ns, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [CATALOG_SLOT_REMOVE] = "DELETE FROM slots WHERE id = ?",
    [CATALOG_SLOT_RENAME] = "UPDATE slots SET name = ? WHERE id = ?",
    [CATALOG_SLOT_STARTING] = "UPDATE slots SET starting = ? WHERE id = ?",
    [CATALOG_SLOT_LOADED] = "UPDATE slots SET running = ?, stopped = ?, state_ns = ?, starting = NULL"
                            " WHERE id = ?",
    [CATALOG_SLOT_ERROR] = "UPDATE slots SET error = ? WHERE id = ?",
    [CATALOG_SLOT_KEY] = "UPDATE slots SET key_id = ?, key_secret = ?, old_key_id = ?, old_key_secret = ?"
                         " WHERE id = ?",
    [CATALOG_SLOTS] = "SELECT s.id, s.name, s.key_id, s.key_secret, s.old_key_id, s.old_key_secret,"
                      " s.running, s.stopped, s.state_ns, s.error, a.uid, a.gid, a.mode, a.changed_ns,"
                      " s.starting"
                      " FROM slots s JOIN attrs a ON a.slot = s.id AND a.file = '' ORDER BY s.id",
    [CATALOG_ATTR_SET] = "INSERT OR REPLACE INTO attrs (slot, file, uid, gid, mode, changed_ns, acl)"
                         " VALUES (?, ?, ?, ?, ?, ?, ?)",
    [CATALOG_ATTRS_REMOVE] = "DELETE FROM attrs WHERE slot = ?",
    [CATALOG_ATTRS] = "SELECT slot, file, uid, gid, mode, changed_ns, acl FROM attrs ORDER BY slot, file",
    [CATALOG_IMAGE_FIND] = "SELECT number FROM images WHERE content = ?",
    [CATALOG_IMAGE_ADD] = "INSERT INTO images (content) VALUES (?)",
    [CATALOG_IMAGES_PRUNE] = "DELETE FROM images WHERE number = ?1"
                             " AND NOT EXISTS (SELECT 1 FROM runnings WHERE image = ?1)",
    [CATALOG_NAME_NEXT] = "INSERT INTO names VALUES (?, 1) ON CONFLICT (name)"
                          " DO UPDATE SET last_n = last_n + 1 RETURNING last_n",
    [CATALOG_RUNNING_NEWEST] = "SELECT " RUNNING_COLUMNS " WHERE r.name = ? ORDER BY r.n DESC LIMIT 1",
    [CATALOG_RUNNING_ADD] = "INSERT INTO runnings (name, n, image, created_ns, files, bytes, chunks,"
                            " new_chunks, new_raw_bytes, new_stored_bytes)"
                            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [CATALOG_RUNNING_REMOVE] = "DELETE FROM runnings WHERE id = ? RETURNING image",
    [CATALOG_RUNNINGS] = "SELECT " RUNNING_COLUMNS " ORDER BY r.id",
    [CATALOG_CLEAN_GET] = "SELECT running FROM clean WHERE name = ?",
    [CATALOG_CLEAN_SET] = "INSERT OR REPLACE INTO clean VALUES (?, ?)",
    [CATALOG_CLEAN_DROP] = "DELETE FROM clean WHERE name = ?",
    [CATALOG_CLEAN_DROP_ALL] = "DELETE FROM clean",
    [CATALOG_PREPARED_GET] = "SELECT " PREPARED_COLUMNS " WHERE name = ?",
    [CATALOG_PREPARED_SET] = "INSERT OR REPLACE INTO prepared VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    [CATALOG_PREPARED_DROP] = "DELETE FROM prepared WHERE name = ?",
    [CATALOG_PREPARED_DROP_ALL] = "DELETE FROM prepared",
    [CATALOG_PREPARED_ALL] = "SELECT " PREPARED_COLUMNS " ORDER BY name",
};

static int run_text(struct catalog *c, const char *sql, const char *doing, struct err *err)
{
    return sqlite3_exec(c->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : catalog_fault(c, doing, err);
}

/* A statement that is run once, at the start: its one number. */
static int read_number(struct catalog *c, const char *sql, int64_t *out, struct err *err)
{
    sqlite3_stmt *s = NULL;
    int r = sqlite3_prepare_v2(c->db, sql, -1, &s, NULL);
    if (r == SQLITE_OK)
        r = sqlite3_step(s);
    int result = 0;
    if (r == SQLITE_ROW)
        *out = sqlite3_column_int64(s, 0);
    else
        result = catalog_fault(c, "be read", err);
    sqlite3_finalize(s);
    return result;
}

/* `sql`, and then the catalog has this program's version. */
static int change_schema(struct catalog *c, const char *sql, const char *doing, struct err *err)
{
    char version[96];
    snprintf(version, sizeof(version), "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
             CATALOG_APPLICATION_ID, CATALOG_VERSION);
    int r = run_text(c, "BEGIN IMMEDIATE", doing, err);
    if (r == 0)
        r = run_text(c, sql, doing, err);
    return r < 0 ? r : run_text(c, version, doing, err);
}

static int bring_up_to_date(struct catalog *c, int64_t version, struct err *err)
{
#define FROM_3                                                                                               \
    "ALTER TABLE slots ADD COLUMN starting INTEGER REFERENCES runnings;"                                     \
    "CREATE INDEX slots_starting ON slots (starting);"
    static const char *const from[CATALOG_VERSION] = {
        [0] = schema,
        [1] = "ALTER TABLE attrs ADD COLUMN acl BLOB; " PREPARED_TABLE FROM_3,
        [2] = PREPARED_TABLE FROM_3,
        [3] = FROM_3,
    };
    if (version == CATALOG_VERSION)
        return 0;
    if (version == 0)
        return change_schema(c, from[0], "make the tables", err);
    log_info("%s: format %lld becomes %d; an older bladefs cannot open it from now on", c->path,
             (long long)version, CATALOG_VERSION);
    return change_schema(c, from[version], "bring the tables up to date", err);
}

/* Nothing is written before it is known whose file this is and that it is not a newer one. Version 0: it is
 * a new file. */
static int check_format(struct catalog *c, int64_t *out, struct err *err)
{
    int64_t application = 0;
    int64_t version = 0;
    int64_t tables = 0;
    int r = run_text(c, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA foreign_keys = ON", "be locked", err);
    if (r == 0)
        r = read_number(c, "PRAGMA application_id", &application, err);
    if (r == 0)
        r = read_number(c, "PRAGMA user_version", &version, err);
    if (r == 0)
        r = read_number(c, "SELECT count(*) FROM sqlite_schema", &tables, err);
    if (r < 0)
        return r;
    *out = version;
    if (application == 0 && version == 0 && tables == 0)
        return 0;
    if (application != CATALOG_APPLICATION_ID || version < 1)
        return err_set(err, EINVAL, "%s is no catalog of bladefs", c->path);
    if (version > CATALOG_VERSION)
        return err_set(err, EPROTONOSUPPORT,
                       "%s has format %lld, this program reads up to %d: use the newer bladefs", c->path,
                       (long long)version, CATALOG_VERSION);
    return 0;
}

static int prepare(struct catalog *c, struct err *err)
{
    for (int i = 0; i < CATALOG_STATEMENTS; i++)
        if (sqlite3_prepare_v3(c->db, statement_text[i], -1, SQLITE_PREPARE_PERSISTENT, &c->statements[i],
                               NULL) != SQLITE_OK)
            return catalog_fault(c, "be read", err);
    return 0;
}

static int meta_set(struct catalog *c, const char *key, const void *value, size_t len_bytes, struct err *err)
{
    QUERY q = query_on(c, CATALOG_META_SET);
    query_text(&q, key);
    query_blob(&q, value, len_bytes);
    return query_run(&q, "note how it was opened", err);
}

/* 1 when it is there and has that length, else 0. */
static int meta_get(struct catalog *c, const char *key, void *out, size_t len_bytes, struct err *err)
{
    QUERY q = query_on(c, CATALOG_META_GET);
    query_text(&q, key);
    int r = query_step(&q, "be read", err);
    return r <= 0 ? r : column_blob(&q, 0, out, len_bytes);
}

static int take_uuid(struct catalog *c, struct err *err)
{
    int r = meta_get(c, "uuid", c->uuid, sizeof(c->uuid), err);
    if (r != 0)
        return r < 0 ? r : 0;
    if (getrandom(c->uuid, sizeof(c->uuid), 0) != (ssize_t)sizeof(c->uuid))
        return err_sys(err, EIO, "no random numbers for the store's uuid");
    c->uuid[6] = (uint8_t)((c->uuid[6] & 0x0f) | 0x40); /* RFC 9562: version 4 */
    c->uuid[8] = (uint8_t)((c->uuid[8] & 0x3f) | 0x80);
    return meta_set(c, "uuid", c->uuid, sizeof(c->uuid), err);
}

struct place {
    char boot_id[40];
    uint64_t device, inode;
};

static void place_of(int store_fd, struct place *out)
{
    memset(out, 0, sizeof(*out));
    OWNED_FD fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && fd_read_at(fd, out->boot_id, sizeof(out->boot_id) - 1, 0) < 0)
        out->boot_id[0] = '\0';
    struct stat st;
    if (fstat(store_fd, &st) == 0) {
        out->device = st.st_dev;
        out->inode = st.st_ino;
    }
}

/*
 * A source may be called unchanged only if its files are those that were captured. After a crash of the
 * machine writes that nobody synced are gone, and in a copy that was made of a store at work the files are
 * older or younger than the catalog: all are then looked at again. A killed controller loses nothing.
 */
static int distrust_sources(struct catalog *c, struct err *err)
{
    struct place now;
    struct place then;
    uint8_t closed = 0;
    place_of(c->store_fd, &now);
    int r = meta_get(c, "closed", &closed, sizeof(closed), err);
    if (r < 0)
        return r;
    r = meta_get(c, "place", &then, sizeof(then), err);
    if (r < 0)
        return r;
    bool same = r > 0 && memcmp(&now, &then, sizeof(now)) == 0;
    r = catalog_begin(c, err);
    if (r < 0)
        return r;
    if (!same && closed != 1) {
        QUERY clean = query_on(c, CATALOG_CLEAN_DROP_ALL);
        QUERY prepared = query_on(c, CATALOG_PREPARED_DROP_ALL);
        r = query_run(&clean, "distrust what was captured", err);
        if (r == 0)
            r = query_run(&prepared, "distrust what was prepared", err);
    }
    closed = 0;
    if (r == 0)
        r = meta_set(c, "place", &now, sizeof(now), err);
    if (r == 0)
        r = meta_set(c, "closed", &closed, sizeof(closed), err);
    return catalog_end(c, r, err);
}

/* From then on the log's room is there, if it can be had: a full disk is no reason not to open. */
static void keep_log(const struct catalog *c)
{
    int keep = 1;
    (void)sqlite3_file_control(c->db, "main", SQLITE_FCNTL_PERSIST_WAL, &keep);
    OWNED_FD fd = openat(c->store_fd, "catalog.db-wal", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, LOG_ROOM_BYTES) < 0)
        log_debug("%s: no room was set aside for its log: %s", c->path, strerror(errno));
}

static int open_log(struct catalog *c, struct err *err)
{
    int r = run_text(c, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; " LOG_CHECKPOINT, "be opened",
                     err);
    /* What a killed one left in the log goes into the file: then there is room from the log's beginning. */
    if (r == 0 && sqlite3_wal_checkpoint_v2(c->db, NULL, SQLITE_CHECKPOINT_RESTART, NULL, NULL) != SQLITE_OK)
        log_warn("%s: its log cannot be put into it: %s", c->path, sqlite3_errmsg(c->db));
    if (r == 0)
        keep_log(c);
    return r;
}

static int open_database(struct catalog *c, struct err *err)
{
    /* Made here, so that it is for its owner alone: it holds keys. SQLite gives the log the same mode. */
    OWNED_FD fd = openat(c->store_fd, "catalog.db", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_sys(err, errno, "%s", c->path);
    if (fsync(c->store_fd) < 0)
        return err_sys(err, errno, "%s", c->path);
    /* The descriptor goes before SQLite locks the file: closing it later would drop the lock (fcntl(2)). */
    if (close(steal_fd(&fd)) < 0)
        return err_sys(err, errno, "%s", c->path);
    if (sqlite3_open_v2(c->path, &c->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        if (!c->db)
            return err_set(err, ENOMEM, "%s: no memory", c->path);
        return catalog_fault(c, "be opened", err);
    }
    sqlite3_extended_result_codes(c->db, 1);
    int64_t version = 0;
    int r = check_format(c, &version, err);
    if (r == 0)
        r = open_log(c, err);
    if (r == 0)
        r = bring_up_to_date(c, version, err);
    if (r == 0)
        r = prepare(c, err);
    if (r == 0)
        r = take_uuid(c, err);
    if (r == 0)
        r = distrust_sources(c, err);
    return r;
}

static void release(struct catalog *c)
{
    for (int i = 0; i < CATALOG_STATEMENTS; i++)
        sqlite3_finalize(c->statements[i]);
    sqlite3_close(c->db);
    if (c->store_fd >= 0)
        close(c->store_fd);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

int catalog_open(const char *store_path, struct catalog **out, struct err *err)
{
    struct catalog *c = calloc(1, sizeof(*c));
    if (!c)
        return err_set(err, ENOMEM, "%s: no memory", store_path);
    pthread_mutex_init(&c->lock, NULL);
    int r = 0;
    c->store_fd = open(store_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (c->store_fd < 0)
        r = err_sys(err, errno, "%s", store_path);
    else if (snprintf(c->path, sizeof(c->path), "%s/catalog.db", store_path) >= (int)sizeof(c->path))
        r = err_set(err, ENAMETOOLONG, "%s/catalog.db: the path is too long", store_path);
    else
        r = open_database(c, err);
    if (r < 0) {
        release(c);
        return r;
    }
    *out = c;
    return 0;
}

void catalog_close(struct catalog *c)
{
    if (!c)
        return;
    struct err err = {0};
    uint8_t closed = 1;
    int r = syncfs(c->store_fd) < 0 ? err_sys(&err, errno, "%s: cannot sync the store", c->path)
                                    : meta_set(c, "closed", &closed, sizeof(closed), &err);
    if (r < 0)
        log_warn("%s", err.message);
    release(c);
}

void catalog_uuid(const struct catalog *c, uint8_t uuid[16])
{
    memcpy(uuid, c->uuid, sizeof(c->uuid));
}
