/* Checkpoints. First byte: 0 takes the rest as the file; else the rest is the header, put behind its
 * length and before as many zeros. */
#include "inference/safetensors.h"
#include "tests/fuzz/model_directory.h"

static void file_compose(buffer *file, text rest)
{
    uint8_t n_zeros = fuzz_byte(&rest);
    if (n_zeros == 0) {
        buffer_put_text(file, rest);
        return;
    }
    for (int i = 0; i < 8; i++) buffer_put_char(file, (char)((uint64_t)rest.size >> 8 * i));
    buffer_put_text(file, rest);
    for (int i = 0; i < n_zeros; i++) buffer_put_char(file, 0);
}

/* Everything promised to lie in the mapping is read, so that the sanitizer sees a lie. */
static void tensors_check(const safetensors *s)
{
    unsigned sum = 0;
    for (size_t i = 0; i < safetensors_count(s); i++) {
        const struct tensor *t = safetensors_at(s, i);
        size_t size = tensor_dtype_bytes(t->dtype);
        REQUIRE(t->n_dimensions >= 0 && t->n_dimensions <= TENSOR_DIMENSIONS_MAX);
        for (int32_t d = 0; d < t->n_dimensions; d++) size *= (size_t)t->shape[d];
        REQUIRE(size == t->size_bytes);
        REQUIRE(safetensors_find(s, t->name) == t);
        for (size_t at = 0; at < t->size_bytes; at++) sum += t->bytes[at];
    }
    REQUIRE(sum < UINT32_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    safetensors *s = NULL;
    error err = {0};
    buffer file = {0};
    file_compose(&file, (text){(const char *)data, size});
    model_file_put("model.safetensors", buffer_text(&file));
    if (safetensors_open(&s, model_directory, &err) == OK)
        tensors_check(s);
    else
        REQUIRE(err.message[0] && !s);
    safetensors_close(s);
    model_file_remove("model.safetensors");
    buffer_free(&file);
    return 0;
}
