// Runs every case in one VS Code: node run.js VSIX. ONLY=WORD runs those whose name holds WORD,
// SHOTS=DIR keeps a picture of the screen after each case.
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { oracle } from '../node/support/oracle.js';
import { Sandbox } from '../node/support/sandbox.js';
import { startScriptedEngine } from '../node/support/scripted_engine.js';
import { cases, CUT, SUM, TRUTH } from './cases.js';
import { VsCode } from './vscode.js';

const sandbox = new Sandbox();
// Every case has a copy of the file under a name of its own: nothing of another case is remembered.
const files = Object.keys(cases).map((_, i) => `case-${i + 1}.c`);
const folder = sandbox.write({ ...Object.fromEntries(files.map((file) => [file, CUT])), 'sum.c': SUM });
for (const args of [['init', '-q'], ['add', 'sum.c']])
    execFileSync('git', ['-c', 'init.defaultBranch=main', ...args], { cwd: folder, env: sandbox.env() });
const truth = oracle(Object.fromEntries(files.map((file) => [file, TRUTH])), { elsewhere: '```', lines: 1 });
const engine = await startScriptedEngine({ socket: path.join(sandbox.directory, 'e.sock'), script: truth });
const code = new VsCode(sandbox, { 'dbrx.endpoint': engine.endpoint });
const one = (error) => String(error.message ?? error).replaceAll('\n', ' | ');
let good = true;
try {
    code.install(process.argv[2]);
    await code.open(folder);
    for (const [i, [name, body]] of Object.entries(cases).entries()) {
        if (process.env.ONLY && !name.includes(process.env.ONLY)) continue;
        let line = `ok vscode: ${name}`;
        engine.script = truth;
        try {
            await body({ code, engine, folder, sandbox, file: files[i] });
        } catch (error) {
            line = `not ok vscode: ${name} - ${one(error)}`;
            good = false;
        }
        if (process.env.SHOTS)
            await code.page.screenshot({ path: path.join(process.env.SHOTS, `${files[i]}.png`) });
        console.log(line);
    }
} catch (error) {
    console.log(`not ok vscode: starts - ${one(error)}`);
    good = false;
}
await code.close();
try {
    await engine.close();
} catch (error) {
    console.log(`not ok vscode: what the engine was asked - ${one(error)}`);
    good = false;
}
sandbox.close();
process.exit(good ? 0 : 1);
