// Commit messages: the command, git's hook and the server's command, on repositories made here by git
// itself, with the scripted engine that sees every prompt.
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startActing } from './support/acting_client.js';
import { faultsOf, playCommits } from './support/commit_oracle.js';
import { program } from './support/modules.js';
import { Sandbox } from './support/sandbox.js';
import { startScriptedEngine } from './support/scripted_engine.js';
import { hostile } from './support/scripts.js';

const REQUEST_FAILED = -32803;
const CANCELLED = -32800;

/** A repository with a past: `subjects` are its commits, oldest first. */
function repository(sandbox, { subjects = ['Add a list', 'Count the list', 'Sort the list'], config = {} } = {}) {
    const env = { ...sandbox.env(), GIT_CONFIG_NOSYSTEM: '1' };
    const git = (...args) => execFileSync('git', args, { cwd: sandbox.work, env, encoding: 'utf8' });
    git('init', '-q', '-b', 'main');
    for (const [key, value] of Object.entries({ 'user.name': 'T', 'user.email': 't@t', ...config }))
        git('config', key, value);
    subjects.forEach((subject, i) => {
        sandbox.write({ 'log.txt': `${i}\n` });
        git('add', '.');
        git('commit', '-q', '-m', subject);
    });
    return { git, env };
}

/** Runs the program: { code, stdout, stderr }. */
function run(sandbox, engine, args, env = {}) {
    return new Promise((done) => {
        execFile(
            program,
            ['commit-message', ...args],
            { cwd: sandbox.work, env: sandbox.env({ DBRX_ENDPOINT: engine.endpoint, ...env }), encoding: 'utf8' },
            (error, stdout, stderr) => done({ code: error ? error.code : 0, stdout, stderr }),
        );
    });
}

async function scene({ script, handshake, ...past }, body) {
    const sandbox = new Sandbox();
    const engine = await startScriptedEngine({ script, handshake });
    try {
        const repo = repository(sandbox, past);
        await body({ sandbox, engine, ...repo, commit: (...args) => run(sandbox, engine, args) });
    } finally {
        await engine.close();
        sandbox.close();
    }
}

const stage = ({ sandbox, git }, files) => {
    sandbox.write(files);
    git('add', '-A');
};

test('what is staged becomes a message; the prompt has branch, style, files and patches', async () => {
    const script = 'Add a queue\n\nJobs wait in it until one of the workers is free.\n';
    await scene({ script }, async (s) => {
        stage(s, { 'queue.c': 'int queue;\n', 'log.txt': 'more\nlines\n', 'package-lock.json': '{}\n' });
        s.sandbox.write({ 'log.txt': 'not staged\n' });
        const { code, stdout, stderr } = await s.commit();
        assert.equal(code, 0, stderr);
        assert.equal(stdout, script);
        assert.match(stderr, /package-lock\.json: named only \(a lock file\)/);
        const [request] = s.engine.requests;
        assert.equal(request.body.temperature, 0);
        const { prompt } = request;
        assert.match(prompt, /^<\|im_start\|>system\nYou write commit messages for git\./);
        assert.ok(prompt.includes('Branch: main\n'));
        assert.ok(prompt.includes('for style and language only:\n- Sort the list\n- Count the list\n- Add a list\n'));
        assert.ok(prompt.includes('Staged: 3 files, +4 -1 lines:\n'));
        assert.ok(prompt.includes('M log.txt +2 -1\nA package-lock.json +1 -0\nA queue.c +1 -0\n'));
        assert.ok(prompt.includes('queue.c:\n```diff\n@@ -0,0 +1 @@\n+int queue;\n```\n'));
        assert.ok(!prompt.includes('not staged') && !prompt.includes('+{}'));
        assert.ok(prompt.includes('package-lock.json: named only (a lock file)'));
        assert.ok(prompt.endsWith('<|im_start|>assistant\n'));
    });
});

test('nothing staged is a clear refusal, and asks nobody', async () => {
    await scene({ script: 'x' }, async (s) => {
        s.sandbox.write({ 'log.txt': 'changed, not staged\n' });
        const { code, stdout, stderr } = await s.commit();
        assert.equal(code, 1);
        assert.equal(stdout, '');
        assert.match(stderr, /nothing is staged/);
        assert.equal(s.engine.requests.length, 0);
    });
});

test('a folder that is no repository is refused', async () => {
    const sandbox = new Sandbox();
    const engine = await startScriptedEngine({ script: 'x' });
    const { code, stderr } = await run(sandbox, engine, []);
    assert.equal(code, 1);
    assert.match(stderr, /no working tree/);
    await engine.close();
    sandbox.close();
});

