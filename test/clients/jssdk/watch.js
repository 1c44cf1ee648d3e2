// Watches what nobody would look at: what the SDK writes to its log, and how each of its requests was answered.

import { setTimeout as sleep } from "node:timers/promises";

/** Lines of the SDK's log, from warnings up, that may appear. Everything else fails the test. */
const tolerated = [];

/** Requests that may be answered with an error. Everything else fails the test. */
const refusals = new Map();

/** tolerate lets a line of the SDK's log pass, for a reason that stands beside the call. */
export function tolerate(pattern) {
    tolerated.push(pattern);
}

/** refuse says that the server is right to answer a request so, as in "POST /v3/join/{id} 403 M_FORBIDDEN". */
export function refuse(...answers) {
    for (const a of answers) refusals.set(a, 0);
}

const complaints = [];
const answers = new Map();

// The SDK's loggers look up the console's methods at each call.
for (const level of ["trace", "debug", "info", "log"]) console[level] = () => {};
for (const level of ["warn", "error"]) console[level] = (...args) => complaints.push(`${level}: ${args.map(text).join(" ")}`);

const text = (a) => (a instanceof Error ? `${a.name}: ${a.message}` : typeof a === "string" ? a : JSON.stringify(a));

/** sdkComplaints are the warnings and errors in the SDK's log that nobody tolerates. */
export const sdkComplaints = () => complaints.filter((line) => !tolerated.some((t) => t.test(line)));

/** fetchFn is handed to every client, and notes how its requests are answered. */
export async function fetchFn(resource, options) {
    const answer = await fetch(resource, options);
    const path = route(new URL(resource).pathname);
    let code = "";
    if (answer.status >= 400) {
        const body = await answer.clone().json().catch(() => ({}));
        code = ` ${body.errcode ?? body.error ?? (body.flows ? "flows" : "?")}`;
    }
    const line = `${options?.method ?? "GET"} ${path} ${answer.status}${code}`;
    answers.set(line, (answers.get(line) ?? 0) + 1);
    return answer;
}

// route takes the names of rooms, people and things out of a path.
function route(pathname) {
    return pathname.replace("/_matrix/client", "").split("/").map(decodeURIComponent)
        .map((part) => (/^[!#@$]|^m\d+\.\d+|^~/.test(part) ? "{id}" : part)).join("/");
}

/** unexpected are the requests answered with an error that no test asked for. */
export const unexpected = () =>
    [...answers].filter(([line]) => / [45]\d\d /.test(line) && !refusals.has(line)).map(([line, n]) => `${n}× ${line}`);

/** missing are the refusals that a test announced and that never came. */
export const missing = () => [...refusals.keys()].filter((line) => !answers.has(line));

/** routes are all requests seen, with their answers. */
export const routes = () => [...answers].map(([line, n]) => `${line} ${n}×`).sort();

/** until waits for a condition and returns its value; what it was waiting for is in the error. */
export async function until(what, condition, within = 30_000) {
    const end = Date.now() + within;
    for (;;) {
        const value = await condition();
        if (value) return value;
        if (Date.now() > end) throw new Error(`waited in vain: ${what}`);
        await sleep(20);
    }
}
