/* The bytes of protocol version 1, as tests/golden/wire/frames-v1.txt holds them: both ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "samples.h"

#define LINE_MAX_BYTES 4096

/* The next line that is no comment: the type's name into `name`, the frame into `frame`. */
static void next_line(FILE *file, char name[32], struct buf *frame)
{
    char line[LINE_MAX_BYTES], hex[LINE_MAX_BYTES];
    unsigned byte = 0;
    do
        assert_non_null(fgets(line, sizeof(line), file));
    while (line[0] == '#');
    assert_int_equal(sscanf(line, "%31s %4095s", name, hex), 2);
    frame->len_bytes = 0;
    for (const char *p = hex; *p; p += 2) {
        assert_int_equal(sscanf(p, "%2x", &byte), 1);
        buf_put_u8(frame, (uint8_t)byte);
    }
}

static void frames(void **state)
{
    OWNED_FILE file = fopen(*state, "re");
    assert_non_null(file);
    OWNED_BUF struct buf golden = BUF_EMPTY, made = BUF_EMPTY;
    for (unsigned i = 0; i < SAMPLES; i++) {
        char name[32];
        struct err err = {0};
        struct wire_message message = sample(i), got;
        next_line(file, name, &golden);
        assert_string_equal(name, wire_type_name(message.type));
        made.len_bytes = 0;
        assert_int_equal(wire_encode(&message, &made), 0);
        assert_int_equal(made.len_bytes, golden.len_bytes);
        assert_memory_equal(made.bytes, golden.bytes, golden.len_bytes);
        assert_int_equal(wire_decode(golden.bytes, golden.len_bytes, &got, &err), golden.len_bytes);
        made.len_bytes = 0;
        assert_int_equal(wire_encode(&got, &made), 0); /* what was read says the same again */
        assert_int_equal(made.len_bytes, golden.len_bytes);
        assert_memory_equal(made.bytes, golden.bytes, golden.len_bytes);
    }
    char rest[16];
    assert_null(fgets(rest, sizeof(rest), file));
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s FRAMES\n", argv[0]);
        return 2;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test_prestate(frames, argv[1])};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
