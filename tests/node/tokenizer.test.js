// dbrx-ls tokenize and detokenize beside npm's tiktoken (the reference) and js-tiktoken (for rank
// lists of our own). Random text has fixed seeds.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Tiktoken as JsTiktoken } from 'js-tiktoken/lite';

const require = createRequire(import.meta.url);
const { Tiktoken } = require('tiktoken');
const cl100k = require('tiktoken/encoders/cl100k_base.json');

const root = new URL('../..', import.meta.url).pathname;
const program = join(root, process.env.BUILD ?? 'build', 'dbrx-ls');
const reference = new Tiktoken(cl100k.bpe_ranks, cl100k.special_tokens, cl100k.pat_str);
const tokens = cl100k.bpe_ranks.trim().split(/\s+/).slice(2);
const folder = mkdtempSync(join(tmpdir(), 'dbrx-tokenizer-'));
after(() => {
    rmSync(folder, { recursive: true });
    reference.free();
    pairsReference.free();
});

function run(args, input) {
    const { status, stdout, stderr } = spawnSync(program, args, { input, maxBuffer: 1 << 28 });
    return { status, stdout, stderr: stderr.toString() };
}

function tokenize(bytes, ...args) {
    const { status, stdout, stderr } = run(['tokenize', '--json', ...args], bytes);
    assert.equal(status, 0, stderr);
    return JSON.parse(stdout);
}

function detokenize(ids, ...args) {
    const { status, stdout, stderr } = run(['detokenize', ...args], JSON.stringify(ids));
    assert.equal(status, 0, stderr);
    return stdout;
}

// In cl100k most cuts between rare characters change no id, since no token reaches across them. With
// every pair of bytes a token, almost any cut in another place does: the same text is compared again
// under this list.
const pairs = Array.from({ length: 256 + 65536 }, (_, i) =>
    Buffer.from(i < 256 ? [i] : [(i - 256) >> 8, (i - 256) & 255]).toString('base64'));
const pairsReference = new Tiktoken(`! 0 ${pairs.join(' ')}`, {}, cl100k.pat_str);
const pairsFolder = join(folder, 'pairs');
mkdirSync(pairsFolder);
writeFileSync(join(pairsFolder, 'pairs.tiktoken'), pairs.map((t, rank) => `${t} ${rank}\n`).join(''));

// The ids must be tiktoken's, under both lists; gives back cl100k's.
function compare(text, name) {
    compareWith(pairsReference, text, `${name}, pairs of bytes`, '--model', pairsFolder);
    return compareWith(reference, text, name);
}

function compareWith(oracle, text, name, ...args) {
    const found = tokenize(text, ...args), expected = oracle.encode(text, [], []);
    const at = expected.findIndex((id, i) => id !== found[i]);
    if (at >= 0 || found.length !== expected.length)
        assert.fail(`${name}: id ${at} of ${expected.length}: found ${found.slice(at, at + 4)}, ` +
            `expected ${expected.slice(at, at + 4)}`);
    return found;
}

// Mulberry32: 32 bits of state, enough to choose test text.
function random(seed) {
    return (limit) => {
        seed = (seed + 0x6d2b79f5) | 0;
        let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
        t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
        return ((t ^ (t >>> 14)) >>> 0) % limit;
    };
}

// Pieces joined until the text has about `size` characters.
function mixed(seed, size, pieces) {
    const pick = random(seed);
    let text = '';
    while (text.length < size) text += pieces[pick(pieces.length)].repeat(1 + (pick(8) ? 0 : pick(12)));
    return text;
}