const LONG = 'Change the queue so that jobs are taken in the order in which they came and not otherwise';

test('a subject over 72 characters: one retry with the fault named', async () => {
    await scene({ script: [LONG, 'Take jobs in order'] }, async (s) => {
        stage(s, { 'a.c': 'int a;\n' });
        const { stdout } = await s.commit();
        assert.equal(stdout, 'Take jobs in order\n');
        assert.equal(s.engine.requests.length, 2);
        const { prompt } = s.engine.requests[1];
        assert.ok(prompt.startsWith(s.engine.requests[0].prompt), 'what was computed is used again');
        assert.ok(prompt.includes(`assistant\n${LONG}<|im_end|>`));
        assert.match(prompt, /the subject has 89 characters; it may have at most 72/);
    });
});

test('too long again: cut at a word, and said', async () => {
    await scene({ script: LONG }, async (s) => {
        stage(s, { 'a.c': 'int a;\n' });
        const { code, stdout, stderr } = await s.commit();
        assert.equal(code, 0);
        assert.equal(stdout, 'Change the queue so that jobs are taken in the order in which they came\n');
        assert.match(stderr, /the subject has 89 characters/);
        assert.equal(s.engine.requests.length, 2);
    });
});

test('a message in a loop: one retry, then a refusal and nothing written', async () => {
    const loop = { text: `Add a queue\n\n${'9..'.repeat(400)}`, pieceBytes: 40, pieceMs: 2 };
    await scene({ script: [loop, 'Add a queue'] }, async (s) => {
        stage(s, { 'a.c': 'int a;\n' });
        assert.equal((await s.commit()).stdout, 'Add a queue\n');
        assert.equal(s.engine.requests[0].closedBy, 'client', 'it is not waited for');
        assert.match(s.engine.requests[1].prompt, /says the same thing over and over/);
    });
    await scene({ script: loop }, async (s) => {
        stage(s, { 'a.c': 'int a;\n' });
        const { code, stdout, stderr } = await s.commit();
        assert.deepEqual([code, stdout], [1, '']);
        assert.match(stderr, /says the same thing over and over/);
        assert.equal(s.engine.requests.length, 2);
    });
});

test('characters are counted, not bytes', async () => {
    const subject = Array.from({ length: 72 }, (_, i) => 'äöüéèêàç'[(i * i + i) % 8 ^ (i >> 3)]).join('');
    await scene({ script: subject }, async (s) => {
        stage(s, { 'a.c': 'int a;\n' });
        assert.equal((await s.commit()).stdout, `${subject}\n`);
        assert.equal(s.engine.requests.length, 1);
    });
});

test('the body is wrapped at 72, lists and trailers kept', async () => {
    const script =
        'Wrap the body\n\n' + Array.from({ length: 40 }, (_, i) => `word${i} `).join('') + '\n- item ' + 'more of it, '.repeat(7) +
        '\n\n#42 is fixed by this, and nothing else is\n\nSigned-off-by: A B <a@b>\nReviewed-by: C <c@d>\n';
    await scene({ script }, async (s) => {
        stage(s, { 'a.c': 'int a;\n' });
        const { stdout } = await s.commit();
        const lines = stdout.split('\n');
        assert.equal(lines[1], '');
        for (const line of lines) assert.ok(line.length <= 72 && !line.startsWith('#'), line);
        assert.ok(lines.some((line) => line.startsWith('- item more')));
        assert.ok(lines.some((line) => /^ {2}(more|of|it,)/.test(line)), 'an item goes on under its words');
        assert.ok(stdout.endsWith('Signed-off-by: A B <a@b>\nReviewed-by: C <c@d>\n'));
        assert.equal(stdout.match(/word/g).length, 40);
    });
});

test('what assistants put around a message is dropped', async () => {
    const answers = [
        '```\nAdd a file\n```',
        'Here is the commit message:\n\nAdd a file',
        '**Add a file**',
        'Commit message: Add a file',
        '# Add a file',
        '"Add a file"',
        'Subject: Add a file\r\n',
    ];
    let at = 0;
    await scene({ script: () => answers[at++] }, async (s) => {
        stage(s, { 'a.c': 'int a;\n' });
        for (const answer of answers) assert.equal((await s.commit()).stdout, 'Add a file\n', answer);
    });
});

