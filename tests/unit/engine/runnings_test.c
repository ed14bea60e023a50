#include "scratch.h"

#include "runnings.h"

struct fixture {
    struct catalog *catalog;
    struct runnings *runnings;
};

static void begin(void **state, struct fixture *f)
{
    struct err err = {0};
    if (catalog_open(((struct scratch *)*state)->path, &f->catalog, &err) < 0 ||
        runnings_new(NULL, f->catalog, &f->runnings, &err) < 0)
        fail_msg("%s", err.message);
}

static void end(struct fixture *f)
{
    runnings_free(f->runnings);
    catalog_close(f->catalog);
}

static struct catalog_running add(struct fixture *f, const char *name, uint8_t content)
{
    struct catalog_running r = {.created_ns = 5};
    snprintf(r.name, sizeof(r.name), "%s", name);
    r.content.bytes[3] = content;
    assert_int_equal(catalog_running_add(f->catalog, &r, false, NULL), 1);
    assert_int_equal(runnings_added(f->runnings, &r), 0);
    return r;
}

static void found_by_name_and_id(void **state)
{
    struct fixture f;
    begin(state, &f);
    struct catalog_running web[12];
    for (uint8_t i = 0; i < 12; i++) {
        web[i] = add(&f, "web", i);
        add(&f, "app", i);
    }
    assert_int_equal(runnings_added(f.runnings, &web[3]), 0);
    assert_int_equal(runnings_count(f.runnings), 24);
    end(&f);
    begin(state, &f);
    assert_int_equal(runnings_count(f.runnings), 24);
    uint32_t id = 0;
    struct catalog_running row;
    assert_int_equal(runnings_find(f.runnings, "web", 10, &id), 0);
    assert_int_equal(id, web[9].id);
    assert_int_equal(runnings_get(f.runnings, id, &row), 0);
    assert_string_equal(row.name, "web");
    assert_int_equal(row.n, 10);
    assert_int_equal(runnings_find(f.runnings, "web", 13, &id), -ENOENT);
    assert_int_equal(runnings_find(f.runnings, "we", 1, &id), -ENOENT);
    assert_int_equal(runnings_get(f.runnings, 0, &row), -ENOENT);
    assert_int_equal(runnings_get(f.runnings, 25, &row), -ENOENT);
    struct catalog_running list[32];
    assert_int_equal(runnings_list(f.runnings, 0, list, 32), 24);
    for (size_t i = 1; i < 24; i++)
        assert_true(list[i - 1].id < list[i].id);
    uint32_t tenth = list[9].id, eleventh = list[10].id;
    assert_int_equal(runnings_list(f.runnings, tenth, list, 4), 4);
    assert_int_equal(list[0].id, eleventh);
    end(&f);
}

static void held_ones_stay(void **state)
{
    struct fixture f;
    struct err err = {0};
    begin(state, &f);
    uint32_t id = add(&f, "web", 1).id;
    assert_int_equal(runnings_hold(f.runnings, id), 0);
    assert_int_equal(runnings_hold(f.runnings, id), 0);
    runnings_release(f.runnings, id);
    assert_int_equal(runnings_remove(f.runnings, id, &err), -ENOTEMPTY);
    assert_string_equal(err.message, "web@1 is loaded on a blade, or being loaded");
    runnings_release(f.runnings, id);
    assert_int_equal(runnings_remove(f.runnings, id, &err), 0);
    assert_int_equal(runnings_remove(f.runnings, id, &err), -ENOENT);
    assert_int_equal(runnings_hold(f.runnings, id), -ENOENT);
    assert_int_equal(runnings_count(f.runnings), 0);
    end(&f);
    begin(state, &f);
    assert_int_equal(runnings_count(f.runnings), 0);
    end(&f);
}

static void images_by_number(void **state)
{
    struct fixture f;
    begin(state, &f);
    struct catalog_running web = add(&f, "web", 1);
    struct catalog_running app = add(&f, "app", 1);
    struct catalog_running other = add(&f, "app", 2);
    assert_int_equal(web.image, app.image);
    assert_true(runnings_of_image(f.runnings, web.image) != 0);
    assert_int_equal(runnings_remove(f.runnings, web.id, NULL), 0);
    assert_int_equal(runnings_of_image(f.runnings, web.image), app.id);
    assert_int_equal(runnings_of_image(f.runnings, other.image), other.id);
    assert_int_equal(runnings_remove(f.runnings, app.id, NULL), 0);
    assert_int_equal(runnings_of_image(f.runnings, web.image), 0);
    struct shared_image *image = NULL;
    assert_int_equal(runnings_image_get(f.runnings, web.image, &image, NULL), -ENOENT);
    end(&f);
}

#define WITH_SCRATCH(f) cmocka_unit_test_setup_teardown(f, scratch_make, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SCRATCH(found_by_name_and_id),
        WITH_SCRATCH(held_ones_stay),
        WITH_SCRATCH(images_by_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
