// What members of an association do with Element Web's library, against the real server. The parts run one after the
// other on one server; at the end the SDK's log, the answers to its requests and the server's log are looked at.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Server } from "./server.js";
import { Member } from "./member.js";
import { missing, refuse, routes, sdkComplaints, tolerate, unexpected } from "./watch.js";
import { accounts } from "./accounts.js";
import { messages } from "./messages.js";
import { reading } from "./reading.js";
import { restart } from "./restart.js";
import { rooms } from "./rooms.js";
import { threads } from "./threads.js";
import { userdata } from "./userdata.js";

const home = {};

// Its call manager is told the state of a new room before its store knows the room, in whatever order a server answers.
tolerate(/\[MatrixRTCSessionManager\] Got room state event for unknown room/);
// Rules under the names they had before they were in the specification: the SDK still looks for those and adds them.
tolerate(/Adding default global (override|underride) push rule \.org\.matrix\.msc(3786|3914)\./);

// It asks every server where calls are relayed and takes this answer for "nowhere".
refuse("GET /unstable/org.matrix.msc4143/rtc/transports 404 M_UNRECOGNIZED");

describe("matrix-js-sdk", () => {
    before(async () => {
        home.server = await Server.start();
        for (const name of ["anna", "bert", "cleo"]) {
            home[name] = await Member.register(home.server, name);
            await home[name].start();
        }
    });

    after(async () => {
        for (const name of ["anna", "bert", "cleo"]) home[name]?.stop();
        const code = await home.server?.stop();
        await home.server?.remove();
        assert.equal(code, 0, "the server's exit code");
    });

    accounts(home);
    rooms(home);
    messages(home);
    threads(home);
    reading(home);
    userdata(home);
    restart(home);

    test("nothing went wrong unseen", (t) => {
        if (process.env.ROUTES) for (const line of routes()) t.diagnostic(line);
        assert.deepEqual(sdkComplaints(), [], "the SDK's log");
        assert.deepEqual(unexpected(), [], "requests answered with an error");
        assert.deepEqual(missing(), [], "refusals that never came");
        assert.deepEqual(home.server.complaints(), [], "the server's log");
    });
});
