// A real engine of which only its chat is left: what stands between hides all other routes.
import http from 'node:http';

/** Runs `body(endpoint, chats)`; `target`: where the engine is, as http.request takes it; chats: the bodies
 *  that went there. */
export async function chatOnly(target, body) {
    const chats = [];
    const server = http.createServer((req, res) => {
        if (!['/v1/models', '/v1/chat/completions'].includes(req.url)) {
            res.writeHead(404, { 'content-type': 'application/json' });
            return res.end('{"error":{"message":"no such path"}}');
        }
        const onward = http.request({ ...target, path: req.url, method: req.method,
            headers: { ...req.headers, host: 'localhost' } }, (answer) => {
            res.writeHead(answer.statusCode, answer.headers);
            answer.pipe(res);
        });
        onward.on('error', () => res.destroy());
        res.on('close', () => onward.destroy());
        if (req.method === 'POST') {
            const parts = [];
            req.on('data', (part) => { parts.push(part); });
            req.on('end', () => chats.push(JSON.parse(Buffer.concat(parts).toString())));
        }
        return req.pipe(onward);
    });
    await new Promise((done) => { server.listen(0, '127.0.0.1', done); });
    try {
        await body(`http://127.0.0.1:${server.address().port}`, chats);
    } finally {
        server.close();
        server.closeAllConnections();
    }
}
