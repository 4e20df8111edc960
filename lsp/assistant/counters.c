#include "lsp/assistant/counters.h"

const struct counter_row counter_rows[] = {
#define ROW(name, words) {#name, words},
    ASSISTANT_COUNTERS(ROW)
#undef ROW
};
