// Where the demonstration completes: lines inside functions of this repository, cut where someone
// might be typing. The same ones every time.
import fs from 'node:fs';
import path from 'node:path';

const FILES = [
    'lsp/server/documents.c',
    'context/prompt.c',
    'base/utf.c',
    'inference/sampler.c',
    'tokenizer/tokenizer.c',
    'base/arena.c',
    'base/text.c',
];
const STATEMENT = /^ {4,}(?:return |if \(|for \(|\w+ \*?\w+ = |\w+->\w+ = )/;

// The column behind the first word and its blank: "return |", "size_t n = |".
function columnOf(line) {
    const head = /^ +(?:return |if \(|for \(|.*? = )/.exec(line);
    return head ? head[0].length : line.length;
}

// From the middle of a file outwards is where functions are; three spread over it.
function placesIn(repository, file) {
    const lines = fs.readFileSync(path.join(repository, file), 'utf8').split('\n');
    const fit = lines
        .map((line, i) => ({ line: i, text: line }))
        .filter(({ line, text }) => line > 8 && STATEMENT.test(text) && text.length < 90);
    return [0.5, 0.25, 0.75]
        .map((share) => fit[Math.floor(share * fit.length)])
        .filter(Boolean)
        .map(({ line, text }) => ({ file, line, column: columnOf(text) }));
}

/** One place of every file, then the second of every file, and so on. */
export function places(repository) {
    const lists = FILES.filter((file) => fs.existsSync(path.join(repository, file))).map((file) =>
        placesIn(repository, file),
    );
    return [0, 1, 2].flatMap((i) => lists.map((list) => list[i]).filter(Boolean));
}
