// Runs every case in every Neovim given: node run.js NVIM LATER_NVIM WHY_NOT
import { execFileSync } from 'node:child_process';
import { Sandbox } from '../node/support/sandbox.js';
import { cases } from './cases.js';

const [debian, later, whyNot] = process.argv.slice(2);

function versionOf(nvim) {
    return /NVIM v([\d.]+)/.exec(execFileSync(nvim, ['--version'], { encoding: 'utf8' }))?.[1];
}

async function runCase(name, body, nvim) {
    const sandbox = new Sandbox();
    const ends = [];
    let line = `ok ${name}`;
    try {
        const skip = await body({ nvim, sandbox, atEnd: (end) => ends.unshift(end) });
        if (skip) line += ` # SKIP ${skip}`;
    } catch (error) {
        line = `not ok ${name} - ${String(error.message).replaceAll('\n', ' | ')}`;
    }
    for (const end of ends) {
        try {
            await end();
        } catch (error) {
            // a check of the scripted engine
            line = `not ok ${name} - ${String(error.message).replaceAll('\n', ' | ')}`;
        }
    }
    sandbox.close();
    console.log(line);
    return line.startsWith('ok');
}

let good = true;
const editors = [
    ['nvim', debian, 'nvim is not installed'],
    ['later nvim', later, whyNot],
];
for (const [label, nvim, why] of editors) {
    if (!nvim) {
        console.log(`ok ${label} # SKIP ${why}`);
        continue;
    }
    const only = process.env.ONLY;
    for (const [name, body] of Object.entries(cases)) {
        if (only && !name.includes(only)) continue;
        good = (await runCase(`nvim ${versionOf(nvim)}: ${name}`, body, nvim)) && good;
    }
}
process.exit(good ? 0 : 1);
