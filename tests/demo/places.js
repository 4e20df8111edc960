// Where the demonstration completes: lines inside functions of this repository, cut where someone
// might be typing. The same ones every time.
import fs from 'node:fs';
import path from 'node:path';

const FILES = [
    'lsp/server/documents.c',
    'base/utf.c',
    'base/text.c',
    'inference/sampler.c',
    'base/arena.c',
    'context/prompt.c',
    'tokenizer/tokenizer.c',
];
const STATEMENT = /^ {4,}(?:return |\w+ \*?\w+ = |\w+->\w+ = )/;
const SHARES = [0.5, 0.25, 0.75, 0.4, 0.6, 0.1, 0.9]; // of a file; functions are not at its ends

// Behind "return " or " = ".
function columnOf(line) {
    return /^ +(?:return |.*? = )/.exec(line)[0].length;
}

function placesIn(repository, file) {
    const lines = fs.readFileSync(path.join(repository, file), 'utf8').split('\n');
    const fit = lines
        .map((text, line) => ({ line, text }))
        .filter(({ line, text }) => line > 8 && STATEMENT.test(text) && text.length < 90);
    const chosen = new Set(SHARES.map((share) => fit[Math.floor(share * fit.length)]));
    return [...chosen]
        .filter(Boolean)
        .map(({ line, text }) => ({ file, line, column: columnOf(text) }));
}

/** One place of every file, then the second of every file, and so on. */
export function places(repository) {
    const lists = FILES.filter((file) => fs.existsSync(path.join(repository, file))).map((file) =>
        placesIn(repository, file),
    );
    return SHARES.flatMap((_, i) => lists.map((list) => list[i]).filter(Boolean));
}