test('Conventional Commits when the history uses them', async () => {
    const subjects = ['feat: a', 'fix(list)!: b', 'chore: c', 'odd one'];
    await scene({ subjects, script: ['Add a file', 'feat: add a file'] }, async (s) => {
        stage(s, { 'a.c': 'int a;\n' });
        assert.equal((await s.commit()).stdout, 'feat: add a file\n');
        assert.match(s.engine.requests[0].prompt, /Conventional Commits/);
        assert.match(s.engine.requests[1].prompt, /does not read "type\(scope\): words"/);
    });
    await scene({ script: 'Add a file' }, async (s) => {
        stage(s, { 'a.c': 'int a;\n' });
        await s.commit();
        assert.ok(!s.engine.requests[0].prompt.includes('Conventional'));
    });
});

test('the language of the history, and one retry when it is another', async () => {
    const subjects = ['Liste wird sortiert und nicht mehr kopiert', 'Fehler bei der Suche mit dem Index',
        'Tests für die Liste'];
    const german = 'Datei für die Warteschlange und den Index';
    await scene({ subjects, script: ['Add the file that is for the queue of jobs', german] }, async (s) => {
        stage(s, { 'a.c': 'int a;\n' });
        assert.equal((await s.commit()).stdout, `${german}\n`);
        assert.match(s.engine.requests[0].prompt, /It is in German, as the subjects above/);
        assert.match(s.engine.requests[1].prompt, /it is in English; the messages here are in German/);
    });
    await scene({ subjects: ['リストを並べ替える', '検索を直す'], script: 'ファイルを追加する' }, async (s) => {
        stage(s, { 'a.c': 'int a;\n' });
        assert.equal((await s.commit()).stdout, 'ファイルを追加する\n');
        assert.match(s.engine.requests[0].prompt, /It is in Japanese/);
    });
});

test('a model of 2,048 tokens writes messages, too: prompt and answer fit', async () => {
    await scene({ script: 'Add a queue', handshake: { max_model_len: 2048 } }, async (s) => {
        stage(s, { 'queue.c': 'int value;\n'.repeat(400), 'log.txt': 'more\n' });
        const { code, stdout } = await s.commit();
        assert.deepEqual([code, stdout], [0, 'Add a queue\n']);
        for (const { body } of s.engine.requests)
            assert.ok(body.prompt.length + body.max_tokens <= 2048, `${body.prompt.length} tokens`);
        assert.match(s.engine.requests.at(-1).prompt, /log\.txt/);
    });
});

test('hundreds of files and long names: every prompt keeps to its budget, and says what it leaves out', async () => {
    const subjects = Array.from({ length: 12 }, (_, i) => `Change ${i}: ${'x9 '.repeat(60)}`);
    const long = Array.from({ length: 40 }, (_, i) => `line ${i}: ${'what is said '.repeat(6)}`).join('\n');
    const script = (request) => (request.prompt.includes('Task: say') ? long : 'Add files');
    for (const folders of [500, 40]) {
        const files = { 'big.c': 'int big;\n'.repeat(2000) };
        for (let i = 0; i < 500; i++) files[`top${i % folders}/f${i}.c`] = `int v${i};\n`;
        await scene({ script, subjects, handshake: { max_model_len: 2048 } }, async (s) => {
            s.sandbox.write({ form: `${'A form of many words. '.repeat(200)}\n` });
            s.git('config', 'commit.template', 'form');
            stage(s, files);
            const { code, stdout, stderr } = await s.commit('--json');
            assert.equal(code, 0, stderr);
            const { omitted, files: listed } = JSON.parse(stdout);
            assert.equal(listed.length, 502);
            assert.ok(omitted.includes('502 files are listed by their folders'));
            assert.equal(omitted.some((line) => /^[0-9]+ folders are not listed$/.test(line)), folders === 500);
            for (const { ids } of s.engine.requests) assert.ok(ids.length <= 1536, `${ids.length} tokens`);
            const { prompt } = s.engine.requests.at(-1);
            assert.match(prompt, /Staged: 502 files, \+[0-9]+ -0 lines:\n/);
            assert.match(prompt, folders === 500 ? /and [0-9]+ more folders\n/ : /\ntop39\/: 12 files, \+12 -0\n/);
        });
    }
});

test('--again is warm and another', async () => {
    await scene({ script: 'Add a file' }, async (s) => {
        stage(s, { 'a.c': 'int a;\n' });
        await s.commit('--again');
        await s.commit('--again');
        const [first, second] = s.engine.requests.map((request) => request.body);
        assert.equal(first.temperature, 0.7);
        assert.notEqual(first.seed, second.seed);
    });
});

