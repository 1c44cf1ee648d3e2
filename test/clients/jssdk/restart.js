// The server goes away under clients that sync, and comes back.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ClientEvent, Direction, EventStatus, TimelineWindow } from "matrix-js-sdk";
import { bodies, Member, together } from "./member.js";
import { tolerate, until } from "./watch.js";

export const restart = (home) => describe("restart", () => {
    test("clients go on where they were: nothing lost, nothing twice", async () => {
        // What the SDK writes while its server is away, which is what happens here.
        tolerate(/\/sync error.*(fetch failed|ConnectionError)|Number of consecutive failed|Starting keep-alive|Error sending event.*(fetch failed|ConnectionError)/);
        const { anna, bert } = home;
        const room_id = await together([anna, bert]);
        const said = [];
        const say = async (who, body) => { said.push(body); return who.say(room_id, body); };
        for (let i = 0; i < 5; i++) await say(anna, `before ${i}`);
        await bert.event(room_id, await say(bert, "before the end"));

        const states = [];
        bert.client.on(ClientEvent.Sync, (state) => states.push(state));
        assert.equal(await home.server.stop(), 0);
        await until("bert's client notices", () => states.includes("RECONNECTING"));
        const annas = await anna.room(room_id);
        await assert.rejects(anna.client.sendTextMessage(room_id, "into the void"));
        const waiting = annas.getPendingEvents().find((e) => e.getContent().body === "into the void");
        assert.equal(waiting.status, EventStatus.NOT_SENT);

        await home.server.run();
        const raw = new Member(home.server, anna.session); // before the syncing clients have found their way back
        for (let i = 0; i < 40; i++) await say(raw, `after ${i}`); // more than a sync carries
        said.push("into the void");
        await anna.client.resendEvent(waiting, annas);
        const last = await say(bert, "the last");

        for (const m of [anna, bert]) {
            await until(`${m.userId} syncs again`, () => m.client.getSyncState() === "SYNCING", 120_000);
            await m.event(room_id, last);
            const room = await m.room(room_id);
            // The first sync after the pause leaves a gap, which the client closes when somebody scrolls.
            const window = new TimelineWindow(m.client, room.getUnfilteredTimelineSet(), { windowLimit: 1000 });
            await window.load(undefined, 10);
            for (let n = 0; await window.paginate(Direction.Backward, 11); n++) assert.ok(n < 40, "paging back does not end");
            assert.deepEqual(bodies(window.getEvents()), said);
            assert.equal(room.getPendingEvents().length, 0);
        }
    });
});
