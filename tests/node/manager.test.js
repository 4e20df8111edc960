// `dbrx-ls serve` under a service manager: what it tells, what it is handed, and the unit itself.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { program } from './support/modules.js';
import { Sandbox } from './support/sandbox.js';
import { eventually, Service } from './support/service.js';
import { makeTinyModel } from './support/tiny_model.js';

const python = '/usr/bin/python3';
let models, model;

before(() => {
    models = new Sandbox();
    model = makeTinyModel(path.join(models.work, 'tiny-dbrx'));
});
after(() => models.close());

/** A manager's end of the notify socket: the datagrams, each as its lines. */
class Manager {
    constructor(sandbox, address) {
        const script = `import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1].replace('@', '\\0', 1) if sys.argv[1][0] == '@' else sys.argv[1])
print('[]', flush=True)
while True: print(json.dumps(s.recv(4096).decode().splitlines()), flush=True)`;
        this.messages = [];
        let rest = '';
        this.child = spawn(python, ['-c', script, address], { env: sandbox.env(), stdio: ['ignore', 'pipe', 'inherit'] });
        this.child.stdout.setEncoding('utf8').on('data', (text) => {
            const lines = (rest + text).split('\n');
            rest = lines.pop();
            this.messages.push(...lines.map((line) => JSON.parse(line)));
        });
    }

    async listening() {
        await eventually('bound', () => this.messages.length > 0);
        return this;
    }

    has(line) { return this.messages.some((m) => m.includes(line)); }
}

describe('sd_notify', () => {
    for (const kind of ['a path', 'an abstract name'])
        test(`loading, ready, alive, stopping: told to ${kind}`, async () => {
            const sandbox = new Sandbox();
            const address = kind === 'a path' ? path.join(sandbox.work, 'notify') : `@dbrx-test-${process.pid}`;
            try {
                const manager = await new Manager(sandbox, address).listening();
                const service = await new Service(sandbox, ['--model', model, '--threads', '1'],
                    { env: { NOTIFY_SOCKET: address, WATCHDOG_USEC: '400000' } }).ready();
                await eventually('ready', () => manager.has('READY=1'));
                const first = manager.messages.filter((m) => !m.includes('WATCHDOG=1'))[1];
                if (first.includes('READY=1')) assert.match(first[1], /^STATUS=ready after \d+ s$/);
                else assert.match(first.join(), /^STATUS=loading \d+ %,EXTEND_TIMEOUT_USEC=30000000$/);
                await eventually('alive', () => manager.messages.filter((m) => m.includes('WATCHDOG=1')).length > 2);
                service.signal('SIGTERM');
                assert.equal((await service.exited).code, 0);
                await eventually('stopping', () => manager.has('STOPPING=1'));
            } finally {
                sandbox.close();
            }
        });

    test('a model that cannot be loaded: the reason is its status', async () => {
        const sandbox = new Sandbox();
        try {
            const manager = await new Manager(sandbox, path.join(sandbox.work, 'n')).listening();
            const service = new Service(sandbox, ['--model', '/nonexistent'], { env: { NOTIFY_SOCKET: path.join(sandbox.work, 'n') } });
            assert.equal((await service.exited).code, 1);
            assert.ok(manager.messages.some((m) => /^STATUS=.*\/nonexistent/.test(m[0])));
            assert.ok(!manager.has('READY=1'));
        } finally {
            sandbox.close();
        }
    });

    test('a socket that is not there hurts nobody', async () => {
        const sandbox = new Sandbox();
        try {
            const service = await new Service(sandbox, ['--model', model, '--threads', '1'], { env: { NOTIFY_SOCKET: '/nonexistent/socket' } }).ready();
            service.signal('SIGTERM');
            assert.equal((await service.exited).code, 0);
        } finally {
            sandbox.close();
        }
    });
});