test('the template of the repository is shown, without its comments', async () => {
    await scene({ script: 'Add a file', config: { 'commit.template': '.message' } }, async (s) => {
        stage(s, { '.message': 'What:\nWhy:\n# a comment\n', 'a.c': 'int a;\n' });
        await s.commit();
        const { prompt } = s.engine.requests[0];
        assert.ok(prompt.includes('The form that messages have here:\n```text\nWhat:\nWhy:\n```\n'));
    });
});

test('a large change: parts and one message in at most 8 calls, every file listed, cuts marked', async () => {
    const files = {};
    for (let i = 0; i < 60; i++) {
        let body = '';
        for (let line = 0; line < 150; line++) body += `int value_${i}_${line} = ${line * 7919};\n`;
        files[`src/file${i}.c`] = body;
    }
    const script = (request) => (request.prompt.includes('Part ') && request.prompt.includes('Task: say')
        ? `part ${request.index} adds values`
        : LONG);
    await scene({ script }, async (s) => {
        stage(s, files);
        const { code, stdout } = await s.commit('--json', '--budget', '4096');
        const result = JSON.parse(stdout);
        assert.equal(code, 0);
        const parts = s.engine.requests.filter(({ prompt }) => prompt.includes('Task: say')).length;
        assert.ok(parts >= 2 && parts <= 6, `${parts} parts`);
        assert.equal(s.engine.requests.length, parts + 2); // the message, and one retry
        assert.equal(result.calls, parts + 2);
        assert.deepEqual(result.files.map((file) => file.path).sort(), Object.keys(files).sort());
        assert.ok(result.files.every((file) => file.added === 150 && file.change === 'A'));
        const final = s.engine.requests[parts].prompt;
        for (const name of Object.keys(files)) assert.ok(final.includes(`A ${name} +150 -0\n`), name);
        for (let i = 0; i < parts; i++) assert.ok(final.includes(`What was said of part ${i + 1}:\npart ${i} adds`));
        assert.ok(result.omitted.length === 60 && result.omitted.every((line) => /is cut|named only/.test(line)));
        assert.match(s.engine.requests[0].prompt, /\[[0-9]+ more lines of this file are left out\]/);
        for (const { ids } of s.engine.requests.slice(0, parts + 1)) assert.ok(ids.length <= 4096, `${ids.length}`);
    });
});

test('generated files are named, secrets are not shown', async () => {
    await scene({ script: 'Add files' }, async (s) => {
        stage(s, { 'dist/app.js': 'generated()\n', 'a.min.js': 'minified()\n', '.env': 'PASSWORD=canary-1\n', 'go.sum': 'h1:canary\n' });
        await s.commit();
        const { prompt } = s.engine.requests[0];
        for (const name of ['dist/app.js', 'a.min.js', '.env', 'go.sum']) assert.ok(prompt.includes(`A ${name} +`), name);
        assert.ok(!/generated\(\)|minified\(\)|canary/.test(prompt));
    });
});