const SOURCE = {
    c: 'static int f(const char *s, size_t n)\n{\n\tfor (size_t i = 0; i < n; i++)\n\t\tif (s[i] == \'\\n\') return (int)i;\n\treturn -1; /* none */\n}\n#define MAX(a, b) ((a) > (b) ? (a) : (b))\n',
    cpp: 'template <typename T>\nauto&& fold(std::vector<T>&& v) noexcept(false) {\n    return std::accumulate(v.begin(), v.end(), T{}, [](auto a, auto b) { return a + b; });\n}\n',
    python: 'async def fetch(self, *urls: str, timeout=1.5e-3) -> dict[str, bytes]:\n    """It\'s what they\'ve asked; we\'ll see."""\n    return {u: await self._get(f"{u!r:>{10}}") for u in urls if u not in {}}\n\n\n@property\ndef ok(self): return not self.__errors\n',
    javascript: 'export const debounce = (fn, ms = 250) => {\n  let t;\n  return (...args) => { clearTimeout(t); t = setTimeout(() => fn?.(...args), ms); };\n};\n// `template ${1 + 2}` /re+gex/gi\n',
    typescript: 'type DeepPartial<T> = { [K in keyof T]?: T[K] extends object ? DeepPartial<T[K]> : T[K] };\r\nabstract class A<U extends B> implements C { private readonly x!: number; }\r\n',
    rust: "fn longest<'a>(x: &'a str, y: &'a str) -> Option<&'a str> {\n    let v: Vec<_> = x.bytes().map(|b| b as u32).collect();\n    if v.len() > y.len() { Some(x) } else { None }\n}\n#[derive(Debug, Clone)]\nstruct S<'de>(pub u8);\n",
    go: 'func (s *Server) Serve(ctx context.Context, l net.Listener) (err error) {\n\tdefer func() { err = errors.Join(err, l.Close()) }()\n\tfor {\n\t\tselect {\n\t\tcase <-ctx.Done():\n\t\t\treturn nil\n\t\tdefault:\n\t\t}\n\t}\n}\n',
    java: 'public final class Node<K extends Comparable<K>> {\n    @Override public int hashCode() { return 31 * Objects.hash(key) ^ 0xCAFE_BABE; }\n    // Umlaute: äöüß, ÄÖÜ\n}\n',
    shell: '#!/bin/sh\nset -eu\nfor f in "$@"; do\n    [ -f "${f%.*}.bak" ] || { cp -- "$f" "${f%.*}.bak" 2>/dev/null && echo "ok: $f" >&2; }\ndone | sort -u | awk \'{print $1, NR%2==0}\'\n',
    sql: "SELECT a.id, COUNT(*) AS n\n  FROM accounts a LEFT JOIN orders o ON o.account_id = a.id\n WHERE a.created_at >= '2024-01-01' AND o.total <> 0\n GROUP BY a.id HAVING COUNT(*) > 10;\n-- it's done\n",
    html: '<!DOCTYPE html>\n<html lang="ja">\n  <body class="a b">日本語のテキスト、はい。&nbsp;<b>Ελληνικά</b> русский عربي हिन्दी 한국어</body>\n</html>\n',
    lua: "local M = {}\nfunction M.setup(o) o = vim.tbl_extend('force', M.d, o or {}) --[[ x ]]\n  return #o > 0 and o[1] or nil\nend\nreturn M\n",
};

test('source code in twelve languages', () => {
    for (const [language, text] of Object.entries(SOURCE)) {
        assert.equal(detokenize(compareWith(reference, text, language)).toString(), text);
        compareWith(reference, text.replaceAll('\n', '\r\n').repeat(3), `${language}, CRLF`);
        compareWith(reference, text.replace(/^[ \t]+/gm, (s) => s.repeat(5)), `${language}, indented`);
    }
});

test('this repository', () => {
    for (const directory of ['base', 'tokenizer', 'tests/unit', 'tests/node', 'lsp/cli', '.'])
        for (const entry of readdirSync(join(root, directory), { withFileTypes: true }))
            if (entry.isFile() && !entry.name.endsWith('.bin'))
                compareWith(reference, readFileSync(join(root, directory, entry.name), 'utf8'), entry.name);
});

