/* A backend never trusts a size it was given; a wrong one is reported, not computed with. */
#include "kernels/host.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/memory.h"
#include "kernels/format.h"
#include "kernels/pages.h"

status device_options_check(const struct device_options *o, error *err)
{
    status rc = shape_check(&o->shape, err);
    if (rc != OK) return rc;
    if (o->rows_max < 1 || o->seqs_max < 1 || o->outs_max < 0 || o->slices_max < 0)
        return fail(err, ERR_USAGE, "rows_max %d, seqs_max %d, outs_max %d: expected 1, 1 and 0 up",
                    o->rows_max, o->seqs_max, o->outs_max);
    return OK;
}

status weight_spec_check(const struct weight_spec *s, error *err)
{
    if ((unsigned)s->format > WEIGHT_INT4_G128)
        return fail(err, ERR_UNSUPPORTED, "%s: weight format %d is not known", s->name,
                    (int)s->format);
    if (s->n_rows < 1 || s->n_columns < 1 || s->n_experts < 1 || s->n_rows % s->n_experts != 0)
        return fail(err, ERR_FORMAT, "%s: %lld rows of %lld for %d experts", s->name,
                    (long long)s->n_rows, (long long)s->n_columns, s->n_experts);
    if (s->transposed && s->format != WEIGHT_F32 && s->format != WEIGHT_BF16)
        return fail(err, ERR_UNSUPPORTED,
                    "%s: %s weights are stored [out, in] with scales along in, not transposed",
                    s->name, format_name(s->format));
    return OK;
}

static status rows_check(const struct step *s, const struct device_options *o, int32_t n_slots,
                         error *err)
{
    for (int32_t r = 0; r < s->n_rows; r++) {
        if (s->seq[r] < 0) continue;
        int32_t token = s->token[r], position = s->position[r], seq = s->seq[r];
        if (token < 0 ? ~token >= n_slots : token >= o->shape.vocab_size)
            return fail(err, ERR_DEVICE, "row %d: token %d, vocabulary %d, %d slots", r, token,
                        o->shape.vocab_size, n_slots);
        if (seq >= s->n_seqs || position < 0 || position >= s->kv_len[seq] ||
            position >= o->shape.max_seq_len)
            return fail(err, ERR_DEVICE, "row %d: position %d of sequence %d, %d sequences of %d",
                        r, position, seq, s->n_seqs, o->shape.max_seq_len);
    }
    return OK;
}

static status routes_check(const struct step *s, const struct model_shape *m, error *err)
{
    for (int64_t i = 0; i < (int64_t)m->n_layers * s->n_rows * m->moe_top_k; i++) {
        int64_t row = i / m->moe_top_k % s->n_rows;
        int32_t expert = s->routes_forced[i];
        if (s->seq[row] >= 0 && (expert < 0 || expert >= m->moe_num_experts))
            return fail(err, ERR_DEVICE, "row %d: forced expert %d of %d", (int)row, expert,
                        m->moe_num_experts);
    }
    return OK;
}

static status pages_check(const struct step *s, error *err)
{
    for (int32_t i = 0; i < s->n_seqs; i++)
        for (int32_t p = 0; p * KV_PAGE_TOKENS < s->kv_len[i]; p++) {
            if (p >= s->pages_max)
                return fail(err, ERR_DEVICE, "sequence %d: %d keys in %d pages", i, s->kv_len[i],
                            s->pages_max);
            int32_t page = s->page_table[(size_t)i * (size_t)s->pages_max + (size_t)p];
            if (page < 0 || page >= s->kv->n_pages)
                return fail(err, ERR_DEVICE, "sequence %d: page %d of %d", i, page, s->kv->n_pages);
        }
    return OK;
}

status step_check(const struct step *s, const struct device_options *o, int32_t n_slots, error *err)
{
    int32_t slices = o->slices_max > 0 ? o->slices_max : 1;
    if (s->n_rows < 0 || s->n_rows > o->rows_max || s->n_seqs < 0 || s->n_seqs > o->seqs_max ||
        s->n_outs < 0 || s->n_outs > o->outs_max || s->slice < 0 || s->slice >= slices)
        return fail(err, ERR_DEVICE,
                    "step of %d rows, %d sequences, %d outputs in slice %d, opened "
                    "for %d, %d, %d, %d",
                    s->n_rows, s->n_seqs, s->n_outs, s->slice, o->rows_max, o->seqs_max,
                    o->outs_max, slices);
    for (int32_t i = 0; i < s->n_outs; i++)
        if (s->out_row[i] < 0 || s->out_row[i] >= s->n_rows)
            return fail(err, ERR_DEVICE, "output %d: row %d of %d", i, s->out_row[i], s->n_rows);
    for (int32_t i = 0; i < s->n_outs; i++)
        if (s->sample && s->sample[i].mask >= s->n_masks)
            return fail(err, ERR_DEVICE, "output %d: mask %d of %d", i, s->sample[i].mask,
                        s->n_masks);
    status rc = rows_check(s, o, n_slots, err);
    if (rc == OK && s->routes_forced) rc = routes_check(s, &o->shape, err);
    return rc != OK ? rc : pages_check(s, err);
}

size_t meminfo_available(text meminfo)
{
    size_t at = text_find(meminfo, TEXT("MemAvailable:"), 0), kib = 0, bytes = 0;
    if (at == SIZE_MAX || (at > 0 && meminfo.bytes[at - 1] != '\n')) return 0;
    text rest = text_slice(meminfo, at + sizeof "MemAvailable:" - 1, meminfo.size);
    size_t i = 0, digits;
    while (i < rest.size && rest.bytes[i] == ' ') i++;
    for (digits = i; i < rest.size && rest.bytes[i] >= '0' && rest.bytes[i] <= '9'; i++)
        if (!size_mul(kib, 10, &kib) || !size_add(kib, (size_t)(rest.bytes[i] - '0'), &kib))
            return 0;
    bool whole = i > digits && text_find(rest, TEXT(" kB\n"), 0) == i;
    return whole && size_mul(kib, KIB, &bytes) ? bytes : 0;
}

size_t host_memory_available(void)
{
    char content[4096]; /* the line is the third */
    ssize_t size = 0;
    int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        size = read(fd, content, sizeof content);
        close(fd);
    }
    size_t bytes = size > 0 ? meminfo_available((text){content, (size_t)size}) : 0;
    long pages = sysconf(_SC_AVPHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    if (bytes > 0 || pages <= 0 || page_bytes <= 0) return bytes;
    return (size_t)pages * (size_t)page_bytes;
}
