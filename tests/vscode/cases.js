// What a user of VS Code sees, one function per case, in order, in one window. The scripted engine
// says what the file really goes on with, so every expected text is known.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export const TRUTH = `#include <stddef.h>

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
const HEAD = '    for (size_t i = 0';
const REST = LINES[6].slice(HEAD.length + 1);

/** The file with line 7 cut behind HEAD. */
export const CUT = [...LINES.slice(0, 6), HEAD, ...LINES.slice(7)].join('\n');

export const SUM = `#include <stddef.h>

int sum(const int *values, size_t n)
{
    int total = 0;
    for (size_t i = 0; i < n; i++) {
        total = total + values[i];
    }
    return total;
}
`;
const LOOP = SUM.split('\n').slice(5, 8).join('\n');
const SHORT_LOOP = '    for (size_t i = 0; i < n; i++)\n        total += values[i];';

/** sum.c with its loop selected; its path. */
async function atTheLoop({ code, folder }) {
    await code.openFile('sum.c', 6, 5);
    for (const key of ['ArrowDown', 'ArrowDown', 'End']) await code.page.keyboard.press(`Shift+${key}`);
    return path.join(folder, 'sum.c');
}

/** The case's own copy of the file, the cursor at the end of line 7; its path. */
async function atTheGap({ code, folder, file }) {
    await code.openFile(file, 7, HEAD.length + 1);
    return path.join(folder, file);
}

async function saved(code, file, expected) {
    await code.page.keyboard.press('Control+s');
    await code.until(() => fs.readFileSync(file, 'utf8') === expected, 'the file as expected')
        .catch(() => assert.equal(fs.readFileSync(file, 'utf8'), expected));
}

export const cases = {
    async 'the status bar says ready'({ code }) {
        await code.until(async () => /dbrx/.test(await code.status()), 'an item in the status bar');
        assert.doesNotMatch(await code.status(), /\d %/);
    },

    async 'ghost text is what the file goes on with; Tab accepts it'(t) {
        const file = await atTheGap(t);
        await t.code.page.keyboard.type(';');
        await t.code.ghostIs(REST);
        await t.code.page.keyboard.press('Tab');
        await t.code.until(async () => (await t.code.ghost()) !== REST, 'the ghost text to go');
        await t.code.page.keyboard.press('Escape');
        await saved(t.code, file, TRUTH);
    },

    async 'ghost text stays while its own characters are typed'(t) {
        await atTheGap(t);
        await t.code.page.keyboard.type(';');
        await t.code.ghostIs(REST);
        for (let n = 1; n <= 8; n++) {
            await t.code.page.keyboard.type(REST[n - 1]);
            // what the screen shows right after the key, long before an engine could answer
            const seen = await t.code.ghost();
            assert.ok(seen === REST.slice(n) || seen === REST.slice(n - 1), `after ${n} keys: ${seen}`);
            await t.code.ghostIs(REST.slice(n));
        }
    },

    async 'Escape sends it away, and typing on gives the file nothing but keys'(t) {
        const file = await atTheGap(t);
        await t.code.page.keyboard.type(';');
        await t.code.ghostIs(REST);
        await t.code.page.keyboard.press('Escape');
        await t.code.ghostIs('');
        // Nor is it offered to who asks at the same place.
        await t.code.page.keyboard.press('Alt+Backslash');
        await sleep(1500);
        await t.code.ghostIs('');
        await saved(t.code, file, CUT.replace(HEAD, `${HEAD};`));
    },

    async 'the last prompt can be looked at'(t) {
        await atTheGap(t);
        await t.code.page.keyboard.type(';');
        await t.code.ghostIs(REST);
        await t.code.command('Show the Last Prompt of This File');
        const text = await t.code.until(async () => {
            const seen = (await t.code.page.locator('.monaco-editor .view-lines').allInnerTexts())
                .join('\n').replaceAll('\u00a0', ' ');
            return /block +tokens/.test(seen) && seen;
        }, 'the report');
        assert.match(text, /system +\d+/);
        await t.code.page.keyboard.press('Control+w');
    },

    async 'an action changes what is selected, and undo takes it back'(t) {
        // the answer goes on behind the indentation that the prompt has put there
        t.engine.script = `${SHORT_LOOP.trimStart()}\n\`\`\``;
        const file = await atTheLoop(t);
        await t.code.command('Simplify');
        await t.code.until(async () => /\+= values/.test(await t.code.text()), 'the edit');
        await saved(t.code, file, SUM.replace(LOOP, SHORT_LOOP));
        await t.code.page.keyboard.press('Control+z');
        await saved(t.code, file, SUM);
    },

    async 'an explanation stands beside the code'(t) {
        t.engine.script = ' It adds up.\n\n1. A loop.\n'; // short: the pane is narrow and wraps
        await atTheLoop(t);
        await t.code.command('Explain');
        await t.code.until(async () => /1\. A loop\./.test(await t.code.text()), 'the explanation');
    },

    async 'the commit message goes where it is typed'(t) {
        t.engine.script = 'Add a sum of integers';
        await t.code.page.keyboard.press('Control+Shift+g');
        await t.code.page.locator('.scm-editor').first().waitFor({ timeout: 20000 });
        await t.code.command('Write a Commit Message');
        await t.code.until(async () => /Add a sum of integers/.test((await t.code.page
            .locator('.scm-editor').first().innerText()).replaceAll('\u00a0', ' ')), 'the message');
    },

    async 'a server that is killed comes back, and completes'(t) {
        const fronts = () => t.sandbox.pids().filter((pid) => {
            const args = fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').filter(Boolean);
            return args.length === 1 && path.basename(args[0]) === 'dbrx-ls';
        });
        const [first] = fronts();
        assert.ok(first, 'the front runs');
        process.kill(first, 'SIGKILL');
        await t.code.until(() => fronts().some((pid) => pid !== first), 'another front');
        await atTheGap(t);
        await sleep(1000); // the new front is told of the documents
        await t.code.page.keyboard.type(';');
        await t.code.ghostIs(REST);
    },

    async 'a workspace cannot name a program, a model or an endpoint'({ code, folder, sandbox }) {
        const touched = path.join(sandbox.directory, 'touched');
        const evil = path.join(folder, 'evil.sh');
        fs.writeFileSync(evil, `#!/bin/sh\ntouch ${touched}\n`, { mode: 0o755 });
        fs.mkdirSync(path.join(folder, '.vscode'), { recursive: true });
        fs.writeFileSync(path.join(folder, '.vscode/settings.json'), JSON.stringify({
            'dbrx.server.path': evil, 'dbrx.endpoint': 'http://127.0.0.1:9', 'dbrx.model': '/nowhere' }));
        await sleep(500);
        await code.command('Restart the Language Server');
        await sleep(1500);
        assert.equal(fs.existsSync(touched), false);
        fs.rmSync(path.join(folder, '.vscode'), { recursive: true });
    },

    async 'nothing popped up in all this'({ code }) {
        assert.deepEqual(await code.notifications(), []);
    },
};
