// git's hook prepare-commit-msg: installed, called by git itself, never in a commit's way.
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import test from 'node:test';
import { run, scene, stage } from './support/committing.js';
import { program } from './support/modules.js';
import { startScriptedEngine } from './support/scripted_engine.js';

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

test('at a terminal it asks, and does as it is told', async () => {
    await scene({ script: 'x' }, async (s) => {
        const file = path.join(s.sandbox.work, HOOK);
        // A terminal of its own, as util-linux's script gives one.
        const typed = (input) => spawnSync('script', ['-qec', `'${program}' commit-message --install-hook`, '/dev/null'], {
            cwd: s.sandbox.work, env: s.sandbox.env({ DBRX_ENDPOINT: s.engine.endpoint }), input, encoding: 'utf8', timeout: 60e3 });
        for (const no of ['n\n', '\n', 'maybe\n', '\x04']) {
            fs.writeFileSync(file, '#!/bin/sh\necho mine\n', { mode: 0o755 });
            const { status, stdout } = typed(no);
            assert.match(stdout, /prepare-commit-msg is another hook\. Replace it\? \[y\/N\]/);
            assert.equal(status, 1, JSON.stringify(no));
            assert.match(fs.readFileSync(file, 'utf8'), /mine/);
        }
        assert.equal(typed('y\n').status, 0);
        assert.match(fs.readFileSync(file, 'utf8'), /commit-message --hook/);
        assert.match(fs.readFileSync(`${file}.before-dbrx-ls`, 'utf8'), /mine/);

        const outside = path.join(s.sandbox.directory, 'elsewhere');
        s.git('config', 'core.hooksPath', outside);
        assert.equal(typed('n\n').status, 1);
        assert.ok(!fs.existsSync(outside));
        assert.equal(typed('y\n').status, 0);
        assert.ok(fs.existsSync(path.join(outside, 'prepare-commit-msg')));
    });
});

test('what the model did not see is told beside the editor', async () => {
    await scene({ script: 'Add locks' }, async (s) => {
        await s.commit('--install-hook');
        stage(s, Object.fromEntries(Array.from({ length: 7 }, (_, i) => [`l${i}/yarn.lock`, 'x\n'])));
        const { text, stderr } = await commitWith(s, []);
        assert.ok(text.startsWith('Add locks\n'));
        assert.match(stderr, /note: l0\/yarn\.lock: named only \(a lock file\)/);
        assert.match(stderr, /note: l4\/.*\n.*note: and 2 more\n/);
    });
});

test('a template stays below the message; the user of the repository need not be known', async () => {
    await scene({ script: 'Add a file', config: { 'commit.template': '.message' } }, async (s) => {
        await s.commit('--install-hook');
        s.git('config', '--unset', 'user.name');
        s.git('config', '--unset', 'user.email');
        stage(s, { '.message': 'Why:\n# of the template\n', 'a.c': 'int a;\n' });
        const author = { GIT_AUTHOR_NAME: 'T', GIT_AUTHOR_EMAIL: 't@t', GIT_COMMITTER_NAME: 'T', GIT_COMMITTER_EMAIL: 't@t' };
        const { code, text } = await commitWith({ ...s, env: { ...s.env, ...author } }, []);
        assert.equal(code, 0);
        assert.match(text, /^Add a file\n\nWhy:\n# of the template\n/);
    });
});

test('a hook whose program is gone lets git commit', async () => {
    await scene({ script: 'x' }, async (s) => {
        const copy = path.join(s.sandbox.directory, "it's here/dbrx-ls");
        fs.mkdirSync(path.dirname(copy));
        fs.copyFileSync(program, copy);
        fs.chmodSync(copy, 0o755);
        execFileSync(copy, ['commit-message', '--install-hook'], { cwd: s.sandbox.work, env: s.sandbox.env() });
        stage(s, { 'a.c': 'int a;\n' });
        assert.ok((await commitWith(s, [])).text.startsWith('x\n'), 'it runs from there');
        fs.rmSync(copy);
        stage(s, { 'b.c': 'int b;\n' });
        const { code, text } = await commitWith(s, ['--allow-empty-message']);
        assert.equal(code, 0);
        assert.ok(text.startsWith('\n# Please enter'));
    });
});
