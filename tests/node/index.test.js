// `dbrx-ls index` as scripts see it: counters, definitions, kills at any moment, two at once.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { DatabaseSync } from 'node:sqlite';

import { Sandbox } from './support/sandbox.js';

const program = path.resolve(process.env.BUILD ?? 'build', 'dbrx-ls');
let box;

before(() => {
    box = new Sandbox();
});
after(() => box.close());

function run(args, extra = {}) {
    const result = spawnSync(program, ['index', ...args], { env: box.env(extra), cwd: box.work });
    return { code: result.status, out: result.stdout.toString(), err: result.stderr.toString() };
}

function report(args, extra = {}) {
    const { code, out, err } = run([...args, '--json'], extra);
    assert.equal(code, 0, err);
    return JSON.parse(out);
}

function git(cwd, ...args) {
    const env = { ...box.env({ GIT_CONFIG_NOSYSTEM: '1' }) };
    const names = ['-c', 'user.name=a', '-c', 'user.email=a@b', '-c', 'init.defaultBranch=main'];
    const result = spawnSync('git', [...names, ...args], { env, cwd });
    assert.equal(result.status, 0, result.stderr.toString());
}

/** A folder of C files that call each other. */
function folder(name, count) {
    const to = path.join(box.work, name);
    fs.mkdirSync(to);
    for (let i = 0; i < count; i++) {
        const calls = Array.from({ length: 20 }, (_, k) => `    call_${i}_${k}(f${i + k});\n`);
        fs.writeFileSync(
            path.join(to, `file${i}.c`),
            `#include "file${i + 1}.h"\n\nint f${i}(int a)\n{\n${calls.join('')}    return a;\n}\n`,
        );
    }
    return to;
}

function databases(cache) {
    const at = path.join(cache, 'dbrx-ls/index');
    return fs
        .readdirSync(at)
        .filter((file) => file.endsWith('.db'))
        .map((file) => path.join(at, file));
}

/** Everything a database says, without its own numbers. */
function dump(file) {
    const db = new DatabaseSync(file, { readOnly: true });
    const rows = (sql) => db.prepare(sql).all().map((row) => JSON.stringify(Object.values(row)));
    const all = [
        ...rows(`SELECT CAST(path AS TEXT), hex(oid), language, state FROM files
                 JOIN blobs ON blobs.id = blob ORDER BY 1`),
        ...rows(`SELECT hex(oid), s.name, hash, kind, from_byte, to_byte, line, signature
                 FROM symbols s JOIN blobs b ON b.id = s.blob ORDER BY 1, 5, 2`),
        ...rows(`SELECT hex(oid), names, hex(counts) FROM uses u
                 JOIN blobs b ON b.id = u.blob ORDER BY 1`),
        ...rows(`SELECT hex(oid), module, name FROM imports i
                 JOIN blobs b ON b.id = i.blob ORDER BY 1, 2, 3`),
        ...rows(`SELECT DISTINCT s.name, (SELECT count(*) FROM words WHERE words MATCH
                 '"' || s.name || '"') FROM symbols s ORDER BY 1`),
    ];
    const check = db.prepare('PRAGMA integrity_check').all();
    assert.deepEqual(Object.values(check[0]), ['ok']);
    db.close();
    return all;
}

test('counters, and a branch switch and back parses nothing', () => {
    const repository = folder('switch', 20);
    git(repository, 'init', '-q');
    git(repository, 'add', '.');
    git(repository, 'commit', '-qm', 'one');
    const first = report([repository]);
    assert.deepEqual(Object.keys(first).sort(), [
        ...['branch', 'bytes', 'database_bytes', 'files', 'head', 'kind', 'ms', 'parsed'],
        ...['parsed_bytes', 'rebuilt', 'references', 'removed', 'reused', 'root', 'skipped'],
        ...['symbols', 'truncated'],
    ]);
    assert.equal(first.kind, 'git');
    assert.equal(first.branch, 'main');
    assert.match(first.head, /^[0-9a-f]{40}$/);
    // a file has 20 calls of two names each, and its parameter twice
    assert.deepEqual([first.files, first.parsed, first.symbols], [20, 20, 20]);
    assert.equal(first.references, 20 * 42);
    git(repository, 'checkout', '-qb', 'topic');
    for (let i = 0; i < 5; i++)
        fs.appendFileSync(path.join(repository, `file${i}.c`), `int more${i};\n`);
    git(repository, 'commit', '-qam', 'two');
    assert.equal(report([repository]).parsed, 5);
    for (const branch of ['main', 'topic', 'main', 'topic']) {
        git(repository, 'checkout', '-q', branch);
        const again = report([repository]);
        assert.deepEqual([again.parsed, again.reused, again.branch], [0, 20, branch]);
    }
    fs.rmSync(repository, { recursive: true });
});

