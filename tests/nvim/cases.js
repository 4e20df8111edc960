// What a user of Neovim sees: one function per case, run in each version. The scripted engine says
// what the file really goes on with, so every expected text is known.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { oracle } from '../node/support/oracle.js';
import * as scripts from '../node/support/scripts.js';
import { startScriptedEngine } from '../node/support/scripted_engine.js';
import { Neovim } from './neovim.js';

const TRUTH = `#include <stddef.h>

/* Äpfel 🍎 und Birnen */
size_t count_even(const int *values, size_t n)
{
    size_t n_even = 0;
    for (size_t i = 0; i < n; i++)
        if (values[i] % 2 == 0) n_even++;
    return n_even;
}
`;
const LINES = TRUTH.split('\n');
const FILE = 'count.c';

// While keys are on their way, questions may come from places the truth does not know.
const truth = (more) => oracle({ [FILE]: TRUTH }, { elsewhere: '```', ...more });

// The file with line `at` (from 0) cut behind `head`, and lines up to `until` taken away.
function cutAt(at, head, until = at + 1) {
    return [...LINES.slice(0, at), head, ...LINES.slice(until)].join('\n');
}

/** Neovim on a document, connected to a scripted engine that knows how it goes on. */
async function open(t, { text, script = truth(), options = {}, check }) {
    const engine = await startScriptedEngine({
        socket: path.join(t.sandbox.directory, 'e.sock'),
        script,
        check,
    });
    t.atEnd(() => engine.close());
    t.sandbox.write({ [FILE]: text });
    const nvim = new Neovim(t.nvim, t.sandbox, { endpoint: engine.endpoint, ...options });
    t.atEnd(() => nvim.close());
    await nvim.start(FILE);
    await nvim.untilState('ready');
    return { engine, nvim };
}

const FOR = LINES[6]; // "    for (size_t i = 0; i < n; i++)"
const FOR_HEAD = '    for (size_t i = 0;';
const FOR_REST = FOR.slice(FOR_HEAD.length);

async function openAtFor(t, more) {
    const opened = await open(t, { text: cutAt(6, FOR_HEAD.slice(0, -1)), ...more });
    await opened.nvim.keys('7GA;');
    return opened;
}

const vimList = (text) => JSON.stringify(text.split('\n')).replaceAll('<', '<lt>');

/** What :DbrxStatus says of the buffer. */
async function statusLines(nvim) {
    const read = "require('dbrx.report').read(function(lines) vim.g.said = lines end)";
    await nvim.lua(`(function() vim.g.said = nil ${read} end)()`);
    await nvim.until(() => nvim.lua('vim.g.said ~= nil'), 'the status');
    const lines = await nvim.lua('vim.g.said');
    const from = lines.findIndex((line) => line.startsWith('  this buffer'));
    return lines.slice(from).map((line) => line.trim());
}

async function ghostIs(nvim, expected) {
    let seen;
    try {
        await nvim.until(
            async () => (seen = await nvim.ghost()) === expected,
            'the ghost text',
            10000,
        );
    } catch (error) {
        assert.equal(seen, expected, error.message);
    }
}

// Neovim on a real screen, in a tmux of its own: what is typed and what is seen; null without tmux.
async function openScreen(t, { text, script }) {
    try {
        execFileSync('tmux', ['-V']);
    } catch {
        return null;
    }
    const engine = await startScriptedEngine({
        socket: path.join(t.sandbox.directory, 'e.sock'),
        script,
    });
    t.atEnd(() => engine.close());
    t.sandbox.write({ [FILE]: text });
    const nvim = new Neovim(t.nvim, t.sandbox, { endpoint: engine.endpoint });
    const socket = path.join(t.sandbox.directory, 'tmux.sock');
    const tmux = (...args) =>
        execFileSync('tmux', ['-S', socket, '-f', '/dev/null', ...args], {
            encoding: 'utf8',
            stdio: 'pipe',
            env: t.sandbox.env({ TERM: 'xterm-256color' }),
            cwd: t.sandbox.work,
        });
    tmux('new-session', '-d', '-x', '80', '-y', '20', t.nvim, ...nvim.args, FILE);
    t.atEnd(() => {
        try {
            tmux('kill-server');
        } catch {
            // it ended with its only window
        }
    });
    const seen = () => tmux('capture-pane', '-p');
    const screenHas = async (wanted) => {
        for (let i = 0; i < 100; i++, await sleep(100))
            if (wanted instanceof RegExp ? wanted.test(seen()) : seen().includes(wanted)) return;
        assert.fail(`not on the screen: ${wanted}\n${seen()}`);
    };
    await screenHas('return n_even');
    await engine.until(() => engine.leases.size > 0, 'the server');
    const command = (words) => {
        tmux('send-keys', '-l', `:${words}`);
        tmux('send-keys', 'Enter');
    };
    return { engine, tmux, seen, screenHas, command };
}

