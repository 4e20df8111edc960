// What hurts, all in one workspace, with documents of it open: the server answers each question, the index
// has what is good among it, and an ordinary file is completed as if nothing else were there.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { positionOf } from './support/lsp_client.js';
import { program } from './support/modules.js';
import { Sandbox } from './support/sandbox.js';
import { served } from './support/served.js';
import { encode } from './support/vocabulary.js';

encode('warm');

const GOOD = 'int ordinary_name(void)\n{\n    return \n}\n';
const MILLION = 1000000;

/** Names and contents as they lie on disk. */
const FILES = {
    'braces.c': '{'.repeat(MILLION),
    'parens.py': '('.repeat(MILLION),
    'arrays.json': '['.repeat(900000),
    'tags.html': '<a>'.repeat(300000),
    'quotes.js': '"\n'.repeat(200000),
    'templates.ts': '`${'.repeat(300000),
    'heredocs.sh': '<<A\n'.repeat(50000),
    'line.js': `var a = ${'1+'.repeat(MILLION)}1;`,
    'nul.c': 'int a;\0int b;\n\0',
    'sixteen.c': Buffer.from('\ufeffint a;\n', 'utf16le'),
    'broken.c': Buffer.concat([Buffer.from('int \xff\xfe\x80;\nint fine_in_spite;\n', 'latin1')]),
    'crlf.c': 'int a;\r\nint b;\rint c;\n'.repeat(1000),
    'new\nline.c': GOOD,
    'tab\t"quoted"\\.c': GOOD,
    '- rf *.c': GOOD,
    'empty.c': '',
    'good.c': GOOD,
};

function workspace(sandbox) {
    const at = (name) => path.join(sandbox.work, name);
    for (const [name, content] of Object.entries(FILES)) fs.writeFileSync(at(name), content);
    fs.writeFileSync(Buffer.concat([Buffer.from(`${sandbox.work}/`), Buffer.from([0xff, 0xfe, 0x2e, 0x63])]), GOOD);
    execFileSync('truncate', ['-s', '1G', at('huge.c')]);
    execFileSync('sh', ['-c', `head -c 50000000 /dev/zero | tr '\\0' x > "$1"`, 'sh', at('fifty.js')]);
    execFileSync('mkfifo', [at('pipe.c')]);
    fs.symlinkSync('loop.c', at('loop.c'));
    fs.symlinkSync('.', at('self'));
    fs.symlinkSync('/dev/zero', at('zero.c'));
    fs.symlinkSync('/etc/hostname', at('outside.c'));
    fs.mkdirSync(at('deep'));
    fs.symlinkSync('../deep', at('deep/er'));
}

/** What an editor would show of the file: text, whatever its bytes are. */
const shown = (content) => Buffer.from(content).toString('utf8').replace(/\r(?!\n)/g, '\n');

async function ask(client, uri, text) {
    const lines = text.split('\n');
    const end = { line: lines.length - 1, character: lines.at(-1).length };
    for (const position of [end, { line: 0, character: Math.floor(lines[0].length / 2) }, { line: 9e8, character: 9e8 }])
        assert.ok(Array.isArray(await client.complete(uri, position, { invoked: true })), uri);
    const list = await client.connection.sendRequest('textDocument/codeAction',
        { textDocument: { uri }, range: { start: { line: 0, character: 0 }, end }, context: { diagnostics: [], triggerKind: 1 } });
    assert.ok(list === null || Array.isArray(list), uri);
}

test('all that hurts, open at once', { timeout: 280000 }, async () => {
    const sandbox = new Sandbox();
    workspace(sandbox);
    execFileSync('git', ['init', '-q'], { cwd: sandbox.work, env: sandbox.env() });
    const { exited } = await served(sandbox, { script: ' 0;\n```' }, async ({ client }) => {
        for (const [name, content] of Object.entries(FILES)) {
            const uri = client.open(name, shown(content), 'c');
            await ask(client, uri, client.text(uri));
            client.closeDocument(uri);
        }
        // paths that are no files, or none that may be opened; the text is what the editor says
        for (const name of ['pipe.c', 'loop.c', 'zero.c', 'outside.c', 'deep', 'self/self/good.c', 'pipe.c/x.c', `${'d/'.repeat(2500)}x.c`])
            await ask(client, client.open(name, GOOD, 'c'), GOOD);
        const large = 'x'.repeat(15 * 1024 * 1024);
        const uri = client.open('fifty.js', large, 'javascript');
        await ask(client, uri, large);
        client.change(uri, { start: { line: 0, character: 7 }, end: { line: 0, character: 9 } }, '\n');
        await ask(client, uri, client.text(uri));
        client.closeDocument(uri);
    });
    assert.deepEqual(exited, { code: 0, signal: null });
});

test('all that hurts, without an editor', { timeout: 280000 }, () => {
    const sandbox = new Sandbox();
    const run = (...args) => spawnSync(program, args, { cwd: sandbox.work, env: sandbox.env(), encoding: 'utf8', timeout: 120000 });
    workspace(sandbox);
    execFileSync('git', ['init', '-q'], { cwd: sandbox.work, env: sandbox.env() });
    try {
        const found = run('index', '--find', 'ordinary_name');
        assert.equal(found.status, 0, found.stderr);
        assert.equal(found.stdout.split('\n').filter(Boolean).length, 5);
        assert.match(run('index', '--find', 'fine_in_spite').stdout, /^broken\.c:2: int fine_in_spite\n$/);
        const n = JSON.parse(run('index', '--json').stdout);
        assert.deepEqual([n.parsed, n.skipped.large, n.skipped.binary], [0, 2, 2]);
        for (const name of [...Object.keys(FILES), 'pipe.c', 'loop.c', 'zero.c', 'deep', 'fifty.js', 'huge.c']) {
            const one = run('prompt', `${name}:1:1`);
            assert.equal(one.signal, null, name);
            assert.ok(one.status === 0 || /^dbrx-ls prompt: .*\n$/s.test(one.stderr), `${name}: ${one.stderr}`);
        }
        const place = positionOf(GOOD, 'return ', { end: true });
        assert.match(run('prompt', `good.c:${place.line + 1}:${place.character + 1}`).stdout, /ordinary_name/);
    } finally {
        sandbox.close();
    }
});