// "xcx" is one piece if c is a letter, "1c1" if it is a number, "  " if it is white space. Behind
// U+32400 nothing but tags and selectors is assigned.
test('the class of every code point is that of tiktoken', () => {
    const text = [];
    for (let c = 0; c < 0x110000; c++) {
        if (c >= 0xd800 && c <= 0xdfff) continue;
        const s = String.fromCodePoint(c);
        if (c < 0x32400 || (c >= 0xe0000 && c < 0xe0200)) text.push(`x${s}x1${s}1  ${s}x`);
        else text.push(c % 64 ? s : `${s}\n`);
    }
    for (let at = 0; at < text.length; at += 100000)
        compare(text.slice(at, at + 100000).join(''), `code points from ${at.toString(16)} on`);
});

test('runs and mixes that the pattern is about', () => {
    const units = [' ', '\n', '\t', '\r\n', '\r', '7', 'a', 'é', '=', '\u00a0', "'", "'s", '😀', '好'];
    for (const unit of units) {
        const runs = [1, 2, 3, 4, 7, 16, 63, 64, 65, 95, 96, 97, 98, 130, 1000].map((n) => unit.repeat(n));
        compare(runs.map((run) => `x${run}y ${run}1`).join(''), `runs of ${JSON.stringify(unit)}`);
        for (const run of runs.slice(0, 4)) // and where the text ends
            compareWith(reference, `x${run}`, `${JSON.stringify(run)} at the end`);
    }
    compare('a'.repeat(3000) + 'b'.repeat(3000) + 'ab'.repeat(3000), 'long pieces');
});

test('contractions', () => {
    const all = ['s', 't', 're', 've', 'm', 'll', 'd'].flatMap((e) =>
        [e, e.toUpperCase(), e[0].toUpperCase() + e.slice(1), e[0] + e.slice(1).toUpperCase(), e.replace('s', 'ſ')]);
    for (const before of ['it', 'IT', '', ' ', '1', '\n', "'", 'é', '.'])
        compare(['', ' ', 'x', 'é', '1', "'", '\n', 'l', 'e', 'ſ'].flatMap((behind) =>
            ['', ' '].flatMap((between) => all.map((e) => `${before}'${e}${behind}${between}`))).join(''),
        `contractions behind ${JSON.stringify(before)}`);
    for (const e of [...all, 'r', 'v', 'l', 'x', '']) compareWith(reference, `it'${e}`, `'${e} at the end`);
});

test('random mixes', () => {
    const pieces = [' ', ' ', ' ', '  ', '\n', '\r\n', '\r', '\t', "'", "'s", "'LL", "'ſ", 'ſ', 'K', 'a', 'the', 'foo_bar', 'HTTPServer',
        '0', '12', '3456', '٣', '½', '!', '//', '()', '{', '};', '\u00a0', '\u2028', '\u3000', '\u0085', '\u180e', '\u200b', '\ufeff', 'é', 'e\u0301', 'ß', 'д', 'ش',
        '好', '日本', '한', '😀', '👩‍👩‍👧', '\u0000', '\u001f', '\u007f', '\u{10ffff}', '\u{1d7d8}', '\u{20000}', '\ufffd'];
    for (let seed = 1; seed <= 16; seed++) {
        const text = mixed(seed, 20000, pieces);
        assert.equal(detokenize(compare(text, `mix ${seed}`)).toString(), text);
    }
});

test('random bytes come back, and are ids of the vocabulary', () => {
    for (let seed = 1; seed <= 20; seed++) {
        const pick = random(seed), bytes = Buffer.alloc(5000 + seed);
        for (let i = 0; i < bytes.length; i++)
            bytes[i] = seed % 2 ? pick(256) : [0x20, 0x61, 0x31, 0xc3, 0xa9, 0xe2, 0x80, 0xa8, 0xf0, 0x9f, 0xed, 0xff, 0x0a][pick(13)];
        const ids = tokenize(bytes);
        assert.ok(ids.every((id) => id >= 0 && id < 100256));
        assert.ok(detokenize(ids).equals(bytes), `seed ${seed}`);
    }
});

