/* Scripts decide first: kana is Japanese whatever Chinese characters stand beside it. Latin letters are
 * told apart by words that hardly any sentence does without and that no other listed language has. */
#include "context/human_language.h"

#include <ctype.h>
#include <string.h>

#include "base/utf.h"

struct language_name {
    char tag[3];
    const char *name;
};

static const struct language_name language_names[] = {
    {"ar", "Arabic"},    {"bg", "Bulgarian"},  {"ca", "Catalan"}, {"cs", "Czech"},
    {"da", "Danish"},    {"de", "German"},     {"el", "Greek"},   {"en", "English"},
    {"es", "Spanish"},   {"et", "Estonian"},   {"fa", "Persian"}, {"fi", "Finnish"},
    {"fr", "French"},    {"he", "Hebrew"},     {"hi", "Hindi"},   {"hr", "Croatian"},
    {"hu", "Hungarian"}, {"id", "Indonesian"}, {"it", "Italian"}, {"ja", "Japanese"},
    {"ko", "Korean"},    {"lt", "Lithuanian"}, {"lv", "Latvian"}, {"nb", "Norwegian"},
    {"nl", "Dutch"},     {"no", "Norwegian"},  {"pl", "Polish"},  {"pt", "Portuguese"},
    {"ro", "Romanian"},  {"ru", "Russian"},    {"sk", "Slovak"},  {"sl", "Slovenian"},
    {"sr", "Serbian"},   {"sv", "Swedish"},    {"th", "Thai"},    {"tr", "Turkish"},
    {"uk", "Ukrainian"}, {"vi", "Vietnamese"}, {"zh", "Chinese"},
};

text human_language_name(text locale)
{
    if (locale.size < 2 || (locale.size > 2 && !strchr("-_.@", locale.bytes[2]))) return TEXT("");
    for (size_t i = 0; i < sizeof language_names / sizeof *language_names; i++) {
        const char *tag = language_names[i].tag;
        if (tolower((unsigned char)locale.bytes[0]) == tag[0] &&
            tolower((unsigned char)locale.bytes[1]) == tag[1])
            return text_of(language_names[i].name);
    }
    return TEXT("");
}

enum script { LATIN, CYRILLIC, GREEK, HEBREW, ARABIC, THAI, HAN, KANA, HANGUL, N_SCRIPTS };

static const char *const script_languages[N_SCRIPTS] = {
    "", "Russian", "Greek", "Hebrew", "Arabic", "Thai", "Chinese", "Japanese", "Korean"};

static int script_of(uint32_t c)
{
    static const struct {
        uint32_t from, to;
        enum script script;
    } ranges[] = {{'A', 'Z', LATIN},      {'a', 'z', LATIN},        {0xC0, 0x24F, LATIN},
                  {0x370, 0x3FF, GREEK},  {0x400, 0x52F, CYRILLIC}, {0x590, 0x5FF, HEBREW},
                  {0x600, 0x6FF, ARABIC}, {0xE00, 0xE7F, THAI},     {0x3040, 0x30FF, KANA},
                  {0x3400, 0x9FFF, HAN},  {0xAC00, 0xD7AF, HANGUL}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (c >= ranges[i].from && c <= ranges[i].to) return (int)ranges[i].script;
    return -1;
}

/* Small words; none is on two lists. */
static const struct {
    const char *name;
    const char *words[24];
} small_words[] = {
    {"English",
     {"the",  "and", "of",  "to",  "for", "with",   "when", "is", "are", "that", "this",
      "from", "not", "add", "fix", "use", "remove", "by",   "it", "if",  "make", "update"}},
    {"German",
     {"der", "die", "das",  "und", "nicht", "mit", "f\xc3\xbcr", "von", "bei",  "wird",
      "ist", "ein", "eine", "auf", "wenn",  "zu",  "dem",        "den", "nach", "wieder"}},
    {"French",
     {"le", "les", "des", "une", "pour", "avec", "dans", "est", "sur", "du", "au", "qui", "ajoute",
      "ajout", "corrige", "lors", "pas", "aux"}},
    {"Spanish",
     {"el", "los", "las", "para", "con", "por", "una", "del", "que", "al", "y", "se",
      "a\303\261ade", "corrige", "cuando", "como"}},
    {"Italian",
     {"il", "gli", "della", "per", "che", "di", "nel", "sono", "aggiunge", "quando", "dei", "alla",
      "dal"}},
    {"Portuguese",
     {"o", "os", "da", "dos", "uma", "com", "n\xc3\xa3o", "ao", "adiciona", "quando", "pelo",
      "em"}},
    {"Dutch",
     {"het", "een", "voor", "niet", "van", "met", "naar", "bij", "wordt", "als", "ook", "zijn"}},
    {"Polish", {"nie", "na", "dla", "z", "jest", "oraz", "przy", "dodaj", "do", "si\xc4\x99"}},
    {"Swedish", {"och", "f\xc3\xb6r", "inte", "att", "till", "som", "av", "l\xc3\xa4gg"}},
};

enum { N_SMALL = sizeof small_words / sizeof *small_words };

static bool is_listed(size_t language, text word)
{
    char lower[24];
    if (word.size == 0 || word.size >= sizeof lower) return false;
    for (size_t i = 0; i < word.size; i++) lower[i] = (char)tolower((unsigned char)word.bytes[i]);
    for (size_t i = 0; i < 24 && small_words[language].words[i]; i++)
        if (text_is((text){lower, word.size}, small_words[language].words[i])) return true;
    return false;
}

/* The list with twice as many hits as any other. */
static text latin_language(text prose)
{
    size_t hits[N_SMALL] = {0}, best = 0, second = 0;
    for (size_t at = 0; at < prose.size;) {
        size_t end = at;
        while (end < prose.size &&
               (isalpha((unsigned char)prose.bytes[end]) || prose.bytes[end] & 0x80))
            end++;
        for (size_t i = 0; end > at && i < N_SMALL; i++)
            hits[i] += is_listed(i, text_slice(prose, at, end));
        at = end > at ? end : at + 1;
    }
    for (size_t i = 1; i < N_SMALL; i++)
        if (hits[i] > hits[best]) best = i;
    for (size_t i = 0; i < N_SMALL; i++)
        if (i != best && hits[i] > second) second = hits[i];
    return hits[best] >= 2 && hits[best] >= 2 * second ? text_of(small_words[best].name) : TEXT("");
}

text human_language_of(text prose)
{
    size_t counts[N_SCRIPTS] = {0}, size, letters = 0, best = 0;
    bool ukrainian = false;
    for (size_t at = 0; at < prose.size; at += size) {
        uint32_t c = utf8_decode(prose, at, &size);
        int script = script_of(c);
        if (script < 0) continue;
        counts[script]++;
        letters++;
        ukrainian = ukrainian || c == 0x456 || c == 0x457 || c == 0x454 || c == 0x491;
    }
    /* A Chinese or Japanese character says as much as a word, and names of code are Latin anywhere. */
    counts[LATIN] /= 5;
    for (size_t i = 1; i < N_SCRIPTS; i++)
        if (counts[i] > counts[best]) best = i;
    if (letters == 0) return TEXT("");
    if (best == LATIN) return latin_language(prose);
    if (best == HAN && counts[KANA]) best = KANA;
    if (best == CYRILLIC && ukrainian) return TEXT("Ukrainian");
    return text_of(script_languages[best]);
}
