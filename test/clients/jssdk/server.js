// The real binary, as one process with a private PostgreSQL in a folder of its own. ALLMENDE_BINARY says where it is.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

// A slow machine needs a while for initdb and the migrations; a server that does not come at all ends this.
const startWithin = 180_000;

export class Server {
    #child;
    log = [];

    constructor(folder, port) {
        this.folder = folder;
        this.port = port;
        this.url = `http://127.0.0.1:${port}`;
    }

    static async start() {
        // Below root's own folders the unprivileged account of PostgreSQL could not reach its data.
        const folder = await mkdtemp(join(tmpdir(), "allmende-jssdk-"));
        await chmod(folder, 0o755);
        const server = new Server(folder, await freePort());
        await writeFile(join(folder, "allmende.yaml"), configuration(server.port));
        await server.run();
        return server;
    }

    /** run starts the process and waits until it is ready; after stop() it goes on with the same data and address. */
    async run() {
        const binary = process.env.ALLMENDE_BINARY;
        if (!binary) throw new Error("ALLMENDE_BINARY must name the server's binary (make test-clients does)");
        const child = spawn(binary, ["serve", "--config", "allmende.yaml"], { cwd: this.folder, stdio: ["ignore", "ignore", "pipe"] });
        child.on("error", (err) => this.log.push(JSON.stringify({ level: "ERROR", msg: String(err) })));
        createInterface({ input: child.stderr }).on("line", (line) => this.log.push(line));
        this.#child = child;
        const end = Date.now() + startWithin;
        for (;;) {
            if (child.exitCode !== null || child.signalCode !== null) throw new Error(`the server ended:\n${this.log.join("\n")}`);
            const answer = await fetch(`${this.url}/health/ready`).catch(() => undefined);
            if (answer?.status === 200) return;
            if (Date.now() > end) throw new Error(`the server is not ready:\n${this.log.join("\n")}`);
            await sleep(100);
        }
    }

    /** stop asks the process to end and returns its exit code. */
    async stop() {
        const child = this.#child;
        if (child.exitCode === null && child.signalCode === null) {
            child.kill("SIGTERM");
            await once(child, "exit");
        }
        return child.exitCode;
    }

    async remove() {
        await rm(this.folder, { recursive: true, force: true });
    }

    /** complaints are the lines of the server's own log at the levels warn and error. */
    complaints() {
        return this.log.filter((line) => {
            try {
                return ["WARN", "ERROR"].includes(JSON.parse(line).level);
            } catch {
                return true; // a panic is not JSON
            }
        });
    }
}

// The limits are raised because a test does in a minute what people do in a week.
const configuration = (port) => `server_name: localhost
data_dir: data
listen: {client: ["127.0.0.1:${port}"]}
registration: {policy: open}
presence: {enabled: true}
log: {format: json}
auth: {argon2: {memory: 8MiB}}
rate_limits:
  login: {per_second: 100, burst: 1000}
  write: {per_second: 1000, burst: 1000}
  read: {per_second: 1000, burst: 1000}
  expensive: {per_second: 100, burst: 1000}
`;

async function freePort() {
    const probe = createServer().listen(0, "127.0.0.1");
    await once(probe, "listening");
    const { port } = probe.address();
    probe.close();
    await once(probe, "close");
    return port;
}