test('specials are bytes unless asked for', () => {
    const text = 'a<|im_end|>b <|endoftext|><|fim_middle|>\n<|im_start|';
    assert.deepEqual(tokenize(text), [...reference.encode(text, [], [])]);
    const named = new Tiktoken(cl100k.bpe_ranks,
        { ...cl100k.special_tokens, '<|pad|>': 100277, '<|im_start|>': 100278, '<|im_end|>': 100279 }, cl100k.pat_str);
    assert.deepEqual(tokenize(text, '--specials'), [...named.encode(text, 'all', [])]);
    assert.equal(detokenize(tokenize(text, '--specials')).toString(), text);
    named.free();
});

test('one id a line without --json, and what detokenize takes', () => {
    const { stdout } = run(['tokenize'], 'Hello world');
    assert.equal(stdout.toString(), '9906\n1917\n');
    assert.equal(run(['tokenize', '--json'], '').stdout.toString(), '[]\n');
    for (const ids of ['9906 1917', '9906,1917', '[9906, 1917]', '9906\n1917\n', ' [9906,\n1917] \n'])
        assert.equal(run(['detokenize'], ids).stdout.toString(), 'Hello world');
    assert.equal(run(['detokenize'], '').stdout.length, 0);
    assert.equal(run(['detokenize'], '100300').stdout.length, 0);
});

test('wrong use and bad ids: one line, the right exit code', () => {
    for (const [args, input, status, words] of [
        [['detokenize'], '1 x 3', 1, /id 2: found "x", expected 0 to 100351/],
        [['detokenize'], '100352', 1, /id 1: found "100352", expected 0 to 100351/],
        [['detokenize'], '-1', 1, /found "-1"/],
        [['detokenize'], '1.5', 1, /found "1.5"/],
        [['detokenize'], '99999999999999999999', 1, /found "99999999999999999999"/],
        [['detokenize'], '[1, 2', 1, /expected a whole JSON array/],
        [['detokenize', '7'], '', 2, /unexpected "7"/],
        [['tokenize', 'file.c'], '', 2, /unexpected "file.c"/],
        [['tokenize', '--wrong'], '', 2, /--wrong/],
        [['tokenize', '--model', '/nonexistent'], '', 1, /\/nonexistent/],
    ]) {
        const found = run(args, input);
        assert.equal(found.status, status, args.join(' '));
        assert.match(found.stderr, words);
        assert.equal(found.stderr.trim().split('\n').length, 1);
        assert.equal(found.stdout.length, 0);
    }
    assert.equal(run(['tokenize', '--help'], '').status, 0);
});

// GPT-2's alphabet: printable Latin-1 is itself, the rest follows U+0100.
function alphabet() {
    const letters = [];
    for (let byte = 0, next = 256; byte < 256; byte++) {
        const itself = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
        letters.push(String.fromCodePoint(itself ? byte : next++));
    }
    return letters;
}

// For each token the pair it is merged from last when only lower ranks exist, as the converters do.
function mergesOf(list) {
    const ranks = new Map(list.map((bytes, rank) => [bytes.toString('latin1'), rank]));
    return list.flatMap((bytes, rank) => {
        if (bytes.length < 2) return [];
        let parts = [...bytes].map((b) => String.fromCharCode(b));
        while (parts.length > 2) {
            let best = rank, at = -1;
            for (let i = 0; i + 1 < parts.length; i++) {
                const r = ranks.get(parts[i] + parts[i + 1]) ?? rank;
                if (r < best) [best, at] = [r, i];
            }
            if (at < 0) throw new Error(`rank ${rank} is not made by merging`);
            parts = [...parts.slice(0, at), parts[at] + parts[at + 1], ...parts.slice(at + 2)];
        }
        return [parts];
    });
}