export const cases = {
    async 'ghost text is what the file goes on with'(t) {
        const { engine, nvim } = await openAtFor(t);
        assert.equal(await nvim.untilGhost(), FOR_REST);
        assert.ok(engine.requests[0].ids, 'the prompt is sent as token ids');
        assert.match(engine.requests[0].prompt, /count\.c/);
        assert.equal(await nvim.text(), cutAt(6, FOR_HEAD), 'nothing is inserted');
    },

    async 'Tab accepts, u takes it back'(t) {
        const { nvim } = await openAtFor(t);
        await nvim.untilGhost();
        await nvim.keys('<Tab>');
        await nvim.until(async () => (await nvim.text()) === TRUTH, 'the accepted text');
        assert.deepEqual(await nvim.lua('vim.api.nvim_win_get_cursor(0)'), [7, FOR.length]);
        await nvim.keys('<Esc>u');
        await nvim.until(async () => (await nvim.text()) === cutAt(6, FOR_HEAD), 'the undone text');
    },

    async 'typing along keeps it without asking again'(t) {
        const { engine, nvim } = await openAtFor(t);
        await nvim.untilGhost();
        const n = engine.requests.length;
        for (let i = 1; i <= 4; i++) {
            await nvim.keys(FOR_REST[i - 1].replace('<', '<lt>'));
            assert.equal(await nvim.ghost(), FOR_REST.slice(i));
        }
        await sleep(300);
        assert.equal(await nvim.ghost(), FOR_REST.slice(4));
        assert.equal(engine.requests.length, n);
    },

    async 'typing something else takes it away'(t) {
        const { nvim } = await openAtFor(t, { script: [truth(), '```'] });
        await nvim.untilGhost();
        await nvim.keys('#');
        assert.equal(await nvim.ghost(), '');
        assert.equal(await nvim.text(), cutAt(6, `${FOR_HEAD}#`));
    },

    async 'the dismiss key hides it and inserts nothing'(t) {
        const { nvim } = await openAtFor(t);
        await nvim.untilGhost();
        await nvim.keys('<C-]>');
        assert.equal(await nvim.ghost(), '');
        await sleep(300);
        assert.equal(await nvim.ghost(), '');
        assert.equal(await nvim.text(), cutAt(6, FOR_HEAD));
        assert.equal(await nvim.lua('vim.api.nvim_get_mode().mode'), 'i');
        // Nor is it shown to who asks at the same place.
        await nvim.lua("require('dbrx').complete()");
        await sleep(1000);
        assert.equal(await nvim.ghost(), '');
        assert.equal(await nvim.text(), cutAt(6, FOR_HEAD));
    },

    async 'leaving insert mode hides it'(t) {
        const { nvim } = await openAtFor(t);
        await nvim.untilGhost();
        await nvim.keys('<Esc>');
        await nvim.until(async () => (await nvim.ghost()) === '', 'no ghost text');
    },

    async 'Tab does what it did before while nothing is shown'(t) {
        const { nvim } = await open(t, { text: '\n', script: '```' });
        await nvim.keys('ix');
        await sleep(300);
        await nvim.keys('<Tab>y');
        await nvim.until(async () => (await nvim.text()) === 'x<tab>y\n', 'the mapped key');
        await nvim.keys('<Esc>:iunmap <lt>Tab><CR>:set noexpandtab<CR>A<Tab>z');
        await nvim.until(async () => (await nvim.text()) === 'x<tab>y\tz\n', 'the plain key');
    },

    async 'a buffer that gets its name by :w, or another one, is completed from then on'(t) {
        const script = oracle({ [FILE]: TRUTH, 'another.c': TRUTH }, { elsewhere: '```' });
        const { nvim } = await open(t, { text: 'int other;\n', script });
        await nvim.keys(`:file other.c<CR>:enew<CR>:call setline(1, ${vimList(cutAt(6, FOR_HEAD.slice(0, -1)))})<CR>`);
        assert.deepEqual(await statusLines(nvim), ['this buffer: not completed, it has no name yet']);
        await nvim.keys(`:w! ${FILE}<CR>7GA;`);
        await ghostIs(nvim, FOR_REST);
        await nvim.keys('<Esc>u:file another.c<CR>7GA;');
        await ghostIs(nvim, FOR_REST);
    },

    async ':DbrxStatus says why nothing is shown'(t) {
        const { nvim } = await open(t, { text: cutAt(6, FOR_HEAD) });
        await nvim.keys('6GA // and');
        await nvim.keys('<Esc>0ia');
        await nvim.until(async () => (await statusLines(nvim)).length > 1, 'the reason');
        assert.deepEqual(await statusLines(nvim), [
            'this buffer: completed', 'nothing is shown: inside a line that goes on',
        ]);
    },

    async 'an answer that comes too late is shown when it is there, if the cursor still rests'(t) {
        const slow = async () => {
            await sleep(1500);
            return truth();
        };
        const { nvim } = await openAtFor(t, { script: slow });
        await ghostIs(nvim, FOR_REST);
    },

    async 'words and lines can be accepted alone'(t) {
        const keys = { accept_word: '<C-L>', accept_line: '<C-Y>' };
        const { nvim } = await openAtFor(t, { options: { keys } });
        await nvim.untilGhost();
        await nvim.keys('<C-L>');
        await ghostIs(nvim, FOR_REST.slice(' i'.length));
        await nvim.keys('<C-Y>');
        await nvim.until(async () => (await nvim.text()) === TRUTH, 'the accepted line');
    },

    async 'a block is shown below the line and accepted whole'(t) {
        const body = LINES.slice(5, 9);
        const script = truth({ until: '\n}' });
        const { nvim } = await open(t, { text: cutAt(5, '', 9), script });
        await nvim.keys('6G0C    ');
        assert.equal(await nvim.untilGhost(), body.join('\n').slice(4));
        await nvim.keys('<Tab>');
        await nvim.until(async () => (await nvim.text()) === TRUTH, 'the accepted block');
    },

    async 'columns are right behind characters of two UTF-16 units'(t) {
        const head = '/* Äpfel 🍎 und';
        const { nvim } = await open(t, { text: cutAt(2, head.slice(0, -1)) });
        await nvim.keys('3GAd');
        assert.equal(await nvim.untilGhost(), ' Birnen */');
        await nvim.keys('<Tab>');
        await nvim.until(async () => (await nvim.text()) === TRUTH, 'the accepted text');
    },

    async 'control characters of a model never reach the screen'(t) {
        const { nvim } = await openAtFor(t, { script: scripts.hostile.ansi });
        await sleep(1000);
        assert.doesNotMatch(await nvim.ghost(), /[\0-\x08\x0b-\x1f\x7f]/);
        assert.equal(await nvim.text(), cutAt(6, FOR_HEAD));
    },

    async 'an engine that fails is no message and no ghost text'(t) {
        const { engine, nvim } = await openAtFor(t, { script: scripts.failing(500) });
        await engine.until(() => engine.requests.length > 0, 'a request');
        await sleep(300);
        assert.equal(await nvim.ghost(), '');
        assert.equal(await nvim.messages(), '');
    },

    async 'an engine that went away and came back is used again'(t) {
        const { engine, nvim } = await openAtFor(t);
        await nvim.untilGhost();
        await engine.stop();
        await nvim.keys('<Esc>');
        await nvim.until(async () => (await nvim.status()).state !== 'ready', 'the loss');
        assert.notEqual((await nvim.status()).reason, '');
        await engine.listen();
        await nvim.untilState('ready', 60000);
        await nvim.keys('7G0C    for (size_t i = 0;');
        await ghostIs(nvim, FOR_REST);
        assert.doesNotMatch(await nvim.messages(), /Error|E\d+:/);
    },

    async 'a server that dies is started again'(t) {
        const { nvim } = await openAtFor(t);
        await nvim.untilGhost();
        const pid = await nvim.lua(
            'vim.tbl_map(function(p) return p.pid end, vim.tbl_map(vim.api.nvim_get_proc, ' +
                'vim.api.nvim_get_proc_children(vim.fn.getpid())))[1]',
        );
        process.kill(pid, 'SIGKILL');
        await nvim.keys('<Esc>');
        await nvim.untilState('starting');
        await nvim.untilState('ready');
        await nvim.keys('7G0C    for (size_t i = 0;');
        await ghostIs(nvim, FOR_REST);
    },

    async 'DbrxDisable ends the server, DbrxEnable starts it'(t) {
        const { nvim } = await openAtFor(t);
        await nvim.untilGhost();
        await nvim.keys('<Esc>:DbrxDisable<CR>');
        const children = '#vim.api.nvim_get_proc_children(vim.fn.getpid())';
        await nvim.until(async () => (await nvim.lua(children)) === 0, 'no child');
        await nvim.keys(':DbrxEnable<CR>');
        await nvim.untilState('ready');
        await nvim.keys('7G0C    for (size_t i = 0;');
        await ghostIs(nvim, FOR_REST);
    },

    async 'a missing program is one status, no error'(t) {
        const nvim = new Neovim(t.nvim, t.sandbox, { cmd: ['/nowhere/dbrx-ls'] });
        t.atEnd(() => nvim.close());
        t.sandbox.write({ [FILE]: TRUTH });
        await nvim.start(FILE);
        await nvim.keys('7GAx<Esc>');
        const status = await nvim.status();
        assert.deepEqual([status.state, status.reason], ['off', 'cannot run "/nowhere/dbrx-ls"']);
        assert.doesNotMatch(await nvim.messages(), /Error|E\d+:/);
    },

    async 'the real engine with the embedded model shows something'(t) {
        const nvim = new Neovim(t.nvim, t.sandbox, { keys: { complete: '<C-L>' } });
        t.atEnd(() => nvim.close());
        t.sandbox.write({ [FILE]: TRUTH });
        await nvim.start(FILE);
        await nvim.untilState('ready', 60000);
        // A small model often has nothing to show, so several places are tried.
        for (let i = 0; i < 25; i++) {
            await nvim.keys(`<Esc>6G0C    size_t n_${i} = ${i};<Esc>9G0C    return `);
            await sleep(200);
            await nvim.keys('<C-L>');
            for (let waited = 0; waited < 3500; waited += 100, await sleep(100))
                if ((await nvim.ghost()) !== '') return;
        }
        assert.fail(`no ghost text in 25 places: ${JSON.stringify(await nvim.status())}`);
    },

    async 'what is asked while the engine is away is answered when it is there'(t) {
        const { engine, nvim } = await open(t, { text: cutAt(6, FOR_HEAD.slice(0, -1)) });
        engine.setState('loading', 0.5);
        await nvim.untilState('loading');
        assert.equal(await nvim.lua('require("dbrx").statusline()'), 'dbrx 50%');
        await nvim.keys('7GA;');
        await sleep(500);
        assert.equal(await nvim.ghost(), '');
        engine.setState('ready');
        await ghostIs(nvim, FOR_REST);
    },

    async 'a real screen shows it behind the cursor'(t) {
        const screen = await openScreen(t, { text: cutAt(6, FOR_HEAD.slice(0, -1)), script: truth() });
        if (!screen) return 'tmux is not installed';
        const { tmux, screenHas } = screen;
        tmux('send-keys', '7GA\\;'); // a bare ; would end tmux's command
        await screenHas(FOR);
        tmux('send-keys', '-l', ' i');
        await screenHas(FOR);
        tmux('send-keys', 'Tab');
        await sleep(200);
        tmux('send-keys', 'Escape');
        await sleep(200);
        tmux('send-keys', ':wq', 'Enter');
        await sleep(500);
        assert.equal(
            execFileSync('cat', [path.join(t.sandbox.work, FILE)], { encoding: 'utf8' }),
            TRUTH,
        );
        return undefined;
    },

    async 'what is under way is seen, and can be cancelled'(t) {
        const slow = { text: 'return n_even + 0;\n```', pieceBytes: 1, pieceMs: 500 };
        const screen = await openScreen(t, { text: TRUTH, script: slow });
        if (!screen) return 'tmux is not installed';
        const { engine, command, screenHas, seen } = screen;
        command('9DbrxAct simplify');
        await screenHas(/dbrx-ls: Simplify: \d+ tokens {2}\(:DbrxCancel ends it\)/);
        command('DbrxCancel');
        await screenHas('dbrx-ls: cancelled');
        await engine.until(() => engine.requests[0].closedBy === 'client', 'the stream to close');
        command('DbrxCancel');
        await screenHas('dbrx-ls: nothing is under way');
        command('9DbrxAct dance');
        await screenHas('dbrx-ls: no such action: dance');
        // Neovim keeps cancelled answers to itself; the reason is said all the same.
        command('9DbrxAct simplify');
        await engine.until(() => engine.requests.length === 2, 'the question');
        command('9normal Ax');
        await screenHas('dbrx-ls: the text it is about was changed');
        assert.ok(seen().includes('return n_even;x'));
        return undefined;
    },

    async 'one explanation at a time; closing its window ends it'(t) {
        const slow = { text: ` counts${', on and on'.repeat(3)}`, pieceBytes: 2, pieceMs: 400 };
        const screen = await openScreen(t, { text: TRUTH, script: [{ text: ' says little.' }, slow] });
        if (!screen) return 'tmux is not installed';
        const { engine, tmux, command, screenHas, seen } = screen;
        command('5,9DbrxAct explain');
        await screenHas('says little.');
        command('5,9DbrxAct explain');
        await screenHas('**What** count');
        assert.ok(!seen().includes('says little.'), seen());
        tmux('send-keys', 'C-w', 'w');
        tmux('send-keys', 'q');
        await engine.until(() => engine.requests[1].closedBy === 'client', 'the stream to close');
        await screenHas(/^[^│]*$/);
        return undefined;
    },

    async 'tests that were made stand in a window of their own, and keys go where they went'(t) {
        const script = 'int main(void)\n{\n    return 0;\n}\n```';
        const { nvim } = await open(t, { text: TRUTH, script });
        await nvim.keys(':5DbrxAct tests<CR>');
        const names = 'vim.tbl_map(function(w) return vim.fn.fnamemodify(vim.api.nvim_buf_get_name(' +
            "vim.api.nvim_win_get_buf(w)), ':t') end, vim.api.nvim_list_wins())";
        await nvim.until(async () => (await nvim.lua(names)).includes('test_count.c'), 'the window');
        assert.equal(await nvim.lua("vim.fn.expand('%:t')"), FILE);
        assert.equal(await nvim.text(), TRUTH);
        assert.equal(
            await nvim.lua("table.concat(vim.fn.getbufline('test_count.c', 1, '$'), '|')"),
            'int main(void)|{|    return 0;|}',
        );
    },

    async 'an action edits the lines, one u takes it back'(t) {
        const better = '    return values && n_even;\n```';
        const { engine, nvim } = await open(t, { text: TRUTH, script: `${better.slice(4)}` });
        await nvim.keys(':9DbrxAct rewrite use values, too<CR>');
        const changed = TRUTH.replace('    return n_even;', '    return values && n_even;');
        await nvim.until(async () => (await nvim.text()) === changed, 'the edit');
        const { prompt } = engine.requests.at(-1);
        assert.ok(prompt.includes('Change the piece as its owner says:\nuse values, too\n'));
        await nvim.keys('u');
        assert.equal(await nvim.text(), TRUTH);
    },

    async 'an action from the menu of the editor: an instruction is asked for, a fix sees its diagnostic'(t) {
        const changed = TRUTH.replace('    return n_even;', '    return values && n_even;');
        const piece = changed.slice(changed.indexOf('/* Äpfel')).trimEnd(); // at a cursor: all of the function
        const { engine, nvim } = await open(t, { text: TRUTH, script: `${piece}\n\`\`\`` });
        const pick = (title) => `:lua vim.ui.select = function(items, options, chosen) for _, item in ipairs(items) do
            if options.format_item(item):find('${title}', 1, true) then return chosen(item) end end end<CR>`.replaceAll(/\n */g, ' ');
        await nvim.keys(pick('Change as I Say'));
        await nvim.keys('9G:lua vim.lsp.buf.code_action()<CR>');
        await nvim.until(async () => (await nvim.lua('vim.fn.mode()')) === 'c', 'the question');
        await nvim.keys('use values, too<CR>');
        await nvim.until(async () => (await nvim.text()) === changed, 'the edit');
        assert.ok(engine.requests[0].prompt.includes('Change the piece as its owner says:\nuse values, too\n'));
        engine.script = '```';
        await nvim.lua('vim.diagnostic.set(vim.api.nvim_create_namespace("t"), 0, {{lnum = 8, col = 4, end_lnum = 8, ' +
            'end_col = 10, message = "odd value", source = "lint"}}) or true');
        await nvim.keys(':9DbrxAct fix<CR>');
        await engine.until(() => engine.requests.length === 2, 'the second question');
        assert.match(engine.requests[1].prompt, /Reported:\n- line 9: odd value \(lint\)\n/);
    },

    async 'an explanation comes in a window of its own, without links'(t) {
        const script = ' counts.\n\nSee [here](http://x) and `a[0](b)`.';
        const { nvim } = await open(t, { text: TRUTH, script });
        await nvim.keys(':4,10DbrxAct explain<CR>');
        const shown = `table.concat(vim.tbl_map(function(w) return vim.api.nvim_win_get_config(w).relative ~= ''
            and table.concat(vim.api.nvim_buf_get_lines(vim.api.nvim_win_get_buf(w), 0, -1, false), '|') or ''
            end, vim.api.nvim_list_wins()), '')`.replaceAll('\n', ' ');
        await nvim.until(async () => (await nvim.lua(shown)).includes('counts.'), 'the explanation');
        assert.match(await nvim.lua(shown), /See \[here\] \(http:\/\/x\) and `a\[0\]\(b\)`\.$/);
        assert.equal(await nvim.text(), TRUTH);
    },

    async 'a commit message goes into the register, and into the file git opened'(t) {
        const git = (...words) => execFileSync('git', words, { cwd: t.sandbox.work, env: t.sandbox.env() });
        const { engine, nvim } = await open(t, { text: TRUTH, script: 'Count even numbers\n\nOdd ones are left out.\n' });
        git('init', '-q', '-b', 'main', '.');
        await nvim.keys(':DbrxCommitMessage<CR>');
        await nvim.until(async () => /nothing is staged/.test(await nvim.messages()), 'the refusal');
        t.sandbox.write({ 'yarn.lock': 'x\n' });
        git('add', FILE, 'yarn.lock');
        await nvim.keys(':DbrxCommitMessage<CR>');
        await nvim.until(async () => (await nvim.lua("vim.fn.getreg('\"')")).startsWith('Count'), 'the register');
        await nvim.until(async () => /not all was read: yarn\.lock: named only/.test(await nvim.messages()), 'what was left out');
        assert.equal(await nvim.lua("vim.fn.getreg('\"')"), 'Count even numbers\n\nOdd ones are left out.\n');
        assert.match(engine.requests.at(-1).prompt, /A count\.c \+\d+ -0/);
        assert.equal(await nvim.text(), TRUTH);

        t.sandbox.write({ '.git/COMMIT_EDITMSG': '\n# Please enter the commit message\n' });
        await nvim.keys(':edit .git/COMMIT_EDITMSG<CR>');
        await nvim.keys(':DbrxCommitMessage<CR>');
        await nvim.until(async () => (await nvim.text()).startsWith('Count'), 'the message in the file');
        assert.equal(
            await nvim.text(),
            'Count even numbers\n\nOdd ones are left out.\n\n# Please enter the commit message\n',
        );
    },

    async 'a refusal is said, and changes nothing'(t) {
        const { nvim } = await open(t, { text: TRUTH, script: 'return (((;\n```' });
        await nvim.keys(':9DbrxAct simplify<CR>');
        await nvim.until(async () => /does not parse/.test(await nvim.messages()), 'the words');
        assert.equal(await nvim.text(), TRUTH);
    },
};