test('hostile answers become harmless text or a refusal', async () => {
    let reply = '';
    await scene({ script: () => reply }, async (s) => {
        stage(s, { 'a.c': 'int a;\n' });
        for (const text of [hostile.ansi, hostile.bidi, hostile.controls, hostile.json, hostile.invalidUtf8]) {
            reply = text;
            const { stdout } = await s.commit();
            // eslint-disable-next-line no-control-regex
            assert.ok(!/[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/u.test(stdout), JSON.stringify(stdout));
        }
        reply = hostile.huge();
        assert.equal((await s.commit()).code, 1, 'ten million times the same');
        reply = { text: Array.from({ length: 1e6 }, (_, i) => `word${i * i}`).join(' '), pieceBytes: 64 << 10, ignoreMaxTokens: true };
        const { code, stdout } = await s.commit();
        assert.equal(code, 0);
        assert.ok(stdout.length < 100000);
        reply = '```\n```';
        assert.match((await s.commit()).stderr, /holds no message/);
        reply = { text: 'Add half of a', cutAfterBytes: 8 };
        assert.equal((await s.commit()).code, 1, 'a cut stream is no message');
    });
});

// The hook.

const HOOK = '.git/hooks/prepare-commit-msg';

/** Runs git commit with an editor that keeps what it was given; returns that text. */
function commitWith(s, args, { endpoint = s.engine.endpoint } = {}) {
    const kept = path.join(s.sandbox.directory, 'kept.txt');
    fs.rmSync(kept, { force: true });
    return new Promise((done) => {
        execFile('git', ['commit', ...args], {
            cwd: s.sandbox.work,
            env: { ...s.env, DBRX_ENDPOINT: endpoint, GIT_EDITOR: `sh -c 'cp "$0" "${kept}"'` },
            encoding: 'utf8',
        }, (error, stdout, stderr) => {
            const text = fs.existsSync(kept) ? fs.readFileSync(kept, 'utf8') : null;
            done({ code: error ? error.code : 0, text, stderr });
        });
    });
}

test('the hook: installed, asked for nothing but an editor, above the comments', async () => {
    await scene({ script: 'Add a file\n\nIt is needed.\n' }, async (s) => {
        const installed = await s.commit('--install-hook');
        assert.equal(installed.code, 0, installed.stderr);
        const file = path.join(s.sandbox.work, HOOK);
        assert.ok(fs.statSync(file).mode & 0o111);
        assert.match((await s.commit('--install-hook')).stdout, /already there/);

        stage(s, { 'a.c': 'int a;\n' });
        const { code, text } = await commitWith(s, []);
        assert.equal(code, 0);
        assert.ok(text.startsWith('Add a file\n\nIt is needed.\n\n# Please enter'), text);
        assert.equal(s.git('log', '-1', '--format=%B').trim(), 'Add a file\n\nIt is needed.');
        assert.equal(s.engine.requests.length, 1);

        // Message, amend, merge and squash bring their own words.
        stage(s, { 'b.c': 'int b;\n' });
        await commitWith(s, ['-m', 'By hand']);
        await commitWith(s, ['--amend']);
        s.git('checkout', '-q', '-b', 'side');
        stage(s, { 'c.c': 'int c;\n' });
        await commitWith(s, ['-m', 'Side']);
        s.git('checkout', '-q', 'main');
        stage(s, { 'd.c': 'int d;\n' });
        await commitWith(s, ['-m', 'Main']);
        execFileSync('git', ['merge', '-q', '--no-edit', 'side'], { cwd: s.sandbox.work, env: { ...s.env, DBRX_ENDPOINT: s.engine.endpoint } });
        s.git('checkout', '-q', '-b', 'more');
        stage(s, { 'e.c': 'int e;\n' });
        await commitWith(s, ['-m', 'More']);
        s.git('checkout', '-q', 'main');
        s.git('merge', '-q', '--squash', 'more');
        await commitWith(s, []);
        assert.equal(s.engine.requests.length, 1);
    });
});

test('the hook sees the index git commits: -a and paths', async () => {
    await scene({ script: 'Change files' }, async (s) => {
        await s.commit('--install-hook');
        stage(s, { 'a.c': 'int a;\n', 'b.c': 'int b;\n' });
        await commitWith(s, ['-m', 'Both']);
        s.sandbox.write({ 'a.c': 'int a2;\n', 'b.c': 'int b2;\n' });
        await commitWith(s, ['a.c']); // b.c is changed, but not part of this commit
        let { prompt } = s.engine.requests[0];
        assert.ok(prompt.includes('M a.c +1 -1') && !prompt.includes('b.c'));
        s.sandbox.write({ 'a.c': 'int a3;\n' });
        await commitWith(s, ['-a']);
        ({ prompt } = s.engine.requests[1]);
        assert.ok(prompt.includes('M a.c +1 -1') && prompt.includes('M b.c +1 -1'));
    });
});

test('the hook never fails a commit, and gives up on an engine that says nothing', async () => {
    await scene({ script: { hang: true } }, async (s) => {
        await s.commit('--install-hook');
        stage(s, { 'a.c': 'int a;\n' });
        const { code, text, stderr } = await commitWith(s, ['--allow-empty-message']);
        assert.ok(text.startsWith('\n# Please enter'), 'the file is as git made it');
        assert.equal(s.engine.requests[0].closedBy, 'client');
        assert.equal(code, 0);
        assert.match(stderr, /no message: no whole answer within 7\.5 s/); // its own end, before the alarm's
        const gone = await commitWith(s, ['--allow-empty', '--allow-empty-message'], { endpoint: 'http://127.0.0.1:1' });
        assert.ok(gone.text.startsWith('\n# Please enter'));
        const odd = await run(s.sandbox, s.engine, ['--hook']);
        assert.equal(odd.code, 0);
        assert.equal((await run(s.sandbox, s.engine, ['--hook', '/nowhere/at/all'])).code, 0);
        assert.equal((await run(s.sandbox, s.engine, ['--hook', '--no-such-option'])).code, 0);
    });
});

test('the hook ends in time where the loop cannot: a file that never opens', async () => {
    await scene({ script: 'Add a file' }, async (s) => {
        stage(s, { 'a.c': 'int a;\n' });
        fs.mkdirSync(path.join(s.sandbox.work, '.git/info'), { recursive: true });
        execFileSync('mkfifo', [path.join(s.sandbox.work, '.git/info/attributes')]);
        const file = path.join(s.sandbox.work, '.git/COMMIT_EDITMSG');
        fs.writeFileSync(file, '\n# as git made it\n');
        const env = s.sandbox.env({ DBRX_ENDPOINT: s.engine.endpoint });
        const options = { cwd: s.sandbox.work, env, encoding: 'utf8', timeout: 120e3 };
        const { status, stderr } = spawnSync(program, ['commit-message', '--hook', file], options);
        assert.equal(status, 0);
        assert.match(stderr, /nothing was ready in time/);
        assert.equal(fs.readFileSync(file, 'utf8'), '\n# as git made it\n');
    });
});

// What stands in the editor, what is committed, how often the engine is asked.
test('git commits whatever the engine does, and however the commit is made', async () => {
    const words = Array.from({ length: 3000 }, (_, i) => `word${i}`).join(' ');
    await scene({ script: { text: words, pieceMs: 50, pieceBytes: 4 } }, async (s) => {
        await s.commit('--install-hook');
        const dead = await startScriptedEngine({ script: 'x' });
        await dead.close();
        const noHttp = net.createServer((socket) => socket.end('SSH-2.0-other\r\n'));
        await new Promise((done) => { noHttp.listen(0, '127.0.0.1', done); });
        const other = `http://127.0.0.1:${noHttp.address().port}`;
        const rows = [
            [dead.endpoint, 'nobody listens'], [other, 'another service'], ['http://127.0.0.1:99999', 'no port'],
            ['nonsense', 'no address'], [`unix:${s.sandbox.directory}/no.sock`, 'no socket'],
        ];
        try {
            for (const [endpoint, what] of rows) {
                s.sandbox.write({ 'a.c': `// ${what}\n` });
                s.git('add', '-A');
                const { code, text, stderr } = await commitWith(s, ['--allow-empty-message'], { endpoint });
                assert.equal(code, 0, `${what}: ${stderr}`);
                assert.ok(text.startsWith('\n# Please enter'), what);
                assert.match(stderr, /dbrx-ls: no message: /, what);
            }
        } finally {
            noHttp.close();
        }
        assert.equal(s.engine.requests.length, 0);

        // An engine that never ends its answer: the time is up, and half a message is none.
        stage(s, { 'a.c': 'int slow;\n' });
        const late = await commitWith(s, ['--allow-empty-message']);
        assert.equal(late.code, 0);
        assert.ok(late.text.startsWith('\n# Please enter'), late.text);
        assert.equal(s.engine.requests.length, 1);

        // Ways to commit that have their words: nobody is asked.
        const count = () => Number(s.git('rev-list', '--count', 'HEAD'));
        const env = { ...s.env, DBRX_ENDPOINT: s.engine.endpoint, GIT_EDITOR: 'true', GIT_SEQUENCE_EDITOR: 'true' };
        const git = (...args) => spawnSync('git', args, { cwd: s.sandbox.work, env, encoding: 'utf8' });
        const ok = (...args) => {
            const { status, stderr } = git(...args);
            assert.equal(status, 0, `${args.join(' ')}: ${stderr}`);
        };
        ok('commit', '--amend', '-m', 'First');
        stage(s, { 'f.c': 'int f;\n' });
        fs.writeFileSync(path.join(s.sandbox.directory, 'words'), 'From a file\n');
        ok('commit', '-F', path.join(s.sandbox.directory, 'words'));
        stage(s, { 'g.c': 'int g;\n' });
        ok('commit', '-C', 'HEAD');
        stage(s, { 'h.c': 'int h;\n' });
        ok('commit', '--fixup', 'HEAD');
        ok('rebase', '-q', '-i', '--autosquash', 'HEAD~2');
        ok('revert', '--no-edit', 'HEAD');
        ok('checkout', '-q', '-b', 'other', 'HEAD~1');
        stage(s, { 'f.c': 'int other;\n' });
        ok('commit', '-m', 'Other');
        stage(s, { 'i.c': 'int i;\n' });
        ok('commit', '-m', 'More');
        ok('checkout', '-q', 'main');
        stage(s, { 'f.c': 'int ours;\n' });
        ok('commit', '-m', 'Ours');
        // Each of these stops at a conflict and is gone on with.
        for (const [args, on] of [[['merge', 'other'], ['commit']], [['cherry-pick', 'other~1'], ['commit']],
            [['rebase', 'other'], ['rebase', '--continue']]]) {
            const before = s.git('rev-parse', 'HEAD').trim();
            assert.notEqual(git(...args).status, 0, `${args.join(' ')} conflicts`);
            stage(s, { 'f.c': 'int both;\n' });
            ok(...on, ...(on[0] === 'commit' ? ['--allow-empty'] : []));
            assert.ok(count() > 0 && s.git('log', '-1', '--format=%s').trim() !== '', args.join(' '));
            s.git('reset', '-q', '--hard', before);
        }
        assert.equal(s.engine.requests.length, 1, 'nobody was asked again');
        const stream = spawnSync('git', ['commit', '--allow-empty', '-F', '-'], { cwd: s.sandbox.work, env, input: 'Piped\n' });
        assert.equal(stream.status, 0);
        assert.equal(s.engine.requests.length, 1);
    });
});

test('another hook is replaced only when the user says so, and kept', async () => {
    await scene({ script: 'x' }, async (s) => {
        const file = path.join(s.sandbox.work, HOOK);
        fs.writeFileSync(file, '#!/bin/sh\necho mine\n', { mode: 0o755 });
        const refused = await s.commit('--install-hook');
        assert.equal(refused.code, 1);
        assert.match(refused.stderr, /another hook and stays/);
        assert.match(fs.readFileSync(file, 'utf8'), /mine/);
        assert.equal((await s.commit('--install-hook', '--yes')).code, 0);
        assert.match(fs.readFileSync(file, 'utf8'), /commit-message --hook/);
        assert.match(fs.readFileSync(`${file}.before-dbrx-ls`, 'utf8'), /mine/);
    });
});

test('core.hooksPath is honoured; outside of the repository only with a yes', async () => {
    await scene({ script: 'Add a file', config: { 'core.hooksPath': 'tools/hooks' } }, async (s) => {
        assert.equal((await s.commit('--install-hook')).code, 0);
        assert.ok(fs.existsSync(path.join(s.sandbox.work, 'tools/hooks/prepare-commit-msg')));
        assert.ok(!fs.existsSync(path.join(s.sandbox.work, HOOK)));
        const outside = path.join(s.sandbox.directory, 'elsewhere');
        s.git('config', 'core.hooksPath', outside);
        const refused = await s.commit('--install-hook');
        assert.equal(refused.code, 1);
        assert.match(refused.stderr, /outside this repository/);
        assert.ok(!fs.existsSync(outside));
        assert.equal((await s.commit('--install-hook', '--yes')).code, 0);
        assert.ok(fs.existsSync(path.join(outside, 'prepare-commit-msg')));
    });
});

// The server.

async function served({ script, engineOptions = {}, ...options }, body) {
    const sandbox = new Sandbox();
    const repo = repository(sandbox);
    const engine = await startScriptedEngine({ script, ...engineOptions });
    const client = await startActing({ sandbox, endpoint: engine.endpoint, ...options });
    try {
        await client.waitForStatus(engineOptions.foreign ? 'degraded' : 'ready');
        await body({ sandbox, engine, client, ...repo });
    } finally {
        await client.close();
        await engine.close();
        sandbox.close();
    }
}

test('the server command: message, files, omissions, progress', async () => {
    await served({ script: 'Add a file' }, async (s) => {
        const none = await s.client.settled(s.client.execute('dbrx-ls.commitMessage', {}));
        assert.equal(none.error.code, REQUEST_FAILED);
        assert.match(none.error.message, /nothing is staged/);
        stage(s, { 'a.c': 'int a;\n', 'yarn.lock': 'x\n' });
        const result = await s.client.execute('dbrx-ls.commitMessage', { folder: s.client.uri('.') });
        assert.equal(result.message, 'Add a file\n');
        assert.deepEqual(result.files.map((file) => file.path), ['a.c', 'yarn.lock']);
        assert.deepEqual(result.omitted, ['yarn.lock: named only (a lock file)']);
        const kinds = [...s.client.progress.values()].at(-1).map((value) => value.kind);
        assert.deepEqual([kinds[0], kinds.at(-1)], ['begin', 'end']);
        assert.equal(s.git('status', '--porcelain').trim(), 'A  a.c\nA  yarn.lock', 'nothing was committed');
    });
});

test('the server command can be cancelled, and shutdown ends its process', async () => {
    await served({ script: { hang: true } }, async (s) => {
        stage(s, { 'a.c': 'int a;\n' });
        const answer = s.client.settled(s.client.execute('dbrx-ls.commitMessage', {}));
        await s.engine.until(() => s.engine.requests.length === 1, 'the question');
        const [token] = [...s.client.progress.keys()];
        s.client.connection.sendNotification('window/workDoneProgress/cancel', { token });
        assert.equal((await answer).error.code, CANCELLED);
        await s.engine.until(() => s.engine.requests[0].closedBy === 'client', 'the stream to close');
        const second = s.client.settled(s.client.execute('dbrx-ls.commitMessage', {}));
        await s.engine.until(() => s.engine.requests.length === 2, 'the question');
        await s.client.shutdown();
        assert.equal((await second).error.code, CANCELLED);
        await s.engine.until(() => s.engine.requests[1].closedBy === 'client', 'the stream to close');
    });
});

test('what is staged is read ahead of the question; another stage and the question end that', async () => {
    let blocked = true;
    const warm = (request) => new Promise((done) => {
        const look = setInterval(() => {
            if (blocked && !request.closedBy) return;
            clearInterval(look);
            done();
        }, 20);
    });
    await served({ script: 'Add files', engineOptions: { warm } }, async (s) => {
        const staged = (n) => s.engine.until(() => s.engine.warms.length === n, `warm request ${n}`);
        stage(s, { 'a.c': 'int first;\n' });
        await staged(1);
        const [first] = s.engine.warms;
        assert.equal(first.body.max_tokens, 0);
        assert.equal(first.body.dbrx.priority, 'warm');
        assert.match(first.prompt, /A a\.c \+1 -0[^]*\+int first;/);

        stage(s, { 'b.c': 'int second;\n' });
        await s.engine.until(() => first.closedBy === 'client', 'the work for the old stage to end');
        await staged(2);
        assert.match(s.engine.warms[1].prompt, /\+int first;[^]*\+int second;/);

        // Nothing is staged any more: nothing is read.
        s.git('reset', '-q');
        await s.engine.until(() => s.engine.warms[1].closedBy === 'client', 'the work to end');

        s.git('add', 'a.c');
        await staged(3);
        const result = await s.client.execute('dbrx-ls.commitMessage', {});
        assert.equal(result.message, 'Add files\n');
        assert.equal(s.engine.warms[2].closedBy, 'client', 'the question itself ends it');

        // Read to its end, it is the question's beginning and its all.
        blocked = false;
        s.git('add', 'b.c');
        await staged(4);
        await s.engine.until(() => s.engine.warms[3].closedBy, 'the warm request to be answered');
        const { tokens, tokens_reused } = await s.client.execute('dbrx-ls.commitMessage', {});
        assert.deepEqual(s.engine.requests.at(-1).ids, s.engine.warms[3].ids);
        assert.ok(tokens_reused >= tokens - 1, `${tokens_reused} of ${tokens}`);
        assert.equal(s.engine.warms.length, 4);
    });
});

test('nothing is read ahead where the user does not want it, or a foreign engine would not know', async () => {
    for (const options of [{ settings: { warm: false } }, { engineOptions: { foreign: true } }]) {
        await served({ script: 'Add a file', ...options }, async (s) => {
            stage(s, { 'a.c': 'int a;\n' });
            await new Promise((done) => { setTimeout(done, 4000); }); // longer than a stage is waited for
            assert.equal(s.engine.warms.length + s.engine.requests.length, 0);
        });
    }
});

// Real commits of this repository, their true messages as the model's answers; more of them by
// tests/all/commit_messages.sh.
test('real commits, staged again: the true message in form, every file listed', async (t) => {
    const history = spawnSync('git', ['rev-list', '--count', 'HEAD'], { encoding: 'utf8' });
    if (history.status !== 0 || Number(history.stdout) < 10) return t.skip('no history here');
    const { played, faults } = await playCommits('.', 6);
    assert.deepEqual(faults, []);
    return assert.ok(played >= 4, `${played} commits`);
});

test('the oracle of real commits sees faults', () => {
    const good = { message: 'Add a\n\nWhy.\n', files: [{ path: 'a.c' }] };
    const rest = { truth: 'Add a\n\nWhy.\n', files: ['a.c'], prompts: ['A a.c +1 -0'] };
    assert.deepEqual(faultsOf({ result: good, ...rest }), []);
    for (const result of [{ ...good, message: 'Add b\n' }, { ...good, message: `${'a'.repeat(73)}\n` },
        { ...good, message: 'Add a\nWhy.\n' }, { ...good, message: `Add a\n\n${'word '.repeat(15)}\n` },
        { ...good, message: 'Add a\n\n#1\n' }, { ...good, files: [] }])
        assert.notDeepEqual(faultsOf({ result, ...rest }), []);
    assert.notDeepEqual(faultsOf({ result: good, ...rest, prompts: ['nothing'] }), []);
});