function tokenizerJson(list, asStrings, added) {
    const letters = alphabet();
    const spell = (latin1) => [...latin1].map((c) => letters[c.charCodeAt(0)]).join('');
    const vocab = Object.fromEntries(list.map((bytes, rank) => [spell(bytes.toString('latin1')), rank]));
    const merges = mergesOf(list).map((pair) => pair.map(spell)).map((pair) => (asStrings ? pair.join(' ') : pair));
    return JSON.stringify({
        version: '1.0', truncation: null, padding: null, normalizer: null,
        added_tokens: added.map(([content, id]) => ({ id, content, special: true, normalized: false })),
        pre_tokenizer: {
            type: 'Sequence', pretokenizers: [
                { type: 'Split', pattern: { Regex: cl100k.pat_str }, behavior: 'Removed', invert: true },
                { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false }],
        },
        model: { type: 'BPE', dropout: null, unk_token: null, fuse_unk: false, byte_fallback: false, vocab, merges },
    });
}

const SAMPLE = Object.values(SOURCE).join('\n') + mixed(99, 5000, ['the ', 'über', ' 12', '\n\n', '好', "'s", '  ', '+=']);

test('both carriers of DBRX give the same ids', () => {
    const list = tokens.map((t) => Buffer.from(t, 'base64'));
    const text = tokens.map((t, rank) => `${t} ${rank}`).join('\n');
    const specials = [['<|endoftext|>', 100257], ['<|im_start|>', 100278], ['<|im_end|>', 100279]];
    const expected = [...reference.encode(SAMPLE, [], [])];
    writeFileSync(join(folder, 'cl100k.tiktoken'), text);
    assert.deepEqual(tokenize(SAMPLE, '--model', folder), expected);
    assert.deepEqual(tokenize('<|im_end|><|fim_prefix|>', '--specials', '--model', folder), [100279, 100258]);
    for (const asStrings of [true, false]) {
        writeFileSync(join(folder, 'tokenizer.json'), tokenizerJson(list, asStrings, specials));
        assert.deepEqual(tokenize(SAMPLE, '--model', folder), expected);
        assert.deepEqual(tokenize('a<|im_end|>', '--specials', '--model', folder), [64, 100279]);
    }
    rmSync(join(folder, 'tokenizer.json'));
    rmSync(join(folder, 'cl100k.tiktoken'));
});

test('prefixes of the rank list are tokenizers', () => {
    for (const n of [256, 1000, 16256, 50000]) {
        const oracle = new JsTiktoken({ bpe_ranks: `! 0 ${tokens.slice(0, n).join(' ')}`, special_tokens: {}, pat_str: cl100k.pat_str
            .replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)", "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]") });
        const expected = oracle.encode(SAMPLE, [], []);
        writeFileSync(join(folder, 'ranks.tiktoken'), tokens.slice(0, n).map((t, rank) => `${t} ${rank}\n`).join(''));
        assert.deepEqual(tokenize(SAMPLE, '--model', folder), expected, `${n} ranks as text`);
        rmSync(join(folder, 'ranks.tiktoken'));
        writeFileSync(join(folder, 'tokenizer.json'),
            tokenizerJson(tokens.slice(0, n).map((t) => Buffer.from(t, 'base64')), true, [['<|im_end|>', n + 22]]));
        assert.deepEqual(tokenize(SAMPLE, '--model', folder), expected, `${n} ranks as JSON`);
        assert.deepEqual(tokenize('<|im_end|>', '--specials', '--model', folder), [n + 22]);
        rmSync(join(folder, 'tokenizer.json'));
    }
});

test('several megabytes, and a megabyte in one piece', { timeout: 60000 }, () => {
    compareWith(reference, SAMPLE.repeat(200), 'large');
    for (const unit of ['a', 'ab', '=', ' ', '好']) {
        const text = unit.repeat(1000000 / unit.length);
        assert.equal(detokenize(tokenize(text)).toString(), text);
    }
});