describe('a socket that was passed', () => {
    // Binds, puts the socket to descriptor 3 and becomes the program, as a manager's child does.
    const script = `import os, socket, sys
kind, n, words = sys.argv[1], sys.argv[2], sys.argv[3:]
s = socket.socket(getattr(socket, 'AF_' + kind), socket.SOCK_STREAM)
s.bind({'INET': ('127.0.0.1', 0), 'UNIX': ''}[kind])
s.listen()
if s.fileno() != 3: os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=n)
os.execv(words[0], words)`;
    const command = (kind, n, ...args) => [python, '-c', script, kind, n, program, 'serve', '--model', model, '--threads', '1', ...args];

    test('is served, with keys', async () => {
        const sandbox = new Sandbox();
        try {
            const service = await new Service(sandbox, [], { command: command('INET', '1'), env: { DBRX_API_KEY: 'k' } }).ready();
            assert.ok(service.port > 0);
            assert.equal((await service.get('/v1/models')).status, 401);
            assert.equal((await service.get('/v1/models', { key: 'k' })).status, 200);
        } finally {
            sandbox.close();
        }
    });

    const table = [[['UNIX', '1'], 2, /LISTEN_FDS: expected one listening TCP socket/],
        [['INET', '2'], 2, /LISTEN_FDS: expected one/],
        [['INET', '1', '--port', '0'], 2, /LISTEN_FDS.*--port/]];
    for (const [args, code, message] of table)
        test(`refused: ${args.join(' ')}`, () => {
            const sandbox = new Sandbox();
            try {
                const [file, ...rest] = command(...args);
                const done = spawnSync(file, rest, { env: sandbox.env({ DBRX_API_KEY: 'k' }), encoding: 'utf8', timeout: 20000 });
                assert.equal(done.status, code, done.stderr);
                assert.match(done.stderr, message);
            } finally {
                sandbox.close();
            }
        });
});

test('the log stays small while it runs', async () => {
    const sandbox = new Sandbox();
    try {
        const log = path.join(sandbox.state, 'dbrx-ls/engine.log');
        fs.mkdirSync(path.dirname(log), { mode: 0o700 });
        fs.writeFileSync(log, 'x'.repeat((1 << 20) - 10), { mode: 0o600 });
        const service = new Service(sandbox, [], { env: { DBRX_LOG: 'info' },
            command: ['sh', '-c', 'exec "$0" serve --model "$1" --threads 1 2>>"$2"', program, model, log] });
        await eventually('ready', async () => (await service.get('/ready').catch(() => ({}))).status === 200);
        await eventually('moved aside', () => fs.existsSync(`${log}.1`));
        assert.match(fs.readFileSync(`${log}.1`, 'utf8'), /listening on/);
        assert.ok(fs.statSync(log).size < 1000);
        await service.get('/v1/models');
        await eventually('goes on', () => /GET \/v1\/models 200/.test(fs.readFileSync(log, 'utf8')));
        assert.equal(fs.statSync(log).mode & 0o777, 0o600);
    } finally {
        sandbox.close();
    }
});

test('the unit is one that systemd takes',
    { skip: spawnSync('systemd-analyze', ['--version']).status !== 0 && 'no systemd-analyze' }, () => {
        const from = fileURLToPath(new URL('../../inference/service/systemd/', import.meta.url));
        const unit = fs.readFileSync(path.join(from, 'dbrx-ls.service'), 'utf8');
        const to = path.join(models.work, 'dbrx-ls.service');
        const [, options] = /^ExecStart=@PREFIX@\/bin\/dbrx-ls serve ((?:.|\\\n)*?)\n(?!\s)/m.exec(unit);
        for (const [option] of options.matchAll(/--[a-z-]+/g))
            assert.match(execFileSync(program, ['serve', '--help'], { encoding: 'utf8' }), new RegExp(`^ *${option} `, 'm'));
        fs.writeFileSync(to, unit.replaceAll('@PREFIX@/bin/dbrx-ls', program).replaceAll('@PREFIX@', '/usr'));
        fs.copyFileSync(path.join(from, 'dbrx-ls.socket'), path.join(models.work, 'dbrx-ls.socket'));
        const done = spawnSync('systemd-analyze', ['verify', '--man=no', to, path.join(models.work, 'dbrx-ls.socket')], { encoding: 'utf8' });
        assert.equal(done.stderr.replace(/^.*Failed to (?:open|connect).*\n/gm, ''), '');
        assert.equal(done.status, 0);
    });
