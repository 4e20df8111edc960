// explain and refactor on the command line: the same code as in an editor, without one.
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { program } from './support/modules.js';
import { Sandbox } from './support/sandbox.js';
import { startScriptedEngine } from './support/scripted_engine.js';

const SUM = `/* Adds all up. */
int sum(const int *values, int n)
{
    int total = 0;
    for (int i = 0; i < n; i++) {
        total = total + values[i];
    }
    return total;
}
`;
const SHORT = 'for (int i = 0; i < n; i++)\n        total += values[i];\n```';
const KEY = 'AKIAIOSFODNN7EXAMPLE';

async function scene({ script, files = { 'sum.c': SUM } }, body) {
    const sandbox = new Sandbox();
    sandbox.write(files);
    const engine = await startScriptedEngine({ script });
    const run = (...args) =>
        new Promise((done) => {
            const env = sandbox.env({ DBRX_ENDPOINT: engine.endpoint, LC_ALL: 'C.UTF-8' });
            execFile(program, args, { cwd: sandbox.work, env, encoding: 'utf8' }, (error, stdout, stderr) =>
                done({ code: error ? error.code : 0, stdout, stderr }),
            );
        });
    try {
        await body({ sandbox, engine, run });
    } finally {
        await engine.close();
        sandbox.close();
    }
}

test('refactor prints a diff that patch takes, and writes nothing', async () => {
    await scene({ script: SHORT }, async ({ sandbox, run }) => {
        const { code, stdout, stderr } = await run('refactor', 'sum.c:5-7');
        assert.equal(code, 0, stderr);
        const file = path.join(sandbox.work, 'sum.c');
        assert.equal(fs.readFileSync(file, 'utf8'), SUM);
        assert.match(stdout, /^diff --git a\/sum\.c b\/sum\.c\n/);
        execFileSync('patch', ['-s', '-p1'], { cwd: sandbox.work, input: stdout });
        const expected = SUM.replace(/ {4}for[\s\S]*?\n {4}\}/, `    ${SHORT.slice(0, -4)}`);
        assert.equal(fs.readFileSync(file, 'utf8'), expected);
    });
});

test('refactor: instruction, refusals, wrong use', async () => {
    await scene({ script: [SHORT, 'broken(\n```', 'broken(\n```'] }, async ({ engine, run }) => {
        const { stdout } = await run('refactor', 'sum.c:5-7', '--instruction', 'without braces', '--json');
        const result = JSON.parse(stdout);
        assert.deepEqual(result.range, { start: { line: 4, character: 0 }, end: { line: 6, character: 5 } });
        assert.equal(result.text, `    ${SHORT.slice(0, -4)}`);
        assert.match(engine.requests[0].prompt, /as its owner says:\nwithout braces\n/);
        const refused = await run('refactor', 'sum.c:5-7');
        assert.deepEqual([refused.code, refused.stdout], [1, '']);
        assert.match(refused.stderr, /^dbrx-ls refactor: the code does not parse/);
        for (const args of [[], ['sum.c'], ['sum.c:9-3'], ['sum.c:0-3'], ['sum.c:400-500'], ['sum.c:1-2', 'more'],
            ['sum.c:1-2', '--action', 'nonsense'], ['sum.c:1-2', '--action', 'tests'], ['sum.c:1-2', '--action', 'fix'],
            ['sum.c:1-2', '--action', 'translate']]) {
            const { code, stderr } = await run('refactor', ...args);
            assert.equal(code, 2, `${args}: ${stderr}`);
            assert.equal(stderr.trim().split('\n').length, 1);
        }
        assert.equal((await run('refactor', 'none.c:1-2')).code, 1);
        assert.match((await run('refactor', '--help')).stdout, /usage: dbrx-ls refactor/);
    });
});

test('explain: prose as it comes, JSON at the end, in the language asked for', async () => {
    await scene({ script: ' adds.\x1b[31m See [it](http://x).' }, async ({ engine, run }) => {
        const { code, stdout } = await run('explain', 'sum.c:2-9');
        assert.equal(code, 0);
        assert.equal(stdout, '**What** adds.[31m See [it] (http://x).\n');
        const json = JSON.parse((await run('explain', 'sum.c:2', '--json', '--language', 'de')).stdout);
        assert.equal(json.text, '**What** adds.[31m See [it] (http://x).');
        assert.equal(json.cut, false);
        assert.match(engine.requests[1].prompt, /Answer in German/);
        assert.equal((await run('explain', 'sum.c')).code, 2);
        assert.match((await run('explain', '--help')).stdout, /usage: dbrx-ls explain/);
    });
});

test('explain at a terminal: the progress goes, the words stay; who reads no more ends it', async () => {
    const script = { text: ' adds the values up, one after the other.', pieceBytes: 5, pieceMs: 20 };
    await scene({ script }, async ({ sandbox, engine }) => {
        const env = sandbox.env({ DBRX_ENDPOINT: engine.endpoint, LC_ALL: 'C.UTF-8', TERM: 'xterm' });
        const shell = (words) => new Promise((done) => {
            execFile('sh', ['-c', words], { cwd: sandbox.work, env, encoding: 'utf8' }, (error, stdout) => done(stdout));
        });
        const seen = await shell(`script -qec "'${program}' explain sum.c:2-9" /dev/null`);
        assert.match(seen, /reading/); // it was shown, and taken away before the words
        assert.ok(seen.endsWith('\x1b[K**What** adds the values up, one after the other.\r\n'), JSON.stringify(seen));

        engine.script = { text: Array.from({ length: 4000 }, (_, i) => ` word${i * i}`).join(''), pieceBytes: 5, pieceMs: 20 };
        await shell(`'${program}' explain sum.c:2-9 | head -c 10`);
        await engine.until(() => engine.requests.at(-1).closedBy === 'client', 'the stream to close');
    });
});

test('secrets: masked where they are read, refused where they would be written back', async () => {
    const files = { 'sum.c': SUM.replace('int total', `const char *key = "${KEY}";\n    int total`), '.env': 'A=b\n' };
    await scene({ script: ' x', files }, async ({ engine, run }) => {
        assert.equal((await run('explain', 'sum.c:1-10')).code, 0);
        assert.ok(engine.requests.length === 1 && !engine.requests[0].prompt.includes(KEY));
        const edit = await run('refactor', 'sum.c:4-5');
        assert.equal(edit.code, 1);
        assert.match(edit.stderr, /line 4 holds what looks like a secret/);
        assert.match((await run('explain', '.env:1')).stderr, /never reaches a model/);
        assert.equal(engine.requests.length, 1);
    });
});

test('the system turn, with the map, is that of completions', async () => {
    const files = { 'sum.c': SUM, 'sum.h': 'int sum(const int *values, int n);\n' };
    for (const name of ['a', 'b', 'c'])
        files[`${name}.c`] = `#include "sum.h"\nint ${name}(int *v)\n{\n    return sum(v, 3);\n}\n`;
    await scene({ script: '```', files }, async ({ sandbox, engine, run }) => {
        execFileSync('git', ['init', '-q'], { cwd: sandbox.work });
        await run('complete', 'a.c:3:2', '--many');
        await run('explain', 'b.c:2-5');
        const system = engine.requests.map(({ prompt }) => prompt.slice(0, prompt.indexOf('<|im_end|>')));
        assert.equal(system.length, 2);
        assert.equal(system[1], system[0]);
        assert.match(system[0], /The definitions that this repository uses most, by file:\n/);
    });
});
