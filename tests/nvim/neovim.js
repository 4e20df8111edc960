// A headless Neovim with the plugin, driven by keys and asked by expressions through its socket.
import { execFile, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { program, repository } from '../node/support/modules.js';

const run = promisify(execFile);
const quoted = (text) => `'${String(text).replaceAll("'", "''")}'`;

// A user's configuration: the plugin, and a mapping that was there before it.
function initFile(options) {
    const setup = JSON.stringify({ cmd: [program], ...options });
    return `
        vim.opt.runtimepath:prepend(${JSON.stringify(path.join(repository, 'editors/neovim'))})
        vim.opt.swapfile = false
        vim.opt.autoindent = true
        vim.opt.expandtab = true
        vim.opt.shiftwidth = 4
        vim.cmd('filetype plugin on')
        vim.keymap.set('i', '<Tab>', function() return '<lt>tab>' end, { expr = true })
        require('dbrx').setup(vim.fn.json_decode([==[${setup}]==]))
    `;
}

export class Neovim {
    constructor(nvim, sandbox, options = {}) {
        this.nvim = nvim;
        this.sandbox = sandbox;
        this.socket = path.join(sandbox.directory, 'nvim.sock');
        this.init = path.join(sandbox.directory, 'init.lua');
        fs.writeFileSync(this.init, initFile(options));
    }

    get args() {
        return ['--clean', '-u', this.init];
    }

    async start(file) {
        this.process = spawn(
            this.nvim,
            ['--headless', '--listen', this.socket, ...this.args, file],
            {
                cwd: this.sandbox.work,
                env: this.sandbox.env(),
                stdio: ['ignore', 'pipe', 'pipe'],
            },
        );
        this.output = '';
        for (const stream of [this.process.stdout, this.process.stderr])
            stream.setEncoding('utf8').on('data', (text) => {
                this.output += text;
            });
        await this.until(() => fs.existsSync(this.socket), 'Neovim to listen');
        await this.until(() => this.lua('vim.v.vim_did_enter == 1'), 'Neovim to start');
    }

    async keys(keys) {
        await this.#remote('--remote-send', keys);
    }

    /** The value of a Lua expression. */
    async lua(expression) {
        return JSON.parse(
            await this.#remote('--remote-expr', `json_encode(luaeval(${quoted(expression)}))`),
        );
    }

    async #remote(how, what) {
        const { stdout, stderr } = await run(
            this.nvim,
            ['--clean', '--headless', '--server', this.socket, how, what],
            { env: this.sandbox.env(), timeout: 20000 },
        );
        return stdout || stderr; // 0.7 answers on stderr
    }

    text() {
        return this.lua(
            'table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), "\\n") .. "\\n"',
        );
    }

    /** What is drawn as ghost text, lines joined; '' when nothing is. */
    async ghost() {
        const drawn = await this.lua('require("dbrx.ghost").drawn(0) or false');
        return drawn ? drawn.lines.join('\n') : '';
    }

    async status() {
        return this.lua('require("dbrx").status()');
    }

    async messages() {
        return this.lua('vim.api.nvim_exec("messages", true)');
    }

    /** The ghost text once there is one. A busy machine may miss the deadline of an answer: then the
     * question is asked again, by a key and its removal. */
    async untilGhost(limitMs = 20000) {
        let asked = Date.now();
        const isShown = async () => {
            if ((await this.ghost()) !== '') return true;
            if (Date.now() - asked > 3000) {
                asked = Date.now();
                await this.keys('x<BS>');
            }
            return false;
        };
        await this.until(isShown, 'ghost text', limitMs);
        return this.ghost();
    }

    async untilState(state, limitMs) {
        await this.until(
            async () => (await this.status()).state === state,
            `state ${state}`,
            limitMs,
        );
    }

    async until(test, what, limitMs = 20000) {
        const end = Date.now() + limitMs;
        let problem = '';
        for (;;) {
            try {
                if (await test()) return;
            } catch (error) {
                problem = error.message;
            }
            if (Date.now() > end) break;
            await sleep(30);
        }
        const status = await this.status().catch(() => null);
        throw new Error(
            `waited ${limitMs} ms for ${what} ${problem} ${JSON.stringify(status)} ${this.output}`,
        );
    }

    async close() {
        await this.#remote('--remote-send', '<C-\\><C-N>:qa!<CR>').catch(() => {});
        for (let i = 0; i < 60 && this.process.exitCode === null && !this.process.signalCode; i++)
            await sleep(50);
        this.process.kill('SIGKILL');
    }
}
