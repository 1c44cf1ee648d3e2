// Saying something, changing it, answering it and taking it back.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { RoomEvent, RoomMemberEvent } from "matrix-js-sdk";
import { bodies, Member, together } from "./member.js";
import { refuse, tolerate, until } from "./watch.js";

export const messages = (home) => describe("messages", () => {
    let room_id;
    before(async () => { room_id = await together([home.anna, home.bert]); });

    test("the local echo becomes the one remote event", async () => {
        const { anna, bert } = home;
        const room = await anna.room(room_id);
        const changes = [];
        const listen = (event, _room, oldId, oldStatus) => changes.push([oldId, oldStatus, event.getId(), event.status]);
        room.on(RoomEvent.LocalEchoUpdated, listen);
        const sent = anna.client.sendTextMessage(room_id, "hello");
        await until("the local echo", () => room.getPendingEvents().length === 1);
        const echo = room.getPendingEvents()[0];
        const temporary = echo.getId();
        assert.match(temporary, /^~/);
        const { event_id } = await sent;
        await anna.event(room_id, event_id);
        await until("no event waits", () => room.getPendingEvents().length === 0);
        assert.equal(room.getLiveTimeline().getEvents().filter((e) => e.getContent().body === "hello").length, 1);
        assert.deepEqual(changes.find((c) => c[0])?.slice(0, 2), [temporary, "sending"]);
        assert.equal(changes.at(-1)[2], event_id);
        assert.equal(changes.at(-1)[3], null);
        room.off(RoomEvent.LocalEchoUpdated, listen);
        const received = await bert.event(room_id, event_id);
        assert.equal(received.getContent().body, "hello");
        assert.equal(received.getUnsigned().transaction_id, undefined);
        const other = await bert.client.fetchRoomEvent(room_id, event_id);
        assert.equal(other.sender, anna.userId);
    });

    test("the same transaction makes one event", async () => {
        const { anna, bert } = home;
        const content = { msgtype: "m.text", body: "only once" };
        const raw = new Member(home.server, anna.session).client; // one that does not sync keeps no local echo
        const first = await raw.sendMessage(room_id, content, "the-transaction");
        const second = await raw.sendMessage(room_id, content, "the-transaction");
        assert.equal(first.event_id, second.event_id);
        const last = await anna.say(room_id, "after");
        await bert.event(room_id, last);
        assert.equal(bodies((await bert.room(room_id)).getLiveTimeline().getEvents()).filter((b) => b === "only once").length, 1);
    });

    test("edits replace what is shown, now and for those who come later", async () => {
        const { anna, bert } = home;
        const id = await anna.say(room_id, "teh minutes");
        const edit = (body) => anna.client.sendMessage(room_id, {
            msgtype: "m.text", body: `* ${body}`, "m.new_content": { msgtype: "m.text", body }, "m.relates_to": { rel_type: "m.replace", event_id: id },
        });
        await edit("the minute");
        const { event_id: last } = await edit("the minutes");
        const shown = await bert.event(room_id, id);
        await until("the last edit", () => shown.replacingEventId() === last);
        assert.equal(shown.getContent().body, "the minutes");
        assert.equal(shown.getOriginalContent().body, "teh minutes");
        const late = await Member.login(home.server, "bert");
        await late.start();
        const first = await late.event(room_id, id);
        await until("the edit in a first sync", () => first.replacingEventId() === last);
        assert.equal(first.getServerAggregatedRelation("m.replace").event_id, last);
        late.stop();
        const { events } = await bert.client.relations(room_id, id, "m.replace", "m.room.message");
        assert.deepEqual(events.map((e) => e.getId()).includes(last), true);
        const all = await bert.client.fetchRelations(room_id, id, "m.replace", null, { limit: 1 });
        assert.equal(all.chunk.length, 1);
        const rest = await bert.client.fetchRelations(room_id, id, "m.replace", null, { limit: 5, from: all.next_batch });
        assert.equal(rest.chunk.length, 1);
        assert.notEqual(rest.chunk[0].event_id, all.chunk[0].event_id);
    });

    test("reactions are counted and taken back", async () => {
        refuse("PUT /v3/rooms/{id}/send/m.reaction/{id} 400 M_DUPLICATE_ANNOTATION");
        const { anna, bert } = home;
        const id = await anna.say(room_id, "cake at four");
        await bert.event(room_id, id);
        const react = (who, key) => who.client.sendEvent(room_id, "m.reaction", { "m.relates_to": { rel_type: "m.annotation", event_id: id, key } });
        const { event_id: berts } = await react(bert, "👍");
        await react(anna, "👍");
        await react(anna, "🎂");
        const counts = (m) => m.client.getRoom(room_id).relations.getChildEventsForEvent(id, "m.annotation", "m.reaction")
            ?.getSortedAnnotationsByKey()?.map(([key, set]) => `${key}${set.size}`).join(" ");
        for (const m of [anna, bert]) await until("three reactions", () => counts(m) === "👍2 🎂1");
        tolerate(/Error sending event M_DUPLICATE_ANNOTATION/); // the next line's
        const raw = new Member(home.server, bert.session).client;
        await assert.rejects(raw.sendEvent(room_id, "m.reaction", { "m.relates_to": { rel_type: "m.annotation", event_id: id, key: "👍" } }), { errcode: "M_DUPLICATE_ANNOTATION" });
        await bert.client.redactEvent(room_id, berts);
        for (const m of [anna, bert]) await until("two reactions", () => counts(m) === "👍1 🎂1");
        const { chunk } = await bert.client.fetchRelations(room_id, id, "m.annotation", "m.reaction");
        assert.deepEqual(chunk.map((e) => e.content["m.relates_to"].key).sort(), ["🎂", "👍"].sort());
    });

    test("a reply knows what it answers", async () => {
        const { anna, bert } = home;
        const question = await anna.say(room_id, "who brings the key?");
        const answer = await bert.say(room_id, "I do", { "m.relates_to": { "m.in_reply_to": { event_id: question } } });
        const seen = await anna.event(room_id, answer);
        assert.equal(seen.replyEventId, question);
    });

    test("what is redacted is gone for all", async () => {
        refuse("PUT /v3/rooms/{id}/redact/{id}/{id} 403 M_FORBIDDEN");
        const { anna, bert } = home;
        const id = await anna.say(room_id, "my secret");
        const seen = await bert.event(room_id, id);
        tolerate(/Error sending event M_FORBIDDEN: .* power level is too low to redact/); // the next line's
        const raw = new Member(home.server, bert.session).client;
        await assert.rejects(raw.redactEvent(room_id, id), { errcode: "M_FORBIDDEN" });
        await anna.client.redactEvent(room_id, id, undefined, { reason: "wrong room" });
        await until("the redaction", () => seen.isRedacted());
        assert.deepEqual(seen.getContent(), {});
        assert.equal(seen.getUnsigned().redacted_because.content.reason, "wrong room");
        const fetched = await bert.client.fetchRoomEvent(room_id, id);
        assert.deepEqual(fetched.content, {});
        assert.equal(fetched.unsigned.redacted_because.sender, anna.userId);
    });

    test("typing comes and goes", async () => {
        const { anna, bert } = home;
        await until("bert knows anna", () => bert.client.getRoom(room_id).getMember(anna.userId));
        const seen = [];
        bert.client.on(RoomMemberEvent.Typing, (_e, member) => { if (member.roomId === room_id) seen.push([member.userId, member.typing]); });
        await anna.client.sendTyping(room_id, true, 20_000);
        await until("anna types", () => seen.length === 1);
        await anna.client.sendTyping(room_id, false, 0);
        await until("anna has stopped", () => seen.length === 2);
        assert.deepEqual(seen, [[anna.userId, true], [anna.userId, false]]);
    });
});
