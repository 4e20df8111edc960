#include "lsp/cli/terminal.h"

#include <stdio.h>
#include <unistd.h>

#include "base/utf.h"

/* C0, DEL and C1: some terminals take the last for escapes, too. */
static bool is_control(uint32_t c)
{
    return (c < ' ' && c != '\n' && c != '\t') || (c >= 0x7F && c < 0xA0);
}

void terminal_print(text t)
{
    for (size_t at = 0, size; at < t.size; at += size) {
        uint32_t c = utf8_decode(t, at, &size);
        bool lone = size == 1 && (unsigned char)t.bytes[at] >= 0x80;
        if (is_control(c) || lone)
            putchar('?');
        else
            fwrite(t.bytes + at, 1, size, stdout);
    }
}

void terminal_print_grey(text t)
{
    bool colour = isatty(STDOUT_FILENO);
    if (colour) fputs("\033[90m", stdout);
    terminal_print(t);
    if (colour) fputs("\033[0m", stdout);
}

/* Only what stands there is taken away: the line may have an answer on it by now. */
void terminal_progress(const char *words)
{
    static bool shown;
    if (!isatty(STDERR_FILENO) || (!shown && !words[0])) return;
    fprintf(stderr, "\r%s\033[K", words);
    shown = words[0] != 0;
}
