// Receipts, unread counts, reading back and jumping into the middle.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { Direction, TimelineWindow } from "matrix-js-sdk";
import { bodies, Filter, Member, together } from "./member.js";
import { until } from "./watch.js";

export const reading = (home) => describe("reading", () => {
    let room_id;
    before(async () => { room_id = await together([home.anna, home.bert, home.cleo]); });
    const unread = (m, type = "total") => m.client.getRoom(room_id).getUnreadNotificationCount(type);

    test("a public receipt empties the counts and is seen", async () => {
        const { anna, bert } = home;
        const second = await (await Member.login(home.server, "bert")).start();
        await anna.say(room_id, "one");
        const last = await anna.say(room_id, "two, bert", { "m.mentions": { user_ids: [bert.userId] } });
        for (const m of [bert, second]) await until("two unread, one of them loud", () => unread(m) === 2 && unread(m, "highlight") === 1);
        await bert.client.sendReadReceipt(await bert.event(room_id, last));
        for (const m of [bert, second]) await until("none unread", () => unread(m) === 0 && unread(m, "highlight") === 0);
        const annas = await anna.room(room_id);
        await until("anna sees how far bert has read", () => annas.getEventReadUpTo(bert.userId) === last);
        assert.ok(annas.hasUserReadEvent(bert.userId, last));
        second.stop();
    });

    test("a private receipt empties the counts and is seen by nobody else", async () => {
        const { anna, bert, cleo } = home;
        const before = (await anna.room(room_id)).getEventReadUpTo(bert.userId);
        const last = await anna.say(room_id, "three");
        await until("one unread", () => unread(bert) === 1);
        await bert.client.sendReadReceipt(await bert.event(room_id, last), "m.read.private");
        await until("none unread", () => unread(bert) === 0);
        await cleo.client.sendReadReceipt(await cleo.event(room_id, last)); // comes later and is seen
        await until("cleo's receipt", () => anna.client.getRoom(room_id).getEventReadUpTo(cleo.userId) === last);
        assert.equal(anna.client.getRoom(room_id).getEventReadUpTo(bert.userId), before);
    });

    test("the fully-read marker", async () => {
        const { anna, bert } = home;
        const last = await anna.say(room_id, "four");
        const event = await bert.event(room_id, last);
        await bert.client.setRoomReadMarkers(room_id, last, event);
        const room = await bert.room(room_id);
        await until("the marker", () => room.getAccountData("m.fully_read")?.getContent().event_id === last);
        await until("none unread", () => unread(bert) === 0);
    });

    test("reading back to the beginning and jumping into the middle", async () => {
        const { anna } = home;
        const long = await together([anna, home.cleo]);
        const ids = [];
        for (let i = 0; i < 130; i++) ids.push(await anna.say(long, `line ${i}`));
        const wanted = ids.map((_, i) => `line ${i}`);
        const late = await (await Member.login(home.server, "cleo")).start({ initialSyncLimit: 10 });
        const room = await late.room(long);
        const set = room.getUnfilteredTimelineSet();

        // A window from the newest backwards.
        const window = new TimelineWindow(late.client, set, { windowLimit: 1000 });
        await window.load(undefined, 10);
        for (let n = 0; await window.paginate(Direction.Backward, 17); n++) assert.ok(n < 40, "paging back does not end");
        assert.deepEqual(bodies(window.getEvents()), wanted);
        assert.equal(window.getEvents()[0].getType(), "m.room.create");
        assert.equal(new Set(window.getEvents().map((e) => e.getId())).size, window.getEvents().length);
        late.stop();

        // Into the middle on a device that knows only the newest, and from there both ways until the pieces meet.
        const jumper = await (await Member.login(home.server, "cleo")).start({ initialSyncLimit: 10 });
        const jumped = (await jumper.room(long)).getUnfilteredTimelineSet();
        const timeline = await jumper.client.getEventTimeline(jumped, ids[60]);
        assert.ok(bodies(timeline.getEvents()).includes("line 60"));
        assert.notEqual(timeline, jumped.getLiveTimeline());
        const middle = new TimelineWindow(jumper.client, jumped, { windowLimit: 1000 });
        await middle.load(ids[60], 10);
        for (let n = 0; await middle.paginate(Direction.Forward, 13); n++) assert.ok(n < 60, "paging forward does not end");
        for (let n = 0; await middle.paginate(Direction.Backward, 13); n++) assert.ok(n < 60, "paging back does not end");
        assert.deepEqual(bodies(middle.getEvents()), wanted);

        const more = await (await Member.login(home.server, "cleo")).start({ initialSyncLimit: 10 });
        const scrolled = await more.room(long);
        await more.client.scrollback(scrolled, 30);
        const texts = bodies(scrolled.getLiveTimeline().getEvents());
        assert.deepEqual(texts, wanted.slice(-texts.length));
        assert.ok(texts.length > 30);
        const at = await more.client.timestampToEvent(long, room.findEventById(ids[5]).getTs(), Direction.Forward);
        assert.ok(ids.includes(at.event_id) && ids.indexOf(at.event_id) <= 5);
        more.stop();
        jumper.stop();
    });

    test("a filter shows only what it names", async () => {
        const { anna } = home;
        const filter = new Filter(anna.userId);
        filter.setDefinition({ room: { timeline: { types: ["m.room.name"] } } });
        const id = await anna.client.getOrCreateFilter("names only", filter);
        assert.equal(await anna.client.getOrCreateFilter("names only", filter), id);
        assert.deepEqual((await anna.client.getFilter(anna.userId, id, false)).getDefinition(), filter.getDefinition());
        filter.filterId = id;
        await anna.client.setRoomName(room_id, "first name");
        await anna.say(room_id, "not a name");
        const { event_id } = await anna.client.setRoomName(room_id, "second name");
        await anna.event(room_id, event_id);
        const room = await anna.room(room_id);
        const named = room.getOrCreateFilteredTimelineSet(filter);
        for (let more = true, n = 0; more; n++) {
            assert.ok(n < 20, "paging does not end");
            more = await anna.client.paginateEventTimeline(named.getLiveTimeline(), { backwards: true, limit: 5 });
        }
        assert.deepEqual(named.getLiveTimeline().getEvents().map((e) => e.getContent().name), ["first name", "second name"]);
    });
});
