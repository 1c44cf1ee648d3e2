// Threads: their replies, their list, what is unread in them.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { Direction } from "matrix-js-sdk";
import { Member, together } from "./member.js";
import { until } from "./watch.js";

export const threads = (home) => describe("threads", () => {
    let room_id, root, other, replies;

    // reply opens the thread first, as Element does when somebody presses "reply in thread". It waits until everybody's
    // thread ends with the reply: for each the library asks for the root anew, and takes the answers as they come.
    const reply = async (m, to, body) => {
        const room = m.client.getRoom(room_id);
        if (!room.getThread(to)) room.createThread(to, room.findEventById(to), [], true);
        const { event_id } = await m.client.sendMessage(room_id, to, { msgtype: "m.text", body });
        for (const who of [home.anna, home.bert]) {
            await until(`${who.userId} sees the reply`, () => who.client.getRoom(room_id).getThread(to)?.replyToEvent?.getId() === event_id);
        }
        return event_id;
    };
    const unread = (m) => m.client.getRoom(room_id).getThreadUnreadNotificationCount(root, "total");

    before(async () => {
        room_id = await together([home.anna, home.bert]);
        root = await home.anna.say(room_id, "summer party");
        other = await home.anna.say(room_id, "winter party");
        await home.bert.event(room_id, other);
    });

    test("replies gather under their root", async () => {
        const { anna, bert } = home;
        replies = [];
        for (let i = 0; i < 3; i++) replies.push(await reply(bert, root, `idea ${i}`));
        for (const m of [anna, bert]) {
            const thread = await until("the thread", () => m.client.getRoom(room_id).getThread(root));
            await until("three replies", () => thread.length === 3 && thread.replyToEvent?.getId() === replies[2]);
            await until("all replies in order", () => {
                const ids = thread.liveTimeline.getEvents().map((e) => e.getId());
                return JSON.stringify(ids) === JSON.stringify([root, ...replies]);
            });
            assert.ok(!m.client.getRoom(room_id).getLiveTimeline().getEvents().some((e) => replies.includes(e.getId())));
        }
    });

    test("what is unread in a thread is counted for itself and read for itself", async () => {
        const { anna } = home;
        await until("three unread", () => unread(anna) === 3);
        const room = await anna.room(room_id);
        assert.equal(room.getRoomUnreadNotificationCount("total"), 0);
        await anna.client.sendReadReceipt(room.findEventById(replies[1]));
        await until("one unread", () => unread(anna) === 1);
        await anna.client.sendReadReceipt(room.findEventById(replies[2]));
        await until("none unread", () => unread(anna) === 0);
        const bert = await home.bert.room(room_id);
        await until("bert sees anna's receipt in the thread", () => bert.getThread(root).getEventReadUpTo(anna.userId) === replies[2]);
        const main = await home.bert.say(room_id, "back to business");
        await anna.event(room_id, main);
        await until("one unread in the room", () => room.getRoomUnreadNotificationCount("total") === 1);
        assert.equal(unread(anna), 0);
        await reply(home.bert, root, "one more");
        await until("one in the thread", () => unread(anna) === 1);
        await anna.client.sendReadReceipt(room.findEventById(main));
        await until("none in the room", () => room.getRoomUnreadNotificationCount("total") === 0);
        assert.equal(unread(anna), 1);
    });

    test("an unthreaded receipt reads everything", async () => {
        const { anna, bert } = home;
        const id = await bert.say(room_id, "that is all");
        await anna.client.sendReadReceipt(await anna.event(room_id, id), "m.read", true);
        await until("nothing is unread", () => unread(anna) === 0 && anna.client.getRoom(room_id).getUnreadNotificationCount("total") === 0);
    });

    test("the list of threads, all and one's own", async () => {
        const { anna, bert } = home;
        await reply(anna, other, "with mulled wine");
        const late = await Member.login(home.server, "bert");
        await late.start();
        const room = await late.room(room_id);
        await room.createThreadsTimelineSets();
        await room.fetchRoomThreads();
        const listed = (i) => room.threadsTimelineSets[i].getLiveTimeline().getEvents().map((e) => e.getId());
        await until("both threads", () => listed(0).length === 2);
        assert.deepEqual(listed(0), [root, other]);
        assert.deepEqual(listed(1), [root]);
        await until("four replies", () => room.getThread(root).length === 4);
        const page = await bert.client.createThreadListMessagesRequest(room_id, null, 1, Direction.Backward);
        assert.deepEqual(page.chunk.map((e) => e.event_id), [other]);
        const rest = await bert.client.createThreadListMessagesRequest(room_id, page.end, 1, Direction.Backward);
        assert.deepEqual(rest.chunk.map((e) => e.event_id), [root]);
        late.stop();
    });

    test("a long thread is read page by page on a fresh device", async () => {
        const { bert } = home;
        const long = await bert.say(room_id, "the long one");
        const ids = [long];
        for (let i = 0; i < 45; i++) ids.push(await reply(bert, long, `turn ${i}`));
        const late = await Member.login(home.server, "anna");
        await late.start({ initialSyncLimit: 5 });
        const room = await late.room(room_id);
        await room.createThreadsTimelineSets();
        await room.fetchRoomThreads();
        const thread = await until("the thread", () => room.getThread(long));
        await until("the thread's newest page", () => thread.initialEventsFetched && thread.liveTimeline.getEvents().at(-1)?.getId() === ids.at(-1));
        for (let more = true, n = 0; more; n++) {
            assert.ok(n < 20, "paging does not end");
            more = await late.client.paginateEventTimeline(thread.liveTimeline, { backwards: true, limit: 10 });
        }
        assert.deepEqual(thread.liveTimeline.getEvents().map((e) => e.getId()), ids);
        late.stop();
    });
});
