/* Between calls at most the longest stop string less one byte is held, so searching it again with
 * every token is cheaper than keeping an automaton. */
#include "inference/stop.h"

/* Length of the longest end of `t` that begins `stop` and is not all of it. */
static size_t overlap(text t, text stop)
{
    size_t n = stop.size - 1 < t.size ? stop.size - 1 : t.size;
    while (n && !text_ends(t, text_slice(stop, 0, n))) n--;
    return n;
}

bool stop_push(struct stop_matcher *m, text bytes, buffer *out)
{
    size_t first = SIZE_MAX, keep = 0;
    if (m->n_stops == 0) {
        buffer_put_text(out, bytes);
        return false;
    }
    buffer_put_text(&m->held, bytes);
    text all = buffer_text(&m->held);
    for (size_t i = 0; i < m->n_stops; i++) {
        size_t at = text_find(all, m->stops[i], 0), tail = overlap(all, m->stops[i]);
        if (at < first) first = at;
        if (tail > keep) keep = tail;
    }
    size_t released = first != SIZE_MAX ? first : all.size - keep;
    buffer_put_text(out, text_slice(all, 0, released));
    buffer_drop_front(&m->held, first != SIZE_MAX ? all.size : released);
    return first != SIZE_MAX;
}

void stop_flush(struct stop_matcher *m, buffer *out)
{
    buffer_put_text(out, buffer_text(&m->held));
    buffer_clear(&m->held);
}

void stop_free(struct stop_matcher *m) { buffer_free(&m->held); }
