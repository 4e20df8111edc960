// The engine client of the front as a process: commands in, events out (tests/tools/client_driver.c).
import { spawn } from 'node:child_process';
import path from 'node:path';
import readline from 'node:readline';
import { build, program } from './modules.js';
import { eventually } from './service.js';

export class Driver {
    /** options: the driver's own ("--model" and so on); `--program` is dbrx-ls unless given. */
    constructor(sandbox, options = {}) {
        const all = options.endpoint ? options : { program, ...options };
        const flags = Object.entries(all).flatMap(([name, value]) => [`--${name}`, `${value}`]);
        this.events = [];
        this.stderr = '';
        this.nextId = 1;
        this.child = spawn(path.join(build, 'tools/client_driver'), flags, { env: sandbox.env() });
        this.child.stderr.setEncoding('utf8').on('data', (text) => { this.stderr += text; });
        this.child.stdin.on('error', () => {}); // it may have been killed
        readline.createInterface({ input: this.child.stdout })
            .on('line', (line) => this.events.push(JSON.parse(line)));
        this.exited = new Promise((resolve) => {
            this.child.on('close', (code, signal) => resolve({ code, signal }));
        });
    }

    send(command) { this.child.stdin.write(`${JSON.stringify(command)}\n`); }

    /** The last status told, without asking. */
    get status() { return this.events.filter((e) => e.event === 'status').at(-1); }

    /** Until the status is as the predicate wants it, which may be a state's name. */
    async until(wanted, limitMs = 20000) {
        const holds = typeof wanted === 'string' ? (s) => s.state === wanted : wanted;
        await eventually(`${wanted}; last: ${JSON.stringify(this.status)}`,
            () => this.status && holds(this.status), limitMs);
        return this.status;
    }

    /** Starts a completion and returns its id. */
    begin(request) {
        const id = this.nextId++;
        this.send({ do: 'complete', id, temperature: 0, seed: 1, ...request });
        return id;
    }

    textOf(id) {
        return this.events.filter((e) => e.event === 'text' && e.id === id).map((e) => e.text).join('');
    }

    dones(id) { return this.events.filter((e) => e.event === 'done' && e.id === id); }

    /** The answer of a call, once it is there. */
    async done(id, limitMs = 30000) {
        return eventually(`done of ${id}`, () => this.dones(id)[0], limitMs);
    }

    async complete(request, limitMs) { return this.done(this.begin(request), limitMs); }

    /** Ends it in order; every call must have been answered exactly once by then. */
    async close() {
        if (this.child.exitCode !== null || this.child.signalCode !== null) return;
        this.child.stdin.end();
        const { code } = await this.exited;
        if (code !== 0) throw new Error(`client_driver ended with ${code}: ${this.stderr}`);
        for (let id = 1; id < this.nextId; id++)
            if (this.dones(id).length !== 1)
                throw new Error(`call ${id} was answered ${this.dones(id).length} times`);
    }
}
