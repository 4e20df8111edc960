#include "lsp/assistant/outcomes.h"

static const int64_t stage_us[OUTCOME_STAGES] = {30000000, 120000000, 600000000};

void outcomes_free(struct outcomes *o)
{
    for (size_t i = 0; i < OUTCOMES_MAX; i++) buffer_free(&o->texts[i].inserted);
    *o = (struct outcomes){0};
}

void outcomes_accept(struct outcomes *o, size_t at_byte, text inserted, int64_t now_us)
{
    struct accepted_text *t = &o->texts[o->n_put++ % OUTCOMES_MAX];
    buffer_clear(&t->inserted);
    buffer_put_text(&t->inserted, text_trim(inserted));
    if (t->inserted.failed) buffer_clear(&t->inserted);
    /* Editors may strip white space at its ends; what is followed begins with a visible character. */
    size_t skipped = 0;
    while (skipped < inserted.size && text_trim(text_slice(inserted, 0, skipped + 1)).size == 0)
        skipped++;
    t->at_byte = at_byte + skipped;
    t->accepted_us = now_us;
    t->stage = 0;
}

void outcomes_edit(struct outcomes *o, size_t from, size_t n_removed, size_t n_inserted)
{
    for (size_t i = 0; i < OUTCOMES_MAX; i++) {
        struct accepted_text *t = &o->texts[i];
        if (from + n_removed <= t->at_byte)
            t->at_byte = t->at_byte - n_removed + n_inserted;
        else if (from < t->at_byte)
            t->at_byte = from; /* its beginning is among what was replaced */
    }
}

/* At its place; or, where a change ran over its beginning, further on. */
static bool still_stands(const struct accepted_text *t, text content)
{
    text inserted = buffer_text(&t->inserted);
    size_t from = t->at_byte < content.size ? t->at_byte : content.size;
    if (text_starts(text_slice(content, from, content.size), inserted)) return true;
    return text_find(content, inserted, from) != SIZE_MAX;
}

static void stage_count(struct assistant_counters *n, int stage, bool kept)
{
    int64_t *const rows[OUTCOME_STAGES][2] = {{&n->lost_30_s, &n->kept_30_s},
                                              {&n->lost_120_s, &n->kept_120_s},
                                              {&n->lost_600_s, &n->kept_600_s}};
    ++*rows[stage][kept];
}

void outcomes_check(struct outcomes *o, text content, int64_t now_us, struct assistant_counters *n)
{
    for (size_t i = 0; i < OUTCOMES_MAX; i++) {
        struct accepted_text *t = &o->texts[i];
        while (t->inserted.size && now_us - t->accepted_us >= stage_us[t->stage]) {
            stage_count(n, t->stage, still_stands(t, content));
            if (++t->stage == OUTCOME_STAGES) buffer_clear(&t->inserted);
        }
    }
}

int64_t outcomes_next_us(const struct outcomes *o)
{
    int64_t next_us = INT64_MAX;
    for (size_t i = 0; i < OUTCOMES_MAX; i++) {
        const struct accepted_text *t = &o->texts[i];
        int64_t at_us = t->inserted.size ? t->accepted_us + stage_us[t->stage] : INT64_MAX;
        if (at_us < next_us) next_us = at_us;
    }
    return next_us;
}