test('definitions of a name', () => {
    box.write({ 'find/a.c': 'int one(void);\n\nint one(void)\n{\n    return 1;\n}\n' });
    box.write({ 'find/b.py': 'def one(x):\n    return x\n' });
    const at = path.join(box.work, 'find');
    const { code, out, err } = run(['find', '--find', 'one']);
    assert.equal(code, 0);
    assert.equal(out, 'a.c:1: int one(void)\na.c:3: int one(void)\nb.py:1: def one(x)\n');
    assert.equal(err, '');
    const { definitions } = report([at, '--find', 'one']);
    assert.deepEqual(definitions[2], {
        ...{ path: 'b.py', line: 1, kind: 'function', signature: 'def one(x)', from: 0, to: 24 },
    });
    assert.equal(run(['find', '--find', 'none']).out, '');
    assert.match(run(['find']).out, /find: 2 files: 0 parsed, 2 known\n3 definitions/);
});

test('who changed a line last', () => {
    const at = folder('blamed', 1);
    git(at, 'init', '-q');
    fs.writeFileSync(path.join(at, 'a.c'), 'int a;\nint b;\n');
    git(at, 'add', '.');
    git(at, 'commit', '-qm', 'first');
    fs.writeFileSync(path.join(at, 'a.c'), 'int a;\nint c;\n');
    git(at, 'commit', '-qam', 'second: ghp_abcdefghijklmnopqrstuvwxyz0123456789');
    fs.writeFileSync(path.join(at, 'a.c'), 'int new;\nint a;\nint c;\n');
    const line = (n) => run(['--blame', `${path.join(at, 'a.c')}:${n}`]);
    const head = execFileSync('git', ['rev-parse', 'HEAD~1'], { cwd: at, encoding: 'utf8' }).slice(0, 12);
    const day = execFileSync('git', ['log', '-1', '--format=%cs', 'HEAD~1'], { cwd: at, encoding: 'utf8', env: box.env({ TZ: 'UTC' }) }).trim();
    assert.match(line(2).out, new RegExp(`^${head}  ${day}  .*  first\n$`));
    assert.match(line(3).out, /  second: \*+\n$/);
    assert.deepEqual([line(1).code, line(1).err], [1, `dbrx-ls index: ${path.join(at, 'a.c')}:1: no commit has this line yet\n`]);
    assert.equal(run(['--blame', 'nothing.c:1']).code, 1);
});

test('wrong use', () => {
    assert.equal(run(['a', 'b']).code, 2);
    assert.equal(run(['--unknown']).code, 2);
    const { code, err } = run(['nowhere']);
    assert.equal(code, 1);
    assert.match(err, /nowhere: No such file or directory/);
});

