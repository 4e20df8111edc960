// A machine of its own for one test: directories for everything the program writes, and an end for
// every process that was started with them, however it was started.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const PASSED_ON = [
    'PATH',
    'LANG',
    'LC_ALL',
    'TERM',
    'ASAN_OPTIONS',
    'UBSAN_OPTIONS',
    'LSAN_OPTIONS',
    'TSAN_OPTIONS',
];

export class Sandbox {
    /** `base`: the directory to make it in; short, because socket paths are (108 bytes). */
    constructor(base = os.tmpdir()) {
        this.directory = fs.mkdtempSync(path.join(base, 'dbrx-'));
        this.runtime = this.#make('run');
        this.cache = this.#make('cache');
        this.state = this.#make('state');
        this.config = this.#make('config');
        this.home = this.#make('home');
        this.work = this.#make('work');
        this.onExit = () => this.close();
        process.on('exit', this.onExit);
    }

    #make(name) {
        const directory = path.join(this.directory, name);
        fs.mkdirSync(directory, { mode: 0o700 });
        return directory;
    }

    /** Nothing of the caller's environment but what the table above names. */
    env(extra = {}) {
        const env = {
            HOME: this.home,
            XDG_RUNTIME_DIR: this.runtime,
            XDG_CACHE_HOME: this.cache,
            XDG_STATE_HOME: this.state,
            XDG_CONFIG_HOME: this.config,
        };
        for (const name of PASSED_ON)
            if (process.env[name] !== undefined) env[name] = process.env[name];
        for (const [name, value] of Object.entries(extra))
            if (value !== undefined) env[name] = value;
        return env;
    }

    /** Writes files ({"src/a.c": text}) into the workspace and returns its path. */
    write(files) {
        for (const [name, content] of Object.entries(files)) {
            const to = path.join(this.work, name);
            fs.mkdirSync(path.dirname(to), { recursive: true });
            fs.writeFileSync(to, content);
        }
        return this.work;
    }

    /** The pid in engine.lock, or null while there is none. */
    enginePid() {
        try {
            const pid = Number.parseInt(
                fs.readFileSync(path.join(this.runtime, 'dbrx-ls/engine.lock'), 'utf8'),
                10,
            );
            return pid > 1 && this.pids().includes(pid) ? pid : null;
        } catch {
            return null;
        }
    }

    /** All living processes that were started with this sandbox's runtime directory. */
    pids() {
        const mark = `XDG_RUNTIME_DIR=${this.runtime}`;
        return fs
            .readdirSync('/proc')
            .filter((name) => /^\d+$/.test(name))
            .map(Number)
            .filter((pid) => pid !== process.pid)
            .filter((pid) => {
                try {
                    const state = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
                    if (/\) [ZX] /.test(state)) return false;
                    return fs
                        .readFileSync(`/proc/${pid}/environ`, 'utf8')
                        .split('\0')
                        .includes(mark);
                } catch {
                    return false; // gone, or another user's
                }
            });
    }

    /** Ends every process of the sandbox and removes its files. May be called again. */
    close() {
        process.removeListener('exit', this.onExit);
        for (let round = 0; round < 50; round++) {
            // a dying front may just have forked
            const pids = this.pids();
            if (pids.length === 0) break;
            for (const pid of pids)
                try {
                    process.kill(pid, 'SIGKILL');
                } catch {
                    /* gone */
                }
            Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
        }
        fs.rmSync(this.directory, { recursive: true, force: true });
    }
}
