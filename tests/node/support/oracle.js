// The oracle model: a script that reads the prompt as a model would and continues with the truth.

/** The parts of a chat prompt: [{ role, text, open }], the last one open when it has no end. */
export function turnsOf(prompt) {
    return prompt
        .split('<|im_start|>')
        .slice(1)
        .map((part) => {
            const end = part.indexOf('<|im_end|>');
            const whole = end < 0 ? part : part.slice(0, end);
            const line = whole.indexOf('\n');
            return { role: whole.slice(0, line), text: whole.slice(line + 1), open: end < 0 };
        });
}

/** The open assistant turn: the fence line it starts with and the tail behind it. */
export function openTurnOf(prompt) {
    const last = turnsOf(prompt).at(-1);
    if (last?.role !== 'assistant' || !last.open) return null;
    const fence = /^(`{3,})[^\n`]*\n/.exec(last.text);
    if (!fence) return { fence: '', tail: last.text };
    return { fence: fence[1], tail: last.text.slice(fence[0].length) };
}

/** Where the open turn stands in `truth`: the offset behind its tail, or -1. Of several places the
 * one whose text before agrees longest with the user's turn. */
export function placeInTruth(prompt, truth) {
    const open = openTurnOf(prompt);
    if (!open) return -1;
    const user =
        turnsOf(prompt)
            .filter((turn) => turn.role === 'user')
            .at(-1)?.text ?? '';
    let best = -1;
    let bestLength = -1;
    for (let at = truth.indexOf(open.tail); at >= 0; at = truth.indexOf(open.tail, at + 1)) {
        const length = agreementBefore(user, truth, at);
        if (length > bestLength) [best, bestLength] = [at + open.tail.length, length];
        if (open.tail === '' && at >= truth.length) break;
    }
    return best;
}

// The longest k such that the k characters of truth before `at` occur in `user`, by halving: where
// a text occurs, every end of it does.
function agreementBefore(user, truth, at) {
    let low = 0;
    let high = at;
    while (low < high) {
        const middle = (low + high + 1) >> 1;
        if (user.includes(truth.slice(at - middle, at))) low = middle;
        else high = middle - 1;
    }
    return low;
}

/**
 * The oracle model: continues every prompt with the file's real text.
 * files: { path: the full true text }; the path must be named in the prompt, and of several the one
 * whose text agrees. lines: how many lines are given (to the end of the line the cursor is in, and
 * so on); absent: to the end of the file. until: the answer ends before this text. elsewhere: what
 * is said to a prompt that continues none of the files; absent: the test fails. The answer ends with
 * the closing fence, as the examples in the prompt teach.
 */
export function oracle(files, { lines, until, elsewhere } = {}) {
    return (request) => {
        const place = findPlace(files, request.prompt);
        if (!place && elsewhere !== undefined) return elsewhere;
        if (!place) {
            const tail = JSON.stringify(openTurnOf(request.prompt)?.tail);
            throw new Error(`none of the files the oracle knows goes on behind ${tail}`);
        }
        let text = place.truth.slice(place.at);
        if (until !== undefined && text.includes(until)) text = text.slice(0, text.indexOf(until));
        if (lines !== undefined) text = text.split('\n').slice(0, lines).join('\n');
        const newline = text.endsWith('\n') ? '' : '\n';
        return { text: text + newline + openTurnOf(request.prompt).fence };
    };
}

function findPlace(files, prompt) {
    const user =
        turnsOf(prompt)
            .filter((turn) => turn.role === 'user')
            .at(-1)?.text ?? '';
    const named = Object.keys(files)
        .filter((path) => user.includes(path))
        .sort((a, b) => user.lastIndexOf(b) - user.lastIndexOf(a));
    for (const path of named) {
        const at = placeInTruth(prompt, files[path]);
        if (at >= 0) return { path, truth: files[path], at };
    }
    return null;
}