test('a folder whose git files cannot be used says so once', () => {
    box.write({ 'odd/a.c': 'int a;\n' });
    const at = path.join(box.work, 'odd');
    git(at, 'init', '-q', '--object-format=sha256');
    const { code, out, err } = run(['odd', '--find', 'a']);
    assert.deepEqual([code, out], [0, 'a.c:1: int a\n']);
    assert.match(err, /^dbrx-ls index: git's files are not used: .*objectformat\n$/);
});

test('nothing is written into the workspace', () => {
    const at = folder('clean', 3);
    git(at, 'init', '-q');
    git(at, 'add', '.');
    const listing = () =>
        fs.readdirSync(at, { recursive: true }).map((name) => {
            const st = fs.lstatSync(path.join(at, name));
            return [name, st.size, st.mtimeMs, st.ino];
        });
    const before = listing();
    assert.equal(report([at]).parsed, 3);
    assert.deepEqual(listing(), before);
});

const KILLS = Number(process.env.INDEX_KILLS ?? 10);
const ROUNDS = Number(process.env.INDEX_ROUNDS ?? 1);

test(`killed ${KILLS} times, then like a fresh index`, async () => {
    const at = folder('killed', 600);
    const cache = path.join(box.directory, 'killed');
    const fresh = path.join(box.directory, 'fresh');
    const started = Date.now();
    assert.equal(report([at], { XDG_CACHE_HOME: fresh }).parsed, 600);
    const whole = Date.now() - started;
    for (let i = 0; i < KILLS; i++) {
        const child = spawn(program, ['index', at], {
            env: box.env({ XDG_CACHE_HOME: cache }),
            stdio: 'ignore',
        });
        const ended = new Promise((done) => child.on('exit', done));
        await sleep((whole * (i + 1)) / (KILLS + 2));
        child.kill('SIGKILL');
        await ended;
    }
    const last = report([at], { XDG_CACHE_HOME: cache });
    assert.equal(last.parsed + last.reused, 600);
    assert.equal(last.rebuilt, false);
    assert.deepEqual(dump(databases(cache)[0]), dump(databases(fresh)[0]));
});

test(`two at once, ${ROUNDS} times: the second finds the work done`, async () => {
    const at = folder('twice', 200);
    for (let round = 0; round < ROUNDS; round++) await twoAtOnce(at, path.join(box.directory, `twice${round}`));
});

async function twoAtOnce(at, cache) {
    const start = () =>
        new Promise((done) => {
            const child = spawn(program, ['index', at, '--json'], {
                env: box.env({ XDG_CACHE_HOME: cache }),
            });
            let out = '';
            child.stdout.on('data', (bytes) => (out += bytes));
            child.on('close', (code) => done({ code, ...JSON.parse(out) }));
        });
    const both = await Promise.all([start(), start()]);
    assert.deepEqual(both.map((one) => one.code), [0, 0]);
    assert.deepEqual(both.map((one) => one.parsed).sort(), [0, 200]);
    assert.deepEqual(both.map((one) => one.reused).sort(), [0, 200]);
    assert.equal(databases(cache).length, 1);
}

test('a rebase meanwhile, and what is left is what a fresh index says', async () => {
    const at = folder('rebased', 60);
    const cache = { XDG_CACHE_HOME: path.join(box.directory, 'rebased') };
    const fresh = { XDG_CACHE_HOME: path.join(box.directory, 'rebased-fresh') };
    git(at, 'init', '-q');
    git(at, 'add', '.');
    git(at, 'commit', '-qm', 'base');
    git(at, 'checkout', '-qb', 'topic');
    for (let i = 0; i < 20; i++) {
        fs.appendFileSync(path.join(at, `file${i}.c`), `int topic${i};\n`);
        git(at, 'commit', '-qam', `topic ${i}`);
    }
    git(at, 'checkout', '-q', 'main');
    for (let i = 30; i < 50; i++) fs.appendFileSync(path.join(at, `file${i}.c`), `int main${i};\n`);
    git(at, 'commit', '-qam', 'main');
    git(at, 'checkout', '-q', 'topic');
    const env = box.env({ GIT_CONFIG_NOSYSTEM: '1' });
    const names = ['-c', 'user.name=a', '-c', 'user.email=a@b'];
    const rebase = spawn('git', [...names, 'rebase', '-q', 'main'], { env, cwd: at, stdio: 'ignore' });
    let code = null;
    const ended = new Promise((done) => rebase.on('exit', (status) => done((code = status))));
    for (let n = 0; code === null || n < 3; n++) {
        const child = spawn(program, ['index', at], { env: box.env(cache), stdio: 'ignore' });
        assert.equal(await new Promise((done) => child.on('exit', done)), 0);
    }
    assert.equal(await ended, 0);
    const last = report([at], cache);
    assert.equal(last.files, 60);
    report([at], fresh);
    const of = (where) => dump(databases(where.XDG_CACHE_HOME)[0]).filter((row) => row.includes('.c"'));
    assert.deepEqual(of(cache), of(fresh));
});

test('a full disk is one clear line, and room mends it', { skip: !canMount() }, () => {
    const at = folder('full', 900);
    const cache = path.join(box.directory, 'small');
    fs.mkdirSync(cache);
    assert.equal(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=400k', 'none', cache]).status, 0);
    try {
        const { code, err } = run([at], { XDG_CACHE_HOME: cache });
        assert.equal(code, 1);
        assert.match(err, /^dbrx-ls index: .*(full|No space|disk I\/O).*\n$/);
        spawnSync('mount', ['-o', 'remount,size=40m', cache]);
        const again = report([at], { XDG_CACHE_HOME: cache });
        assert.equal(again.parsed + again.reused, 900);
    } finally {
        spawnSync('umount', ['-l', cache]);
    }
});

test('files that may not grow: one clear line each time, and room mends it', () => {
    const at = folder('bounded', 900);
    const cache = { XDG_CACHE_HOME: path.join(box.directory, 'bounded') };
    for (const blocks of [8, 64, 200, 400]) {
        const { status, stderr } = spawnSync('sh', ['-c', `ulimit -f ${blocks}; exec "$@"`, 'sh', program, 'index', at],
            { env: box.env(cache), encoding: 'utf8' });
        assert.equal(status, 1, stderr);
        assert.match(stderr, /^dbrx-ls index: .*\.db: .*\n$/);
    }
    const again = report([at], cache);
    assert.equal(again.parsed + again.reused, 900);
});

function canMount() {
    const at = fs.mkdtempSync('/tmp/dbrx-mount-');
    const can = spawnSync('mount', ['-t', 'tmpfs', 'none', at]).status === 0;
    if (can) spawnSync('umount', [at]);
    fs.rmdirSync(at);
    return can;
}
