#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "seeds.h"
#include "wire/message.h"

/* An image is a word, a chunk a letter of it. */
static void letter(const void *of, uint32_t i, struct blob_chunk *out)
{
    const char *word = of;
    *out = (struct blob_chunk){.raw_bytes = (uint32_t)(word[i] - 'a' + 1)};
    memset(out->id.bytes, word[i], sizeof out->id.bytes);
}

static struct seeds_table table(uint64_t number, const char *word)
{
    return (struct seeds_table){
        .number = number, .count = (uint32_t)strlen(word), .chunk = letter, .of = word};
}

struct row {
    const char *target;
    const char *held[3]; /* images 1, 2, 3 */
    const char *seeds;   /* "first+count=image:image_first " each */
    uint32_t missing_chunks;
    uint64_t missing_bytes;
};

static const struct row rows[] = {
    {"abc", {NULL}, "", 3, 6},
    {"", {"abc"}, "", 0, 0},
    {"abc", {""}, "", 3, 6},
    {"abc", {"abc"}, "0+3=1:0 ", 0, 0},
    {"abxc", {"abc"}, "0+2=1:0 3+1=1:2 ", 1, 24},
    {"xabc", {"zzabc"}, "1+3=1:2 ", 1, 24},
    {"bca", {"abc"}, "0+2=1:1 2+1=1:0 ", 0, 0},
    {"abcd", {"ab", "cd"}, "0+2=1:0 2+2=2:0 ", 0, 0},
    {"abcd", {"b", "ab", "bcd"}, "0+2=2:0 2+2=3:1 ", 0, 0},
    /* a run does not go on from the end of one image into the next */
    {"ab", {"a", "b"}, "0+1=1:0 1+1=2:0 ", 0, 0},
    {"aaa", {"a"}, "0+1=1:0 1+1=1:0 2+1=1:0 ", 0, 0},
};

static void finds(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct seeds_table target = table(0, rows[i].target), held[3];
        size_t count = 0;
        for (; count < 3 && rows[i].held[count]; count++)
            held[count] = table(count + 1, rows[i].held[count]);
        OWNED_BUF struct buf out = BUF_EMPTY, text = BUF_EMPTY;
        struct seeds_result result, counted;
        assert_int_equal(seeds_find(&target, held, count, &out, &result), 0);
        assert_int_equal(seeds_find(&target, held, count, NULL, &counted), 0);
        assert_memory_equal(&result, &counted, sizeof result);
        struct wire_list list = {.at = out.bytes, .count = result.seeds};
        for (uint32_t k = 0; k < result.seeds; k++) {
            struct wire_seed s = wire_seed_at(&list, k);
            buf_printf(&text, "%u+%u=%u:%u ", s.first, s.count, (unsigned)s.image, s.image_first);
        }
        buf_put_u8(&text, 0);
        assert_string_equal((char *)text.bytes, rows[i].seeds);
        assert_int_equal(result.missing_chunks, rows[i].missing_chunks);
        assert_int_equal(result.missing_bytes, rows[i].missing_bytes);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(finds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
